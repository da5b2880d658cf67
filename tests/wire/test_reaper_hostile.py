"""Sweeps over services whose replies are no answer: our errors alone, and no job is over that lives."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.reaper.backends.base import TryPhase
from airflow_cancel_provider.reaper.places import Place
from airflow_cancel_provider.reaper.report import Report
from airflow_cancel_provider.services.retry import Patience
from tests.cloud.hostile import SHAPES
from tests.reaper_fixtures import PLACES, Ground, fates, ground
from tests.task_fixtures import connections

__all__ = ["connections", "ground"]
pytestmark = pytest.mark.wide

AT_ONCE = Patience(seconds=0.05, first_pause=0.001, longest_pause=0.01)
HONEST = Place("batch", "aws_default")
PHASES = (TryPhase.FAILED, TryPhase.DELETED, TryPhase.SUCCEEDED, TryPhase.ALIVE)
"""Of the tries that have started the jobs of a place; the first two leave orphans."""
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
bodies = st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode())
SHAPES_OF_LISTS = ("shorter_lists", "other_ids")
"""Lists that are well-formed: who asks for what there is can't know what is kept from them."""


def operations(place: Place) -> tuple[str, ...]:
    """What a sweep may call there."""
    return {
        "emr": ("ListClusters", "ListSteps", "DescribeStep", "CancelSteps"),
        "batch": ("DescribeJobQueues", "ListJobs", "DescribeJobs", "TerminateJob", "TerminateJobs"),
        "emr-serverless": ("ListApplications", "ListJobRuns", "GetJobRun", "CancelJobRun", "GetApplication"),
        "glue": ("ListJobs", "GetJobRuns", "GetJobRun", "BatchStopJobRun"),
        "emr-containers": (
            *("ListVirtualClusters", "ListJobRuns", "DescribeJobRun", "CancelJobRun"),
            "DescribeVirtualCluster",
        ),
        "mrs": ("ListClusters", "ShowJobExeListNew", "ShowSingleJobExe", "StopJob"),
    }[place.service]


def sweep(
    ground: Ground, place: Place, operation: str, **fault: Any
) -> tuple[list[RemoteJob], RemoteJob, Report]:
    """Jobs of a place, an orphan of another, and a sweep over both; the first two of the jobs are orphans."""
    jobs = [ground.start(place.service, phase) for phase in PHASES]
    other = ground.start(HONEST.service, TryPhase.FAILED) if place != HONEST else jobs[0]
    ground.cloud.faults.add(place.service, operation, "hostile_reply", **fault)
    rules = {"confirm_seconds": 0.1, "grace": 0.0}
    report = ground.reaper(places=dict.fromkeys([place, HONEST]), patience=AT_ONCE, **rules).sweep()
    return jobs, other, report


def check(ground: Ground, place: Place, swept: tuple[list[RemoteJob], RemoteJob, Report]) -> None:
    """Nothing was cancelled that has a right to live, or is said to be over that lives."""
    jobs, other, report = swept
    assert ground.lives(*jobs[2:])
    if place != HONEST:
        assert fates(report)[other] in ("ended", "requested")
    for job, fate in fates(report).items():
        if fate == "ended":
            assert ground.truth(job)["ended_at"] is not None, report
        if fate == "requested":
            assert ground.truth(job)["cancel_requested_at"] is not None, report
    # None of the orphans is passed over in silence.
    told = report.troubles + [letter["why"] for letter in report.letters.values()]
    for job in jobs[:2]:
        assert job in fates(report) or told, report


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape not in SHAPES_OF_LISTS])
def test_every_shape(ground: Ground, place: Place, shape: str) -> None:
    check(ground, place, sweep(ground, place, "*", shape=shape, acts=False))


@pytest.mark.parametrize("place", PLACES, ids=str)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=12,
)
@given(data=st.data())
def test_any_reply_to_any_operation(ground: Ground, place: Place, data: st.DataObject) -> None:
    fault: dict[str, Any] = {"acts": data.draw(st.booleans()), "after": data.draw(st.integers(0, 2))}
    if data.draw(st.booleans()):
        fault["shape"] = data.draw(st.sampled_from([s for s in SHAPES if s not in SHAPES_OF_LISTS]))
    else:
        fault |= {"body": data.draw(bodies), "status": data.draw(st.sampled_from([200, 202]))}
    ground.cloud.reset()
    for bench in ground.benches.values():
        bench.local.configure({"cancel": 0.1})
    ground.scopes.clear()
    operation = data.draw(st.sampled_from(operations(place)))
    if operation == "StopJob":
        # MRS answers a kill with nothing, so nothing is an answer; replies that hold something are in
        # test_mrs_hostile.py.
        fault["acts"] = True
    check(ground, place, sweep(ground, place, operation, **fault))
