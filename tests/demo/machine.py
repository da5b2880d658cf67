"""The demo's processes: a local cloud and an Airflow, in a folder of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from airflow_cancel_provider.services.registry import SERVICES
from tests.demo.places import connections, create_places
from tests.real_airflow.processes import Processes, free_port
from tests.real_airflow.rest import AirflowRest
from tests.real_airflow.system import REPOSITORY, AirflowSystem

DAG_FOLDERS = (REPOSITORY / "example_dags", REPOSITORY / "tests" / "demo" / "dags")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class CloudProcess:
    """The local cloud, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        self._processes = Processes(folder, environment)
        self._ready = folder / "cloud.url"
        self._session = requests.Session()
        self._session.trust_env = False
        self.url = ""

    def start(self) -> None:
        """Return when it answers."""
        options = ["--port", str(free_port()), "--ready-file", str(self._ready)]
        self._processes.start("cloud", [sys.executable, "-m", "tests.cloud", *options])
        deadline = time.monotonic() + 60
        while not self._ready.exists():
            self._processes.check()
            if time.monotonic() > deadline:
                raise TimeoutError("the local cloud did not start within 60 s")
            time.sleep(0.1)
        self.url = self._ready.read_text()

    def stop(self) -> None:
        """End it."""
        self._session.close()
        self._processes.stop_all()

    def jobs(self) -> list[dict[str, Any]]:
        """The truth about every job."""
        jobs: list[dict[str, Any]] = self._control("GET", "jobs")
        return jobs

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Change settings of services."""
        self._control("PUT", "settings", json=settings)

    def _control(self, method: str, path: str, **options: Any) -> Any:
        answer = self._session.request(method, f"{self.url}/_cloud/{path}", timeout=30, **options)
        answer.raise_for_status()
        return answer.json()


@dataclass(frozen=True)
class Machine:
    """All that is up: ``places`` are the ids that scenarios need."""

    cloud: CloudProcess
    airflow: AirflowSystem
    places: Mapping[str, str]

    @property
    def rest(self) -> AirflowRest:
        """Airflow's REST API."""
        return self.airflow.rest


@contextlib.contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """The local cloud and Airflow, up within the ``with`` block."""
    with contextlib.ExitStack() as stack:
        cloud = CloudProcess(folder)
        stack.callback(cloud.stop)
        stack.callback(ignore_signals)
        cloud.start()
        print(f"Local cloud: {cloud.url}", flush=True)
        # Cancels that take some seconds, as real ones do.
        cloud.configure({name: {"cancel": 3.0} for name in SERVICES})
        places = create_places(cloud.url)
        kept = connections(cloud.url)
        airflow = AirflowSystem(folder, _dags(folder), settings(), connections=kept)
        stack.callback(airflow.stop)
        stack.callback(ignore_signals)
        airflow.start()
        print(f"Airflow:     {airflow.url}", flush=True)
        yield Machine(cloud, airflow, places)


def settings() -> dict[str, str]:
    """Dags that are not guarded, and a name for the reaper to know its jobs by."""
    return {
        "AIRFLOW__CANCEL_PROVIDER__EXCEPT_DAGS": "unguarded_*",
        "AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT": "demo",
    }


def _dags(folder: Path) -> Path:
    together = folder / "dags"
    for each in DAG_FOLDERS:
        shutil.copytree(each, together, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return together


def ignore_signals() -> None:
    """From now on let nothing disturb the ending of the processes."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
