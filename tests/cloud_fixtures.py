"""Clients for the local cloud's AWS services, and what its tests read from them."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from tests.cloud import LocalCloud

Client = Callable[..., Any]


@functools.cache
def _session() -> Any:
    # One for all, since reading the SDK's models of the services takes most of the time of a short test.
    return boto3.session.Session()


@pytest.fixture
def client(cloud: LocalCloud) -> Iterator[Client]:
    made: list[Any] = []

    def make(
        service: str, *, region: str = "us-east-1", key: str = "AKIDTEST", attempts: int = 1, **config: Any
    ) -> Any:
        settings = Config(retries={"mode": "standard", "total_max_attempts": attempts}, **config)
        identity = {"aws_access_key_id": key, "aws_secret_access_key": "secret", "region_name": region}
        made.append(_session().client(service, endpoint_url=cloud.url, config=settings, **identity))
        return made[-1]

    yield make
    for one in made:
        one.close()


def eventually(read: Callable[[], Any], wanted: Any, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while (seen := read()) != wanted:
        assert time.monotonic() < deadline, f"{seen!r} instead of {wanted!r}"
        time.sleep(0.02)


def code_of(call: Callable[..., Any], **params: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def truth(cloud: LocalCloud, job_id: str) -> dict[str, Any]:
    return next(job for job in cloud.jobs() if job["id"] == job_id)


def submit_job(batch: Any, name: str = "job", **more: Any) -> str:
    return str(batch.submit_job(jobName=name, jobQueue="queue", jobDefinition="definition", **more)["jobId"])
