"""What tests of operators, sensors and triggers share: connections, a task instance, a way to defer."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest

from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.triggers.remote_jobs import RemoteJobsTrigger
from airflow_cancel_provider.version_compat import TaskDeferred
from tests.cloud.server import LocalCloud
from tests.dags.kinds import KINDS
from tests.mrs_fixtures import define
from tests.service_fixtures import BENCHES, REGION, Bench

# Where it was before Airflow 3.2, and where it is since.
SERDE: Any = import_module(
    "airflow.sdk.serde" if find_spec("airflow.sdk.serde") else "airflow.serialization.serde"
)

SECRET = "aws-secret-do-not-tell"
MRS_SECRET = "demo-secret-key"
SECRETS = (SECRET, MRS_SECRET)
MRS_KEYS = {"login": "DEMOACCESSKEY", "password": MRS_SECRET, "auth_type": "aksk", "domain": None}


class MrsBench(Bench):
    """MRS among the benches of the AWS services."""

    name = "mrs"
    one_by_one = True
    cancel_operations = ("StopJob",)
    iam_action = "mrs:cluster:stopJob"
    success, cancelled = "SUCCEEDED", "KILLED"

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.local = cloud.mrs
        self.local.configure({"submitted": 0, "pending": 0, "starting": 0, "cancel": 20})
        overrides = {"pending*": {"pending": 1e6}, "endless*": {"cancel": 1e6}}
        self.local.configure({"overrides": overrides})
        self._clusters = 0

    def close(self) -> None:
        pass

    def new_scope(self) -> str:
        self._clusters += 1
        return str(self.local.register_cluster(f"cluster-{self._clusters}"))

    def submit(self, name: str, count: int = 1, scope: str | None = None) -> list[RemoteJob]:
        scope = scope or self.new_scope()
        return [self.address(self.local.add_job(scope, name), scope) for _ in range(count)]

    def unknown(self, scope: str | None = None) -> RemoteJob:
        return self.address(str(uuid4()), scope or self.new_scope())

    def address(self, id: str, scope: str | None = None) -> RemoteJob:
        return RemoteJob.of("mrs", id, scope=scope, conn_id="mrs_default")

    def many(self) -> list[RemoteJob]:
        raise NotImplementedError


ALL: tuple[type[Bench], ...] = (*BENCHES, MrsBench)


@pytest.fixture
def connections(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default connections, to the local cloud; others are defined nowhere, the database included."""
    make_database()
    connect_aws(monkeypatch, cloud)
    define(monkeypatch, cloud, **MRS_KEYS)


@pytest.fixture(params=ALL, ids=lambda bench: str(bench.name))
def bench(request: pytest.FixtureRequest, cloud: LocalCloud, connections: None) -> Iterator[Bench]:  # noqa: ARG001
    """Every service in turn; a cancel takes a tenth of a second."""
    bench: Bench = request.param(cloud)
    bench.local.configure({"cancel": 0.1})
    yield bench
    bench.close()


@pytest.fixture
def shown_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a service does not show at once does not exist."""
    monkeypatch.setattr("airflow_cancel_provider.watch.UNSEEN_SECONDS", 0.0)


@functools.cache
def make_database() -> None:
    """Make what of Airflow's metadata database connections need: in a second instead of ten."""
    from airflow import settings
    from airflow.models.connection import Connection

    table: Any = Connection.__table__
    parents = {key.column.table for key in table.foreign_keys}
    Connection.metadata.create_all(settings.engine, tables=[*parents, table])


def connect_aws(
    monkeypatch: pytest.MonkeyPatch, cloud: LocalCloud, conn_id: str = "aws_default", **changes: Any
) -> None:
    """Define an ``aws`` connection; a change to None takes a field away, standard ones and those of extra."""
    retries = {"retries": {"mode": "standard", "total_max_attempts": 2}}
    values = {
        "conn_type": "aws",
        "login": "DEFAULTKEY",
        "password": SECRET,
        "region_name": REGION,
        "endpoint_url": cloud.url,
        "config_kwargs": retries,
        **changes,
    }
    values = {name: value for name, value in values.items() if value is not None}
    standard = {name: values.pop(name) for name in ("conn_type", "login", "password") if name in values}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({**standard, "extra": values}))


@dataclass
class TaskInstance:
    """What of a task instance is used here."""

    dag_id: str = "nightly"
    run_id: str = "manual__2026"
    task_id: str = "stop"
    map_index: int = -1
    try_number: int = 1
    id: UUID = field(default_factory=uuid4)
    pushed: dict[str, Any] = field(default_factory=dict)
    state: str | None = None
    start_date: ClassVar[None] = None

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def get_first_reschedule_date(self, _: Any) -> None:
        return None


def context(**changes: Any) -> Any:
    """The context of a task."""
    return {"ti": TaskInstance(**changes)}


def targets(jobs: list[RemoteJob]) -> dict[str, Any]:
    """Parameters that name jobs of one place by their ids."""
    kind = KINDS[jobs[0].service]
    ids = {kind.ids: [job.id for job in jobs]}
    return {**ids, kind.scope: jobs[0].scope} if kind.scope else ids


def operator(service: str, **options: Any) -> Any:
    """A cancel operator that polls often."""
    return KINDS[service].cancel(
        **{
            "task_id": "stop",
            "waiter_delay": 0.05,
            "waiter_max_attempts": 100,
            "deferrable": False,
            **options,
        }
    )


def sensor(service: str, **options: Any) -> Any:
    """A sensor that polls often."""
    return KINDS[service].sensor(**{"task_id": "stop", "poke_interval": 0.05, "timeout": 10, **options})


def through_serde(value: Any) -> Any:
    """What is left of a value after Airflow stored it."""
    return SERDE.deserialize(json.loads(json.dumps(SERDE.serialize(value))))


def moved(trigger: Any) -> RemoteJobsTrigger:
    """The same trigger in another process."""
    path, kwargs = trigger.serialize()
    assert path == f"{RemoteJobsTrigger.__module__}.RemoteJobsTrigger"
    return RemoteJobsTrigger(**through_serde(kwargs))


async def event_of(trigger: RemoteJobsTrigger) -> dict[str, Any]:
    """What a trigger fires."""
    async for event in trigger.run():
        payload: dict[str, Any] = event.payload
        return payload
    raise AssertionError("The trigger ended without an event.")


def run(make: Callable[[], Any], ctx: Any) -> Any:
    """Execute a task as Airflow does: where it defers, in a triggerer, and then in a new process."""
    try:
        return make().execute(ctx)
    except TaskDeferred as deferral:
        event = asyncio.run(event_of(moved(deferral.trigger)))
        return make().resume_execution(deferral.method_name, {"event": through_serde(event)}, ctx)
