"""Jobs of a service in memory, and cancellations of them."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import strategies as st

from airflow_cancel_provider.cancellation import Cancellation
from airflow_cancel_provider.exceptions import (
    JobsError,
)
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobState, JobStatus
from airflow_cancel_provider.triggers.remote_jobs import watch_from_json
from airflow_cancel_provider.watch import Watch
from tests.memory_service import Memory

LOG = logging.getLogger(__name__)


REASON = "no longer needed"


DUE = 1e-9
"""Seconds after which the next poll escalates."""


@pytest.fixture
def memory() -> Memory:
    return Memory()


def requested(memory: Memory, *ids: str, **options: Any) -> Cancellation:
    """A cancellation of running jobs whose first request was sent."""
    cancellation = Cancellation(memory.jobs(*ids), REASON, **options)
    cancellation.request(memory.pool())
    memory.sent.clear()
    return cancellation


def end(memory: Memory, *ids: str, state: JobState = JobState.CANCELLED) -> None:
    memory.states |= dict.fromkeys(ids, state)


JOBS = Memory().jobs("a", "b", "c")


STATUSES = st.lists(
    st.builds(
        JobStatus,
        st.sampled_from(JOBS),
        st.sampled_from(JobState),
        st.none() | st.text(),
        st.none() | st.text(),
    ),
    max_size=8,
)


RESULTS = st.lists(
    st.builds(CancelResult, st.sampled_from(JOBS), st.sampled_from(CancelOutcome), st.none() | st.text()),
    max_size=4,
)


def judged(watch: Watch, **how: bool) -> dict[str, str] | tuple[type[JobsError], str]:
    try:
        return watch.verdict(**how)
    except JobsError as error:
        return type(error), str(error)


def values_of(watch: Watch) -> dict[str, Any]:
    """What goes through JSON; when a job was missed first is a moment later in the one that is told later."""
    values = watch.as_json()
    return {**values, "missing": list(values["missing"])}


def again(watch: Watch) -> Watch:
    """The same after a way through JSON."""
    return watch_from_json(json.loads(json.dumps(watch.as_json())))
