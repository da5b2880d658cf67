"""Airflow's channel, which a task may use in its event loop while its threads submit jobs."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from airflow.sdk.execution_time.comms import GetVariable

from tests.cloud.server import LocalCloud
from tests.kill_fixtures import client
from tests.supervisor_fixtures import SLOW, Supervisor, of_event_loops, supervisor
from tests.try_fixtures import CANCEL, Try, _guarded, variables

__all__ = ["_guarded", "supervisor", "variables"]
pytestmark = of_event_loops


def submit(batch: Any) -> None:
    batch.submit_job(jobName="job", jobQueue="queue", jobDefinition="definition")


def run(supervisor: Supervisor, work: Any, asked: str = "xcom") -> Try:
    """A task whose record is written over the channel."""
    ti = Try(work=lambda: asyncio.run(work()), on_push=lambda *_: supervisor.get(asked) and None)
    ti.guarded(CANCEL)
    ti.task.execute()
    return ti


def test_threads_that_submit_leave_one_for_what_the_event_loop_asks(
    cloud: LocalCloud, supervisor: Supervisor
) -> None:
    """Airflow reads the answer in a thread of the same pool: with all of them waiting, it never comes."""
    batch = client()

    async def ask() -> None:
        for _ in range(100):
            await supervisor.channel.asend(GetVariable(key="of the loop"))

    async def work() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        jobs = (asyncio.to_thread(submit, batch) for _ in range(20))
        await asyncio.wait_for(asyncio.gather(ask(), *jobs), 20)

    ti = run(supervisor, work)
    assert len(ti.record.jobs) == len(cloud.batch.jobs()) == 20


def test_the_event_loop_may_ask_while_a_thread_submits(supervisor: Supervisor) -> None:
    """Airflow refuses to wait there for a thread (DeadlockImminentError)."""
    batch = client()

    async def work() -> None:
        await supervisor.channel.asend(GetVariable(key="first"))
        job = asyncio.ensure_future(asyncio.to_thread(submit, batch))
        await asyncio.wait([job], timeout=5)
        try:
            assert supervisor.get("second") == "second"
        finally:
            supervisor.may_answer.set()
        await job

    run(supervisor, work, SLOW)
