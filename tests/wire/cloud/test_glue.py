"""The local cloud's Glue, as boto3 sees it over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.cloud_fixtures import Client, client, code_of, eventually

if TYPE_CHECKING:
    from tests.cloud import LocalCloud

__all__ = ["client"]


def state_of(glue: Any, job: str, run: str) -> Any:
    return glue.get_job_run(JobName=job, RunId=run)["JobRun"]["JobRunState"]


def test_a_run_from_start_to_stop(cloud: LocalCloud, client: Client) -> None:
    glue, job = client("glue"), cloud.glue.create_job("etl")
    run = glue.start_job_run(JobName=job, Arguments={"--day": "1"})["JobRunId"]
    eventually(lambda: state_of(glue, job, run), "RUNNING")
    assert glue.get_job_run(JobName=job, RunId=run)["JobRun"]["Arguments"] == {"--day": "1"}
    answer = glue.batch_stop_job_run(JobName=job, JobRunIds=[run, "jr_x"])
    assert answer["SuccessfulSubmissions"] == [{"JobName": job, "JobRunId": run}]
    (error,) = answer["Errors"]
    assert (error["JobRunId"], error["ErrorDetail"]["ErrorCode"]) == ("jr_x", "EntityNotFoundException")
    assert state_of(glue, job, run) == "STOPPING"
    eventually(lambda: state_of(glue, job, run), "STOPPED")
    (error,) = glue.batch_stop_job_run(JobName=job, JobRunIds=[run])["Errors"]
    assert "STOPPED" in error["ErrorDetail"]["ErrorMessage"]


def test_limits(cloud: LocalCloud, client: Client) -> None:
    glue, job = client("glue"), cloud.glue.create_job("etl", most=1)
    glue.start_job_run(JobName=job)
    assert code_of(glue.start_job_run, JobName=job) == ("ConcurrentRunsExceededException", 400)
    assert code_of(glue.start_job_run, JobName="x") == ("EntityNotFoundException", 400)
    assert code_of(glue.get_job_runs, JobName="x") == ("EntityNotFoundException", 400)
    assert code_of(glue.get_job_run, JobName=job, RunId="jr_x") == ("EntityNotFoundException", 400)
    many = [f"jr_{number}" for number in range(26)]
    assert code_of(glue.batch_stop_job_run, JobName=job, JobRunIds=many) == ("InvalidInputException", 400)
    assert len(glue.batch_stop_job_run(JobName="x", JobRunIds=many[:2])["Errors"]) == 2


def test_pages_newest_first(cloud: LocalCloud, client: Client) -> None:
    glue, job = client("glue"), cloud.glue.create_job("etl")
    runs = [glue.start_job_run(JobName=job)["JobRunId"] for _ in range(5)]
    pages = list(glue.get_paginator("get_job_runs").paginate(JobName=job, PaginationConfig={"PageSize": 2}))
    assert [run["Id"] for page in pages for run in page["JobRuns"]] == runs[::-1]
    assert len(pages) == 3
    assert glue.list_jobs()["JobNames"] == [job]


def test_a_retry_of_an_earlier_run_takes_its_arguments(cloud: LocalCloud, client: Client) -> None:
    glue, job = client("glue"), cloud.glue.create_job("etl")
    first = glue.start_job_run(JobName=job, Arguments={"--day": "1"})["JobRunId"]
    retry = glue.start_job_run(JobName=job, JobRunId=first)["JobRunId"]
    shown = glue.get_job_run(JobName=job, RunId=retry)["JobRun"]
    assert (shown["PreviousRunId"], shown["Arguments"]) == (first, {"--day": "1"})
