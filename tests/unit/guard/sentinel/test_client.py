"""The task's side of the sentinel: how it is started, spoken to and replaced."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Timer
from typing import Any

import boto3
import pytest

from airflow_cancel_provider.guard.attach import detach
from airflow_cancel_provider.guard.sentinel.known_clients import KnownClients
from airflow_cancel_provider.guard.task import TaskGuard
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.submissions import set_recorder
from airflow_cancel_provider.settings import Settings
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import until
from tests.sentinel_fixtures import SECRET, Task, alive, batch, is_cancelled, run, submit
from tests.task_fixtures import connect_aws
from tests.try_fixtures import Try, variables

__all__ = ["batch", "run", "variables"]

WITHOUT_PIDFD = """
import os, runpy, sys
del os.pidfd_open
sys.argv[:] = [each for each in sys.argv[1:] if each not in ('-S', '-E')]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def test_done_leaves_no_zombie(batch: Any, run: Callable[..., Task]) -> None:
    task = run(f"start={submit(batch)},say=done")
    assert not Path(f"/proc/{task.sentinel}").exists()


def test_the_last_word_is_heard_although_the_sentinel_did_not_hear_the_tasks(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task]
) -> None:
    job = submit(batch)
    batch.terminate_job(jobId=job, reason="by hand")
    until(lambda: is_cancelled(cloud, job))
    cloud.faults.add("batch", "DescribeJobs", "latency", delay=0.7)
    # "cancel" comes while the sentinel takes its last look; it ends without reading it.
    task = run(f"start={job},say=cancel,wait=accepted,say=cancel,pause=2,wait=ended")
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
    assert not task.process.poll()
    task.kill()
    until(lambda: is_cancelled(cloud, first) and is_cancelled(cloud, second))


def test_where_the_sentinel_died_without_a_successor_the_task_cancels(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task]
) -> None:
    job = submit(batch)
    task = run(f"start={job},lose=1,say=cancel,wait=ended,say=done")
    assert task.answers[:2] == ["False", "True"]
    assert is_cancelled(cloud, job)


def test_an_answer_that_comes_while_it_cancels_is_no_sign_that_it_did_not_start(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task]
) -> None:
    """Of a submission in another thread than the one in which the kill is handled."""
    job = submit(batch)
    task = run(f"intend=1,say=cancel,waits=accepted,start={job},wait=ended")
    assert not any("Not guarded" in line for line in task.said)
    assert is_cancelled(cloud, job)


@pytest.mark.parametrize("way", ["interpreter", "unknown", "processes"])
def test_where_none_can_be_started_the_task_cancels_itself_and_says_so(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task], tmp_path: Path, way: str
) -> None:
    (unrunnable := tmp_path / "python").write_text("no program")
    orders = {"interpreter": f"interpreter={unrunnable}", "unknown": "interpreter=", "processes": "limit=1"}
    job = submit(batch)
    task = run(f"{orders[way]},start={job},say=cancel,wait=accepted,wait=ended")
    assert task.said.count("True") == 2  # accepted, and ended
    assert is_cancelled(cloud, job)
    said = [line for line in task.said if "Not guarded: a sudden end of this task's process (SIGKILL" in line]
    assert len(said) == 1
    why = {"interpreter": "Permission denied", "unknown": "NoneType", "processes": "unavailable"}
    assert why[way] in said[0]


@pytest.mark.parametrize("end", ["kill", "end"])
def test_where_processes_cannot_be_watched_the_sentinel_looks_for_its_parent(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task], tmp_path: Path, end: str
) -> None:
    # As an old kernel, or a container that forbids it, has it.
    (blind := tmp_path / "blind").write_text(f'#!/bin/sh\nexec {sys.executable} -c "{WITHOUT_PIDFD}" "$@"\n')
    blind.chmod(0o755)
    task = run(f"interpreter={blind},start={(job := submit(batch))}{',say=done' if end == 'end' else ''}")
    assert not any("Not guarded" in line for line in task.said)
    getattr(task, end)()
    if end == "kill":
        until(lambda: is_cancelled(cloud, job))
    else:
        assert not alive(task.sentinel)
        assert not is_cancelled(cloud, job)


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
    variables: dict[str, Any],  # noqa: ARG001
) -> None:
    connect_aws(monkeypatch, cloud)
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.url)

    def work() -> None:
        submit(boto3.session.Session().client("batch", region_name="us-east-1"))
        sentinel = guard.parts.canceller.sentinel
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
        set_recorder(None)
        detach()
    sentinel = guard.parts.canceller._sentinel
    assert sentinel
    assert sentinel._channel
    assert sentinel._process
    sentinel._channel.close()
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

    clients, client = KnownClients(tell, None), ClientSpec("batch", None, "us-east-1", None)
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
