"""An executor of Airflow that runs each task in a container, as KubernetesExecutor runs it in a pod.

A container is a PID namespace with its own ``/proc``, and a memory cgroup where there are any. Its command is
what KubernetesExecutor gives a pod, behind what is process 1 in the image. When process 1 ends, the kernel
kills all that is left in the namespace, as in a pod.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow.executors.base_executor import BaseExecutor

from tests.matrix_containers import memory

FOLDER = "MATRIX_CONTAINERS"
"""Variable with the folder that the executor and the matrix share."""
KIND = "kind"
"""File in it with the kind of the next containers."""
KINDS = {
    "dumb-init": ["dumb-init", "--"],
    "supervisor": [],
    "held open": ["dumb-init", "--", sys.executable, "-m", "airflow_cancel_provider.container", "--"],
}
"""What is process 1: as in Airflow's image; the supervisor itself; ours below dumb-init."""
UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL", "--"]
LOST = "lost"
"""Ending of a file that says: the node is lost, so nobody sees the container end."""


class ContainerExecutor(BaseExecutor):
    """Starts containers, and reports those that have ended."""

    is_local = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._folder = Path(os.environ[FOLDER])
        self._containers: dict[Any, tuple[str, subprocess.Popen[bytes]]] = {}

    def _process_workloads(self, workload_items: Sequence[Any]) -> None:
        for workload in workload_items:
            key = workload.ti.key
            self.queued_tasks.pop(key, None)
            self.running.add(key)
            self._containers[key] = self._start(workload)

    def _start(self, workload: Any) -> tuple[str, subprocess.Popen[bytes]]:
        name = str(workload.ti.id)
        payload = self._folder / f"{name}.workload"
        payload.touch(mode=0o600)
        payload.write_text(workload.model_dump_json())
        kind = (self._folder / KIND).read_text()
        task = [
            sys.executable,
            "-m",
            "airflow.sdk.execution_time.execute_workload",
            "--json-path",
            str(payload),
        ]
        with (self._folder / f"{name}.log").open("ab") as output:
            container = subprocess.Popen(
                [*memory.inside(name), *UNSHARE, *KINDS[kind], *task],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        record = {"kind": kind, "pid": container.pid}
        (self._folder / f"{name}.json").write_text(json.dumps(record))
        return name, container

    def sync(self) -> None:
        """Report containers that have ended as Kubernetes reports pods: failed, or succeeded."""
        for key, (name, container) in list(self._containers.items()):
            code = container.poll()
            if code is None:
                continue
            del self._containers[key]
            if not (self._folder / f"{name}.{LOST}").exists():
                (self.success if code == 0 else self.fail)(key)

    def end(self) -> None:
        """Wait for nothing: who stops this matrix ends the containers."""

    def terminate(self) -> None:
        """End at once."""
