"""Lines that the sentinel sends for the task's log, and writes to its file if the task does not log them."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_cancel_provider.guard.sentinel import relay
from airflow_cancel_provider.guard.sentinel.main import TaskWatch
from airflow_cancel_provider.task_log import TryLogFile
from tests.sentinel_fixtures import Task, batch, run, submit

__all__ = ["batch", "run"]


@pytest.mark.parametrize("meanwhile", ["outlive", "hide,outlive,show"], ids=["written", "no file"])
def test_a_line_is_in_the_log_once(
    batch: Any, run: Callable[..., Task], tmp_path: Path, meanwhile: str
) -> None:
    """The sentinel is done before the task listens, as with an ``on_kill`` that takes ten seconds."""
    log = tmp_path / "attempt=1.log"
    run(f"start={submit(batch)},say=cancel,{meanwhile},wait=ended,say=relay", TASK_LOG=str(log))
    story = log.read_text()
    assert (story.count(" cancelling "), story.count(" cancelled ")) == (1, 1), story


class FullAtFirst(TryLogFile):
    """A log file on a disk that has no space for the first line."""

    times = 0

    def write(self, line: bytes) -> bool:
        self.times += 1
        return self.times > 1 and super().write(line)


def test_a_line_that_could_not_be_written_is_left_to_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "LAST_SECONDS", 0.0)
    (log := tmp_path / "attempt=1.log").touch()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    handler = relay.TaskLogHandler(
        TaskWatch(theirs.detach(), os.getpid(), os.getpid()), FullAtFirst(str(log))
    )
    for text in ("first", "second"):
        handler.handle(logging.LogRecord(relay.STORY, logging.INFO, "", 0, text, None, None))
    handler.finish(lambda _: None)
    ours.settimeout(0.5)
    messages = [json.loads(ours.recv(1 << 16)) for _ in range(2)]
    assert messages == [{"log": ["info", "first"]}, {"log": ["info", "second"]}]
    with ours, pytest.raises(TimeoutError):
        ours.recv(1 << 16)  # that both were written
