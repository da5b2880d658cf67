"""The local cloud's EMR Serverless, as boto3 sees it over HTTP."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tests.cloud_fixtures import Client, client, code_of, eventually, truth

if TYPE_CHECKING:
    from tests.cloud import LocalCloud

__all__ = ["client"]

ROLE = "arn:aws:iam::123456789012:role/runtime"
ENDING = ["CANCELLING", "CANCELLED"]
SPARK = {"sparkSubmit": {"entryPoint": "s3://bucket/job.py"}}


def make_application(serverless: Any) -> str:
    made = serverless.create_application(name="app", releaseLabel="emr-7.9.0", type="SPARK", clientToken="t")
    return str(made["applicationId"])


def start_run(serverless: Any, application: str, **more: Any) -> str:
    params = {"applicationId": application, "executionRoleArn": ROLE, "jobDriver": SPARK, **more}
    return str(serverless.start_job_run(**params)["jobRunId"])


def state_of(serverless: Any, application: str, run: str) -> Any:
    return serverless.get_job_run(applicationId=application, jobRunId=run)["jobRun"]["state"]


def test_lifecycle(cloud: LocalCloud, client: Client) -> None:
    cloud.emr_serverless.set(submitted=100, pending=100, starting=100, run=100)
    serverless = client("emr-serverless")
    application = make_application(serverless)
    run = start_run(serverless, application, name="nightly", tags={"a": "b"})
    seen = []
    for _ in range(5):
        seen.append(state_of(serverless, application, run))
        cloud.clock.advance(100)
    assert seen == ["SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "SUCCESS"]
    shown = serverless.get_job_run(applicationId=application, jobRunId=run)["jobRun"]
    assert (shown["tags"], shown["createdBy"]) == ({"a": "b"}, "arn:aws:iam::123456789012:user/AKIDTEST")
    cancel = serverless.cancel_job_run
    assert code_of(cancel, applicationId=application, jobRunId=run) == ("ValidationException", 400)
    assert serverless.get_application(applicationId=application)["application"]["state"] == "STARTED"


def test_cancel_passes_through_cancelling(cloud: LocalCloud, client: Client) -> None:
    cloud.emr_serverless.set(cancel=100)
    serverless = client("emr-serverless")
    application = make_application(serverless)
    run = start_run(serverless, application)
    eventually(lambda: state_of(serverless, application, run), "RUNNING")
    for _ in range(2):
        serverless.cancel_job_run(applicationId=application, jobRunId=run)
        assert state_of(serverless, application, run) == "CANCELLING"
    stop = serverless.stop_application
    assert code_of(stop, applicationId=application) == ("ValidationException", 400)
    cloud.clock.advance(100)
    assert state_of(serverless, application, run) == "CANCELLED"
    assert truth(cloud, run)["cancelled"]
    stop(applicationId=application)


def test_grace_period(cloud: LocalCloud, client: Client) -> None:
    cloud.emr_serverless.set(stubborn=True)
    serverless = client("emr-serverless")
    application = make_application(serverless)
    polite, at_once = start_run(serverless, application), start_run(serverless, application)
    for seconds in (-1, 14, 1801):
        params = {
            "applicationId": application,
            "jobRunId": polite,
            "shutdownGracePeriodInSeconds": seconds,
        }
        assert code_of(serverless.cancel_job_run, **params) == ("ValidationException", 400)
    serverless.cancel_job_run(applicationId=application, jobRunId=polite, shutdownGracePeriodInSeconds=15)
    serverless.cancel_job_run(applicationId=application, jobRunId=at_once, shutdownGracePeriodInSeconds=0)
    cloud.clock.advance(10)
    assert state_of(serverless, application, polite) == "CANCELLING"
    assert state_of(serverless, application, at_once) == "CANCELLED"
    cloud.clock.advance(10)
    assert state_of(serverless, application, polite) == "CANCELLED"


def test_client_token(client: Client) -> None:
    serverless = client("emr-serverless")
    application = make_application(serverless)
    run = start_run(serverless, application, clientToken="once")
    assert start_run(serverless, application, clientToken="once") == run
    other = {
        "applicationId": application,
        "executionRoleArn": ROLE,
        "clientToken": "once",
        "name": "other",
    }
    assert code_of(serverless.start_job_run, **other) == ("ConflictException", 409)


def test_listing(cloud: LocalCloud, client: Client) -> None:
    serverless = client("emr-serverless")
    application = make_application(serverless)
    runs = [start_run(serverless, application, name=f"run-{n}", tags={"a": "b"}) for n in range(60)]
    stream = start_run(serverless, application, mode="STREAMING")
    cloud.emr_serverless.finish(runs[0], "FAILED")
    pages = list(serverless.get_paginator("list_job_runs").paginate(applicationId=application))
    assert [run["id"] for page in pages for run in page["jobRuns"]] == [stream, *runs[::-1]]
    assert [len(page["jobRuns"]) for page in pages] == [50, 11]
    assert "tags" not in pages[0]["jobRuns"][0]

    def ids(**params: Any) -> list[str]:
        found = serverless.list_job_runs(applicationId=application, **params)["jobRuns"]
        return [run["id"] for run in found]

    assert ids(states=["FAILED", "SUCCESS"]) == [runs[0]]
    assert ids(mode="STREAMING") == [stream]
    assert ids(createdAtAfter=time.time() + 60) == []
    assert len(ids(createdAtAfter=time.time() - 60)) == 50
    nine = ["RUNNING", *("SUBMITTED", "QUEUED", "PENDING", "SCHEDULED"), *("SUCCESS", "FAILED"), *ENDING]
    for params in ({"states": nine}, {"maxResults": 51}):
        listing = serverless.list_job_runs
        assert code_of(listing, applicationId=application, **params) == ("ValidationException", 400)


def test_applications_are_listed_by_state_and_page(client: Client) -> None:
    serverless = client("emr-serverless")
    ids = {
        serverless.create_application(name="a", releaseLabel="emr-7.9.0", type="SPARK")["applicationId"]
        for _ in range(60)
    }
    started, deleted, *_ = sorted(ids)
    start_run(serverless, started)
    serverless.delete_application(applicationId=deleted)

    def listed(*states: str) -> list[set[str]]:
        pages = serverless.get_paginator("list_applications").paginate(
            states=list(states), PaginationConfig={"PageSize": 50}
        )
        return [{found["id"] for found in page["applications"]} for page in pages]

    assert listed("STARTED") == [{started}]
    assert listed("TERMINATED") == [{deleted}]
    first, second = listed("CREATED", "STARTED")
    assert (len(first), first | second) == (50, ids - {deleted})


def test_unknown_things_and_mistakes(client: Client) -> None:
    serverless = client("emr-serverless")
    application = make_application(serverless)
    for call in (serverless.get_job_run, serverless.cancel_job_run):
        for ids in ((application, "00none"), ("00none", "00none")):
            params = {"applicationId": ids[0], "jobRunId": ids[1]}
            assert code_of(call, **params) == ("ResourceNotFoundException", 404)
    for call in (serverless.get_application, serverless.list_job_runs):
        assert code_of(call, applicationId="00none") == ("ResourceNotFoundException", 404)
    start = {"applicationId": application, "executionRoleArn": ROLE}
    for mistake in ({"name": "n" * 257}, {"tags": {"schlüssel": "x"}}, {"tags": {"k": "v" * 257}}):
        assert code_of(serverless.start_job_run, **start, **mistake) == ("ValidationException", 400)


def test_created_by_names_the_assumed_role(client: Client) -> None:
    role = client("sts").assume_role(RoleArn=ROLE, RoleSessionName="Airflow_conn")["Credentials"]
    serverless = client("emr-serverless", key=role["AccessKeyId"])
    application = make_application(serverless)
    start_run(serverless, application)
    (run,) = serverless.list_job_runs(applicationId=application)["jobRuns"]
    assert run["createdBy"].endswith(":assumed-role/runtime/Airflow_conn")
