"""Airflow's own tables, in SQLite, and an API server over them with our endpoint and Airflow's own login."""

from __future__ import annotations

import functools
import json
import os
import shutil
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import requests
import uvicorn
from fastapi import FastAPI
from sqlalchemy import create_engine
from sqlalchemy.engine import Engine
from sqlalchemy.orm import sessionmaker

from airflow_cancel_provider.owner import release_key
from airflow_cancel_provider.plugin import RemoteJobsPlugin
from airflow_cancel_provider.reaper.backends.base import Airflow
from airflow_cancel_provider.reaper.backends.database import Database
from airflow_cancel_provider.reaper.backends.rest import Rest
from airflow_cancel_provider.settings import Settings

with warnings.catch_warnings():
    # What Airflow's API server imports warns of its own dependencies.
    warnings.simplefilter("ignore")
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

READABLE = "dag"
"""The one Dag that the user "limited" may read."""


class Tables:
    """Airflow's tables, empty at first."""

    def __init__(self, engine: Engine) -> None:
        from airflow.models.dag import DagModel
        from airflow.models.dagbundle import DagBundleModel
        from airflow.models.taskinstance import TaskInstance
        from airflow.models.taskinstancehistory import TaskInstanceHistory
        from airflow.models.variable import Variable

        self.engine = engine
        self._current, self._history = TaskInstance.__table__, TaskInstanceHistory.__table__
        self._variables, self._dags = Variable.__table__, DagModel.__table__
        self._insert(DagBundleModel.__table__, name="dags", active=True)

    def current(self, ti_id: UUID, state: str | None, **names: Any) -> None:
        """A task's present try."""
        self._insert(self._current, id=self._as_id(ti_id), state=state, **self._names(names))

    def history(self, ti_id: UUID, state: str, **names: Any) -> None:
        """A try before that."""
        self._insert(self._history, task_instance_id=self._as_id(ti_id), state=state, **self._names(names))

    def delete_run(self) -> None:
        """Delete all tries, as the deletion of their run does."""
        with self.engine.begin() as connection:
            connection.execute(self._history.delete())
            connection.execute(self._current.delete())

    def clean_history(self) -> None:
        """Delete the earlier tries, as ``airflow db clean --tables task_instance_history`` does."""
        with self.engine.begin() as connection:
            connection.execute(self._history.delete())

    def dag(self, dag_id: str) -> None:
        """A Dag that Airflow has."""
        stale = {"is_paused": False, "is_stale": False, "has_import_errors": False}
        known = {column.name for column in self._dags.columns}
        usual = {
            "max_active_tasks": 1,
            "max_consecutive_failed_dag_runs": 0,
            "has_task_concurrency_limits": False,
            "bundle_name": "dags",
            "fileloc": "",
        }
        values = {name: value for name, value in (stale | usual).items() if name in known}
        self._insert(self._dags, dag_id=dag_id, **values)

    def release(self, ti_id: UUID, *jobs: str, is_all: bool = False) -> None:
        """What a try has released."""
        at = "2026-01-01T00:00:00+00:00"
        value = {"all": is_all, "jobs": list(jobs), "at": at, "task": "dag / run / task"}
        self.variable(release_key(ti_id), json.dumps(value))

    def variable(self, key: str, value: str) -> None:
        """An Airflow Variable."""
        self._insert(self._variables, key=key, val=value, is_encrypted=False)

    def _as_id(self, ti_id: UUID) -> Any:
        # Text up to Airflow 3.2.
        try:
            is_text = self._current.c.id.type.python_type is str
        except NotImplementedError:
            is_text = True
        return str(ti_id) if is_text else ti_id

    def _insert(self, table: Any, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(table.insert().values(**values))

    def _names(self, names: dict[str, Any]) -> dict[str, Any]:
        usual = {"dag_id": "dag", "run_id": "run", "task_id": "task", "map_index": -1, "try_number": 1}
        return {**usual, "pool": "default_pool", **names}


@functools.cache
def empty_database() -> Path:
    """All tables of Airflow, to be copied; in this process's Airflow home, which is removed at its end."""
    from airflow.models import import_all_models
    from airflow.models.base import Base

    import_all_models()  # type: ignore[no-untyped-call]  # which refer to each other
    path = Path(os.environ["AIRFLOW_HOME"]) / "empty.db"
    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()
    return path


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Tables]:
    """Empty tables, in the place of Airflow's database."""
    from airflow import settings

    shutil.copy(empty_database(), tmp_path / "airflow.db")
    engine = create_engine(f"sqlite:///{tmp_path / 'airflow.db'}", connect_args={"check_same_thread": False})
    monkeypatch.setattr(settings, "Session", sessionmaker(engine))
    yield Tables(engine)
    engine.dispose()


class StrictAuthManager(SimpleAuthManager):
    """Like Airflow's simple one, but the user "limited" may read one Dag only, as with FAB's permissions."""

    def is_authorized_dag(self, *, user: Any, details: Any = None, **more: Any) -> bool:
        if user.username != "limited":
            return super().is_authorized_dag(user=user, details=details, **more)
        if details is not None and details.id:
            return bool(details.id == READABLE)
        return more.get("access_entity") is not None


@dataclass
class ApiServer:
    """An API server that has nothing but our endpoint and a login."""

    url: str
    manager: Any
    passwords: dict[str, str]

    def token(self, username: str, role: str | None = "viewer", **more: Any) -> str:
        """A token of Airflow's own."""
        user = SimpleAuthManagerUser(username=username, role=role)
        return str(self.manager.generate_jwt(user, **more))

    def ask(self, body: Any, token: str | None = None, **more: Any) -> requests.Response:
        """Ask the endpoint; a body that is no text or bytes is sent as JSON."""
        data = body if isinstance(body, (str, bytes)) else json.dumps(body)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"{self.url}/remote-jobs/v1/owners"
        return requests.post(url, data=data, headers=headers, timeout=30, allow_redirects=False, **more)

    def airflow(self, username: str = "reaper", role: str = "viewer") -> Rest:
        """The API server as a reaper has it."""
        name = Settings.read().deployment
        return Rest(self.url, deployment=name, token=self.token(username, role))


@pytest.fixture
def api_server(tables: Tables, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ApiServer]:
    """An API server over the tables."""
    from airflow.api_fastapi import app as airflow_app

    del tables
    passwords = tmp_path / "passwords.json"
    for name, value in {
        "AIRFLOW__CORE__AUTH_MANAGER": f"{__name__}.StrictAuthManager",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "reaper:viewer,limited:viewer",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        # Airflow 3.0 writes "no issuer" into its tokens where none is set, which PyJWT takes for a wrong one.
        "AIRFLOW__API_AUTH__JWT_ISSUER": "airflow",
        "AIRFLOW__API_AUTH__JWT_SECRET": "a secret that is long enough " * 3,
    }.items():
        monkeypatch.setenv(name, value)
    root = FastAPI()
    for each in RemoteJobsPlugin.fastapi_apps:
        root.mount(each["url_prefix"], each["app"])
    manager = airflow_app.init_auth_manager(root)
    server = uvicorn.Server(uvicorn.Config(root, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    known = json.loads(passwords.read_text()) if passwords.exists() else {}
    yield ApiServer(f"http://127.0.0.1:{port}", manager, known)
    server.should_exit = True
    thread.join(10)


@pytest.fixture(params=["database", "endpoint"])
def exact(request: pytest.FixtureRequest, tables: Tables) -> Airflow:
    """Each way to ask Airflow."""
    del tables
    if request.param == "database":
        return Database()
    server: ApiServer = request.getfixturevalue("api_server")
    return server.airflow()
