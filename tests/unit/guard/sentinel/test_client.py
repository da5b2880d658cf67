"""The sentinel as a real process beside a real task process that really dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer
from typing import Any
from uuid import UUID

import boto3
import pytest

from airflow_cancel_provider.guard.attach import detach
from airflow_cancel_provider.guard.sentinel.told_clients import ToldClients
from airflow_cancel_provider.guard.task import TaskGuard
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.submissions import RECORDERS
from airflow_cancel_provider.settings import Settings
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import OWNER
from tests.task_fixtures import connect_aws
from tests.try_fixtures import Try, variables  # noqa: F401  a fixture

ROOT = Path(__file__).parents[4]


SECRET = "not-to-be-seen-anywhere"


TASK = """
import logging, os, resource, signal, sys, time
from pathlib import Path
from airflow_cancel_provider.guard.events import JobsReleased, JobsStarted, SubmissionIntended, TryLedger
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
cancels = canceller(ledger, settings, logging.getLogger("task"), log, is_armed=armed)
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
        sys.executable = value
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
        getattr(cancels, value)(*(["why"] if value in ("killed", "cancel") else []))
    elif what == "waits":
        print(cancels.wait_for(value, 0.5), flush=True)
    elif what == "wait":
        print(cancels.wait_for(value, 20), flush=True)
process = cancels._sentinel._process
print("ready", process.pid if process else 0, flush=True)
sys.stdin.read()
"""


WITHOUT_PIDFD = """
import os, runpy, sys
del os.pidfd_open
sys.argv[:] = [each for each in sys.argv[1:] if each not in ('-S', '-E')]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


class Task:
    """A process that plays the task, and what is known of its sentinel."""

    def __init__(self, cloud: LocalCloud, log: Path, orders: str, **environment: str) -> None:
        # Its own session, so that its group can be killed as Airflow does.
        self.process = subprocess.Popen(
            [sys.executable, "-c", TASK, cloud.url, str(log), orders],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Where an Airflow before 3.2 sends its logs.
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env={**os.environ, "SECRET": SECRET, **environment},
            start_new_session=True,
        )
        self.said: list[str] = []
        assert self.process.stdout
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
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(10)


@pytest.fixture
def run(cloud: LocalCloud, tmp_path: Path) -> Iterator[Callable[..., Task]]:
    tasks: list[Task] = []

    def start(orders: str, **environment: str) -> Task:
        tasks.append(Task(cloud, tmp_path / "sentinel.log", orders, **environment))
        return tasks[-1]

    yield start
    for task in tasks:
        task.process.kill()
        task.process.wait()
        for pipe in (task.process.stdin, task.process.stdout):
            if pipe:
                pipe.close()
        if alive(task.sentinel):
            os.kill(task.sentinel, signal.SIGKILL)


@pytest.fixture
def batch(cloud: LocalCloud) -> Any:
    return boto3.client("batch", endpoint_url=cloud.url, region_name="us-east-1")


def submit(batch: Any, **extra: Any) -> str:
    job: str = batch.submit_job(jobName="j", jobQueue="queue", jobDefinition="d", **extra)["jobId"]
    return job


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(true: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (seen := true()):
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.05)
    return seen


def is_cancelled(cloud: LocalCloud, job: str) -> bool:
    return any(found["cancelled"] for found in cloud.batch.jobs() if found["id"] == job)


def test_sigkill_of_the_task_cancels_and_sees_the_end(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task], tmp_path: Path
) -> None:
    job = submit(batch)
    task = run(f"start={job}")
    began = time.time()
    task.kill()
    until(lambda: is_cancelled(cloud, job))
    until(lambda: not alive(task.sentinel))
    (seen,) = cloud.batch.jobs()
    assert seen["cancel_requested_at"] - began < 3
    assert seen["reason"] == OWNER.reason
    log = (tmp_path / "sentinel.log").read_text()
    assert "is CANCELLED" in log
    assert SECRET not in log


@pytest.mark.parametrize("orders", ["say=done", "say=returned"])
def test_a_task_that_is_done_leaves_its_jobs_alone(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task], orders: str
) -> None:
    job = submit(batch)
    task = run(f"start={job},{orders}")
    task.kill()
    until(lambda: not alive(task.sentinel))
    time.sleep(0.5)
    assert not is_cancelled(cloud, job)
    assert not cloud.journal.count("batch", "TerminateJobs")


def test_what_the_next_try_takes_over_outlives_a_crash_but_not_a_kill(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task]
) -> None:
    kept, lost = submit(batch), submit(batch)
    crashed = run(f"start={kept}", UNARMED="1")
    crashed.kill()
    until(lambda: not alive(crashed.sentinel))
    run(f"start={lost},say=killed", UNARMED="1").kill()
    until(lambda: is_cancelled(cloud, lost))
    assert not is_cancelled(cloud, kept)


def test_after_the_tasks_death_there_is_a_pause_between_two_looks(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task]
) -> None:
    cloud.batch.set(cancel=2)
    job = submit(batch)
    run(f"start={job}").kill()
    until(lambda: is_cancelled(cloud, job))
    assert cloud.journal.count("batch", "DescribeJobs") <= 8


def test_done_leaves_no_zombie(batch: Any, run: Callable[..., Task]) -> None:
    task = run(f"start={submit(batch)},say=done")
    assert not Path(f"/proc/{task.sentinel}").exists()


def test_a_released_job_lives_on(cloud: LocalCloud, batch: Any, run: Callable[..., Task]) -> None:
    kept, lost = submit(batch), submit(batch)
    run(f"start={kept},start={lost},release={kept}").kill()
    until(lambda: is_cancelled(cloud, lost))
    assert not is_cancelled(cloud, kept)


def test_a_failing_task_hears_that_its_job_has_ended(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task]
) -> None:
    job = submit(batch)
    task = run(f"start={job},say=cancel,wait=accepted,wait=ended")
    assert task.answers[:2] == ["True", "True"]
    assert is_cancelled(cloud, job)


def test_a_job_whose_answer_was_lost_is_found_by_its_label(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task]
) -> None:
    label, other = (str(Label("abcd1234", UUID(int=number))) for number in (7, 8))
    ours = submit(batch, parameters={"airflow_owner": label})
    foreign = submit(batch, parameters={"airflow_owner": other})
    unlabelled = submit(batch)
    run("intend=1", LABEL=label).kill()
    until(lambda: is_cancelled(cloud, ours))
    assert not is_cancelled(cloud, foreign)
    assert not is_cancelled(cloud, unlabelled)


def test_an_outage_is_outlasted(cloud: LocalCloud, batch: Any, run: Callable[..., Task]) -> None:
    job = submit(batch)
    task = run(f"start={job}")
    cloud.faults.add("batch", kind="server_error", seconds=6)
    task.kill()
    until(lambda: is_cancelled(cloud, job), 60)


def test_giving_up_is_loud(cloud: LocalCloud, batch: Any, run: Callable[..., Task], tmp_path: Path) -> None:
    job = submit(batch)
    task = run(f"start={job}", PATIENCE="1")
    cloud.faults.add("batch", kind="reset")
    task.kill()
    until(lambda: not alive(task.sentinel), 60)
    log = (tmp_path / "sentinel.log").read_text()
    assert f"{job}: UNANSWERED" in log
    assert "may still be running" in log


def test_the_last_word_is_heard_although_the_sentinel_did_not_hear_the_tasks(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task]
) -> None:
    job = submit(batch)
    batch.terminate_job(jobId=job, reason="by hand")
    until(lambda: is_cancelled(cloud, job))
    cloud.faults.add("batch", "DescribeJobs", "latency", delay=0.7)
    # "cancel" comes while the sentinel takes its last look; it ends without reading it.
    task = run(f"start={job},say=killed,wait=accepted,say=cancel,pause=2,wait=ended")
    assert task.answers[:2] == ["True", "True"]


def test_a_task_with_a_thousand_open_files_hears_the_sentinel(batch: Any, run: Callable[..., Task]) -> None:
    task = run(f"files=1,start={submit(batch)},say=cancel,wait=ended")
    assert task.answers[0] == "True"


def test_a_sentinel_that_died_ends_no_task_and_another_takes_over(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task]
) -> None:
    first, second = submit(batch), submit(batch)
    task = run(f"start={first},lose=1,start={second}")
    assert task.answers[0] == "False"
    assert task.process.poll() is None
    task.kill()
    until(lambda: is_cancelled(cloud, first) and is_cancelled(cloud, second))


def test_where_the_sentinel_died_without_a_successor_the_task_cancels(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task]
) -> None:
    job = submit(batch)
    task = run(f"start={job},lose=1,say=cancel,wait=ended,say=done")
    assert task.answers[:2] == ["False", "True"]
    assert is_cancelled(cloud, job)


@pytest.mark.parametrize("way", ["interpreter", "processes", "pidfd"])
def test_where_none_can_be_started_the_task_cancels_itself_and_says_so(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task], tmp_path: Path, way: str
) -> None:
    (unrunnable := tmp_path / "python").write_text("no program")
    # As an old kernel, or a container that forbids it, has it.
    (blind := tmp_path / "blind").write_text(f'#!/bin/sh\nexec {sys.executable} -c "{WITHOUT_PIDFD}" "$@"\n')
    blind.chmod(0o755)
    orders = {
        "interpreter": f"interpreter={unrunnable}",
        "processes": "limit=1",
        "pidfd": f"interpreter={blind}",
    }
    job = submit(batch)
    task = run(f"{orders[way]},start={job},say=killed,wait=accepted,wait=ended")
    assert task.said.count("True") == 2  # accepted, and ended
    assert is_cancelled(cloud, job)
    said = [line for line in task.said if "Not guarded: a sudden end of this task's process (SIGKILL" in line]
    assert len(said) == 1
    why = {"interpreter": "Permission denied", "processes": "unavailable", "pidfd": "pidfd_open"}
    assert why[way] in said[0]


@pytest.mark.parametrize("order", ["path={}", "odd=1"])
def test_what_a_task_does_to_its_paths_does_not_harm_the_sentinel(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task], tmp_path: Path, order: str
) -> None:
    (tmp_path / "email.py").write_text("raise ImportError('not the standard library')")
    job = submit(batch)
    run(f"{order.format(tmp_path)},start={job}").kill()
    until(lambda: is_cancelled(cloud, job), 60)


def test_where_the_sentinel_dies_over_its_work_the_task_does_it(
    cloud: LocalCloud,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, Any],  # noqa: ARG001, F811
) -> None:
    connect_aws(monkeypatch, cloud)
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.url)

    def work() -> None:
        submit(boto3.session.Session().client("batch", region_name="us-east-1"))
        sentinel = guard.canceller.sentinel
        assert sentinel
        assert sentinel._process
        sentinel._process.send_signal(signal.SIGSTOP)
        Timer(0.5, sentinel._process.kill).start()
        raise ValueError("after submitting")

    guard = TaskGuard(ti := Try(work=work), Settings(confirm_seconds=30))
    guard.install()
    try:
        with pytest.raises(ValueError, match="after submitting"):
            ti.task.execute()
    finally:
        RECORDERS.clear()
        detach()
    sentinel = guard.canceller._sentinel
    assert sentinel
    assert sentinel._socket
    assert sentinel._process
    sentinel._socket.close()
    sentinel._process.wait(10)
    (job,) = cloud.batch.jobs()
    assert job["cancelled"]


def test_no_place_for_a_log_is_no_reason_not_to_cancel(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task], tmp_path: Path
) -> None:
    never, lost = submit(batch), submit(batch)
    run(f"start={never}", LOG=str(tmp_path / "never" / "there.log")).kill()
    (tmp_path / "lost").mkdir()
    task = run(f"start={lost}", LOG=str(tmp_path / "lost" / "sentinel.log"))
    shutil.rmtree(tmp_path / "lost")
    task.kill()
    until(lambda: is_cancelled(cloud, never) and is_cancelled(cloud, lost), 60)


def test_a_client_that_could_not_be_told_is_told_the_next_time() -> None:
    told: list[str] = []

    def tell(name: str, _: dict[str, Any]) -> None:
        told.append(name)
        if len(told) == 1:
            raise ValueError("not this time")

    clients, client = ToldClients(tell, None), ClientSpec("batch", None, "us-east-1", None)
    with pytest.raises(ValueError, match="not this time"):
        clients.name(client)
    assert [clients.name(client), clients.name(client)] == [told[0]] * 2
    assert len(told) == 2


def test_the_sentinel_outlives_signals_to_the_task(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task]
) -> None:
    job = submit(batch)
    task = run(f"start={job}")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(task.sentinel, number)
    task.kill()
    until(lambda: is_cancelled(cloud, job))


def test_idle_it_costs_little_and_shows_no_secret(batch: Any, run: Callable[..., Task]) -> None:
    task = run(f"start={submit(batch)}")
    time.sleep(0.5)
    process = Path(f"/proc/{task.sentinel}")
    resident = next(line for line in (process / "status").read_text().splitlines() if "VmRSS" in line)
    assert int(resident.split()[1]) <= 15 * 1024
    assert SECRET not in (process / "cmdline").read_text()
    assert SECRET not in (process / "environ").read_text()
    assert json.dumps(SECRET) not in (process / "cmdline").read_text()
    task.end()


def test_it_acts_in_the_tasks_environment(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task], tmp_path: Path
) -> None:
    """Proxies and certificates: here a proxy that leads nowhere, until the task's NO_PROXY counts."""
    job = submit(batch)
    proxies = {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1,localhost"}
    run(f"start={job}", **proxies).kill()
    until(lambda: is_cancelled(cloud, job))
    other = submit(batch)
    task = run(f"start={other}", HTTP_PROXY="http://127.0.0.1:9", NO_PROXY="", PATIENCE="3")
    task.kill()
    until(lambda: not alive(task.sentinel))
    assert not is_cancelled(cloud, other)
    assert "proxy" in (tmp_path / "sentinel.log").read_text().lower()


def test_it_uses_the_packages_that_the_task_has(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task], tmp_path: Path
) -> None:
    (tmp_path / "botocore").mkdir()
    (tmp_path / "botocore" / "__init__.py").write_text("raise ImportError('the botocore of the task')")
    job = submit(batch)
    task = run(f"start={job},path={tmp_path}", PATIENCE="3")
    # Told when the sentinel starts: later changes are not.
    task.kill()
    until(lambda: is_cancelled(cloud, job))
    task = run(f"path={tmp_path},start={submit(batch)}", PATIENCE="3")
    task.kill()
    until(lambda: not alive(task.sentinel))
    assert "the botocore of the task" in (tmp_path / "sentinel.log").read_text()


SUPERVISOR = """
import os, subprocess, sys
# The task keeps the other end of its standard input itself: nothing but a signal ends it.
ear, mouth = os.pipe()
command = [sys.executable, "-c", sys.argv[1], *sys.argv[2:]]
task = subprocess.Popen(command, stdin=ear, pass_fds=[mouth])
print("task", task.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("deaf", [True, False])
def test_a_task_whose_supervisor_died_is_ended_even_if_it_ignores_sigterm(
    cloud: LocalCloud, batch: Any, tmp_path: Path, deaf: bool
) -> None:
    job = submit(batch)
    orders = f"{'deaf=1,' if deaf else ''}start={job}"
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, TASK, cloud.url, str(tmp_path / "sentinel.log"), orders],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "SECRET": SECRET},
    )
    assert supervisor.stdout
    task = sentinel = 0
    for line in supervisor.stdout:
        word, _, value = line.strip().partition(" ")
        task = int(value) if word == "task" else task
        if word == "ready":
            sentinel = int(value)
            break
    supervisor.kill()
    supervisor.wait()
    began = time.monotonic()
    until(lambda: is_cancelled(cloud, job))
    until(lambda: not alive(task))
    assert time.monotonic() - began < 25
    until(lambda: not alive(sentinel))
    for pipe in (supervisor.stdin, supervisor.stdout):
        if pipe:
            pipe.close()


def test_the_word_accepted_comes_before_the_end(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task]
) -> None:
    cloud.batch.set(cancel=3)
    task = run(f"start={submit(batch)},say=killed,wait=accepted,waits=ended")
    assert task.answers[:2] == ["True", "False"]
