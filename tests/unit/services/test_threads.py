"""Work that waits for answers is done some at a time, and comes back in order."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Event

import pytest

from airflow_cancel_provider.exceptions import ServiceError
from airflow_cancel_provider.services.threads import side_by_side

MOST = 3
ROOT = Path(__file__).parents[3]


def test_some_are_under_way_together() -> None:
    together = Barrier(MOST)

    def meet(item: int) -> int:
        together.wait(10)  # BrokenBarrierError if the others do not come
        return -item

    assert list(side_by_side(meet, range(MOST * 2), MOST)) == [0, -1, -2, -3, -4, -5]


def test_results_keep_the_order_of_the_items() -> None:
    second_is_done = Event()

    def work(item: int) -> int:
        if item == 0:
            assert second_is_done.wait(10)
        if item == 1:
            second_is_done.set()
        return item

    assert list(side_by_side(work, range(5), MOST)) == [0, 1, 2, 3, 4]


def test_no_more_is_read_than_can_be_worked_on() -> None:
    read = []

    def items() -> Iterator[int]:
        for item in range(100):
            read.append(item)
            yield item

    results = side_by_side(str, items(), MOST)
    assert next(results) == "0"
    assert read == [0, 1, 2]


def test_error_is_raised_where_its_result_would_be() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise ServiceError("no", "ListJobs")
        return item

    results = side_by_side(work, range(9), MOST)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ServiceError, match="no"):
        next(results)


def test_who_stops_reading_does_not_wait() -> None:
    held_up = Event()

    def work(item: int) -> int:
        if item:
            held_up.wait(60)
        return item

    results = side_by_side(work, range(9), MOST)
    assert next(results) == 0
    del results
    held_up.set()


WITHOUT_THREADS = """
import os, resource
from airflow_cancel_provider.services.threads import side_by_side

# Root is above the limit; processes and threads of this user are counted together.
os.setgid(65534)
os.setuid(54321)
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
print(*side_by_side(lambda item: -item, range(4), 2))
"""


def test_where_no_thread_can_be_started_the_calls_are_made_one_after_the_other() -> None:
    """As in a task that cancels by itself, because it reached its limit of processes."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THREADS], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.stdout.strip(), done.returncode) == ("0 -1 -2 -3", 0), done.stderr
