"""What differs between the versions of Airflow: where its classes are, and what may be asked where.

All modules import what has moved from here, so an installation needs nothing beside Airflow itself for it.
A name is looked up when it is first used: importing this module is cheap, and a name that an Airflow does
not have disturbs only those who use it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import (
        BaseHook,
        BaseNotifier,
        BaseOperator,
        BaseOperatorLink,
        BaseSensorOperator,
        Context,
        PokeReturnValue,
        Variable,
    )
    from airflow.sdk.configuration import conf
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferralError,
        TaskDeferred,
    )
    from airflow.sdk.log import mask_secret

__all__ = [
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "BaseHook",
    "BaseNotifier",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "Context",
    "PokeReturnValue",
    "TaskDeferralError",
    "TaskDeferred",
    "Variable",
    "conf",
    "is_answered",
    "mask_secret",
]

_SDK = ("airflow.sdk",)
# airflow.sdk.exceptions of 3.0 and 3.1 has only the exceptions of the channel.
_EXCEPTIONS = ("airflow.sdk.exceptions", "airflow.exceptions")
_MODULES = {
    **dict.fromkeys((name for name in __all__ if name.startswith(("Airflow", "Task"))), _EXCEPTIONS),
    "BaseHook": ("airflow.sdk", "airflow.hooks.base"),  # in the SDK from 3.1
    "BaseNotifier": _SDK,
    "BaseOperator": _SDK,
    "BaseOperatorLink": _SDK,
    "BaseSensorOperator": _SDK,
    "Context": _SDK,
    "PokeReturnValue": _SDK,
    "Variable": _SDK,
    "conf": ("airflow.sdk.configuration", "airflow.configuration"),  # in the SDK from 3.2
    "mask_secret": ("airflow.sdk.log",),
}
"""The modules that may have a name, the newest first."""

_ANSWERS = {"GetXCom": "XComResult", "GetTaskStates": "TaskStatesResult"}
"""What Airflow answers to what a callback asks."""


def __getattr__(name: str) -> Any:
    """Look a name up in the first module of this Airflow that has it.

    :raises ImportError: no module has it.
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for module in _MODULES[name]:
        try:
            found = getattr(import_module(module), name)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise  # it is there, but what it needs is not
        except AttributeError:
            continue
        else:
            globals()[name] = found
            return found
    from airflow import __version__

    raise ImportError(f"Airflow {__version__} has no {name} in {' or '.join(_MODULES[name])}.")


def is_answered(request: str) -> bool:
    """Whether Airflow answers a request (``GetXCom``, ``GetTaskStates``) of this process.

    The Dag processor of Airflow 3.0 answers neither: it logs "Unable to decode message", and the callback
    waits until the Dag processor kills it. From 3.1 on task processes, triggerers and Dag processors answer
    both. What a process can be told is known there; what has no such channel asks in another way.
    """
    from airflow.sdk.execution_time import task_runner
    from pydantic import ValidationError

    decoder = getattr(getattr(task_runner, "SUPERVISOR_COMMS", None), "body_decoder", None)
    if decoder is None:
        return True
    try:
        decoder.validate_python({"type": _ANSWERS[request]})
    except ValidationError as error:
        return all(each["type"] != "union_tag_invalid" for each in error.errors())
    return True
