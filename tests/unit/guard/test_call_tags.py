"""Tags on submissions: how many there may be, and identities that may not tag."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError

from airflow_cancel_provider.services.submissions import LABEL_PARAMETER
from tests.call_fixtures import gateway
from tests.capture_fixtures import LABEL, Notes, client, recorder, submit
from tests.cloud.server import LocalCloud
from tests.gateway import Gateway

__all__ = ["gateway", "recorder"]

MESSAGE = b"not authorized to perform: batch:TagResource on resource: job-definition/d"
TAGGING = (403, b'{"__type": "AccessDeniedException", "message": "' + MESSAGE + b'"}')


def test_a_denial_to_tag_that_persists_is_answered_once_more_and_no_further(
    cloud: LocalCloud, notes: Notes, gateway: Gateway
) -> None:
    notes.wanted_tags = {"airflow_dag_id": "etl"}
    gateway.answers, gateway.passes_on = [None, *[TAGGING] * 20], False
    with pytest.raises(ClientError, match="TagResource"):
        submit(client(cloud, "batch", endpoint_url=gateway.url))
    bodies = [json.loads(seen.body) for seen in gateway.seen if seen.target.endswith("submitjob")]
    assert ["tags" in body for body in bodies] == [True, False]
    assert all(body["parameters"] == {LABEL_PARAMETER: str(LABEL)} for body in bodies)
    assert notes.words == ["closed"]


DEFINITION: dict[str, Any] = {
    "type": "container",
    "containerProperties": {"image": "busybox", "vcpus": 1, "memory": 128},
}


@pytest.mark.parametrize(
    "own,others,propagates,asked,is_tagged",
    [
        (10, 30, True, {}, True),
        (10, 45, True, {}, False),
        (10, 45, False, {}, True),
        (10, 45, True, {"propagateTags": False}, True),
        (10, 45, False, {"propagateTags": True}, False),
    ],
)
def test_tags_of_job_and_definition_together_stay_within_fifty(
    cloud: LocalCloud,
    notes: Notes,
    own: int,
    others: int,
    propagates: bool,
    asked: dict[str, Any],
    is_tagged: bool,
) -> None:
    made = client(cloud, "batch")
    name = f"definition-{own}-{others}-{propagates}-{len(asked)}-{is_tagged}"
    made.register_job_definition(
        jobDefinitionName=name,
        **DEFINITION,
        propagateTags=propagates,
        tags={f"d{number}": "v" for number in range(others)},
    )
    notes.wanted_tags = {"airflow_dag_id": "etl"}
    tags = {f"k{number}": "v" for number in range(own)}
    for _ in range(2):
        made.submit_job(jobName="job", jobQueue="queue", jobDefinition=name, tags=tags, **asked)
    assert [job["labels"]["tags"] != tags for job in cloud.batch.jobs()] == [is_tagged] * 2
    assert cloud.journal.count("batch", "DescribeJobDefinitions") == (asked != {"propagateTags": False})


def test_where_the_definition_may_not_be_read_there_are_no_tags(cloud: LocalCloud, notes: Notes) -> None:
    cloud.faults.add("batch", "DescribeJobDefinitions", kind="denied")
    notes.wanted_tags = {"airflow_dag_id": "etl"}
    made = client(cloud, "batch", aws_access_key_id="AKIDLIMITED", aws_secret_access_key="x")
    for _ in range(2):
        submit(made)
    assert [job["labels"]["tags"] for job in cloud.batch.jobs()] == [{}, {}]
    assert len(notes.holes) == 1
    assert "batch:DescribeJobDefinitions" in notes.holes[0]
    assert len(notes.jobs) == 2


def test_an_asynchronous_client_looks_the_definition_up_too(cloud: LocalCloud, notes: Notes) -> None:
    session = pytest.importorskip("aiobotocore.session")
    notes.wanted_tags = {"airflow_dag_id": "etl"}
    cloud.batch.set_definition("of-async")

    async def work() -> None:
        async with session.get_session().create_client(
            "batch", endpoint_url=cloud.url, region_name="us-east-1"
        ) as made:
            await made.submit_job(jobName="job", jobQueue="queue", jobDefinition="of-async")

    asyncio.run(work())
    (job,) = cloud.batch.jobs()
    assert job["labels"]["tags"] == {"airflow_dag_id": "etl"}
    assert cloud.journal.count("batch", "DescribeJobDefinitions") == 1


def test_tags_are_added_and_the_callers_own_win(cloud: LocalCloud, notes: Notes) -> None:
    notes.wanted_tags = {"airflow_dag_id": "etl", "team": "ours"}
    submit(client(cloud, "batch"), tags={"team": "theirs"})
    (job,) = cloud.batch.jobs()
    assert job["labels"]["tags"] == {"airflow_dag_id": "etl", "team": "theirs"}


def test_no_tag_is_added_where_there_is_no_room(cloud: LocalCloud, notes: Notes) -> None:
    notes.wanted_tags = {"airflow_dag_id": "etl"}
    own = {f"k{number}": "v" for number in range(50)}
    submit(client(cloud, "batch"), tags=own)
    (job,) = cloud.batch.jobs()
    assert job["labels"]["tags"] == own


NOT_ALLOWED = "User is not authorized to perform: batch:{} on resource: job-definition/d"


@pytest.mark.parametrize("own", [None, {"team": "theirs"}])
@pytest.mark.parametrize(
    "status, code, words",
    [
        (403, "AccessDeniedException", NOT_ALLOWED.format("TagResource")),
        # A condition on aws:TagKeys speaks of the call itself.
        (403, "AccessDeniedException", NOT_ALLOWED.format("SubmitJob")),
        (400, "ClientException", "The tag policy does not allow the value for tag key: 'airflow_dag_id'."),
    ],
)
def test_where_tagging_is_denied_it_goes_without(
    cloud: LocalCloud, notes: Notes, own: dict[str, str] | None, status: int, code: str, words: str
) -> None:
    notes.wanted_tags = {"airflow_dag_id": "etl"}
    made = client(cloud, "batch")
    made.meta.events.register_first("before-send.batch.SubmitJob", Denying(status, code, words))
    submit(made, **({"tags": own} if own else {}))
    (job,) = cloud.batch.jobs()
    assert job["labels"]["tags"] == (own or {})
    assert len(notes.jobs) == 1
    assert "not allowed" in notes.holes[0]


@dataclass
class Denying:
    """What a policy answers to a request that carries our tag."""

    status: int
    code: str
    words: str

    def __call__(self, request: Any, **_: Any) -> AWSResponse | None:
        if b"airflow_dag_id" not in request.body:
            return None
        headers = {"x-amzn-ErrorType": self.code}
        raw = Raw(json.dumps({"message": self.words}).encode())
        return AWSResponse(request.url, self.status, headers, raw)


class Raw:
    """A body that can be read once."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.body
