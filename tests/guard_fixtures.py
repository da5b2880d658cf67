"""A guarded task without Airflow: it submits with real clients, beside a real sentinel, and dies."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from airflow_cancel_provider.guard.ledger import Ledger
from airflow_cancel_provider.guard.sentinel.link import Sentinel
from airflow_cancel_provider.guard.settings import Settings
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.submissions import Intent, Submission
from tests.cloud.server import LocalCloud

ROOT = Path(__file__).parents[1]
BEGIN = """
import sys, time
import boto3
from airflow_cancel_provider.guard import capture
from airflow_cancel_provider.services.submissions import RECORDERS
from tests.guard_fixtures import Recording

url, log = sys.argv[1:3]
RECORDERS[:] = [Recording(log)]
capture.install()

def batch(session):
    return session.client("batch", endpoint_url=url, region_name="us-east-1")

def submit(client):
    job = client.submit_job(jobName="job", jobQueue="queue", jobDefinition="definition")
    print("job", job["jobId"], flush=True)
"""
END = """
print("ready", flush=True)
sys.stdin.read()
"""


class Recording:
    """The guard's recorder without its task: a ledger that a sentinel reads."""

    def __init__(self, log_file: str) -> None:
        log = logging.getLogger("task")
        log.addHandler(logging.FileHandler(f"{log_file}.task"))
        settings = Settings(patience=60, escalate_after=30)
        self.sentinel = Sentinel(settings, "the test's reason", log_file, log)
        self.ledger = Ledger()
        self.ledger.readers = [self.sentinel.read]
        self.intents: dict[str, Intent] = {}

    def label(self, submission: Submission) -> Label | None:
        return None

    def carrier(self, service: str) -> str | None:
        return None

    def tags(self) -> dict[str, str]:
        return {}

    def intend(self, client: ClientSpec, scope: str | None, unlabelled: tuple[str, ...]) -> str | None:
        intent = self.ledger.intend(client, scope, None, unlabelled)
        self.intents[intent.token] = intent
        return intent.token

    def lost(self, token: str) -> None:
        pass

    def started(self, token: str, jobs: Sequence[tuple[str | None, str]], not_before: float = 0.0) -> None:
        intent = self.intents[token]
        self.ledger.started(intent, [intent.line.address(scope, job) for scope, job in jobs])

    def placed(self, token: str, scope: str) -> None:
        self.ledger.placed(self.intents[token], scope)

    def closed(self, token: str) -> None:
        self.ledger.refused(self.intents[token])

    def ended(self, service: str, region: str | None, ids: Sequence[tuple[str | None, str]]) -> None:
        pass

    def unguarded(self, why: str) -> None:
        raise AssertionError(why)


class DyingTask:
    """Runs a script between :data:`BEGIN` and :data:`END`; ``jobs`` are the ids that it has printed.

    :param log: where its sentinel writes; ``<log>.task`` is the task's own log.
    """

    def __init__(self, cloud: LocalCloud, log: Path, script: str, **environment: str) -> None:
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, "-c", BEGIN + script + END, cloud.url, str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        assert self.process.stdout
        said = []
        for line in self.process.stdout:
            said.append(line.strip())
            if said[-1] == "ready":
                break
        assert said[-1:] == ["ready"], "the script ended before its time"
        self.jobs = [line.removeprefix("job ") for line in said if line.startswith("job ")]

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()


def until(true: Callable[[], Any], seconds: float = 15) -> Any:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not (seen := true()):
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.05)
    return seen
