"""The operator that submits to MRS cancels its job with the task; the guard does so, too: only one is to."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import Any

import pytest

from airflow_cancel_provider.exceptions import CancelProviderError, Killed
from airflow_cancel_provider.guard.attach import detach
from airflow_cancel_provider.operators.mrs import MrsSubmitJobOperator
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.version_compat import TaskDeferralError, TaskDeferred
from tests.cloud.server import LocalCloud
from tests.kill_fixtures import _alarm, kill_after
from tests.task_fixtures import connections
from tests.try_fixtures import KEEP, RESUMED, Try, _guarded, variables

__all__ = ["_alarm", "_guarded", "connections", "variables"]

pytestmark = pytest.mark.usefixtures("connections")
CANCEL = Settings(confirm_seconds=20, patience=30)


def submit(cloud: LocalCloud, operator: Any = MrsSubmitJobOperator, **changes: Any) -> Any:
    cloud.mrs.configure({"submitted": 0, "pending": 0, "cancel": 0.3})
    parameters = {"job_type": "Flink", "job_name": "mine", "waiter_delay": 0.2, **changes}
    return operator(task_id="submit", cluster_id=cloud.mrs.register_cluster(), **parameters)


def tried(task: Any, **changes: Any) -> Any:
    ti: Any = Try(task_id="submit", **changes)
    ti.task = task
    return ti


def kills(cloud: LocalCloud) -> int:
    (job,) = cloud.mrs.jobs()
    assert job["cancelled"]
    return cloud.journal.count("mrs", "StopJob")


def test_a_resumed_task_leaves_the_cancel_to_the_guard_and_says_nothing_else(
    cloud: LocalCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    """The guard has the patience for a service that is away when the task fails."""
    first = tried(submit(cloud, deferrable=True))
    first.guarded(CANCEL)
    with pytest.raises(TaskDeferred):
        first.task.execute({"ti": first})
    ti = tried(submit(cloud, deferrable=True), id=first.id, pushed=first.pushed, store=first.store)
    ti._ti_context_from_server = RESUMED
    ti.guarded(CANCEL)
    cloud.faults.add("mrs", "*", "server_error", seconds=6)
    with pytest.raises(TaskDeferralError):
        ti.task.resume_execution("__fail__", {"error": "TriggerTimeout"}, {"ti": ti})
    assert kills(cloud) == 1
    said = capsys.readouterr().out
    assert "CANCELLED after" in said
    assert "ot cancelled" not in said


def test_a_killed_task_asks_for_the_cancel_once(cloud: LocalCloud) -> None:
    ti = tried(submit(cloud))
    ti.guarded(CANCEL)
    signal.signal(signal.SIGALRM, lambda *_: ti.task.on_kill())
    kill_after(0.6)
    with pytest.raises(Killed):
        ti.task.execute({"ti": ti})
    assert kills(cloud) == 1


def test_its_job_is_not_kept_for_a_next_try_as_that_submits_anew(
    cloud: LocalCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    ti = tried(submit(cloud, waiter_max_attempts=2), max_tries=1)
    ti.guarded(Settings(on_retry="keep", confirm_seconds=20, patience=30))
    with pytest.raises(CancelProviderError, match="Not seen to end"):
        ti.task.execute({"ti": ti})
    assert kills(cloud) == 1
    said = capsys.readouterr().out
    assert "CANCELLED after" in said
    assert "next try" not in said


def test_an_operator_in_the_code_of_a_task_that_goes_on_cancels_its_job(cloud: LocalCloud) -> None:
    def work() -> None:
        with suppress(CancelProviderError):
            submit(cloud, waiter_max_attempts=2).execute({"ti": ti})

    ti: Any = Try(work=work)
    ti.guarded(CANCEL)
    ti.task.execute()
    assert cloud.journal.count("mrs", "StopJob") == 1


class Lenient(MrsSubmitJobOperator):
    """As people write one: the task goes on without the result of its job."""

    def execute(self, context: Any) -> str:
        with suppress(CancelProviderError):
            return super().execute(context)
        return "none"


def test_an_operator_whose_own_code_goes_on_after_the_error_has_its_job_cancelled(cloud: LocalCloud) -> None:
    """The task succeeds, so the guard leaves alone what it has started."""
    ti = tried(submit(cloud, Lenient, waiter_max_attempts=2))
    ti.guarded(CANCEL)
    assert ti.task.execute({"ti": ti}) == "none"
    assert cloud.journal.count("mrs", "StopJob") == 1


class GoesOn(MrsSubmitJobOperator):
    """As people write one for ``on_retry = keep``: it goes on with the job of the try before."""

    def execute(self, context: Any) -> str:
        return "the same job" if context["ti"].try_number > 1 else super().execute(context)


@pytest.mark.parametrize("operator, is_kept", [(GoesOn, True), (MrsSubmitJobOperator, False)])
def test_the_job_of_a_lost_try_is_kept_for_code_of_others(
    cloud: LocalCloud, operator: type[MrsSubmitJobOperator], is_kept: bool
) -> None:
    first = tried(submit(cloud, operator))
    first.guarded(KEEP)
    first.task._submit()
    detach()
    second = tried(submit(cloud, operator), try_number=2, store=first.store)
    second.guarded(KEEP)
    (job,) = cloud.mrs.jobs()
    assert job["cancelled"] is not is_kept
