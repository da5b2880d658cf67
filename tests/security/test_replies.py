"""Signed calls: no redirect is followed, and a reply that repeats what was sent gives nothing away."""

from __future__ import annotations

from traceback import format_exception
from typing import Any

import boto3
import pytest
from botocore.config import Config

from airflow_cancel_provider.exceptions import ServiceError
from airflow_cancel_provider.services.mrs.auth import AkSkAuth, TokenAuth
from airflow_cancel_provider.services.mrs.client import MrsClient
from airflow_cancel_provider.services.mrs.service import MrsJobService
from airflow_cancel_provider.services.retry import Patience
from tests.fuzz.test_replies import KINDS
from tests.security.places import Echo

SECRET, TOKEN = "PLANTED-secret-access-key", "PLANTED-session-token/with+odd=signs"
PASSWORD = "PLANTED-proxy-password"
AT_ONCE = Patience(seconds=0.0, first_pause=0.0, longest_pause=0.0)
SERVICES = [*KINDS, "mrs"]


def opened(name: str, url: str, token: str = TOKEN) -> tuple[Any, list[Any]]:
    """A service at this address, with planted credentials, and jobs of it."""
    if name == "mrs":
        client = MrsClient(url, "0123456789abcdef", AkSkAuth("PLANTEDKEY", SECRET, security_token=token))
        service: Any = MrsJobService(client, conn_id="mrs_default", patience=AT_ONCE)
        ids, scope = ["6dcc6ee0-22d0-4ba9-8a3c-6e6ea1b04d39"], "demo-cluster-0001"
    else:
        kind, ids, scope = KINDS[name]  # type: ignore[assignment]
        make: Any = boto3.client
        service = kind(
            make(
                name,
                region_name="us-east-1",
                endpoint_url=url,
                aws_access_key_id="PLANTEDKEY",
                aws_secret_access_key=SECRET,
                aws_session_token=token,
                config=Config(retries={"total_max_attempts": 1}),
            ),
            conn_id="aws_default",
            patience=AT_ONCE,
        )
    return service, [service.address(each, scope) for each in ids]


def words_of(service: Any, jobs: list[Any]) -> list[str]:
    """All that is said of a description, a listing and a cancel that fail."""
    said = []
    for call in (lambda: service.describe(jobs), lambda: list(service.claims(jobs[0].scope or "queue"))):
        with pytest.raises(ServiceError) as raised:
            call()
        said += [str(raised.value), repr(raised.value), "".join(format_exception(raised.value))]
    results = service.cancel(jobs, "why")
    return said + [text for result in results for text in (str(result), repr(result), str(result.as_json()))]


@pytest.mark.parametrize("name", SERVICES)
def test_a_reply_that_repeats_the_request_gives_no_secret_away(name: str) -> None:
    with Echo() as server:
        service, jobs = opened(name, server.url)
        said = words_of(service, jobs)
        assert server.seen
    for secret in (SECRET, TOKEN):
        assert not [text for text in said if secret in text]


@pytest.mark.parametrize("name", KINDS)
def test_a_token_that_is_no_header_is_not_shown(name: str) -> None:
    """Variables of an environment that were made of a file may end in a line break."""
    with Echo() as server:
        said = words_of(*opened(name, server.url, f"{TOKEN}\n"))
    assert not [text for text in said if TOKEN in text]


@pytest.mark.parametrize("name", [*SERVICES, "mrs login"])
@pytest.mark.parametrize(
    "proxy",
    [
        f"http://user:{PASSWORD}/@127.0.0.1:9",
        f"http://user:{PASSWORD}#@127.0.0.1:9",
        f"http://user:{PASSWORD}?@127.0.0.1:9",
        f"socks5://user:{PASSWORD}@127.0.0.1:9",
        f"http://user:{PASSWORD}@127.0.0.1:9",
        f"http://user:{PASSWORD} @127.0.0.1:9",
    ],
)
def test_a_proxy_that_is_set_wrongly_gives_no_password_away(
    name: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for scheme in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(scheme, proxy)
    service, jobs = opened(name.partition(" ")[0], "https://service.example")
    if name == "mrs login":
        login = TokenAuth("https://iam.example", "demo", "pw", "demo-domain", project_id="0123456789abcdef")
        client = MrsClient("https://service.example", "0123456789abcdef", login)
        service = MrsJobService(client, conn_id="mrs_default", patience=AT_ONCE)
    said = words_of(service, jobs)
    assert not [text for text in said if PASSWORD in text]


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(name: str, status: int) -> None:
    with Echo() as elsewhere, Echo(status, f"{elsewhere.url}/elsewhere") as server:
        service, jobs = opened(name, server.url)
        words_of(service, jobs)
        assert server.seen
        assert elsewhere.seen == []
