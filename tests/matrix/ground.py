"""What a run of the matrix stands on: a cloud, an Airflow with or without the guard."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from tests.cloud import LocalCloud
from tests.demo.places import REGION, connections
from tests.matrix.dags.timings import MODES, SHAPE_NAMES
from tests.matrix.postgres import postgres
from tests.matrix.reaper import DEPLOYMENT, reaper_command
from tests.real_airflow.rest import AirflowRest
from tests.real_airflow.system import AirflowSystem, airflow_system
from tests.real_airflow.world import World

DAGS = Path(__file__).with_name("dags")
GUARD = "from airflow_cancel_provider.plugin import RemoteJobsPlugin\n"
# The scheduler reads plugins before it forks the processes of tasks: what is imported once here need not
# be imported by hundreds of tasks on a small machine.
PRELOAD = """import airflow.providers.amazon.aws.operators.batch
import airflow.providers.amazon.aws.operators.emr
import airflow.providers.amazon.aws.operators.glue
import airflow.providers.amazon.aws.sensors.batch
import airflow.providers.amazon.aws.sensors.emr
import airflow.providers.amazon.aws.sensors.glue
import boto3
import requests
"""
SUBMITS = {
    "emr": "AddJobFlowSteps",
    "batch": "SubmitJob",
    "emr-serverless": "StartJobRun",
    "emr-containers": "StartJobRun",
    "mrs": "CreateExecuteJob",
    "glue": "StartJobRun",
}
HELD_SECONDS = 5.0
TASKS = 64
"""Tasks that may run at the same time."""


class Holds:
    """Answers to submitting calls that are kept back: the job is there, its submitter does not know yet."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._cloud = cloud
        self._scopes: dict[str, threading.Event] = {}
        for service in SUBMITS:
            self._wrap(service)

    def hold(self, scope: str) -> threading.Event:
        """Keep back the next answer about this place; the event is set once the job is there."""
        return self._scopes.setdefault(scope, threading.Event())

    def _wrap(self, name: str) -> None:
        service: Any = self._cloud.services[name]
        answer, submits = service.answer, SUBMITS[name]

        def answer_late(operation: str, request: Any) -> Any:
            reply = answer(operation, request)
            if operation == submits:
                made = self._scopes.pop(service.subject(operation, request).scope, None)
                if made is not None:
                    made.set()
                    threading.Event().wait(HELD_SECONDS)
            return reply

        service.answer = answer_late


class Ground(World):
    """One cloud and one Airflow."""

    def __init__(self, cloud: LocalCloud, airflow: AirflowSystem, *, guarded: bool) -> None:
        super().__init__(cloud, airflow)
        self.guarded = guarded
        self.holds = Holds(cloud)
        self.triggerers: dict[int, str] = {}
        """Names of the processes by the ids of their jobs, while there are two."""
        self.keeps_home = False
        """Whether Airflow's home, with its logs, stays: something is not as expected, for one."""

    @property
    def rest(self) -> AirflowRest:
        """Airflow's REST API."""
        return self.airflow.rest


@contextlib.contextmanager
def ground(
    *,
    guarded: bool,
    sqlite: bool,
    reaper: bool = False,
    keep: bool = False,
    tasks: int = TASKS,
    more: Mapping[str, str] | None = None,
) -> Iterator[Ground]:
    """A ground for as long as the ``with`` block runs.

    :param tasks: that may run at the same time.
    :param more: settings of Airflow.
    """
    home = Path(tempfile.mkdtemp(prefix="airflow-cancel-matrix-"))
    with contextlib.ExitStack() as stack:
        database = None if sqlite else stack.enter_context(postgres())
        cloud = stack.enter_context(LocalCloud())
        settings = environment(cloud.url, home, guarded=guarded, tasks=max(tasks, TASKS)) | dict(more or {})
        kept = connections(cloud.url)
        airflow = stack.enter_context(
            airflow_system(home, DAGS, settings, connections=kept, database=database)
        )
        there = Ground(cloud, airflow, guarded=guarded)
        there.keeps_home = keep
        stack.callback(there.close)
        airflow.rest.wait_for_dags(*dag_ids())
        if reaper:
            airflow.processes.start("reaper", reaper_command())
        yield there
    if not there.keeps_home:
        shutil.rmtree(home, ignore_errors=True)


def dag_ids() -> list[str]:
    """The Dags of the matrix, by the same rule that makes them."""
    made = [f"{shape}__{service}__{mode}" for shape in SHAPE_NAMES for service in SUBMITS for mode in MODES]
    return made + [f"senses__{service}__sync" for service in SUBMITS]


def environment(url: str, home: Path, *, guarded: bool, tasks: int = TASKS) -> dict[str, str]:
    """Airflow's settings, with the guard on or off."""
    settings = {
        # Plain boto3 reads these.
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "plain",
        "AWS_SECRET_ACCESS_KEY": "plain-secret",
        "AIRFLOW__CORE__PARALLELISM": str(tasks),
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": str(tasks),
        "AIRFLOW__CORE__DEFAULT_POOL_TASK_SLOT_COUNT": str(tasks),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CANCEL_PROVIDER__ENABLED": str(guarded),
        "AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT": DEPLOYMENT,
        # The local cloud has a hundred clusters, and no quotas.
        "AIRFLOW__CANCEL_PROVIDER__QUOTAS": "*=1000000/1000000",
        # Without it nothing finds a run whose submission was not answered, nor one whose host is gone.
        "AIRFLOW__CANCEL_PROVIDER__GLUE_LABEL": "arguments",
        # Longer than the longest outage here; no sentinel is to outlive the matrix for long.
        "AIRFLOW__CANCEL_PROVIDER__PATIENCE": "180",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
        "AIRFLOW__TRIGGERER__CAPACITY": "1000",
    }
    plugins = home / "plugins"
    plugins.mkdir()
    (plugins / "preload.py").write_text(PRELOAD)
    if guarded and not is_installed():
        (plugins / "guard.py").write_text(GUARD)
    return {**settings, "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins)}


def is_installed() -> bool:
    """Whether installing the package is enough to be guarded."""
    plugins = entry_points(group="airflow.plugins")
    return any(point.value.startswith("airflow_cancel_provider") for point in plugins)
