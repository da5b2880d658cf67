"""One Airflow: API server, scheduler with its executor, Dag processor, triggerer."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import requests

from tests.real_airflow.processes import Processes, free_port
from tests.real_airflow.rest import AirflowRest

COMPONENTS = ("api-server", "execution-api", "scheduler", "dag-processor", "triggerer")
REPOSITORY = Path(__file__).parents[2]
LOOPBACK = "127.0.0.1"


class AirflowSystem:
    """An Airflow with a home, a database and ports of its own.

    :param home: an empty folder.
    :param dags: folder with the Dags.
    :param environment: settings, as environment variables.
    :param connections: kept in Airflow's database, where people keep them: as the REST API takes them.
    :param database: SQLAlchemy URL; by default SQLite in ``home``, with more patience for a locked database
        than the five seconds after which Airflow's components end.
    :param host: address on which its servers listen.
    :param user: name and password for its REST API; None where the auth manager lets everybody in.
    """

    def __init__(
        self,
        home: Path,
        dags: Path,
        environment: dict[str, str] | None = None,
        *,
        connections: Iterable[Mapping[str, str]] = (),
        database: str | None = None,
        host: str = LOOPBACK,
        user: tuple[str, str] | None = None,
    ) -> None:
        self.home = home
        self._connections = list(connections)
        self.host = host
        self.port = free_port()
        self.execution_port = free_port()
        self.url = f"http://{host}:{self.port}"
        self.rest = AirflowRest(self.url, user)
        self.execution_url = f"http://{host}:{self.execution_port}/execution/"
        settings = _environment(home, dags, database) | {
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": self.execution_url,
            "AIRFLOW__API__BASE_URL": self.url,
            "NO_PROXY": f"{host},127.0.0.1,localhost",
        }
        self.processes = Processes(home, settings | (environment or {}))

    def start(self) -> None:
        """Make the database, start every component and store the connections."""
        self.airflow("db", "migrate")
        for component in COMPONENTS:
            self.start_component(component)
        self.wait_until_healthy()
        self.rest.log_in()
        for connection in self._connections:
            self.rest.add_connection(connection)

    def start_component(self, name: str, instance: str = "") -> None:
        """Start one component; ``instance`` tells a second one of a kind apart."""
        self.processes.start(name + instance, [sys.executable, "-m", "airflow", *self._arguments(name)])

    def _arguments(self, name: str) -> list[str]:
        # What tasks ask for has a server of its own: the one for people waits for SQLite's lock in its event
        # loop (for its audit log), and would wait for a task's request that needs that loop to let go.
        apps = {"api-server": ("core", self.port), "execution-api": ("execution", self.execution_port)}
        if name not in apps:
            return [name]
        app, port = apps[name]
        return ["api-server", "--apps", app, "--port", str(port), "--host", self.host]

    def stop(self) -> None:
        """End everything."""
        self.processes.stop_all()

    def airflow(self, *arguments: str) -> str:
        """Run an ``airflow`` command; return what it printed."""
        return self.processes.run([sys.executable, "-m", "airflow", *arguments])

    def complete(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run an ``airflow`` command, however it ends."""
        return self.processes.complete([sys.executable, "-m", "airflow", *arguments])

    def wait_until_healthy(self) -> None:
        """Wait until every component is there, and tasks are answered, too."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            self.processes.check()
            with contextlib.suppress(
                requests.ConnectionError, requests.Timeout, requests.exceptions.JSONDecodeError
            ):
                if _is_healthy(self.url) and _answers(self.execution_url):
                    return
            time.sleep(0.3)
        raise TimeoutError(f"Airflow is not healthy after 120 s; logs are in {self.home}")


@contextlib.contextmanager
def airflow_system(
    home: Path,
    dags: Path,
    environment: dict[str, str] | None = None,
    *,
    connections: Iterable[Mapping[str, str]] = (),
    database: str | None = None,
    host: str = LOOPBACK,
    user: tuple[str, str] | None = None,
) -> Iterator[AirflowSystem]:
    """An Airflow that runs within the ``with`` block."""
    system = AirflowSystem(
        home, dags, environment, connections=connections, database=database, host=host, user=user
    )
    try:
        system.start()
        yield system
    finally:
        system.stop()


def _answers(url: str) -> bool:
    """Whether anything is answered; the first answer of a server of tasks takes seconds."""
    with requests.Session() as session:
        session.trust_env = False
        return bool(session.get(url, timeout=5).status_code)


def _is_healthy(url: str) -> bool:
    with requests.Session() as session:
        session.trust_env = False
        health = session.get(f"{url}/api/v2/monitor/health", timeout=5).json()
    parts = ("scheduler", "dag_processor", "triggerer", "metadatabase")
    return all(health[part]["status"] == "healthy" for part in parts)


def _environment(home: Path, dags: Path, database: str | None) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    settings = {
        "CORE__DAGS_FOLDER": str(dags),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "8",
        "CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "CORE__TEST_CONNECTION": "Enabled",
        "API__WORKERS": "1",
        "API__SECRET_KEY": secrets.token_urlsafe(32),
        # Airflow 3.0 writes "no issuer" into its tokens where none is set, which PyJWT takes for a wrong one.
        "API_AUTH__JWT_ISSUER": "airflow",
        "API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
        # With fewer, 16 requests at once can stop an API server (https://github.com/apache/airflow/issues/66493).
        "DATABASE__SQL_ALCHEMY_POOL_SIZE": "50",
        "DATABASE__SQL_ALCHEMY_CONN": database or f"sqlite:///{home}/airflow.db?timeout=60",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        # Each round takes a small machine seconds, and the Dags stay as they are.
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
        # Before Airflow 3.3 a callback's run counts as one that has not found the file's Dags.
        "DAG_PROCESSOR__STALE_DAG_THRESHOLD": "3600",
        "LOGGING__LOGGING_LEVEL": "INFO",
        "SCHEDULER__JOB_HEARTBEAT_SEC": "2",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
        "SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2",
        "TRIGGERER__JOB_HEARTBEAT_SEC": "2",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
        "WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
    }
    return {
        **kept,
        "AIRFLOW_HOME": str(home),
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
    }
