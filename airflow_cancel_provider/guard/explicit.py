"""For those who want to see the guard in the Dag."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.services.submissions import RECORDERS

T = TypeVar("T")
SWITCH = "remote_jobs_guard"


def guard(target: T, *, on: bool = True) -> T:
    """Guard a task, or with ``on=False`` do not, whatever ``[cancel_provider]`` says.

    ``target`` is an operator, a mapped operator, the result of calling a ``@task`` function, or such a
    function itself (``@guard`` above ``@task``). It is returned.

    :raises InvalidInput: it is none of these.
    """
    operator = getattr(target, "operator", target)
    if hasattr(operator, "operator_class"):  # a mapped operator, or a @task function
        object.__setattr__(operator, "operator_class", switched_class(operator.operator_class, on))
    elif hasattr(operator, "task_id"):
        object.__setattr__(operator, SWITCH, on)
    else:
        raise InvalidInput(f"{target!r} can't be guarded; give an operator or a @task function.")
    return target


@cache
def switched_class(cls: type[Any], on: bool) -> type[Any]:
    """The same class, with the guard switched; its instances can be pickled wherever those of the class can."""

    def reduce(self: Any, protocol: Any) -> Any:
        how, (made, *more), *state = super(switched, self).__reduce_ex__(protocol)
        return (_unpickled, (how, cls, on, *more) if made is switched else (how, made, None, *more), *state)

    names = {SWITCH: on, "__module__": cls.__module__, "__qualname__": cls.__qualname__, "__reduce_ex__": reduce}
    switched = type(cls)(cls.__name__, (cls,), names)
    return switched


def _unpickled(how: Any, cls: type[Any], on: bool | None, *more: Any) -> Any:
    return how(cls if on is None else switched_class(cls, on), *more)


def track(job: str) -> RemoteJob:
    """Guard a job that was started in a way that can't be seen: a subprocess, another SDK.

    Call it in the task that started the job, right after.

    :param job: its address, ``service://connection@region/[cluster or application/]id``.
    :raises InvalidInput: this is no address, its connection is unusable, or no guarded task runs here.
    """
    address = RemoteJob(job)
    _guard_of_this_task("track").track(address)
    return address


def release(job: str) -> None:
    """Let a job of this task live on, however the task ends.

    :raises InvalidInput: this is no address, or no guarded task runs here.
    """
    _guard_of_this_task("release").release(RemoteJob(job))


def _guard_of_this_task(what: str) -> Any:
    if not RECORDERS:
        raise InvalidInput(f"{what}() works in a guarded task only, and none runs here.")
    return RECORDERS[0]
