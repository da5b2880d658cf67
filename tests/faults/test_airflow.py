"""Airflow's database and API server are away while a task is killed: real Airflow processes."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cloud import LocalCloud
from tests.faults.conftest import Observe
from tests.faults.ground import until
from tests.faults.line import Line
from tests.matrix.ground import environment
from tests.matrix.postgres import binaries, postgres
from tests.real_airflow.system import AirflowSystem, airflow_system

pytestmark = [pytest.mark.slow, pytest.mark.airflow, pytest.mark.timeout(400)]

DAG = "submit_and_wait"
AWAY_SECONDS = 30.0


@dataclass
class Place:
    """An Airflow whose database is reached over a line."""

    cloud: LocalCloud
    airflow: AirflowSystem
    database: Line

    def start(self) -> tuple[str, int, str]:
        """A run, the process of its task, and its job."""
        run = self.airflow.rest.trigger(DAG, {})
        file = self.airflow.home / run
        until(lambda: file.exists() or self.airflow.rest.run_state(DAG, run) == "failed", "a job", 120)
        if not file.exists():  # Airflow fails tasks that its API server is too busy to let start
            return self.start()
        seen = json.loads(file.read_text())
        return run, seen["pid"], seen["job"]

    def is_cancelled(self, job: str) -> bool:
        return any(each["cancelled"] for each in self.cloud.batch.jobs() if each["id"] == job)

    def log_of(self, run: str) -> str:
        logs = (self.airflow.home / "logs").rglob("*.log")
        return "".join(each.read_text() for each in logs if f"run_id={run}" in str(each))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    try:
        binaries()
    except RuntimeError as missing:
        pytest.skip(str(missing))
    home = tmp_path_factory.mktemp("airflow")
    with postgres() as url, Line("127.0.0.1", urlsplit(url).port or 0) as line, LocalCloud() as cloud:
        over = url.replace(f":{urlsplit(url).port}/", f":{line.port}/")
        settings = environment(cloud.url, home, guarded=True)
        dags = Path(__file__).with_name("dags")
        with airflow_system(home, dags, settings, database=over) as airflow:
            airflow.rest.wait_for_dags(DAG)
            yield Place(cloud, airflow, line)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_api_server_away(place: Place, observe: Observe, number: signal.Signals) -> None:
    run, pid, job = place.start()
    place.airflow.processes.stop("execution-api", kill=True)
    try:
        os.kill(pid, number)
        until(lambda: place.is_cancelled(job), "a cancel", 30)
    finally:
        place.airflow.start_component("execution-api")
        place.airflow.wait_until_healthy()
    until(lambda: "CANCELLED" in place.log_of(run), "the end in the task's log")
    observe(
        f"The API server of tasks is away, {number.name} to the task",
        "ends; its supervisor reports that as it would without us",
        "by the sentinel, within seconds",
        "how the job ended, in the task's log file",
    )


def test_database_away(place: Place, observe: Observe) -> None:
    run, pid, job = place.start()
    place.database.cut()
    began = time.monotonic()
    try:
        os.kill(pid, signal.SIGTERM)
        until(lambda: place.is_cancelled(job), "a cancel", AWAY_SECONDS)
        assert time.monotonic() - began < AWAY_SECONDS
        time.sleep(max(0.0, AWAY_SECONDS - (time.monotonic() - began)))
    finally:
        place.database.mend()
    until(lambda: "CANCELLED" in place.log_of(run), "the end in the task's log")
    assert "Not guarded" not in place.log_of(run)
    observe(
        "The database is away for 30 s, SIGTERM to the task",
        "ends; Airflow records that once the database is back",
        "by the sentinel, while the database is away",
        "how the job ended, in the task's log file",
    )
