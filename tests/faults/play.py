"""A guarded task in a process of its own, as Airflow's task runner runs it: listener, execute, listener.

The process prints ``job <id>`` for each job, ``end <how the task ended>``, and ``left`` once it has nothing
more to do. What it is told on standard input continues it, line by line.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4

from airflow_cancel_provider.plugin import listener

LOG = logging.getLogger("task")


class StoreError(Exception):
    """What a failing backend of Airflow's raises."""


@dataclass
class Backend:
    """Where XCom and the task state store are kept.

    :param trouble: called before each write.
    """

    kept: dict[str, Any] = field(default_factory=dict)
    trouble: Callable[[], None] = lambda: None

    def get(self, key: str) -> Any:
        return self.kept.get(key)

    def set(self, key: str, value: Any) -> None:
        self.trouble()
        self.kept[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        self.trouble()
        self.kept.pop(key, None)


@dataclass
class Task:
    """An operator that runs a function."""

    work: Callable[[], Any]
    log: ClassVar[Any] = LOG
    execution_timeout: ClassVar[None] = None

    def execute(self, _: Any = None) -> Any:
        return self.work()

    def resume_execution(self) -> Any:
        raise NotImplementedError

    def on_kill(self) -> None:
        say("on_kill")


@dataclass
class Ti:
    """What of a task instance the guard uses."""

    task: Any
    backend: Backend = field(default_factory=Backend)
    dag_id: str = "nightly"
    run_id: str = "manual__2026"
    task_id: str = "etl"
    map_index: int = -1
    try_number: int = 1
    max_tries: int = 0
    id: UUID = field(default_factory=uuid4)
    state: str = "running"
    start_date: ClassVar[None] = None

    def xcom_push(self, key: str, value: Any) -> None:
        self.backend.set(f"xcom {key}", value)

    def xcom_pull(self, task_ids: str, key: str, map_indexes: int) -> Any:
        return self.backend.get(f"xcom {key}")

    def get_first_reschedule_date(self, _: Any) -> None:
        return None

    def get_template_context(self) -> dict[str, Any]:
        return {"task_state_store": self.backend}


def say(*words: object) -> None:
    print(*words, flush=True)


def wait() -> None:
    """Wait until the test says that it goes on."""
    say("waiting")
    sys.stdin.readline()


def batch(**more: Any) -> Any:
    import boto3

    return boto3.session.Session().client("batch", region_name="us-east-1", **more)


def submit(client: Any = None) -> str:
    job = (client or batch()).submit_job(jobName="job", jobQueue="queue", jobDefinition="definition")
    say("job", job["jobId"])
    return str(job["jobId"])


def sentinel() -> Any:
    """The sentinel's process, or None."""
    (guard,) = listener._guards.values()
    side = guard.parts.canceller._sentinel
    return side._process if side else None


def fail() -> None:
    raise ValueError("the user's own error")


def run(work: Callable[[], Any], backend: Backend | None = None) -> None:
    """Run a task to its end, and say how it ended."""
    handler = logging.FileHandler(os.environ["TASK_LOG"])
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.INFO)
    ti = Ti(Task(work), backend or Backend())
    signal.signal(signal.SIGTERM, lambda *_: ti.task.on_kill())
    began = time.monotonic()
    try:
        listener.on_task_instance_running(task_instance=ti)
        result = ti.task.execute({})
    except BaseException as error:  # noqa: BLE001  what Airflow's task runner catches, too
        ti.state = "failed"
        listener.on_task_instance_failed(previous_state="running", task_instance=ti)
        say("end", type(error).__name__, str(error).partition("\n")[0])
    else:
        ti.state = "success"
        listener.on_task_instance_success(previous_state="running", task_instance=ti)
        say("end success", result)
    say("left", round(time.monotonic() - began, 2))
    os._exit(0)


def here(name: str) -> Path:
    """A folder or file of this test."""
    return Path(os.environ["TEST_FOLDER"]) / name
