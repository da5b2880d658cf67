"""A sensor with ``cancel_on_kill`` waits for jobs of other tasks, and its process is killed, or ends."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.server import LocalCloud
from tests.forks import Fork
from tests.guard_fixtures import until
from tests.sentinel_fixtures import alive, batch, is_cancelled, submit
from tests.task_fixtures import connect_aws

__all__ = ["batch"]

IMPORTS = """
import boto3
from airflow_cancel_provider.sensors.batch import BatchJobTerminalSensor
from airflow_cancel_provider.settings import Settings
from tests.try_fixtures import Try
"""
SENSOR = """
import json, signal, sys

class Sensor(BatchJobTerminalSensor):
    def poke(self, context):
        seen = super().poke(context)
        print("poked", flush=True)
        return seen

retries, given = json.loads(sys.argv[2])
ti = Try(max_tries=retries)
ti.task = Sensor(
    task_id="wait",
    job_ids=json.loads(sys.argv[1]),
    poke_interval=0.2,
    deferrable=False,
    cancel_on_kill=True,
    **given,
)
guard = ti.guarded(Settings(confirm_seconds=20, patience=30))
signal.signal(signal.SIGTERM, lambda *_: ti.task.on_kill())
try:
    ti.task.execute({"ti": ti})
except BaseException as error:
    print(type(error).__name__, flush=True)
    ti.state = "failed"
    guard.failed()
else:
    guard.succeeded()
print("over", flush=True)
sys.stdin.read()
"""
Start = Callable[..., Fork]


@pytest.fixture
def start(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    connect_aws(monkeypatch, cloud)
    forks: list[Fork] = []

    def sensor(jobs: str | list[str], retries: int = 0, **given: Any) -> Fork:
        arguments = [json.dumps(jobs), json.dumps([retries, given])]
        forks.append(Fork(IMPORTS, SENSOR, arguments, os.environ, merged=True))
        return forks[-1]

    yield sensor
    for fork in forks:
        fork.close()


def wait_for(fork: Fork, word: str) -> list[str]:
    said: list[str] = []
    while not said or said[-1] != word:
        said.append(next(fork.stdout).strip())
    return said


def sentinels(fork: Fork) -> list[int]:
    return [int(child) for child in Path(f"/proc/{fork.pid}/task/{fork.pid}/children").read_text().split()]


def test_after_sigkill_the_sentinel_cancels_the_job(cloud: LocalCloud, batch: Any, start: Start) -> None:
    fork = start(job := submit(batch))
    wait_for(fork, "poked")
    assert not is_cancelled(cloud, job)
    (sentinel,) = sentinels(fork)
    fork.kill()
    until(lambda: is_cancelled(cloud, job))
    until(lambda: not alive(sentinel))


@pytest.mark.parametrize("given", [{"retries": 1}, {"mode": "reschedule"}], ids=["retries", "reschedule"])
def test_what_another_process_goes_on_to_wait_for_lives(
    cloud: LocalCloud, batch: Any, start: Start, given: dict[str, Any]
) -> None:
    fork = start(job := submit(batch), **given)
    wait_for(fork, "poked")
    assert sentinels(fork) == []
    fork.kill()
    time.sleep(1)
    assert not is_cancelled(cloud, job)


def test_a_sensor_that_succeeds_leaves_the_job_alone(cloud: LocalCloud, batch: Any, start: Start) -> None:
    fork = start(job := submit(batch), target_states=["RUNNING"])
    wait_for(fork, "over")
    fork.kill()
    time.sleep(1)
    assert not is_cancelled(cloud, job)


def test_a_sensor_that_fails_leaves_the_other_jobs_alone(cloud: LocalCloud, batch: Any, start: Start) -> None:
    cloud.batch.configure({"overrides": {"bad*": {"run": 0.5, "outcome": "failure"}}})
    good, bad = submit(batch), submit(batch, jobName="bad")
    fork = start([good, bad], target_states=["SUCCEEDED"])
    assert "UnexpectedEnd" in wait_for(fork, "over")
    assert sentinels(fork) == []
    fork.kill()
    time.sleep(1)
    assert not is_cancelled(cloud, good)


def test_a_job_whose_service_did_not_answer_in_time_is_cancelled_after_the_tasks_end(
    cloud: LocalCloud, batch: Any, start: Start
) -> None:
    fork = start(job := submit(batch))
    wait_for(fork, "poked")
    cloud.faults.add("batch", "*", "server_error", seconds=8)
    os.kill(fork.pid, signal.SIGTERM)
    assert "Killed" in wait_for(fork, "over")
    assert not is_cancelled(cloud, job)
    fork.kill()
    until(lambda: is_cancelled(cloud, job))
