"""What differs between versions of Airflow: the modules of its classes, and the requests that it answers.

All modules import from here what has moved. A name is looked up when it is first used: importing this module
is cheap, and a name that an Airflow does not have fails only where it is used.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, Any, get_args

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
    from airflow.sdk._shared.secrets_masker import redact
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
    "needs_port_for_test",
    "redact",
    "team_names",
]

# airflow.sdk.exceptions of 3.0 and 3.1 has only the exceptions of the channel.
_EXCEPTIONS = ("airflow.sdk.exceptions", "airflow.exceptions")
_MODULES = {
    **{name: _EXCEPTIONS if name.startswith(("Airflow", "Task")) else ("airflow.sdk",) for name in __all__},
    "BaseHook": ("airflow.sdk", "airflow.hooks.base"),  # in the SDK from 3.1
    "conf": ("airflow.sdk.configuration", "airflow.configuration"),  # in the SDK from 3.2
    "mask_secret": ("airflow.sdk.log",),
    "redact": ("airflow.sdk._shared.secrets_masker", "airflow.sdk.execution_time.secrets_masker"),
}
"""The modules that may have a name, the newest first."""

_CHANNELS = {
    "airflow.dag_processing.processor": "ToManager",
    "airflow.sdk.execution_time.callback_supervisor": "CallbackToSupervisor",
}
"""Where Airflow runs callbacks beside tasks and triggers: the module, and its union of requests."""


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
            if not f"{module}.".startswith(f"{error.name}."):
                raise  # the module and its packages exist, but one that it imports does not
        except AttributeError:
            continue
        else:
            globals()[name] = found
            return found
    from airflow import __version__

    raise ImportError(f"Airflow {__version__} has no {name} in {' or '.join(_MODULES[name])}.")


def needs_port_for_test() -> bool:
    """Whether the Test button refuses a saved connection that has no port.

    Airflow 3.3.1 and 3.3.2 send 0 for "no port", and take that for another host than the stored one
    (apache/airflow#73298). Where 0 is stored, the button works.
    """
    from airflow import __version__

    return __version__ in ("3.3.1", "3.3.2")


def team_names(dag_ids: Collection[str]) -> dict[str, str | None]:
    """The teams that Dags belong to, by Dag, as the database has them; Airflow 3.0 knows no teams.

    Airflow 3.1 looks up one Dag at a time.
    """
    from airflow.models.dag import DagModel

    if at_once := getattr(DagModel, "get_dag_id_to_team_name_mapping", None):
        return dict(at_once(list(dag_ids)))
    return {dag_id: DagModel.get_team_name(dag_id) for dag_id in dag_ids}


def is_answered(request: str) -> bool:
    """Whether Airflow answers a request (``GetXCom``, ``GetTaskStates``) of the code that is running.

    What is not in a process's union of requests gets no answer at all: Airflow logs "Unable to decode
    message", and the callback waits until it is killed.

    ========================================== ======= =============
    requests of a callback                     GetXCom GetTaskStates
    ========================================== ======= =============
    task process, triggerer                    yes     yes
    Dag processor, Airflow 3.0                 no      no
    Dag processor, Airflow 3.1 and later       yes     yes
    synchronous callback of a deadline (3.3)   no      no
    ========================================== ======= =============
    """
    frame: FrameType | None = sys._getframe()  # noqa: SLF001  these processes are forked by the code that runs callbacks
    while frame is not None:
        module = frame.f_globals.get("__name__")
        if module in _CHANNELS:
            union = get_args(frame.f_globals[_CHANNELS[module]])[0]
            return request in {message.__name__ for message in get_args(union)}
        frame = frame.f_back
    return True
