"""The log that all sentinels of a user share."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

from airflow_cancel_provider.guard.sentinel.log_file import LogFile, log_file_in
from tests.try_fixtures import Try, variables  # noqa: F401  a fixture

ROOT = Path(__file__).parents[4]


class TestLog:
    def test_it_is_bounded_although_many_write_it(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        line = "x" * 80
        script = f"""
import logging, sys
from airflow_cancel_provider.guard.sentinel.log_file import LogFile, SharedFileHandler
log = logging.getLogger("sentinel")
log.addHandler(SharedFileHandler(LogFile(sys.argv[1], largest=20_000)))
for number in range(1000):
    log.warning("{line}")
"""
        writers = [subprocess.Popen([sys.executable, "-c", script, str(path)], cwd=ROOT) for _ in range(4)]
        assert [writer.wait(120) for writer in writers] == [0] * 4
        assert sorted(each.name for each in tmp_path.iterdir()) == ["log", "log.1"]
        for each in tmp_path.iterdir():
            assert 0 < each.stat().st_size < 25_000
            assert set(each.read_text().splitlines()) == {line}

    def test_a_process_that_holds_its_lock_stops_nobody(self, tmp_path: Path) -> None:
        """It may be frozen; and a task opens the log when it starts its first job."""
        (path := tmp_path / "log").write_text("too long")
        with path.open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            opened = Thread(target=lambda: LogFile(str(path), largest=1).open().close(), daemon=True)
            opened.start()
            opened.join(10)
            assert not opened.is_alive()

    def test_each_user_of_a_host_has_one(self, tmp_path: Path) -> None:
        assert log_file_in(tmp_path).name == f"remote_jobs_sentinel.{os.getuid()}.log"
