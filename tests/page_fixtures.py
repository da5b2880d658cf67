"""The page as browsers ask for it, over Airflow's own tables, and a service in memory behind it."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests

from airflow_cancel_provider.ends_on_record import ENDS_KEY
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.plugin.page import states
from airflow_cancel_provider.record import RECORD_KEY, TryRecord, TryState
from tests.mark_fixtures import own_queue
from tests.memory_service import Memory
from tests.reaper_airflow import ApiServer, Tables, api_server, tables

__all__ = ["api_server", "memory", "page", "tables"]

DEPLOYMENT = "production"


class Page:
    """The page, and what users send from it."""

    def __init__(self, server: ApiServer, tables: Tables) -> None:
        self.server = server
        self.tables = tables
        self.url = f"{server.url}/remote-jobs"
        self._runs: dict[tuple[str, str], int] = {}

    # ---- what is in Airflow's tables

    def put(
        self,
        *jobs: RemoteJob,
        ti_state: str | None = "running",
        state: TryState = TryState.RUNNING,
        record: TryRecord | None = None,
        age: float = 60.0,
        **names: Any,
    ) -> UUID:
        """A task instance whose present try has started these jobs; the try's id."""
        ti_id = record.ti_id if record else uuid4()
        started = {job: time.time() - age for job in jobs}
        record = record or TryRecord(ti_id, state, jobs, submitted=started)
        self.put_many([(ti_id, ti_state, record, names)])
        return ti_id

    def put_many(self, rows: list[tuple[UUID, str | None, TryRecord, dict[str, Any]]]) -> None:
        """Many task instances, each with the record of its try."""
        from airflow.models.taskinstance import TaskInstance
        from airflow.models.xcom import XComModel

        tries, xcoms = [], []
        for ti_id, ti_state, record, names in rows:
            named = self.tables._names(names)
            key = {name: named[name] for name in ("dag_id", "run_id", "task_id", "map_index")}
            number = self._runs.setdefault((named["dag_id"], named["run_id"]), len(self._runs) + 1)
            tries.append({"id": self.tables._as_id(ti_id), "state": ti_state, **named})
            at = datetime(2026, 11, 20, 12, tzinfo=UTC)
            value = record.as_json()
            xcoms.append({"dag_run_id": number, "key": RECORD_KEY, "value": value, "timestamp": at, **key})
        with self.tables.engine.begin() as connection:
            connection.execute(TaskInstance.__table__.insert(), tries)
            connection.execute(XComModel.__table__.insert(), xcoms)

    def put_ends(self, value: Any, **names: Any) -> None:
        """Write XCom ``remote_jobs_ended`` of a task instance that is there."""
        from airflow.models.xcom import XComModel

        named = self.tables._names(names)
        key = {name: named[name] for name in ("dag_id", "run_id", "task_id", "map_index")}
        number = self._runs[(named["dag_id"], named["run_id"])]
        at = datetime(2026, 11, 20, 12, tzinfo=UTC)
        row = {"dag_run_id": number, "key": ENDS_KEY, "value": value, "timestamp": at, **key}
        with self.tables.engine.begin() as connection:
            connection.execute(XComModel.__table__.insert(), [row])

    def events(self) -> list[tuple[str, str, str, dict[str, Any]]]:
        """The event log: event, user, task, and what else it says."""
        from airflow.models.log import Log
        from sqlalchemy import select

        columns: Any = (Log.event, Log.owner, Log.task_id, Log.extra)
        with self.tables.engine.connect() as connection:
            rows = connection.execute(select(*columns).order_by(Log.id)).all()
        return [(event, owner, task, json.loads(extra)) for event, owner, task, extra in rows]

    # ---- what a browser does

    def get(self, user: str | None, path: str = "/", role: str | None = "viewer", **more: Any) -> Answer:
        """Load the page."""
        headers = {"Accept": "text/html", **self._cookie(user, role), **more.pop("headers", {})}
        return Answer(requests.get(self.url + path, headers=headers, timeout=60, **more))

    def token(self, user: str, role: str | None = "viewer") -> str:
        """The token that a user's page holds."""
        found = re.search(r'data-token="([^"]+)"', self.get(user, role=role).text)
        assert found
        return found[1]

    def post(
        self,
        user: str | None,
        path: str,
        *jobs: RemoteJob,
        role: str | None = "viewer",
        token: str | None = None,
        body: Any = None,
        site: dict[str, str] | None = None,
        **names: Any,
    ) -> requests.Response:
        """Send what the page's script sends."""
        usual = {"dag_id": "dag", "run_id": "run", "task_id": "task", "map_index": -1}
        body = {"jobs": [{"job": job, **usual, **names} for job in jobs]} if body is None else body
        if token is None and user:
            token = self.token(user, role)
        headers = {
            "Content-Type": "application/json",
            "X-Remote-Jobs-Token": token or "",
            **(site if site is not None else {"Sec-Fetch-Site": "same-origin"}),
            **self._cookie(user, role),
        }
        data = body if isinstance(body, (str, bytes)) else json.dumps(body)
        return requests.post(self.url + path, data=data, headers=headers, timeout=60)

    def cancel(self, user: str, *jobs: RemoteJob, role: str = "op", **more: Any) -> requests.Response:
        """Press the Cancel button."""
        return self.post(user, "/cancel", *jobs, role=role, **more)

    def _cookie(self, user: str | None, role: str | None) -> dict[str, str]:
        return {"Cookie": f"_token={self.server.token(user, role)}"} if user else {}


@dataclass
class Answer:
    """A page that was loaded."""

    response: requests.Response

    @property
    def text(self) -> str:
        return self.response.text

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def jobs(self) -> list[str]:
        """Addresses of the rows, in their order."""
        return [html.unescape(job) for job in re.findall(r'<tr data-job="([^"]+)"', self.text)]

    @property
    def buttons(self) -> int:
        """Cancel buttons."""
        return self.text.count("data-cancel>")

    @property
    def words(self) -> str:
        """What a person reads, on one line."""
        return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", self.text)))


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Memory]:
    with own_queue(monkeypatch) as memory:
        yield memory


@pytest.fixture
def page(tables: Tables, api_server: ApiServer, memory: Memory, monkeypatch: pytest.MonkeyPatch) -> Page:
    """The page of an Airflow without jobs."""
    del memory
    monkeypatch.setenv("AIRFLOW__API__SECRET_KEY", "a secret of all API servers")
    monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT", DEPLOYMENT)
    monkeypatch.setattr(states, "LIVE", states.LiveStates())
    return Page(api_server, tables)
