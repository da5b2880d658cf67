"""A job that the service took a moment ago, and does not know yet."""

from __future__ import annotations

import logging
import time

import pytest

from airflow_cancel_provider.guard.connecting import line_of
from airflow_cancel_provider.guard.inprocess import InProcess
from airflow_cancel_provider.guard.ledger import Ledger
from airflow_cancel_provider.guard.settings import Settings
from tests.service_fixtures import Bench
from tests.task_fixtures import bench, connections  # noqa: F401

UNSEEN = 8.0
"""Seconds."""


@pytest.fixture
def worker() -> tuple[Ledger, InProcess]:
    cancels, ledger = InProcess(Settings(patience=30), "why", logging.getLogger("task")), Ledger()
    ledger.readers = [cancels.read]
    return ledger, cancels


def test_a_job_that_appears_late_is_cancelled(bench: Bench, worker: tuple[Ledger, InProcess]) -> None:  # noqa: F811
    ledger, cancels = worker
    bench.local.configure({"overrides": {"late*": {"unseen": UNSEEN}}})
    late, seen = bench.submit("late")[0], bench.running()[0]
    ledger.track(line_of(late), [late])
    ledger.track(line_of(seen), [seen])
    began = time.monotonic()
    cancels.cancel()
    assert not cancels.wait_for("accepted", 1)
    assert cancels.wait_for("ended", 20)
    assert time.monotonic() - began > 1
    assert bench.are_cancelled([late, seen])


def test_a_job_of_long_ago_that_is_not_known_is_gone(
    bench: Bench,  # noqa: F811
    worker: tuple[Ledger, InProcess],
) -> None:
    ledger, cancels = worker
    ledger.inherit([bench.unknown()])
    for job in ledger.untold:
        ledger.retell(line_of(job), [job])
    cancels.cancel()
    assert cancels.wait_for("ended", 5)
    assert cancels.wait_for("accepted", 0)
