"""The functions for Dags: ``guard``, ``track`` and ``release``."""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from functools import cache, partial
from typing import Any, TypeVar, overload

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.services.submissions import current_recorder, is_switched_off
from airflow_cancel_provider.version_compat import BaseOperator

T = TypeVar("T")
SWITCH = "remote_jobs_guard"
_LATER = object()
"""Instead of what a decorator is called with."""


@overload
def guard(target: T, *, on: bool = True) -> T: ...


@overload
def guard(*, on: bool = True) -> Callable[[T], T]: ...


def guard(target: Any = _LATER, *, on: bool = True) -> Any:
    """Guard a task, or with ``on=False`` do not, whatever ``[cancel_provider]`` says.

    ``target`` is an operator, a mapped operator, the result of calling a ``@task`` function, or such a
    function itself (``@guard`` or ``@guard(on=False)`` above ``@task``). It is returned.

    :raises InvalidInput: it is none of these.
    """
    if target is _LATER:
        return partial(guard, on=on)
    operator = getattr(target, "operator", target)
    # A mapped operator or a @task function; an operator itself has that attribute, too.
    if hasattr(operator, "operator_class") and not isinstance(operator, BaseOperator):
        object.__setattr__(operator, "operator_class", switched_class(operator.operator_class, on))
    elif hasattr(operator, "task_id"):
        object.__setattr__(operator, SWITCH, on)
    else:
        raise InvalidInput(f"{target!r} can't be guarded; give an operator or a @task function.")
    return target


@cache
def switched_class(cls: Any, on: bool) -> Any:  # noqa: FBT001  pickle calls it by position
    """The same class, with the guard switched; it can be pickled wherever the class can."""
    names = {SWITCH: on, "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    meta: Any = type(cls)
    return _switching(meta)(cls.__name__, (cls,), names)


@cache
def _switching(meta: Any) -> Any:
    """A metaclass of switched classes: pickle chooses how to pickle a class by its metaclass."""
    switching = type(meta.__name__, (meta,), {})
    copyreg.pickle(switching, lambda cls: (switched_class, (cls.__mro__[1], getattr(cls, SWITCH))))
    return switching


def track(job: str) -> RemoteJob:
    """Guard a job whose submission can't be captured: by a subprocess, or by another SDK.

    Call it in the task that started the job, right after. In a task that is not to be
    guarded it does nothing.

    :param job: its address, ``service://connection@region/[cluster or application/]id``.
    :raises InvalidInput: this is no address, its connection is unusable, or no task runs here.
    :raises Killed: the task received SIGTERM; the job is cancelled.
    """
    address = RemoteJob(job)
    if recorder := _recorder_of_this_task("track"):
        recorder.track(address)
    return address


def release(job: str) -> None:
    """Leave a job of this task running, however the task ends. Nothing is done where no guard would end it.

    :raises InvalidInput: this is no address, or no task runs here.
    """
    address = RemoteJob(job)
    if recorder := _recorder_of_this_task("release"):
        recorder.release(address)


def _recorder_of_this_task(what: str) -> Any:
    """None in a task that is not to be guarded: it must not fail because the guard was switched off."""
    recorder = current_recorder()
    if recorder is None and not is_switched_off():
        raise InvalidInput(f"{what}() works in a task only, and none that could be guarded runs here.")
    return recorder
