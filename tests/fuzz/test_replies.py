"""Replies of the AWS services, made from botocore's own models, and then spoilt."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from hypothesis import given
from hypothesis import strategies as st

from airflow_cancel_provider.exceptions import CancelProviderError
from airflow_cancel_provider.guard.capture import note_ends
from airflow_cancel_provider.jobs import CancelOutcome, JobStatus
from airflow_cancel_provider.services.batch.service import BatchJobService
from airflow_cancel_provider.services.emr.service import EmrStepService
from airflow_cancel_provider.services.emr_containers.service import EmrContainersJobRunService
from airflow_cancel_provider.services.emr_serverless.service import EmrServerlessJobRunService
from airflow_cancel_provider.services.glue.service import GlueJobRunService
from airflow_cancel_provider.services.registry import SERVICES
from airflow_cancel_provider.services.retry import Patience
from tests.fuzz.strategies import HTML, examples, spoilt
from tests.service_fixtures import new_client

AT_ONCE = Patience(seconds=0.0, first_pause=0.0, longest_pause=0.0)
STRANGER = "00000000000strng"
KINDS: dict[str, tuple[type[Any], list[str], str | None]] = {
    "emr": (EmrStepService, ["s-1AAAAAAAAAAAA", "s-2AAAAAAAAAAAA"], "j-1AAAAAAAAAAAA"),
    "batch": (BatchJobService, [f"0000000{n}-0000-0000-0000-000000000000" for n in (1, 2)], None),
    "emr-serverless": (
        EmrServerlessJobRunService,
        ["00f1aaaaaaaaaaaa", "00f2aaaaaaaaaaaa"],
        "00fappaaaaaaaaaa",
    ),
    "emr-containers": (
        EmrContainersJobRunService,
        ["0000000aaaaaaaaaaaa", "0000000bbbbbbbbbbbb"],
        "vc1aaaaaaaaaaaaaaaaaaaaaa",
    ),
    "glue": (GlueJobRunService, ["jr_" + "1" * 64, "jr_" + "2" * 64], "a job"),
}


class Replies:
    """Answers every call of a client without a server."""

    def __init__(self) -> None:
        self.body, self.status = b"{}", 200
        self.sent: list[str] = []

    def __call__(self, request: Any, **_: Any) -> Any:
        self.sent.append(str(request.body))
        answer: Any = AWSResponse(request.url, self.status, {"Content-Type": "application/json"}, None)
        answer._content = self.body
        return answer


@pytest.fixture(scope="module", params=KINDS)
def answered(request: pytest.FixtureRequest) -> Any:
    """A service whose replies a test sets, and jobs of it."""
    kind, ids, scope = KINDS[request.param]
    client = new_client(request.param, "http://127.0.0.1:9", retries={"total_max_attempts": 1})
    replies = Replies()
    client.meta.events.register("before-send", replies)
    service = kind(client, conn_id="aws_default", patience=AT_ONCE)
    jobs = [service.address(name, scope) for name in ids]
    yield service, replies, jobs
    client.close()


@st.composite
def reply(draw: st.DrawFn, client: Any, operations: list[str], ids: list[str]) -> bytes:
    """The body of a reply to one of these operations."""
    model = client.meta.service_model.operation_model(draw(st.sampled_from(operations)))
    if model.output_shape is None:
        return b"{}"
    value = draw(spoilt(draw(_of(model.output_shape, ids, 0))))
    kind = draw(st.sampled_from(["json"] * 8 + ["html", "half", "nothing"]))
    text = json.dumps(value)
    return {"json": text, "html": HTML, "half": text[: len(text) // 2], "nothing": ""}[kind].encode()


def _of(shape: Any, ids: list[str], depth: int) -> st.SearchStrategy[Any]:
    match shape.type_name:
        case "structure":
            return _structure(shape, ids, depth)
        case "list":
            return st.lists(_of(shape.member, ids, depth + 1), max_size=3 if depth < 4 else 0)
        case "string":
            return st.sampled_from(list(shape.enum) or [*ids, STRANGER, "x"])
    return SIMPLE.get(shape.type_name, st.sampled_from([0, 1_700_000_000, 1e18, -1]))


SIMPLE: dict[str, st.SearchStrategy[Any]] = {
    "map": st.just({}),
    "boolean": st.booleans(),
    "blob": st.just("x"),
}


def _structure(shape: Any, ids: list[str], depth: int) -> st.SearchStrategy[Any]:
    names = shape.required_members if depth > 3 else shape.members
    return st.fixed_dictionaries(
        {
            _on_the_wire(shape, name): _of(shape.members[name], ids, depth + 1)
            for name in names
            if name in shape.required_members or _matters(name)
        }
    )


def _on_the_wire(shape: Any, name: str) -> str:
    return str(shape.members[name].serialization.get("name", name))


def _matters(name: str) -> bool:
    words = ("job", "step", "id", "stat", "name", "success", "error", "cancel", "code", "reason", "marker")
    return any(word in name.lower() for word in words)


def operations_of(service: Any) -> list[str]:
    return sorted(service.answers)


@examples(25)
@given(data=st.data())
def test_polls_give_states_of_what_was_asked_or_our_errors(answered: Any, data: st.DataObject) -> None:
    service, replies, jobs = answered
    replies.body = data.draw(reply(service.client, operations_of(service), [job.id for job in jobs]))
    try:
        statuses = service.describe(jobs)
    except CancelProviderError:
        return
    assert [status.job for status in statuses] == jobs
    assert all(isinstance(status, JobStatus) for status in statuses)


@examples(20)
@given(data=st.data())
def test_cancels_give_one_result_for_each_job_and_name_no_other(answered: Any, data: st.DataObject) -> None:
    service, replies, jobs = answered
    replies.sent.clear()
    replies.status = data.draw(st.sampled_from([200, 200, 400, 403, 404, 500]))
    replies.body = data.draw(reply(service.client, operations_of(service), [job.id for job in jobs]))
    try:
        results = service.cancel(jobs, "fuzz")
    finally:
        replies.status = 200
    assert [result.job for result in results] == jobs
    assert {result.outcome for result in results} <= set(CancelOutcome)
    assert STRANGER not in "".join(replies.sent)


@examples(20)
@given(data=st.data())
def test_listings_give_jobs_of_the_scope_or_our_errors(answered: Any, data: st.DataObject) -> None:
    service, replies, jobs = answered
    replies.body = data.draw(reply(service.client, operations_of(service), [job.id for job in jobs]))
    scope = jobs[0].scope or "queue"
    try:
        claims = list(service.claims(scope))
    except CancelProviderError:
        return
    assert {claim.job.service for claim in claims} <= {service.name}
    assert {claim.job.scope for claim in claims} <= {jobs[0].scope}


@examples(20)
@given(data=st.data())
def test_no_reply_to_the_users_own_polls_is_an_error(answered: Any, data: st.DataObject) -> None:
    service, _, jobs = answered
    model = service.client.meta.service_model
    for operation in SERVICES[service.name].state_readers:
        shape = model.operation_model(operation).output_shape
        note_ends(
            service.name, operation, "us-east-1", data.draw(spoilt(data.draw(_of(shape, [jobs[0].id], 0))))
        )
