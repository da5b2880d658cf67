"""Only what is read of an answer is parsed; others who use the same client get all of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_cancel_provider.services.aws.answers import Shape
from airflow_cancel_provider.services.aws.service import AwsJobService
from tests.service_fixtures import HAS_BULK, Bench, aws_bench

__all__ = ["aws_bench"]

UNREAD = {
    "emr": {"ActionOnFailure", "Jar", "Args"},
    "batch": {"container", "jobQueue", "jobDefinition"},
    "emr-serverless": {"executionRole", "jobDriver", "arn"},
    "glue": {"Attempt", "JobName"},
    "emr-containers": {"executionRoleArn", "arn"},
}


def names(value: Any) -> set[str]:
    """Names of all members in an answer."""
    if isinstance(value, dict):
        return {*value}.union(*map(names, value.values()))
    return set().union(*map(names, value)) if isinstance(value, list) else set()


def parsed_of(client: Any) -> list[Any]:
    """Answers as botocore has parsed them, from now on."""
    answers: list[Any] = []
    client.meta.events.register("after-call", lambda parsed, **_: answers.append(parsed))
    return answers


def test_our_own_calls_are_answered_with_what_is_read(bench: Bench) -> None:
    service, (job,) = bench.service(), bench.running()
    answers = parsed_of(bench.client)
    service.describe([job])
    assert answers
    assert not names(answers) & UNREAD[bench.name]
    assert names(_whole(bench, job)) >= UNREAD[bench.name]


def _whole(bench: Bench, job: Any) -> Any:
    """What somebody else reads with the same client."""
    client = bench.client
    ways = {
        "emr": lambda: client.list_steps(ClusterId=job.scope),
        "batch": lambda: client.describe_jobs(jobs=[job.id]),
        "emr-serverless": lambda: client.get_job_run(applicationId=job.scope, jobRunId=job.id),
        "glue": lambda: client.get_job_run(JobName=job.scope, RunId=job.id),
        "emr-containers": lambda: client.describe_job_run(virtualClusterId=job.scope, id=job.id),
    }
    return ways[bench.name]()


def test_all_that_is_read_is_in_the_model_of_the_service(bench: Bench) -> None:
    if bench.name == "batch" and not HAS_BULK:
        pytest.skip("this botocore does not know all that is read")
    service: AwsJobService = bench.service()
    model = bench.client.meta.service_model
    for operation, shape in service.answers.items():
        assert [*_unknown(shape, model.operation_model(operation).output_shape)] == []


def _unknown(shape: Shape, model: Any) -> Iterator[str]:
    if isinstance(shape, list):
        yield from _unknown(shape[0], model.member)
    for name, member in shape.items() if isinstance(shape, dict) else ():
        plain = name.removesuffix("?")
        if plain in model.members:
            yield from _unknown(member, model.members[plain])
        else:
            yield plain
