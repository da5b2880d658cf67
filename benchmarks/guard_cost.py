"""What the guard costs: ``make bench``.

Prints, for one machine and one run: the time of a submission with and without the capture (as a ratio), the
time to put the guard on a task, and the sentinel's start, memory and reaction. Everything goes over HTTP to
the local cloud, so the submission is as fast as it can be, and the ratio as bad as it can be.
"""

from __future__ import annotations

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

from airflow_cancel_provider.guard import capture
from airflow_cancel_provider.guard.canceller import Canceller
from airflow_cancel_provider.guard.events import TryLedger
from airflow_cancel_provider.guard.recorder import TryRecorder
from airflow_cancel_provider.guard.sentinel.client import Sentinel
from airflow_cancel_provider.owner import Owner
from airflow_cancel_provider.services.submissions import RECORDERS
from airflow_cancel_provider.settings import Settings
from tests.cloud.server import LocalCloud

ROUNDS = 300
OWNER = Owner("abcd1234", "dag", "run", "task", -1, 1, UUID(int=7))
VICTIM = """
import sys, boto3, time
from benchmarks.guard_cost import Recording
from airflow_cancel_provider.guard import capture
from airflow_cancel_provider.services.submissions import RECORDERS
RECORDERS[:] = [Recording().recorder]
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
    """Measure, and print a line for each figure."""
    os.environ.update(
        AWS_ACCESS_KEY_ID="bench", AWS_SECRET_ACCESS_KEY="bench", AWS_EC2_METADATA_DISABLED="true"
    )
    with LocalCloud() as cloud:
        _submission(cloud)
        _sentinel(cloud)
    _task_without_submission()


def _submission(cloud: LocalCloud) -> None:
    plain = _client(cloud)
    capture.install()
    recording = Recording()
    guarded = _client(cloud)

    def with_guard() -> None:
        RECORDERS[:] = [recording.recorder]
        _submit(guarded)

    def without() -> None:
        RECORDERS.clear()
        _submit(plain)

    for warm_up in (with_guard, without):
        warm_up()
    pairs = [(_timed(without), _timed(with_guard)) for _ in range(ROUNDS)]
    stock, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"one SubmitJob, stock          {stock * 1e6:9.0f} µs")
    print(f"one SubmitJob, guarded        {ours * 1e6:9.0f} µs   {ours / stock:.2f} x stock")
    recording.canceller.done()


def _sentinel(cloud: LocalCloud) -> None:
    starts, memory = [], 0
    for _ in range(10):
        sentinel = Sentinel(Settings(), OWNER, None, logging.getLogger(__name__), TryLedger().history)
        starts.append(_timed(sentinel._start))
        time.sleep(0.3)
        process = sentinel._process
        memory = _resident(process.pid if process else 0)
        sentinel.done()
    latencies = [_kill_to_request(cloud) for _ in range(5)]
    print(f"sentinel, start               {statistics.median(starts) * 1e3:9.1f} ms")
    print(f"sentinel, idle                {memory / 1024:9.1f} MiB resident")
    median, worst = statistics.median(latencies), max(latencies)
    print(f"SIGKILL to cancel request     {median:9.2f} s median, {worst:.2f} s worst of 5")


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


def _task_without_submission() -> None:
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
    print(f"guarding a task, no submission{statistics.median(times) * 1e3:9.0f} ms, without importing boto3")


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
