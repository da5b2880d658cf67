"""Planted secrets are searched for in everything that a killed task and its sentinel leave behind."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.cloud.server import LocalCloud
from tests.gateway import Gateway
from tests.guard_fixtures import DyingTask, until
from tests.security.places import arguments, environment, files, found, temporary

SECRET, TOKEN = "PLANTED-secret-access-key", "PLANTED-session-token"
PROXY = "PLANTED-proxy-password"
PLANTED = (SECRET, TOKEN, PROXY)
SCRIPT = f"""
import os
# As a task gets them: from its connection, after it was started. What it was started with anybody may read.
os.environ["HTTPS_PROXY"] = "http://user:{PROXY}@127.0.0.1:9"
import boto3.session

def batch_at(url, session):
    return session.client("batch", endpoint_url=url, region_name="us-east-1")

client = batch(boto3.session.Session("PLANTEDKEY", "{SECRET}", "{TOKEN}"))
submit(client)
print("task", os.getpid(), flush=True)
"""


def children(process: int) -> list[int]:
    """Processes that a process has started."""
    listed = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(each) for each in listed.split()]


@pytest.mark.parametrize("is_denied", [False, True], ids=["answered", "denied"])
def test_a_killed_task_and_its_sentinel_leave_no_secret(
    cloud: LocalCloud, tmp_path: Path, is_denied: bool
) -> None:
    began = time.time() - 1
    log = tmp_path / "sentinel.log"
    with Gateway(cloud.url) as gateway:
        task = DyingTask(cloud, log, SCRIPT.replace("batch(boto3", f"batch_at({gateway.url!r}, boto3"))
        try:
            (sentinel,) = children(task.process.pid)
            # The script itself holds what is planted: it is the argument of this test's own task.
            own = f"arguments of {task.process.pid}"
            places = [each for each in arguments() if each[0] != own]
            assert any(name == f"arguments of {sentinel}" for name, _ in places)
            places += [environment(sentinel)]
            if is_denied:
                repeated = f'{{"__type": "AccessDeniedException", "message": "you sent {TOKEN}"}}'.encode()
                gateway.answers = [(403, repeated)] * 3
            task.kill()
            until(
                lambda: (
                    cloud.batch.jobs()[0]["cancelled"] or (is_denied and "denied" in log.read_text().lower())
                )
            )
            until(lambda: not Path(f"/proc/{sentinel}").exists() or is_denied)
        finally:
            task.close()
    places += [*files(tmp_path, since=began), *temporary(began)]
    assert any(name == str(log) and text for name, text in places)
    assert found(PLANTED, places) == []


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(f"... {SECRET} ...")
    assert found(PLANTED, files(tmp_path, since=0)) == [f"{SECRET} in {tmp_path / 'log'}"]
    assert any(name == f"arguments of {os.getpid()}" for name, _ in arguments())
    assert environment(os.getpid())[1]
