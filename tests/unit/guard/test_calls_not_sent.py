"""Submissions that were never sent, and those that a test double answered."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.stub import Stubber
from moto import mock_aws

from tests.call_fixtures import closed_port, gateway
from tests.capture_fixtures import (
    Notes,
    application,
    client,
    recorder,  # noqa: F401
    start,
    submit,
)
from tests.cloud.server import LocalCloud
from tests.gateway import Gateway, certificate

__all__ = ["gateway"]


class NotSent:
    """Ways to fail before the first byte."""

    @staticmethod
    def no_server(_: Path) -> dict[str, Any]:
        return {"endpoint_url": f"http://127.0.0.1:{closed_port()}"}

    @staticmethod
    def no_name(_: Path) -> dict[str, Any]:
        return {"endpoint_url": "http://no-such-host.invalid"}

    @staticmethod
    def no_proxy(_: Path) -> dict[str, Any]:
        return {"config": Config(proxies={"http": f"http://127.0.0.1:{closed_port()}"})}

    @staticmethod
    def unreachable(_: Path) -> dict[str, Any]:
        return {"endpoint_url": "http://192.0.2.1", "config": Config(connect_timeout=0.2)}

    @staticmethod
    def plain_server(_: Path) -> dict[str, Any]:
        """TLS with a server that speaks none."""
        return {"tls": True}

    @staticmethod
    def missing_ca(folder: Path) -> dict[str, Any]:
        return {"endpoint_url": f"https://127.0.0.1:{closed_port()}", "verify": str(folder / "none.pem")}


@pytest.mark.parametrize("how", [name for name in vars(NotSent) if not name.startswith("_")])
def test_what_never_left_is_closed_at_once(cloud: LocalCloud, notes: Notes, tmp_path: Path, how: str) -> None:
    options = getattr(NotSent, how)(tmp_path)
    if options.pop("tls", False):
        options["endpoint_url"] = cloud.url.replace("http:", "https:")
    with pytest.raises((BotoCoreError, OSError)):
        submit(client(cloud, "batch", **options))
    assert notes.words == ["closed"]
    assert not cloud.batch.jobs()


def test_an_untrusted_certificate_is_closed_at_once(cloud: LocalCloud, notes: Notes, tmp_path: Path) -> None:
    with Gateway(cloud.url, tls=certificate(tmp_path, "own")) as server:
        with pytest.raises(BotoCoreError):
            submit(client(cloud, "batch", endpoint_url=server.url))
        assert not server.seen
    assert notes.words == ["closed"]


def test_without_credentials_nothing_is_sent(
    cloud: LocalCloud, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    made = botocore.session.Session().create_client("batch", endpoint_url=cloud.url, region_name="us-east-1")
    with pytest.raises(BotoCoreError, match="credentials"):
        submit(made)
    assert notes.words == ["closed"]


def test_a_handler_that_stops_a_request_before_it_leaves(cloud: LocalCloud, notes: Notes) -> None:
    def stop(**_: Any) -> None:
        raise LookupError("not today")

    made = client(cloud, "batch")
    made.meta.events.register("before-send", stop)
    with pytest.raises(LookupError):
        submit(made)
    assert notes.words == ["closed"]


def test_what_clean_up_submits_is_not_followed(cloud: LocalCloud, notes: Notes) -> None:
    notes.is_cleaning_up = True
    submit(client(cloud, "batch"))
    assert len(cloud.batch.jobs()) == 1
    assert not notes.told


@mock_aws
def test_what_moto_answers_is_not_carried_outside(notes: Notes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    made: Any = boto3.client("emr-serverless", region_name="us-east-1")
    answer = start(made, application(made), clientToken="mine")
    assert answer["jobRunId"]
    assert notes.words == ["closed"]
    assert "StartJobRun was answered inside this process" in caplog.text


@pytest.mark.parametrize("registered", ["before", "after"])
def test_a_stubber_sees_the_parameters_of_the_caller(
    cloud: LocalCloud, notes: Notes, registered: str
) -> None:
    made = client(cloud, "batch") if registered == "after" else None
    if made is None:
        made = boto3.client("batch", region_name="us-east-1")
    expected = {"jobName": "job", "jobQueue": "queue", "jobDefinition": "def"}
    with Stubber(made) as stubber:
        stubber.add_response("submit_job", {"jobName": "job", "jobId": "7"}, expected)
        stubber.add_client_error("submit_job", "ClientException", expected_params=expected)
        assert submit(made)["jobId"] == "7"
        with pytest.raises(ClientError):
            submit(made)
        stubber.assert_no_pending_responses()
    assert not notes.jobs
    assert not notes.is_open
    submit(client(cloud, "batch"))
    assert len(notes.jobs) == 1


def test_what_a_handler_answers_is_not_carried_outside(cloud: LocalCloud, notes: Notes) -> None:
    def answer(request: Any, **_: Any) -> AWSResponse:
        return AWSResponse(request.url, 200, {}, Raw(b'{"jobId": "7", "jobName": "job"}'))

    made = client(cloud, "batch")
    made.meta.events.register("before-send", answer)
    assert submit(made)["jobId"] == "7"
    assert notes.words == ["closed"]


class Raw:
    """A body that can be read once."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.body
