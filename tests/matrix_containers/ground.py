"""What a run of the matrix stands on: a cloud, and an Airflow that runs tasks in containers."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.cloud import LocalCloud
from tests.demo.places import connections
from tests.matrix import ground as local
from tests.matrix.ground import DAGS, Ground, dag_ids
from tests.matrix.postgres import postgres
from tests.matrix.reaper import reaper_command
from tests.matrix_containers import memory
from tests.matrix_containers.executor import FOLDER, KIND, ContainerExecutor
from tests.real_airflow.system import airflow_system


def check() -> None:
    """Find out whether containers can be made here.

    :raises RuntimeError: they can not.
    """
    missing = [name for name in ("dumb-init", "unshare") if not shutil.which(name)]
    if missing:
        raise RuntimeError(f"Not found: {', '.join(missing)}; `apt-get install dumb-init util-linux`.")
    if os.geteuid() != 0:
        raise RuntimeError("Containers are PID namespaces, which only root can make.")
    if not memory.can_limit():
        print("Memory can't be limited here: no cell runs out of it.", flush=True)


@contextlib.contextmanager
def ground(*, guarded: bool, reaper: bool, keep: bool = False) -> Iterator[Ground]:
    """A ground for as long as the ``with`` block runs."""
    home = Path(tempfile.mkdtemp(prefix="airflow-cancel-containers-"))
    folder = home / "containers"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        if not keep:
            stack.callback(shutil.rmtree, home, ignore_errors=True)
        stack.callback(memory.tidy)
        database = stack.enter_context(postgres())
        cloud = stack.enter_context(LocalCloud())
        settings = {
            **local.environment(cloud.url, home, guarded=guarded),
            "AIRFLOW__CORE__EXECUTOR": f"{ContainerExecutor.__module__}.{ContainerExecutor.__name__}",
            FOLDER: str(folder),
        }
        kept = connections(cloud.url)
        airflow = stack.enter_context(
            airflow_system(home, DAGS, settings, connections=kept, database=database)
        )
        there = Ground(cloud, airflow, guarded=guarded)
        stack.callback(there.close)
        airflow.rest.wait_for_dags(*dag_ids())
        if reaper:
            airflow.processes.start("reaper", reaper_command())
        yield there


def choose(there: Ground, kind: str) -> None:
    """Have the next tasks run in containers of this kind."""
    (Path(there.airflow.processes.environment[FOLDER]) / KIND).write_text(kind)
