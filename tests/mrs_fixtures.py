"""A local MRS, ways to sign in to it, and services over them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_cancel_provider.hooks.mrs import MrsHook
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.services.mrs import auth, submit
from airflow_cancel_provider.services.mrs.auth import AkSkAuth, TokenAuth
from airflow_cancel_provider.services.mrs.client import MrsClient
from airflow_cancel_provider.services.mrs.service import MrsJobService
from airflow_cancel_provider.services.retry import Patience
from tests.cloud.server import LocalCloud

CLUSTER = "demo-cluster-0001"
PROJECT = "0123456789abcdef0123456789abcdef"
QUICK = Patience(seconds=10, first_pause=0.02, longest_pause=0.1)
SHOW = {"v2": "ShowSingleJobExe", "v1.1": "ShowJobExe"}
NONE = Patience(seconds=0.3, first_pause=0.02, longest_pause=0.1)


@pytest.fixture(scope="session")
def mrs_server() -> Iterator[LocalCloud]:
    with LocalCloud() as server:
        yield server


@pytest.fixture
def cloud(mrs_server: LocalCloud) -> LocalCloud:
    """The local cloud as new."""
    mrs_server.renew()
    # Tokens live as long as the process; those of the test before are no longer valid.
    auth._keystone.cache_clear()
    return mrs_server


@pytest.fixture(params=["v2", "v1.1"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["aksk", "password"])
def auth_type(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Opener = Callable[..., MrsJobService]


@pytest.fixture
def open_service(cloud: LocalCloud) -> Opener:
    """Open MRS in a version, with a way to sign in and a patience."""

    def open_it(
        version: str = "v2",
        auth_type: str = "aksk",
        patience: Patience = QUICK,
        timeouts: tuple[float, float] = (5.0, 5.0),
    ) -> MrsJobService:
        identity: AkSkAuth | TokenAuth = AkSkAuth("DEMOACCESSKEY", "demo-secret-key", project_id=PROJECT)
        if auth_type == "password":
            identity = TokenAuth(cloud.url, "demo", "demo-password", "demo-domain", project_id=PROJECT)
        client = MrsClient(cloud.url, PROJECT, identity, api_version=version, timeouts=timeouts)
        return MrsJobService(client, conn_id="mrs_default", patience=patience, lag=0.1)

    return open_it


def submitted(cloud: LocalCloud, count: int = 1, **job: Any) -> list[RemoteJob]:
    """Jobs that are there without a request."""
    ids = [cloud.mrs.add_job(**job) for _ in range(count)]
    cluster = job.get("cluster_id", CLUSTER)
    return [RemoteJob.of("mrs", id_, scope=cluster, conn_id="mrs_default") for id_ in ids]


def truth(cloud: LocalCloud, job: RemoteJob) -> dict[str, Any]:
    """What the cloud knows of a job."""
    return next(known for known in cloud.mrs.jobs() if known["id"] == job.id)


def cancel_operation(version: str) -> str:
    return "StopJob" if version == "v2" else "CancelJobExecution"


def define(
    monkeypatch: pytest.MonkeyPatch, cloud: LocalCloud, conn_id: str = "mrs_default", **changes: Any
) -> None:
    """Define a connection; a change to None takes a field away, standard ones and those of extra alike."""
    values: dict[str, Any] = {
        "conn_type": "huaweicloud_mrs",
        "login": "demo",
        "password": "demo-password",
        "region": "eu-de",
        "endpoint": cloud.url,
        "iam_endpoint": cloud.url,
        "project_id": PROJECT,
        "domain": "demo-domain",
        **changes,
    }
    values = {name: value for name, value in values.items() if value is not None}
    standard = {name: values.pop(name) for name in ("conn_type", "login", "password") if name in values}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({**standard, "extra": values}))


def unknown(id_: str = "00000000-dead-beef-0000-000000000000", cluster: str = CLUSTER) -> RemoteJob:
    return RemoteJob.of("mrs", id_, scope=cluster, conn_id="mrs_default")


@pytest.fixture
def hook(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> MrsHook:
    define(monkeypatch, cloud)
    monkeypatch.setattr(submit, "PAUSE", 0.1)
    return MrsHook(patience=QUICK)
