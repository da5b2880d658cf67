"""The host: its disk, its clock, its network."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cloud.server import LocalCloud
from tests.faults.conftest import Observe, Play
from tests.faults.ground import Played, until
from tests.gateway import Gateway

pytestmark = pytest.mark.slow

OWN_ERROR = "ValueError the user's own error"


def in_namespace(commands: str) -> tuple[str, ...]:
    """What goes before a task's command, so that these mounts are the task's alone."""
    return ("unshare", "-m", "sh", "-ec", f'{commands}; exec "$@"', "sh")


MOUNTED = in_namespace(
    'for each in "$TMPDIR" "$DISK/logs"; do mkdir -p "$each"; mount -t tmpfs -o size=64k none "$each"; done'
)
READ_ONLY = in_namespace(
    'for each in "$TMPDIR" "$HOME"; do mkdir -p "$each"; mount -t tmpfs -o ro none "$each"; done'
)
HOSTS = in_namespace(
    'echo "127.0.0.1 cloud.fault" > "$TEST_FOLDER/hosts"; mount --bind "$TEST_FOLDER/hosts" /etc/hosts'
)
FILL = """
def fill(folder):
    with open(os.path.join(folder, "full"), "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError as error:
            assert error.errno == 28
"""
END = "\n    submit()\n    wait()\n    fail()\nrun(work)"
JUMP = """
real = time.time
def jump(hours):
    time.time = lambda: real() + 3600 * hours
"""


@pytest.mark.parametrize("end", ["fails", "SIGKILL"])
def test_disk_full(play: Play, observe: Observe, tmp_path: Path, end: str) -> None:
    disk = tmp_path / "disk"
    task = play(
        FILL + "def work():\n    fill(os.environ['TMPDIR']); fill(os.environ['DISK'] + '/logs')" + END,
        before=MOUNTED,
        DISK=str(disk),
        TMPDIR=str(disk / "tmp"),
        AIRFLOW__LOGGING__BASE_LOG_FOLDER=str(disk / "logs"),
    )
    job = task.until("job")
    task.until("waiting")
    if end == "fails":
        task.go_on()
        assert task.end() == OWN_ERROR
        assert task.is_cancelled(job)
        assert "CANCELLED" in task.log
        reported = "in the task's log, unless that is on the full disk; the sentinel's own log is lost"
    else:
        task.kill()
        task.cancelled(job)
        reported = "by the job's own state and by metrics; the sentinel's log is lost"
    observe(f"Disk full (log folder and TMPDIR), task {end}", "as without us", "by the sentinel", reported)


@pytest.mark.parametrize("end", ["fails", "SIGKILL"])
def test_read_only(play: Play, observe: Observe, tmp_path: Path, end: str) -> None:
    logs = {"AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(tmp_path / "home")}
    task = play(
        "def work():" + END,
        before=READ_ONLY,
        HOME=str(tmp_path / "home"),
        TMPDIR=str(tmp_path / "tmp"),
        **logs,
    )
    job = task.until("job")
    task.until("waiting")
    if end == "fails":
        task.go_on()
        assert task.end() == OWN_ERROR
    else:
        task.kill()
    task.cancelled(job)
    assert "The sentinel writes no log" in task.log
    assert "Not guarded" not in task.log
    observe(
        f"Home, TMPDIR and log folder read-only, task {end}",
        "as without us",
        "by the sentinel",
        "warning in the task's log: the sentinel writes no log",
    )


@pytest.mark.parametrize("hours", [-5, 5])
def test_clock_jumps(play: Play, observe: Observe, cloud: LocalCloud, hours: int) -> None:
    """The task's clock differs from the sentinel's, as when the clock is set between submit and cancel."""
    cloud.faults.add("batch", "TerminateJob", "server_error", times=2)
    task = play(JUMP + f"jump({hours})\ndef work():" + END)
    job = task.until("job")
    task.until("waiting")
    task.go_on()
    assert task.end() == OWN_ERROR
    assert task.is_cancelled(job)
    (seconds,) = re.findall(r"CANCELLED after (\d+)\.", task.log)
    assert int(seconds) < 30
    observe(
        "Clock set by 5 hours, forward or back, between submit and cancel",
        "fails with its own error",
        "by the sentinel; searches and harder cancels keep their times, by the monotonic clock",
        "nothing is lost; the durations in the log are true",
    )


def test_dns_is_gone(play: Play, observe: Observe, cloud: LocalCloud) -> None:
    url = cloud.url.replace("127.0.0.1", "cloud.fault")
    task = play("def work():" + END, before=HOSTS, AWS_ENDPOINT_URL=url, NO_PROXY="*")
    job = task.until("job")
    task.until("waiting")
    (task.folder / "hosts").write_text("")
    task.go_on()
    until(lambda: "cloud.fault" in task.sentinel_log, "trouble in the sentinel's log")
    time.sleep(2)
    assert not task.is_cancelled(job)
    (task.folder / "hosts").write_text("127.0.0.1 cloud.fault\n")
    assert task.end() == OWN_ERROR
    task.cancelled(job)
    observe(
        "DNS is gone during the cancel, and comes back",
        "fails with its own error, after up to confirm_seconds",
        "by the sentinel, once the name resolves again",
        "each failed call, in the logs of the sentinel and the task",
    )


def test_proxy_refuses(play: Play, observe: Observe, cloud: LocalCloud) -> None:
    with Gateway(cloud.url) as proxy:
        url = cloud.url.replace("127.0.0.1", "cloud.fault")
        task = play("def work():" + END, AWS_ENDPOINT_URL=url, HTTP_PROXY=proxy.url, NO_PROXY="")
        job = task.until("job")
        task.until("waiting")
    port = urlsplit(proxy.url).port
    task.go_on()
    until(lambda: "proxy" in task.sentinel_log.lower(), "trouble in the sentinel's log")
    assert not task.is_cancelled(job)
    again = Gateway(cloud.url)
    again._server.server_close()
    again._server = ThreadingHTTPServer(("127.0.0.1", port or 0), again._server.RequestHandlerClass)
    with again:
        assert task.end() == OWN_ERROR
        task.cancelled(job)
    observe(
        "The proxy refuses during the cancel, and comes back",
        "fails with its own error, after up to confirm_seconds",
        "by the sentinel, once the proxy is back",
        "each failed call, in the logs of the sentinel and the task",
    )


SOURCE = """
import json, sys, time
from datetime import UTC, datetime, timedelta
key = open(sys.argv[1]).read()
end = (datetime.now(UTC) + timedelta(seconds=8)).isoformat()
keys = {"AccessKeyId": key, "SecretAccessKey": "s", "SessionToken": "t"}
print(json.dumps({"Version": 1, **keys, "Expiration": end}))
"""


@pytest.fixture
def expiring(play: Play, tmp_path: Path) -> Callable[..., Played]:
    """A task whose credentials come from a process, and are those in the file ``key``."""
    (tmp_path / "source.py").write_text(SOURCE)
    (tmp_path / "key").write_text("FIRSTKEY")
    command = f"{sys.executable} {tmp_path / 'source.py'} {tmp_path / 'key'}"
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {command}\n")
    settings = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_PROFILE": "default"}
    without = "for name in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'): os.environ.pop(name)\n"
    return lambda **more: play(without + "def work():" + END, **settings, **more)


def test_credentials_expire_and_are_renewed(
    expiring: Callable[..., Played], observe: Observe, cloud: LocalCloud, tmp_path: Path
) -> None:
    task = expiring()
    job = task.until("job")
    task.until("waiting")
    cloud.expired_access_keys = {"FIRSTKEY"}
    (tmp_path / "key").write_text("SECONDKEY")
    task.go_on()
    assert task.end() == OWN_ERROR
    task.cancelled(job)
    observe(
        "Credentials expire during the cancel; their source has new ones",
        "fails with its own error",
        "by the sentinel, with the credentials that the task's process renews while it waits",
        "the refused calls, in the sentinel's log",
    )


def test_credentials_expire_for_good(
    expiring: Callable[..., Played], observe: Observe, cloud: LocalCloud
) -> None:
    task = expiring(AIRFLOW__CANCEL_PROVIDER__PATIENCE="4", AIRFLOW__CANCEL_PROVIDER__CONFIRM_SECONDS="8")
    job = task.until("job")
    task.until("waiting")
    cloud.expired_access_keys = {"FIRSTKEY"}
    task.go_on()
    assert task.end() == OWN_ERROR
    assert not task.is_cancelled(job)
    assert "may still be running" in task.log
    assert "expired" in task.log.lower()
    observe(
        "Credentials expire during the cancel, for good",
        "fails with its own error",
        "none by the task; the reaper's, over its own connection",
        "error in the task's log: which jobs may still be running, and the service's own words",
    )
