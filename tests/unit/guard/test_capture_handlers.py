"""Handlers that users put on their clients keep working beside the guard's, in whatever order."""

from __future__ import annotations

import copy
import gc
import sys
from typing import Any
from weakref import ref

import boto3
import pytest

from airflow_cancel_provider.exceptions import SubmissionRefused
from airflow_cancel_provider.services.submissions import LABEL_PARAMETER
from tests.capture_fixtures import (
    DRIVER,
    LABEL,
    ROLE,
    STEP,
    Notes,
    application,
    client,
    recorder,  # noqa: F401
    start,
    submit,
)
from tests.cloud.server import LocalCloud

WHERE = ["", ".batch", ".batch.SubmitJob"]
HOW = ["register", "register_first", "register_last"]


def made_with(cloud: LocalCloud, level: str, how: str, event: str, handler: Any) -> Any:
    """A client of Batch with a handler on its session or on itself."""
    session: Any = boto3.session.Session()
    if level == "session":
        getattr(session.events, how)(event, handler)
    made = session.client("batch", endpoint_url=cloud.url, region_name="us-east-1")
    if level == "client":
        getattr(made.meta.events, how)(event, handler)
    return made


@pytest.mark.parametrize("level", ["session", "client"])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("event", ["provide-client-params", "before-parameter-build", "before-call"])
def test_what_a_handler_changes_is_sent_with_the_label_and_recorded(
    cloud: LocalCloud, notes: Notes, event: str, where: str, how: str, level: str
) -> None:
    if (event, where, how, level) == ("before-call", "", "register_last", "client"):
        pytest.skip("the one place behind the guard's")

    def change(params: dict[str, Any], model: Any, **_: Any) -> Any:
        if model.name != "SubmitJob":
            return None
        if event == "provide-client-params":
            return {**params, "jobQueue": "theirs", "parameters": {"day": "2"}}
        if event == "before-parameter-build":
            params["jobQueue"] = "theirs"
            params["parameters"] = {"day": "2"}
        else:
            params["body"] = params["body"].replace(b'"queue"', b'"theirs"').replace(b'"1"', b'"2"')
        return None

    cloud.batch.set_queue("theirs")
    made = made_with(cloud, level, how, event + where, change)
    given = {"day": "1"}
    submit(made, parameters=given)
    (job,) = cloud.batch.jobs()
    assert job["queue" if "queue" in job else "scope"] == "theirs"
    assert job["labels"]["parameters"] == {"day": "2", LABEL_PARAMETER: str(LABEL)}
    assert notes.scopes == ["theirs"]
    assert notes.unlabelled == [()]
    assert given == {"day": "1"}


@pytest.mark.usefixtures("notes")
def test_a_dict_that_a_handler_gives_again_and_again_is_left_as_it_was(cloud: LocalCloud) -> None:
    own = {
        "jobName": "theirs",
        "jobQueue": "queue",
        "jobDefinition": "def",
        "parameters": {"day": "1"},
    }
    before = copy.deepcopy(own)
    made = client(cloud, "batch")
    made.meta.events.register("provide-client-params.batch.SubmitJob", lambda **_: own)
    for _ in range(2):
        submit(made)
        assert own == before
    assert {job["name"] for job in cloud.batch.jobs()} == {"theirs"}
    assert all(job["labels"]["parameters"][LABEL_PARAMETER] == str(LABEL) for job in cloud.batch.jobs())


def test_parameters_given_by_the_same_objects_twice_are_left_as_they_were(
    cloud: LocalCloud, notes: Notes
) -> None:
    emr, serverless = client(cloud, "emr"), client(cloud, "emr-serverless")
    steps, cluster = [copy.deepcopy(STEP)], cloud.emr.create_cluster()
    for _ in range(2):
        emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps)
    assert steps == [STEP]
    params = {
        "applicationId": application(serverless),
        "executionRoleArn": ROLE,
        "jobDriver": DRIVER,
        "name": "etl",
    }
    before = copy.deepcopy(params)
    for _ in range(2):
        # botocore itself writes its token into this one, so that the second call means the same run.
        serverless._make_api_call("StartJobRun", params)
    assert params.pop("clientToken")
    assert params == before
    assert [run["name"] for run in cloud.emr_serverless.jobs()] == [f"etl {LABEL}"]
    assert notes.not_before == [0.0] * 4


def test_a_handler_that_renames_after_the_caller_gets_its_name_labelled(
    cloud: LocalCloud, notes: Notes
) -> None:
    made = client(cloud, "emr-serverless")
    app = application(made)
    made.meta.events.register(
        "provide-client-params.emr-serverless.StartJobRun", lambda params, **_: {**params, "name": "theirs"}
    )
    start(made, app, name="ours")
    assert [run["name"] for run in cloud.emr_serverless.jobs()] == [f"theirs {LABEL}"]
    assert notes.unlabelled == [()]


def test_a_handler_that_stops_a_call_leaves_nothing_open(cloud: LocalCloud, notes: Notes) -> None:
    def stop(**_: Any) -> None:
        raise LookupError

    for event in ("provide-client-params", "before-parameter-build", "before-call", "request-created"):
        made = client(cloud, "batch")
        made.meta.events.register(f"{event}.batch", stop)
        with pytest.raises(LookupError):
            submit(made)
        assert not notes.is_open
    assert not cloud.batch.jobs()


def test_the_fence_comes_before_the_network_and_after_no_one(cloud: LocalCloud, notes: Notes) -> None:
    notes.refuses = True
    with pytest.raises(SubmissionRefused):
        submit(client(cloud, "batch"))
    emr = client(cloud, "emr")
    with pytest.raises(SubmissionRefused):
        emr.run_job_flow(Name="x", Instances={"InstanceCount": 1}, Steps=[STEP])
    assert [asked.operation for asked in notes.asked] == ["SubmitJob", "RunJobFlow"]
    assert not cloud.batch.jobs()
    assert not notes.told


def test_the_callers_client_is_freed_when_it_is_done_with(cloud: LocalCloud, notes: Notes) -> None:
    gc.collect()
    gc.disable()
    try:
        made = client(cloud, "batch")
        submit(made)
        gone = [ref(made), ref(made._endpoint)]
        del made
        assert [each() for each in gone] == [None, None], "only the collector frees it"
    finally:
        gc.enable()
    assert notes.words == ["started"]


def test_a_call_that_starts_nothing_meets_three_small_functions(cloud: LocalCloud, notes: Notes) -> None:
    made = client(cloud, "batch")
    made.list_jobs(jobQueue="queue")
    entered: list[str] = []

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call" and "airflow_cancel_provider" in frame.f_code.co_filename:
            entered.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        made.list_jobs(jobQueue="queue")
    finally:
        sys.setprofile(None)
    assert sorted(entered) == ["_make_request", "_sending", "_write"]
    assert not notes.asked
