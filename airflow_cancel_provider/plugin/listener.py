"""Airflow's word that a task runs, succeeds or fails, passed on to whoever has to do with it there.

Imports nothing of ours at module level: what can't be imported is then told in the task's log, and
``fail_closed`` holds for it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from airflow_cancel_provider.guard.task import TaskGuard
    from airflow_cancel_provider.settings import Settings

log = logging.getLogger(__name__)
_SECTION = "cancel_provider"
_guards: dict[int, TaskGuard] = {}
"""The guard of this process, by process id: a forked child is not guarded by its parent's."""


@hookimpl
def on_starting(component: Any) -> None:
    """See AWS sessions that a Dag file makes while it is parsed; until the task runs nothing is recorded."""
    if type(component).__name__ != "TaskRunnerMarker":
        return  # the scheduler, the triggerer and others start, too
    try:
        from airflow_cancel_provider.guard import capture

        capture.install()
    except Exception:
        # The guard tries again when the task runs, and fails closed there if it is told to.
        log.exception(
            "[remote jobs] AWS sessions made in the Dag file can't be seen: the guard could not be installed"
        )


@hookimpl
def on_task_instance_running(task_instance: Any) -> None:
    """Put the guard on a task that is about to be executed in this process."""
    task = getattr(task_instance, "task", None)
    if task is None:
        return
    try:
        _guard(task_instance)
    except Exception as error:
        # Nothing may leave here: the listeners of other plugins would not be called.
        reason = f"The guard could not be installed: {type(error).__name__}: {error}"
        task.log.exception("[remote jobs] Not guarded: nothing cancels this task's remote jobs. %s", reason)
        if _is_closed(task):
            raise SystemExit(f"[remote jobs] Not guarded, and fail_closed is set. {reason}") from error


@hookimpl
def on_task_instance_success(previous_state: Any, task_instance: Any) -> None:
    """The task's own process has reported, or a person has marked the task."""
    with _contained(task_instance):
        if guard := _guard_of(task_instance):
            guard.succeeded()
        elif previous_state is None:
            _marked(task_instance)


@hookimpl
def on_task_instance_failed(previous_state: Any, task_instance: Any) -> None:
    """The task's own process has reported, for whatever reason, or a person has marked the task."""
    with _contained(task_instance):
        if guard := _guard_of(task_instance):
            guard.failed()
        elif previous_state is None:
            _marked(task_instance)


@hookimpl
def on_task_instance_skipped(previous_state: Any, task_instance: Any) -> None:
    """A person has marked the task; one that skips itself has been seen to (from Airflow 3.1 on)."""
    with _contained(task_instance):
        if previous_state is None and not _guard_of(task_instance):
            _marked(task_instance)


@contextmanager
def _contained(task_instance: Any) -> Iterator[None]:
    """Report an error here: one that leaves would keep the listeners of other plugins from being called."""
    try:
        yield
    except Exception:
        log.exception(
            "[remote jobs] Failed to see to the jobs of %s after its end",
            getattr(task_instance, "id", "?"),
        )


def _guard(task_instance: Any) -> None:
    from airflow_cancel_provider.services.submissions import RECORDERS

    # Where one process runs task after task (``dags test``), the guard of the last one has done its part.
    RECORDERS.clear()
    from airflow_cancel_provider.guard.attach import detach

    detach()
    from airflow_cancel_provider.settings import Settings, use_quotas

    settings = Settings.read()
    use_quotas()
    if _wanted(task_instance.task, task_instance.dag_id, settings):
        from airflow_cancel_provider.guard.task import TaskGuard

        guard = TaskGuard(task_instance, settings)
        guard.install()
        _guards[os.getpid()] = guard


def _is_closed(task: Any) -> bool:
    """Whether a task that can't be guarded is to fail.

    Asked of Airflow's own configuration: it may be our own modules that can't be imported. What is set to
    something that is neither true nor false was not meant to be false.
    """
    try:
        from airflow.sdk.configuration import conf
    except ImportError:  # before Airflow 3.2
        from airflow.configuration import conf
    own = getattr(task, "remote_jobs_guard", None)
    try:
        wanted = conf.getboolean(_SECTION, "enabled", fallback=True) if own is None else own
        return bool(wanted and conf.getboolean(_SECTION, "fail_closed", fallback=False))
    except Exception as error:  # noqa: BLE001  Airflow has several for a value that is no boolean
        task.log.error("[remote jobs] [%s] fail_closed is taken for true: %s", _SECTION, error)  # noqa: TRY400
        return True


def _wanted(task: Any, dag_id: str, settings: Settings) -> bool:
    """A task's own switch counts for more than the configuration."""
    own = getattr(task, "remote_jobs_guard", None)
    operator = f"{type(task).__module__}.{type(task).__qualname__}"
    return bool(own) if own is not None else settings.guards(dag_id, operator)


def _guard_of(task_instance: Any) -> TaskGuard | None:
    guard = _guards.get(os.getpid())
    return guard if guard and str(guard.ti.id) == str(task_instance.id) else None


def _marked(task_instance: Any) -> None:
    from airflow_cancel_provider.plugin.api_server import cancel_when_marked
    from airflow_cancel_provider.settings import Settings

    # Only a task instance of the database comes without a previous state: this is the API server.
    if not hasattr(task_instance, "_ti_context_from_server") and Settings.read().enabled:
        cancel_when_marked(task_instance)
