"""What differs between versions of Airflow: the modules of its classes, and the requests that it answers.

All modules import from here what has moved. A name is looked up when it is first used: importing this module
is cheap, and a name that an Airflow does not have fails only where it is used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar, get_args

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
    "request_xcom",
    "team_names",
]

T = TypeVar("T")

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
    for module, names in _running():
        if module in _CHANNELS:
            union = get_args(names[_CHANNELS[module]])[0]
            return request in {message.__name__ for message in get_args(union)}
    return True


def _running() -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """Names and contents of the modules whose code runs; such processes are forked by what runs callbacks."""
    frame: FrameType | None = sys._getframe()  # noqa: SLF001
    while frame is not None:
        yield frame.f_globals.get("__name__"), frame.f_globals
        frame = frame.f_back


_is_misread = False
"""Whether who answers this process has misread a name."""


def request_xcom(send: Callable[..., T], names: Mapping[str, Any], **more: Any) -> T:
    """Send a request about an XCom of a Dag, run or task that may have letters other than ASCII in its name.

    Triggerer and Dag processor have Airflow's API in their own process, and httpx hands a path over to it in
    another encoding than WSGI has: the API fails at such a name. It reads one that is encoded once more.
    Before Airflow 3.2 that failure ends the whole triggerer. From then on it is an answer, and so plain names
    are tried first. Remove this when Airflow reads them.

    :param send: takes ``dag_id``, ``run_id``, ``task_id`` …
    :param names: those of the task instance.
    """
    global _is_misread  # noqa: PLW0603  who answers a process stays the same
    encoded = {
        name: value.encode().decode("latin-1") if isinstance(value, str) else value
        for name, value in names.items()
    }
    if encoded == names:
        return send(**names, **more)
    if not _is_misread and not _ends_at_a_name():
        try:
            return send(**names, **more)
        except Exception as error:
            if not _is_of_encoding(error):
                raise
        answer = send(**encoded, **more)
        # Only now: what can't be encoded may be something else than the names.
        _is_misread = True
        return answer
    return send(**encoded, **more)


def _is_of_encoding(error: Exception) -> bool:
    detail = getattr(getattr(error, "error", None), "detail", None) or {}
    return detail.get("exception_type") in ("UnicodeEncodeError", "UnicodeDecodeError")


def _ends_at_a_name() -> bool:
    """Whether a name that is misread would end the process that answers."""
    channel = getattr(sys.modules.get("airflow.sdk.execution_time.task_runner"), "SUPERVISOR_COMMS", None)
    if channel is None or hasattr(channel, "_thread_lock"):  # from Airflow 3.2 on
        return False
    is_triggerer = type(channel).__name__ == "TriggerCommsDecoder"
    is_here = is_triggerer or any(module == "airflow.dag_processing.processor" for module, _ in _running())
    return is_here and _does_httpx_misencode()


@cache
def _does_httpx_misencode() -> bool:
    import httpx

    paths: list[str] = []

    def answer(environ: Any, start_response: Any) -> list[bytes]:
        paths.append(environ["PATH_INFO"])
        start_response("204 No Content", [])
        return []

    with httpx.Client(transport=httpx.WSGITransport(answer)) as client:
        client.get("http://airflow/\u00e9")
    return paths == ["/\u00e9"]
