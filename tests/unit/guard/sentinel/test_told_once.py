"""Lines that the sentinel sends for the task's log, and writes to its file if the task does not log them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sentinel_fixtures import Task, batch, run, submit

__all__ = ["batch", "run"]


@pytest.mark.parametrize("meanwhile", ["outlive", "hide,outlive,show"], ids=["written", "no file"])
def test_a_line_is_in_the_log_once(
    batch: Any, run: Callable[..., Task], tmp_path: Path, meanwhile: str
) -> None:
    """The sentinel is done before the task listens, as with an ``on_kill`` that takes ten seconds."""
    log = tmp_path / "attempt=1.log"
    run(f"start={submit(batch)},say=killed,{meanwhile},wait=ended,say=relay", TASK_LOG=str(log))
    story = log.read_text()
    assert (story.count(" cancelling "), story.count(" cancelled ")) == (1, 1), story
