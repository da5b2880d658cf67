"""Whether a request can have been carried out, from the error or the reply that ended it."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from botocore.awsrequest import AWSRequest
from botocore.httpsession import URLLib3Session

from airflow_cancel_provider.services.replies import (
    CLOCKS_APART,
    came_over_a_socket,
    earliest_start,
    retry_after,
    was_never_sent,
)
from tests.gateway import certificate

Act = Callable[[socket.socket], None]


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Starts a server that does something to each connection; its address."""
    listeners: list[socket.socket] = []

    def start(act: Act, context: ssl.SSLContext | None = None) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with suppress(OSError), connection:
                    if context is None:
                        act(connection)
                        continue
                    with context.wrap_socket(connection, server_side=True) as inside:
                        act(inside)

        threading.Thread(target=run, daemon=True).start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for each in listeners:
        each.close()


def error_of(url: str, client: str, **options: Any) -> BaseException:
    """What a client makes of a server."""
    send = send_with_requests if client == "requests" else send_with_botocore
    with pytest.raises(Exception) as caught:  # noqa: PT011  each client has its own
        send(url, **options)
    return caught.value


def send_with_requests(url: str, **options: Any) -> None:
    requests.post(url, data=b"x" * 1000, timeout=10, **options)


def send_with_botocore(url: str, **options: Any) -> None:
    URLLib3Session(timeout=10, **options).send(AWSRequest("POST", url, data=b"x" * 1000).prepare())


def read_all(connection: socket.socket) -> None:
    seen = b""
    while not seen.endswith(b"x" * 1000):
        seen += connection.recv(4096)


def hang_up(connection: socket.socket) -> None:
    connection.recv(1)


def answer_half(connection: socket.socket) -> None:
    read_all(connection)
    connection.sendall(b"HTTP/1.1 2")


def answer_nonsense(connection: socket.socket) -> None:
    read_all(connection)
    connection.sendall(b"SSH-2.0-OpenSSH_9\r\n\r\n")


@pytest.mark.parametrize("client", ["requests", "botocore"])
@pytest.mark.parametrize("act", [read_all, hang_up, answer_half, answer_nonsense])
@pytest.mark.parametrize("tls", [False, True])
def test_what_was_read_may_have_been_carried_out(
    serve: Callable[..., str], tmp_path: Path, client: str, act: Act, tls: bool
) -> None:
    context, scheme, options = None, "http", dict[str, str]()
    if tls:
        context, scheme = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), "https"
        own = certificate(tmp_path, "own")
        context.load_cert_chain(*own)
        options = {"verify": own[0]}
    error = error_of(f"{scheme}://{serve(act, context)}/", client, **options)
    assert not was_never_sent(error)


@pytest.mark.parametrize("client", ["requests", "botocore"])
def test_a_proxy_that_does_not_let_through_has_sent_nothing(serve: Callable[..., str], client: str) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    proxy = {"https": f"http://{serve(refuse)}"}
    assert was_never_sent(error_of("https://batch.invalid/", client, proxies=proxy))


@pytest.mark.parametrize("client", ["requests", "botocore"])
@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://no-such-host.invalid/"])
def test_without_a_connection_nothing_is_sent(client: str, url: str) -> None:
    assert was_never_sent(error_of(url, client))


@pytest.mark.parametrize("client", ["requests", "botocore"])
def test_a_certificate_that_is_not_trusted(serve: Callable[..., str], tmp_path: Path, client: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate(tmp_path, "own"))
    assert was_never_sent(error_of(f"https://{serve(read_all, context)}/", client))


def test_a_client_whose_certificate_is_refused_has_been_heard_by_nobody() -> None:
    refused, broken = ssl.SSLError(1, "no"), ssl.SSLError(1, "no")
    refused.reason, broken.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED", "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"
    assert was_never_sent(refused)
    assert not was_never_sent(broken)
    for reason in (
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "TLSV1_ALERT_UNKNOWN_CA",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
    ):
        broken.reason = reason
        assert was_never_sent(broken)


def test_a_function_of_the_users_that_is_called_connect_proves_nothing() -> None:
    def connect() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError) as caught:
        connect()
    assert not was_never_sent(caught.value)


def test_a_reply_of_a_server_and_one_of_a_double(serve: Callable[..., str]) -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    url = f"http://{serve(answer)}/"
    assert came_over_a_socket(requests.get(url, timeout=10))
    assert came_over_a_socket(URLLib3Session().send(AWSRequest("GET", url).prepare()))
    for raw in (None, SimpleNamespace(), object()):
        assert not came_over_a_socket(SimpleNamespace(raw=raw))
    assert not came_over_a_socket(object())


@pytest.mark.parametrize("name", ["Date", "date", "DATE"])
def test_the_services_clock(name: str) -> None:
    headers = {"x": "y", name: "Sat, 28 Nov 2026 15:00:10 GMT"}
    assert earliest_start(headers, 3.0) == 1_795_878_010 - 5.0


@pytest.mark.parametrize(
    "date",
    [None, "", "soon", "0", "Thu, 01 Jan 1970 00:00:01 GMT", "Mon, 01 Jan 0001 00:00:00 -0000", "9" * 400],
)
def test_a_date_that_no_service_has_lets_no_older_job_of_others_count_as_ours(date: str | None) -> None:
    headers = {} if date is None else {"Date": date}
    assert earliest_start(headers, 3.0) >= time.time() + CLOCKS_APART - 60


DATE = "Mon, 30 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    "asked, seconds",
    [
        ("7", 7),
        (" 07 ", 7),
        ("0", 0),
        ("Mon, 30 Nov 2026 10:00:07 GMT", 7),
        ("Mon, 30 Nov 2026 09:59:00 GMT", 0),
        ("soon", 0),
        ("-7", 0),
        ("1e999", 0),
        ("nan", 0),
        ("", 0),
        ("9" * 400, 999_999_999),
    ],
)
def test_for_how_long_a_reply_asks_to_wait(asked: str, seconds: float) -> None:
    """A time counts by the service's own clock."""
    assert retry_after({"Retry-After": asked, "Date": DATE}) == seconds
    assert retry_after({"retry-after": asked, "date": DATE}) == seconds
    assert retry_after({"Date": DATE}) == 0


def test_milliseconds_of_aws() -> None:
    assert retry_after({"x-amz-retry-after": "1500", "Retry-After": "7"}) == 1.5
    assert retry_after({"x-amz-retry-after": "soon", "Retry-After": "7"}) == 7
