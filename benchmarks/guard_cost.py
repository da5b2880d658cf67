"""What the guard costs, for one machine and one run.

The time of a submission with and without the capture, the time to put the guard on a task, what a deferral
pays, and the sentinel's start, memory and reaction. Everything goes over HTTP to the local cloud, so the
submission is as fast as it can be, and its ratio as bad as it can be.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import boto3
from airflow.providers.amazon.aws.triggers.batch import BatchJobTrigger

from airflow_cancel_provider.guard import capture
from airflow_cancel_provider.guard.canceller import Canceller
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.guard.recorder import TryRecorder
from airflow_cancel_provider.guard.sentinel.client import Sentinel
from airflow_cancel_provider.guard.trigger import GuardTrigger
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Owner
from airflow_cancel_provider.record import TryRecord, TryState
from airflow_cancel_provider.services.submissions import set_recorder
from airflow_cancel_provider.settings import Settings
from tests.cloud.server import LocalCloud

ROUNDS = 300
OWNER = Owner("abcd1234", "dag", "run", "task", -1, 1, UUID(int=7))
VICTIM = """
import sys, boto3, time
from benchmarks.guard_cost import Recording
from airflow_cancel_provider.guard import capture
from airflow_cancel_provider.services.submissions import set_recorder
set_recorder(Recording().recorder)
capture.install()
client = boto3.session.Session().client("batch", endpoint_url=sys.argv[1], region_name="us-east-1")
client.submit_job(jobName="j", jobQueue="q", jobDefinition="d")
print("ready", flush=True)
time.sleep(600)
"""


class Recording:
    """The guard's recorder without its task: it tells a canceller, whose sentinel is the one measured."""

    def __init__(self) -> None:
        settings, log, ledger = Settings(), logging.getLogger(__name__), TryLedger()
        self.canceller = Canceller(ledger, OWNER, settings, log, log.error)
        self.recorder = TryRecorder(OWNER, settings, log, ledger)
        self.recorder.readers = [self.canceller.hear]


def main() -> None:
    """Print the figures as JSON."""
    print(json.dumps(measure()))


def measure() -> dict[str, float]:
    """Measure; figures by name."""
    os.environ.update(
        AWS_ACCESS_KEY_ID="bench", AWS_SECRET_ACCESS_KEY="bench", AWS_EC2_METADATA_DISABLED="true"
    )
    with LocalCloud() as cloud:
        return {**_submission(cloud), **_sentinel(cloud), **_deferral(), **_task_without_submission()}


def _submission(cloud: LocalCloud) -> dict[str, float]:
    plain = _client(cloud)
    capture.install()
    recording = Recording()
    guarded = _client(cloud)

    def with_guard() -> None:
        set_recorder(recording.recorder)
        _submit(guarded)

    def without() -> None:
        set_recorder(None)
        _submit(plain)

    for warm_up in (with_guard, without):
        warm_up()
    pairs = [(_timed(without), _timed(with_guard)) for _ in range(ROUNDS)]
    stock, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
    recording.canceller.done()
    return {"submission, stock": stock, "submission, guarded": ours}


def _sentinel(cloud: LocalCloud) -> dict[str, float]:
    starts, memory = [], 0
    for _ in range(10):
        sentinel = Sentinel(Settings(), OWNER, None, logging.getLogger(__name__), TryLedger())
        starts.append(_timed(sentinel._start))
        time.sleep(0.3)
        process = sentinel._process
        memory = _resident(process.pid if process else 0)
        sentinel.done()
    latencies = [_kill_to_request(cloud) for _ in range(5)]
    return {
        "sentinel, start": statistics.median(starts),
        "sentinel, MiB while idle": memory / 1024,
        "SIGKILL to cancel request, median": statistics.median(latencies),
        "SIGKILL to cancel request, worst": max(latencies),
    }


def _deferral() -> dict[str, float]:
    """What a deferral pays for the guard's trigger around the operator's own, written and read back."""
    job = RemoteJob.of("batch", "5ca1ab1e-0000-4e00-8000-000000000000", conn_id="aws_default")
    inner = BatchJobTrigger(job_id=job.id, waiter_delay=30, waiter_max_attempts=100)
    record = TryRecord(OWNER.ti_id, TryState.DEFERRED, (job,))

    def guarded() -> None:
        made = GuardTrigger.around(inner, record, "why", "00000000")
        GuardTrigger(**made.serialize()[1])

    def stock() -> None:
        BatchJobTrigger(**inner.serialize()[1])

    times = {"deferral, stock": stock, "deferral, guarded": guarded}
    return {name: statistics.median(_timed(way) for _ in range(ROUNDS)) for name, way in times.items()}


def _kill_to_request(cloud: LocalCloud) -> float:
    cloud.reset()
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM, cloud.url], stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]
    )
    assert victim.stdout
    while b"ready" not in victim.stdout.readline():
        pass  # a line of a log
    killed_at = time.time()
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    while True:
        (job,) = cloud.batch.jobs()
        if job["cancel_requested_at"]:
            return float(job["cancel_requested_at"] - killed_at)
        time.sleep(0.01)


def _task_without_submission() -> dict[str, float]:
    """From Airflow's "task is running" to the guard being in place, in a fresh process as every task has."""
    home = tempfile.mkdtemp(prefix="bench-")
    code = """
import time
from types import SimpleNamespace
import airflow.sdk
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow_cancel_provider.plugin import listener
import sys
task = EmptyOperator(task_id="t")
ti = SimpleNamespace(
    task=task, dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1,
    id="01a1fc30-c79c-760c-ae33-eb19a73c7607", _ti_context_from_server=None,
)
began = time.perf_counter()
listener.on_task_instance_running(ti)
print(time.perf_counter() - began, "boto3" in sys.modules, "botocore.client" in sys.modules)
"""
    times = []
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "AIRFLOW_HOME": home},
            capture_output=True,
            text=True,
            check=True,
        )
        seconds, boto3_there, client_there = done.stdout.split()[-3:]
        times.append(float(seconds))
        if "True" in (boto3_there, client_there):
            raise RuntimeError("guarding a task that submits nothing has imported boto3")
    return {"task that submits nothing": statistics.median(times)}


def _client(cloud: LocalCloud) -> Any:
    return boto3.session.Session().client("batch", endpoint_url=cloud.url, region_name="us-east-1")


def _submit(client: Any) -> None:
    client.submit_job(jobName="j", jobQueue="q", jobDefinition="d")


def _timed(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def _resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


if __name__ == "__main__":
    main()
