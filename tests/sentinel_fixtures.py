"""A process that plays a task with a real sentinel."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.cloud.server import LocalCloud
from tests.forks import Fork
from tests.try_fixtures import Try, variables  # noqa: F401  a fixture

ROOT = Path(__file__).parents[1]


SECRET = "not-to-be-seen-anywhere"


TASK = """
import logging, os, resource, signal, sys, time
from pathlib import Path
from airflow_cancel_provider.guard.end_reports import EndReports
from airflow_cancel_provider.guard.events import JobsReleased, JobsStarted, SubmissionIntended
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.services.client_spec import ClientSpec
from tests.guard_fixtures import canceller

url, log, orders = sys.argv[1:4]
log = os.environ.get("LOG", log)
keys = {"aws_access_key_id": "AKIDTASK", "aws_secret_access_key": os.environ.pop("SECRET")}
credentials = {**keys, "aws_session_token": None}
client = ClientSpec("batch", None, "us-east-1", url, secrets={"credentials": credentials})
settings = Settings(patience=float(os.environ.get("PATIENCE", "60")), escalate_after=5)
armed = "UNARMED" not in os.environ
ledger = TryLedger()
reports = EndReports("try", [os.environ["AIRFLOW"]]) if "AIRFLOW" in os.environ else None
task_log = os.environ.get("TASK_LOG")
if task_log:
    logging.getLogger("task").setLevel(logging.INFO)
    logging.getLogger("task").addHandler(logging.FileHandler(task_log))
cancels = canceller(
    ledger, settings, logging.getLogger("task"), log, is_armed=armed, task_log=task_log, reports=reports
)
label = Label.find(os.environ.get("LABEL"))

def tell(event):
    ledger.apply(event)
    cancels.hear(event)

def job(id):
    return RemoteJob(f"batch://@us-east-1/{id}")

for order in orders.split(","):
    what, _, value = order.partition("=")
    if what == "start":
        tell(SubmissionIntended(value, client, "queue", label, at=time.time()))
        tell(JobsStarted(value, (job(value),), client, time.time()))
    elif what == "intend":
        tell(SubmissionIntended("open", client, "queue", label, at=time.time()))
    elif what == "release":
        tell(JobsReleased((job(value),)))
    elif what == "path":
        sys.path.insert(0, value)
    elif what == "odd":
        sys.path += [Path("/no/text"), "/no/utf-8/\\udce9"]
    elif what == "files":
        resource.setrlimit(resource.RLIMIT_NOFILE, (2000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        files = [open(os.devnull) for _ in range(1100)]
    elif what == "interpreter":
        sys.executable = value or None  # type: ignore[assignment]  as where Python can't find its program
    elif what == "limit":
        # This user can't read root's Python: all that a call needs is imported before.
        import boto3

        boto3.client("batch", endpoint_url=sys.argv[1], region_name="us-east-1").describe_jobs(jobs=["none"])
        # Root is above the limit; processes and threads of this user are counted together.
        os.setgid(65534)
        os.setuid(54321)
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    elif what == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif what == "lose":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        cancels._sentinel._process.kill()
        cancels._sentinel._process.wait()
        print(cancels.sentinel is not None, flush=True)
    elif what == "pause":
        time.sleep(float(value))
    elif what == "say":
        getattr(cancels, value)(*(["why"] if value == "cancel" else []))
    elif what == "outlive":
        cancels._sentinel._process.wait(20)
    elif what == "hide":
        os.rename(task_log, task_log + ".hidden")
    elif what == "show":
        os.rename(task_log + ".hidden", task_log)
    elif what == "waits":
        print(cancels.wait_for(value, 0.5), flush=True)
    elif what == "wait":
        print(cancels.wait_for(value, 20), flush=True)
process = cancels._sentinel._process
print("ready", process.pid if process else 0, flush=True)
sys.stdin.read()
"""


IMPORTS = "\n".join(line for line in TASK.splitlines() if line.startswith(("import ", "from ")))


class Task:
    """A process that plays the task, and what is known of its sentinel."""

    def __init__(self, cloud: LocalCloud, log: Path, orders: str, **environment: str) -> None:
        # Its standard error is where an Airflow before 3.2 sends its logs.
        self.process = Fork(
            IMPORTS,
            TASK,
            [cloud.url, str(log), orders],
            {**os.environ, "SECRET": SECRET, **environment},
            merged=True,
        )
        self.said: list[str] = []
        for line in self.process.stdout:
            self.said.append(line.strip())
            if line.startswith("ready"):
                break
        self.sentinel = int(self.said[-1].split()[1])

    @property
    def answers(self) -> list[str]:
        """What the task was answered, between the lines of its log."""
        return [line for line in self.said if line in ("True", "False")]

    def kill(self) -> None:
        self.process.kill()

    def end(self) -> None:
        self.process.stdin.close()
        assert self.process.poll(10)


@pytest.fixture
def run(cloud: LocalCloud, tmp_path: Path) -> Iterator[Callable[..., Task]]:
    tasks: list[Task] = []

    def start(orders: str, **environment: str) -> Task:
        tasks.append(Task(cloud, tmp_path / "sentinel.log", orders, **environment))
        return tasks[-1]

    yield start
    for task in tasks:
        task.process.close()
        if alive(task.sentinel):
            os.kill(task.sentinel, signal.SIGKILL)


@pytest.fixture
def batch(cloud: LocalCloud) -> Any:
    return boto3.client("batch", endpoint_url=cloud.url, region_name="us-east-1")


def submit(batch: Any, **extra: Any) -> str:
    job: str = batch.submit_job(**{"jobName": "j", "jobQueue": "queue", "jobDefinition": "d", **extra})[
        "jobId"
    ]
    return job


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def is_cancelled(cloud: LocalCloud, job: str) -> bool:
    return any(found["cancelled"] for found in cloud.batch.jobs() if found["id"] == job)
