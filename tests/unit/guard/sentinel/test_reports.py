"""What the sentinel tells Airflow of how jobs have ended, and when the task does that itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cloud.server import LocalCloud
from tests.guard_fixtures import until
from tests.replies import Replies, replying
from tests.sentinel_fixtures import Task, alive, batch, is_cancelled, run, submit

__all__ = ["batch", "replying", "run"]


@pytest.mark.parametrize("task", ["has ended", "does not listen"])
def test_ends_that_the_task_has_not_heard_of(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task], replying: str, task: str
) -> None:
    """One that waits for an API server which is away does not listen, and may be killed before it is back."""
    job = submit(batch)
    if task == "has ended":
        run(f"start={job}", AIRFLOW=replying).kill()
    else:
        run(f"start={job},say=cancel", AIRFLOW=replying)
    (report,) = map(json.loads, until(lambda: Replies.told))
    ((address, end),) = report["ends"].items()
    assert address.endswith(job)
    assert end["state"] == "CANCELLED"
    assert is_cancelled(cloud, job)


def test_a_task_that_has_heard_of_them_puts_them_on_record_itself(
    batch: Any, run: Callable[..., Task], replying: str
) -> None:
    task = run(f"start={submit(batch)},say=cancel,wait=ended,say=relay,pause=1,say=relay", AIRFLOW=replying)
    until(lambda: not alive(task.sentinel))
    assert task.answers == ["True"]
    assert Replies.told == []
