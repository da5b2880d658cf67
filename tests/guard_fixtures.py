"""A guarded task without Airflow: it submits with real clients, beside a real sentinel, and dies."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow_cancel_provider.guard.canceller import Canceller
from airflow_cancel_provider.guard.end_reports import EndReports
from airflow_cancel_provider.guard.events import JobsStarted
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.guard.recorder import TryRecorder
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Owner
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.settings import Settings
from tests.forks import Fork

if TYPE_CHECKING:  # moto takes seconds to import, and each process of a test imports this module
    from tests.cloud.server import LocalCloud

BEGIN = """
import sys, time
import boto3
from airflow_cancel_provider.guard import capture
from airflow_cancel_provider.services.submissions import set_recorder
from tests.guard_fixtures import recording

url, log = sys.argv[1:3]
set_recorder(recording(log))
capture.install()

def batch(session):
    return session.client("batch", endpoint_url=url, region_name="us-east-1")

def submit(client):
    job = client.submit_job(jobName="job", jobQueue="queue", jobDefinition="definition")
    print("job", job["jobId"], flush=True)
"""
IMPORTS = (
    "import boto3, botocore.session, tests.guard_fixtures\nfrom airflow_cancel_provider.guard import capture"
)
END = """
print("ready", flush=True)
sys.stdin.read()
"""


OWNER = Owner("abcd1234", "dag", "run", "task", -1, 1, UUID(int=7))
"""Of what is recorded here."""


def tracked(client: ClientSpec, jobs: Iterable[RemoteJob], at: float = 0.0) -> JobsStarted:
    """The event that tells of jobs that were started in some way."""
    return JobsStarted("", tuple(jobs), client, at)


def canceller(
    ledger: TryLedger,
    settings: Settings,
    log: Any,
    log_file: str | None = None,
    *,
    is_armed: bool = True,
    task_log: str | None = None,
    reports: EndReports | None = None,
) -> Canceller:
    """One that says in the task's log what is not guarded."""
    return Canceller(
        ledger,
        OWNER,
        settings,
        log,
        lambda why: log.warning("Not guarded: %s", why),
        log_file=log_file,
        is_armed=is_armed,
        task_log=task_log,
        reports=reports,
    )


def recording(log_file: str) -> TryRecorder:
    """The guard's recorder without its task, and a sentinel that hears of it."""
    log = logging.getLogger("task")
    log.addHandler(logging.FileHandler(f"{log_file}.task"))
    settings = Settings(patience=60, escalate_after=30, labels=False)
    recorder = TryRecorder(OWNER, settings, log, ledger := TryLedger())
    recorder.readers = [canceller(ledger, settings, log, log_file).hear]
    return recorder


class DyingTask:
    """Runs a script between :data:`BEGIN` and :data:`END`; ``jobs`` are the ids that it has printed.

    :param log: where its sentinel writes; ``<log>.task`` is the task's own log.
    """

    def __init__(self, cloud: LocalCloud, log: Path, script: str, **environment: str) -> None:
        self.log = log
        self.process = Fork(
            IMPORTS, BEGIN + script + END, [cloud.url, str(log)], {**os.environ, **environment}, merged=False
        )
        said = []
        for line in self.process.stdout:
            said.append(line.strip())
            if said[-1] == "ready":
                break
        assert said[-1:] == ["ready"], "the script ended before its time"
        self.jobs = [line.removeprefix("job ") for line in said if line.startswith("job ")]

    def kill(self) -> None:
        self.process.kill()

    def close(self) -> None:
        self.process.close()


def until(true: Callable[[], Any], seconds: float = 40) -> Any:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not (seen := true()):
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.05)
    return seen
