"""Airflow's word that a task runs, succeeds or fails, passed on to the guard of the task's own process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from airflow_cancel_provider.guard.settings import Settings
    from airflow_cancel_provider.guard.task import TaskGuard

_guards: dict[int, TaskGuard] = {}
"""The guard of this process, by process id: a forked child is not guarded by its parent's."""


@hookimpl
def on_task_instance_running(task_instance: Any) -> None:
    """Put the guard on a task that is about to be executed in this process."""
    from airflow_cancel_provider.guard.settings import Settings

    task = getattr(task_instance, "task", None)
    if task is None:
        return
    settings = Settings.read()
    if not _wanted(task, task_instance.dag_id, settings):
        return
    try:
        from airflow_cancel_provider.guard.task import TaskGuard

        guard = TaskGuard(task_instance, settings)
        guard.install()
        _guards[os.getpid()] = guard
    except Exception as error:
        task.log.exception("Not guarded: the guard could not be installed")
        if settings.fail_closed:
            raise SystemExit(f"The guard could not be installed, and fail_closed is set: {error}") from error


def _wanted(task: Any, dag_id: str, settings: Settings) -> bool:
    """A task's own switch counts for more than the configuration."""
    own = getattr(task, "remote_jobs_guard", None)
    operator = f"{type(task).__module__}.{type(task).__qualname__}"
    return bool(own) if own is not None else settings.guards(dag_id, operator)


@hookimpl
def on_task_instance_success(task_instance: Any) -> None:
    """The task's state was reported."""
    if (guard := _guards.get(os.getpid())) and str(guard.ti.id) == str(task_instance.id):
        guard.succeeded()


@hookimpl
def on_task_instance_failed(task_instance: Any) -> None:
    """The task's failure was reported, for whatever reason."""
    if (guard := _guards.get(os.getpid())) and str(guard.ti.id) == str(task_instance.id):
        guard.failed()
