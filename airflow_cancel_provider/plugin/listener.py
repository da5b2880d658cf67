"""The listener: passes the start and the end of a task on to the guard, or to the API server's cancel.

Imports nothing of this package at module level: an import error is then in the task's log, and
``fail_closed`` applies to it.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl as airflow_hookimpl

if TYPE_CHECKING:
    from airflow_cancel_provider.guard.task import TaskGuard
    from airflow_cancel_provider.owner import TaskKey
    from airflow_cancel_provider.settings import Settings

log = logging.getLogger(__name__)
hookimpl = airflow_hookimpl(tryfirst=True)
"""Called before those of other plugins: where one of these raises, Airflow calls none that come after it."""
_SECTION = "cancel_provider"
_MARKED_RUN = re.compile(r"Dag Run's state was manually set to `(\w+)`\.", re.IGNORECASE)
_guards: dict[int, TaskGuard] = {}
"""The guard of this process, by process id: a forked child is not guarded by its parent's."""
_waiting: dict[TaskKey, TaskGuard] = {}
"""Guards of tries that wait, or whose jobs wait for the next one, in this process (``dags test``)."""


@hookimpl
def on_starting(component: Any) -> None:
    """Capture AWS sessions that a Dag file makes while it is parsed; recording starts with the task.

    And read what earlier tries have started, before Airflow deletes it.
    """
    if type(component).__name__ != "TaskRunnerMarker":
        return  # the scheduler, the triggerer and others start, too
    try:
        from airflow_cancel_provider.guard import capture

        capture.install()
    except Exception:
        # The guard tries again when the task runs; ``fail_closed`` applies there.
        log.exception(
            "[remote jobs] AWS sessions of the Dag file can't be captured: the guard could not be installed"
        )
    try:
        from airflow_cancel_provider.guard.earlier_tries import read_earlier

        read_earlier()
    except Exception as error:  # noqa: BLE001  people see less; the jobs are guarded all the same
        log.warning("[remote jobs] Remote jobs of earlier tries can't be listed any more: %r", error)


@hookimpl
def on_task_instance_running(task_instance: Any) -> None:
    """Put the guard on a task that is about to be executed in this process."""
    task = getattr(task_instance, "task", None)
    if task is None:
        return
    try:
        _guard(task_instance)
    except Exception as error:
        # Raise nothing: the listeners of other plugins would not be called.
        reason = f"The guard could not be installed: {type(error).__name__}: {error}"
        task.log.exception("[remote jobs] Not guarded: nothing cancels this task's remote jobs. %s", reason)
        if _is_closed(task):
            raise SystemExit(f"[remote jobs] Not guarded, and fail_closed is set. {reason}") from error


@hookimpl
def on_task_instance_success(previous_state: Any, task_instance: Any) -> None:
    """The task's own process has reported, or a person has marked the task."""
    _reported(previous_state, task_instance, is_success=True)


@hookimpl
def on_task_instance_failed(previous_state: Any, task_instance: Any) -> None:
    """The task's own process has reported, for whatever reason, or a person has marked the task."""
    _reported(previous_state, task_instance, is_success=False)


@hookimpl
def on_task_instance_skipped(previous_state: Any, task_instance: Any) -> None:
    """The same; Airflow before 3.1 does not report that a task has skipped itself."""
    _reported(previous_state, task_instance, is_success=False)


@hookimpl
def on_dag_run_success(dag_run: Any, msg: str) -> None:
    """A run has ended, or a person has marked it."""
    _run_ended(dag_run, msg)


@hookimpl
def on_dag_run_failed(dag_run: Any, msg: str) -> None:
    """The same."""
    _run_ended(dag_run, msg)


@hookimpl
def before_stopping(component: Any) -> None:
    """The task's own process ends."""
    guard = _guards.get(os.getpid())
    if guard and type(component).__name__ == "TaskRunnerMarker":
        with _contained(guard.ti):
            guard.stops()


def _reported(previous_state: Any, task_instance: Any, *, is_success: bool) -> None:
    with _contained(task_instance):
        if guard := _guard_of(task_instance):
            guard.succeeded() if is_success else guard.failed()
        elif previous_state is None:
            _marked(task_instance)


def _run_ended(dag_run: Any, msg: str) -> None:
    # The API server's words; the scheduler has others, and Airflow before 3.3 none.
    if not (marked := _MARKED_RUN.fullmatch(msg or "")):
        return
    with _contained(dag_run):
        from airflow_cancel_provider.plugin.api_server import cancel_when_run_is_marked
        from airflow_cancel_provider.settings import Settings

        if Settings.read().enabled:
            cancel_when_run_is_marked(dag_run, marked[1])


@contextmanager
def _contained(task_instance: Any) -> Iterator[None]:
    """Log an error: raised, it would keep the listeners of other plugins from being called."""
    try:
        yield
    except Exception:
        log.exception(
            "[remote jobs] Failed to handle the remote jobs of %s after its end",
            getattr(task_instance, "id", "?"),
        )


def _guard(task_instance: Any) -> None:
    from airflow_cancel_provider.owner import TaskKey
    from airflow_cancel_provider.services.submissions import set_recorder

    # Where one process runs task after task (``dags test``), the guard of the last task has finished.
    set_recorder(None)
    from airflow_cancel_provider.guard.attach import detach

    detach()
    if (last := _guards.get(os.getpid())) and last.at_end.waits_here:
        _waiting[TaskKey.of(last.ti)] = last
    from airflow_cancel_provider.settings import Settings, use_quotas

    settings = Settings.read()
    use_quotas()
    if _wanted(task_instance.task, task_instance.dag_id, settings):
        from airflow_cancel_provider.guard.earlier_tries import write_earlier, write_ends
        from airflow_cancel_provider.guard.task import TaskGuard

        guard = TaskGuard(task_instance, settings)
        if before := _waiting.pop(TaskKey.of(task_instance), None):
            guard.go_on_after(before)
        earlier = write_earlier(task_instance, guard.parts.log, is_rest=guard.parts.tries.is_rest)
        guard.install()
        write_ends(task_instance, guard.parts.log, earlier, guard.ends_of_earlier)
        _guards[os.getpid()] = guard
    else:
        set_recorder(None, is_off=True)


def _is_closed(task: Any) -> bool:
    """Whether a task that can't be guarded is to fail.

    Read from Airflow's configuration directly: modules of this package may be what can't be imported. A value
    that is neither true nor false counts as true.
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
    """Whether a task is guarded: its own switch takes precedence over the configuration."""
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
