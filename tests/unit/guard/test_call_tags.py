"""Tags on submissions: how many there may be, and identities that may not tag."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from airflow_cancel_provider.services.submissions import LABEL_PARAMETER
from tests.call_fixtures import gateway
from tests.capture_fixtures import (
    LABEL,
    Notes,
    client,
    recorder,  # noqa: F401
    submit,
)
from tests.cloud.server import LocalCloud
from tests.gateway import Gateway

__all__ = ["gateway"]


TAGGING = (403, b'{"message": "not authorized to perform: batch:TagResource on resource: job-definition/d"}')


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
