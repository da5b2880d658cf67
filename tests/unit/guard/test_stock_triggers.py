"""Triggers of the Amazon provider that cancel their job themselves: the guard does it for them.

One does it on the event loop of the triggerer, over a hook that first takes a lock of its class (on Python
3.11). A thread that holds the lock waits for that loop, which then answers nobody any more.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from airflow.providers.amazon.aws.triggers.emr import EmrContainerTrigger, EmrServerlessStartJobTrigger
from airflow.triggers.base import BaseTrigger

from airflow_cancel_provider.guard.trigger import GuardTrigger
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.record import TryRecord, TryState
from airflow_cancel_provider.triggers import on_kill as killing
from airflow_cancel_provider.triggers.ownership import USER_ACTION
from tests.airflow_fakes import FakeAirflow, airflow
from tests.airflow_versions import TRIGGERS_HAVE_ON_KILL
from tests.cloud.server import LocalCloud
from tests.service_fixtures import Bench, EmrContainersBench, EmrServerlessBench
from tests.task_fixtures import TaskInstance, connect_aws
from tests.trigger_fixtures import DEPLOYMENT, failed_try, story, until

__all__ = ["airflow"]


def serverless(job: RemoteJob, **own: Any) -> BaseTrigger:
    made: BaseTrigger = EmrServerlessStartJobTrigger(job.scope, job.id, waiter_delay=1, **own)
    return made


def containers(job: RemoteJob, **own: Any) -> BaseTrigger:
    made: BaseTrigger = EmrContainerTrigger(job.scope, job.id, waiter_delay=1, **own)
    return made


class Cleaning(EmrContainerTrigger):
    """A user's own, which also does something else."""

    done: list[str] = []  # noqa: RUF012  of all of them

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.Cleaning", super().serialize()[1]

    async def on_kill(self) -> None:
        assert self.cancel_on_kill
        self.done.append(str(self.job_id))


@pytest.fixture(autouse=True)
def _soon(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    Cleaning.done.clear()
    connect_aws(monkeypatch, cloud, "aws_default")
    monkeypatch.setattr(killing, "CONFIRM_SECONDS", 0.1)


SLOW = 3.0
"""Seconds until a cancel is answered."""


async def longest_block(task: asyncio.Future[Any]) -> float:
    """Seconds for which the event loop stood still, until the task was over."""
    longest = 0.0
    while not task.done():
        before = time.monotonic()
        await asyncio.sleep(0.01)
        longest = max(longest, time.monotonic() - before)
    return longest


async def block_of_a_kill(cloud: LocalCloud, trigger: GuardTrigger, ti: TaskInstance, message: Any) -> float:
    """Kill a trigger once it has polled."""
    trigger.task_instance = ti  # type: ignore[assignment]

    async def events() -> None:
        async for _ in trigger.run():
            pass

    task = asyncio.ensure_future(events())
    await until(lambda: len(cloud.journal))
    task.cancel(*message)
    return await longest_block(task)


@pytest.mark.parametrize("make, bench", [(serverless, EmrServerlessBench), (containers, EmrContainersBench)])
@pytest.mark.parametrize("message", [(USER_ACTION,), ()], ids=["with Airflow's word", "without"])
def test_the_job_gets_one_request_and_the_event_loop_goes_on(
    cloud: LocalCloud,
    airflow: FakeAirflow,
    make: Any,
    bench: type[Bench],
    message: Any,
) -> None:
    (job,) = bench(cloud).running()
    cloud.journal.clear()
    cloud.faults.add(operation="CancelJobRun", kind="latency", delay=SLOW)
    ti = failed_try(airflow)
    record = TryRecord(ti.id, TryState.DEFERRED, (job,))
    trigger = GuardTrigger.around(make(job), record, "why", DEPLOYMENT)
    assert story(lambda: block_of_a_kill(cloud, trigger, ti, message)) < SLOW - 0.5
    asked = cloud.journal.count(operation="CancelJobRun")
    assert asked == (1 if message or not TRIGGERS_HAVE_ON_KILL else 0)


@pytest.mark.skipif(not TRIGGERS_HAVE_ON_KILL, reason="nobody calls the hook")
@pytest.mark.parametrize("is_ours", [True, False])
def test_what_a_user_has_made_of_it_or_another_job_is_its_own_affair(
    cloud: LocalCloud, airflow: FakeAirflow, is_ours: bool
) -> None:
    bench = EmrContainersBench(cloud)
    job, other = bench.running(2)
    ti = failed_try(airflow)
    record = TryRecord(ti.id, TryState.DEFERRED, (job,))
    inner = Cleaning(job.scope, job.id) if is_ours else EmrContainerTrigger(other.scope, other.id)
    trigger = GuardTrigger.around(inner, record, "why", DEPLOYMENT)
    cloud.journal.clear()
    story(lambda: block_of_a_kill(cloud, trigger, ti, (USER_ACTION,)))
    bench.let_end()
    assert Cleaning.done == ([job.id] if is_ours else [])
    assert bench.are_cancelled([job] if is_ours else [job, other])
