"""The forms that each victim Dag comes in. Not a Dag itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from tests.matrix.dags.timings import EXECUTION_TIMEOUT, MODES, RUN_TIMEOUT

DELAY = 2
FOR_EVER = 1000


@dataclass(frozen=True)
class Shape:
    """What is particular about a Dag and its task."""

    name: str
    task: dict[str, Any] = field(default_factory=dict)
    dag: dict[str, Any] = field(default_factory=dict)
    attempts: int = FOR_EVER
    waits: bool = True

    def open_dag(self, service: str, mode: str) -> DAG:
        """The Dag to put the task ``t`` in."""
        dag_id = f"{self.name}__{service}__{mode}"
        return DAG(dag_id, schedule=None, params={"scope": ""}, max_active_runs=50, **self.dag)


SHAPES = (
    Shape("waits"),
    Shape("retries", task={"retries": 2, "retry_delay": timedelta(seconds=1)}),
    Shape("timeout", task={"execution_timeout": timedelta(seconds=EXECUTION_TIMEOUT)}),
    Shape("attempts", attempts=4),
    Shape("run_timeout", dag={"dagrun_timeout": timedelta(seconds=RUN_TIMEOUT)}),
    Shape("forgets", waits=False),
    Shape("paused"),
)


def victims() -> Iterator[tuple[str, Shape]]:
    """Every mode and shape."""
    for mode in MODES:
        for shape in SHAPES:
            yield mode, shape


def wait_plainly(shape: Shape, is_over: Callable[[], bool]) -> None:
    """What people write when they use no operator."""
    if not shape.waits:
        return
    for _ in range(shape.attempts):
        if is_over():
            return
        time.sleep(DELAY)
    raise TimeoutError("the job takes too long")
