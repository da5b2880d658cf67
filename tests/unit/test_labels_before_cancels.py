"""The label of a job that only a record names is read before its cancel, and before others are polled."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.services.ratelimit import PACES
from tests.cloud.server import LocalCloud
from tests.recorded_fixtures import OURS, cancellation
from tests.service_fixtures import EmrBench, submitted
from tests.task_fixtures import connections

__all__ = ["connections"]

POLLS = 6


@pytest.fixture(autouse=True)
def _slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One ListSteps, and then two a second."""
    monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__QUOTAS", "*=1000000/1000000,emr.ListSteps=1/2")
    PACES.configure({"*": (1e6, 1e6), "emr.ListSteps": (1, 2.0)})
    yield
    PACES.configure({"*": (1e6, 1e6)})


@pytest.mark.usefixtures("connections")
def test_the_label_is_read_before_others_are_polled(cloud: LocalCloud) -> None:
    bench = EmrBench(cloud)
    killed, *waited_for = [submitted(bench, OURS) for _ in range(1 + POLLS)]
    service = Access().service(*killed.service_key)
    polls = [threading.Thread(target=service.describe, args=([job],)) for job in waited_for]
    cloud.journal.clear()
    for poll in polls:
        poll.start()
    cancellation([killed]).step()
    for poll in polls:
        poll.join()
    bench.close()
    calls = [entry.operation for entry in cloud.journal]
    assert calls.count("ListSteps") == 1 + POLLS
    # One was under way, and perhaps one more had its turn.
    assert calls[: calls.index("CancelSteps")].count("ListSteps") <= 3
