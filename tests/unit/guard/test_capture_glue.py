"""Submissions of Glue on the wire: seen, labelled where that is wanted, and what runs is never changed."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.glue.submission import LABEL_ARGUMENT
from airflow_cancel_provider.services.registry import SERVICES
from tests.capture_fixtures import LABEL, Notes, client, recorder  # noqa: F401
from tests.cloud.server import LocalCloud

STALE = Label("abcd1234", LABEL.ti_id.__class__(int=8))
JOB = "nightly/etl ü"


def start(cloud: LocalCloud, **params: Any) -> str:
    return str(client(cloud, "glue").start_job_run(JobName=JOB, **params)["JobRunId"])


@pytest.fixture(autouse=True)
def job(cloud: LocalCloud) -> None:
    cloud.glue.create_job(JOB)


def arguments(cloud: LocalCloud) -> Any:
    return cloud.glue.jobs()[-1]["labels"]["arguments"]


@pytest.mark.parametrize("given", [{}, {"Arguments": {"--day": "1"}}])
def test_by_default_nothing_is_added_and_the_run_is_recorded(
    cloud: LocalCloud, notes: Notes, given: dict[str, Any]
) -> None:
    """An argument reaches the script, and one that parses strictly would fail."""
    run = start(cloud, **given)
    assert arguments(cloud) == given.get("Arguments", {})
    assert notes.jobs == [RemoteJob.of("glue", run, scope=JOB, region="us-east-1")]
    assert (notes.scopes, notes.unlabelled, notes.holes) == ([JOB], [(JOB,)], [])
    assert SERVICES["glue"].carriers[0] == "none"


@pytest.mark.parametrize("given", [None, {"--day": "1", "--conf": "spark.x=1"}])
def test_the_label_is_one_argument_more_where_that_is_wanted(
    cloud: LocalCloud, notes: Notes, given: dict[str, str] | None
) -> None:
    notes.carriers["glue"] = "arguments"
    start(cloud, **({"Arguments": given} if given is not None else {}))
    assert arguments(cloud) == {**(given or {}), LABEL_ARGUMENT: str(LABEL)}
    assert LABEL_ARGUMENT not in (given or {})
    assert notes.unlabelled == [()]


def test_a_label_that_was_copied_gives_way_and_the_users_own_argument_does_not(
    cloud: LocalCloud, notes: Notes
) -> None:
    notes.carriers["glue"] = "arguments"
    start(cloud, Arguments={LABEL_ARGUMENT: str(STALE)})
    assert arguments(cloud) == {LABEL_ARGUMENT: str(LABEL)}
    start(cloud, Arguments={LABEL_ARGUMENT: "finance"})
    assert arguments(cloud) == {LABEL_ARGUMENT: "finance"}
    assert notes.unlabelled == [(), (JOB,)]


def test_a_retry_of_an_earlier_run_is_left_as_it_is(cloud: LocalCloud, notes: Notes) -> None:
    """It takes the earlier run's arguments only where none are given."""
    notes.carriers["glue"] = "arguments"
    first = start(cloud, Arguments={"--day": "1"})
    retry = start(cloud, JobRunId=first)
    assert arguments(cloud) == {"--day": "1", LABEL_ARGUMENT: str(LABEL)}
    assert [each.id for each in notes.jobs] == [first, retry]
    assert notes.unlabelled == [(), (JOB,)]


def test_a_repeated_submission_whose_first_answer_was_lost_is_two_runs(
    cloud: LocalCloud, notes: Notes
) -> None:
    notes.carriers["glue"] = "arguments"
    cloud.faults.add("glue", "StartJobRun", "lost_reply", times=1)
    client(cloud, "glue", retries=1).start_job_run(JobName=JOB)
    assert notes.words == ["lost", "started"]
    runs = cloud.glue.jobs()
    assert [run["labels"]["arguments"] for run in runs] == [{LABEL_ARGUMENT: str(LABEL)}] * 2


def test_a_job_with_too_many_runs_starts_none(cloud: LocalCloud, notes: Notes) -> None:
    cloud.glue.create_job("one", most=1)
    made = client(cloud, "glue")
    made.start_job_run(JobName="one")
    with pytest.raises(made.exceptions.ConcurrentRunsExceededException):
        made.start_job_run(JobName="one")
    assert notes.words == ["started", "closed"]


@pytest.mark.parametrize("operation", ["get_job_run", "get_job_runs"])
def test_descriptions_show_ends(cloud: LocalCloud, notes: Notes, operation: str) -> None:
    run = start(cloud)
    cloud.glue.finish(run, "TIMEOUT")
    asked = {"RunId": run} if operation == "get_job_run" else {}
    getattr(client(cloud, "glue"), operation)(JobName=JOB, **asked)
    assert notes.ends == [("glue", "us-east-1", [(JOB, run, JobState.FAILED)])]
