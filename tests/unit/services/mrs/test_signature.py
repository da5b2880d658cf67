"""SDK-HMAC-SHA256: the vendor's example, and the local cloud's own check."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from airflow_cancel_provider.services.mrs.signature import canonical_request, signed_headers
from tests.cloud import huawei_signature

# The example of the vendor's signing guide: a documentation key that opens nothing.
ACCESS, SECRET = "QTWAOYTTINDUT2QVKYUC", "MFyfvK41ba2giqM7Uio6PznpdUKGpownRZlmVmHc"
URL = (
    "https://service.region.example.com/v1/77b6a44cba5143ab91d13ab9a8ff44fd/vpcs"
    "?limit=2&marker=13551d6b-755d-4757-b956-536f674975c0"
)
AT = datetime(2019, 11, 15, 3, 36, 55, tzinfo=UTC)


def test_the_vendors_example() -> None:
    headers = signed_headers("GET", URL, {"content-type": "application/json"}, b"", ACCESS, SECRET, AT)
    assert headers["X-Sdk-Date"] == "20191115T033655Z"
    assert headers["Host"] == "service.region.example.com"
    assert headers["Authorization"] == (
        f"SDK-HMAC-SHA256 Access={ACCESS}, SignedHeaders=content-type;host;x-sdk-date, "
        "Signature=7be6668032f70418fcc22abc52071e57aff61b84a1d2381bb430d6870f4f6ebe"
    )
    headers.pop("Authorization")
    canonical, _ = canonical_request("GET", URL, headers, b"")
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    assert digest == "b25362e603ee30f4f25e7858e8a7160fd36e803bb2dfe206278659d71a9bcd7a"


def test_the_callers_headers_are_left_alone() -> None:
    given_headers = {"Content-Type": "application/json"}
    signed_headers("GET", URL, given_headers, b"", ACCESS, SECRET, AT)
    assert given_headers == {"Content-Type": "application/json"}


def _received(method: str, url: str, headers: dict[str, str], body: bytes) -> Request:
    builder = EnvironBuilder(method=method, path="/", headers=headers, data=body)
    environ = builder.get_environ()
    host, _, rest = url.removeprefix("http://").partition("/")
    environ["REQUEST_URI"], environ["HTTP_HOST"] = f"/{rest}", host
    return Request(environ)


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(
    method=st.sampled_from(["GET", "POST", "DELETE"]),
    path=st.lists(words, max_size=4),
    query=st.lists(
        st.tuples(words, st.text(st.characters(exclude_categories=["Cs"]), max_size=8)), max_size=4
    ),
    body=st.binary(max_size=40),
)
def test_another_implementation_agrees(
    method: str, path: list[str], query: list[tuple[str, str]], body: bytes
) -> None:
    url = "http://localhost:8080/" + "/".join(quote(part, safe="") for part in path)
    if query:
        url += "?" + "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in query)
    named = {"Content-Type": "application/json", "X-Project-Id": "p"}
    headers = signed_headers(method, url, named, body, "A", "s3cret", datetime.now(UTC))
    huawei_signature.check(_received(method, url, headers, body), "s3cret")


@pytest.mark.parametrize("change", ["secret", "body", "query", "project", "time"])
def test_whatever_is_changed_the_signature_no_longer_fits(change: str) -> None:
    url, body = "http://localhost/v2/p/jobs?a=1", b"{}"
    at = datetime.now(UTC) if change != "time" else AT
    headers = signed_headers("POST", url, {"X-Project-Id": "p"}, body, "A", "s3cret", at)
    secret = "other" if change == "secret" else "s3cret"
    body = b"{ }" if change == "body" else body
    url = url.replace("a=1", "a=2") if change == "query" else url
    headers["X-Project-Id"] = "q" if change == "project" else "p"
    with pytest.raises(huawei_signature.BadSignature):
        huawei_signature.check(_received("POST", url, headers, body), secret)
