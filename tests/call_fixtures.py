"""A task's calls over the real SDK, as the guard sees them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.capture_fixtures import (
    application,
    client,
    start,
    submit,
)
from tests.cloud.server import LocalCloud
from tests.gateway import Gateway


@pytest.fixture
def gateway(cloud: LocalCloud) -> Iterator[Gateway]:
    with Gateway(cloud.url) as server:
        yield server


def batch(gateway: Gateway, cloud: LocalCloud, retries: int = 2) -> Callable[[], Any]:
    made = client(cloud, "batch", retries, endpoint_url=gateway.url)
    return lambda: submit(made)


def run(gateway: Gateway, cloud: LocalCloud, retries: int = 2) -> Callable[[], Any]:
    app = application(client(cloud, "emr-serverless"))
    made = client(cloud, "emr-serverless", retries, endpoint_url=gateway.url)
    return lambda: start(made, app)


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
