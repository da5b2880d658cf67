"""Threads of a task that go on after ``execute`` has ended: a pool works off its queue."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Thread
from typing import Any

import pytest

from airflow_cancel_provider.exceptions import Killed, SubmissionRefused
from airflow_cancel_provider.guard.task import TaskGuard
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.submissions import LABEL_PARAMETER
from airflow_cancel_provider.settings import Settings
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import until
from tests.try_fixtures import CANCEL, KEEP, Try, _guarded, cancelled, submit, variables  # noqa: F401  fixtures


class TaskDeferred(BaseException):
    """As Airflow's, without a trigger."""


class Pool:
    """A pool with one thread, which has started one job, and waits with the next in its queue."""

    def __init__(self) -> None:
        self.go_on = Event()
        self.pool = ThreadPoolExecutor(1)

    def fill(self) -> Future[str]:
        """Start a job; have another wait."""
        self.pool.submit(submit, "first").result()
        self.pool.submit(self.go_on.wait)
        return self.pool.submit(submit, "late")


@pytest.fixture
def pool() -> Iterator[Pool]:
    one = Pool()
    yield one
    one.go_on.set()
    one.pool.shutdown()


def run(work: Any, settings: Settings = CANCEL) -> TaskGuard:
    ti = Try(work=work)
    guard = TaskGuard(ti, settings)
    guard.install()
    with pytest.raises((ValueError, Killed, TaskDeferred)):
        ti.task.execute()
    return guard


def fail(guard: TaskGuard) -> None:
    guard.ti.state = "failed"
    guard.failed()


def labels(cloud: LocalCloud) -> dict[str, Label | None]:
    return {
        job["name"]: Label.find(job["labels"]["parameters"].get(LABEL_PARAMETER))
        for job in cloud.batch.jobs()
    }


def raising(pool: Pool, late: list[Future[str]], error: BaseException) -> Any:
    def work() -> None:
        late.append(pool.fill())
        raise error

    return work


def test_after_a_failure_no_job_is_started(cloud: LocalCloud, pool: Pool) -> None:
    late: list[Future[str]] = []
    guard = run(raising(pool, late, ValueError("of another job")))
    fail(guard)
    pool.go_on.set()
    with pytest.raises(SubmissionRefused, match="has failed"):
        late[0].result(20)
    assert cancelled(cloud) == [True]


def test_after_a_kill_no_job_is_started(cloud: LocalCloud, pool: Pool) -> None:
    late: list[Future[str]] = []

    def work() -> None:
        late.append(pool.fill())
        guard.task.on_kill()

    ti = Try(work=work)
    guard = ti.guarded(CANCEL)
    with pytest.raises(Killed):
        ti.task.execute()
    pool.go_on.set()
    with pytest.raises(SubmissionRefused, match="SIGTERM"):
        late[0].result(20)
    until(lambda: cancelled(cloud) == [True])


def test_what_a_callback_starts_after_a_failure_is_not_the_trys(cloud: LocalCloud, pool: Pool) -> None:
    guard = run(raising(pool, [], ValueError("of another job")))
    submit("clean-up")
    beside = Thread(target=submit, args=("clean-up-beside",))
    beside.start()
    beside.join()
    fail(guard)
    found = labels(cloud)
    assert found["first"] is not None
    assert (found["clean-up"], found["clean-up-beside"]) == (None, None)
    assert cancelled(cloud) == [True, False, False]


@pytest.mark.parametrize(
    "end, settings", [(TaskDeferred(), CANCEL), (ValueError("retried"), KEEP)], ids=["deferred", "kept"]
)
def test_while_the_try_goes_on_elsewhere_its_threads_jobs_carry_its_label(
    cloud: LocalCloud, pool: Pool, end: BaseException, settings: Settings
) -> None:
    late: list[Future[str]] = []
    guard = run(raising(pool, late, end), settings)
    pool.go_on.set()
    late[0].result(20)
    assert labels(cloud)["late"] == guard.parts.owner.label


def test_after_a_success_a_thread_is_not_the_trys(cloud: LocalCloud, pool: Pool) -> None:
    late: list[Future[str]] = []
    ti = Try(work=lambda: late.append(pool.fill()))
    ti.run(CANCEL)
    pool.go_on.set()
    late[0].result(20)
    assert labels(cloud)["late"] is None
    assert cancelled(cloud) == [False, False]
