"""What a run of the matrix stands on: a cloud, an Airflow, a broker, two hosts with a worker each."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.cloud import LocalCloud
from tests.demo.places import connections
from tests.matrix import ground as local
from tests.matrix.ground import DAGS, PRELOAD, Ground, dag_ids
from tests.matrix.postgres import postgres
from tests.matrix.reaper import reaper_command
from tests.matrix_celery.broker import Broker, redis
from tests.matrix_celery.network import HERE, Host, hosts
from tests.matrix_celery.workers import Workers
from tests.real_airflow.system import AirflowSystem, airflow_system

WORKERS = ("worker-1", "worker-2")
HEARTBEAT_TIMEOUT = 30
"""Seconds without a task's heartbeat after which Airflow takes its worker for lost (default: 300)."""


class CeleryGround(Ground):
    """One cloud and one Airflow whose tasks run on hosts of their own."""

    def __init__(
        self,
        cloud: LocalCloud,
        airflow: AirflowSystem,
        machines: dict[str, Host],
        broker: Broker,
        *,
        guarded: bool,
    ) -> None:
        super().__init__(cloud, airflow, guarded=guarded)
        self.hosts, self.broker = machines, broker
        self.workers = Workers(airflow.processes, machines, broker.url)


@contextlib.contextmanager
def ground(*, guarded: bool, reaper: bool, keep: bool = False) -> Iterator[CeleryGround]:
    """A ground for as long as the ``with`` block runs."""
    home = Path(tempfile.mkdtemp(prefix="airflow-cancel-celery-"))
    with contextlib.ExitStack() as stack:
        if not keep:
            stack.callback(shutil.rmtree, home, ignore_errors=True)
        machines = stack.enter_context(hosts(home, *WORKERS))
        database = stack.enter_context(postgres(HERE))
        broker = stack.enter_context(redis(home))
        cloud = stack.enter_context(LocalCloud(HERE))
        settings = environment(cloud.url, home, database, guarded=guarded)
        kept = connections(cloud.url)
        airflow = stack.enter_context(
            airflow_system(home, DAGS, settings, connections=kept, database=database, host=HERE)
        )
        up = CeleryGround(cloud, airflow, machines, broker, guarded=guarded)
        stack.callback(up.close)
        up.workers.start(*WORKERS)
        airflow.rest.wait_for_dags(*dag_ids())
        if reaper:
            airflow.processes.start("reaper", reaper_command())
        yield up


def environment(url: str, home: Path, database: str, *, guarded: bool) -> dict[str, str]:
    """Airflow's settings; what a lost worker and a lost scheduler are known by is shortened."""
    modules = [line.removeprefix("import ") for line in PRELOAD.splitlines()]
    return {
        **local.environment(url, home, guarded=guarded),
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CELERY__BROKER_URL": Broker.url,
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{database}",
        # Workers import these before they fork, as the scheduler does elsewhere.
        "AIRFLOW__CELERY__EXTRA_CELERY_CONFIG": json.dumps({"imports": modules}),
        "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "86400",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(HEARTBEAT_TIMEOUT),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    }
