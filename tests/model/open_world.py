"""The world in which something happens now, and what stands for the service and Airflow in it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any, Self

from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobState, JobStatus, RemoteJob
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.client_spec import ClientSpec
from tests.model.promises import may_be_cancelled
from tests.model.world import (
    CLIENT,
    CONN,
    REGION,
    TASK,
    World,
    address,
    label,
    ti_id,
)


class _Quiet(logging.Logger):
    """Says nothing; an error of the package's own code, or of the model's, must not be taken for its will."""

    def exception(self, msg: object, *_: Any, **__: Any) -> None:
        raise AssertionError(msg)


QUIET = _Quiet("tests.model")
QUIET.disabled = True
OPEN: list[World] = []
"""The world in which something happens now."""
CHANNEL = [True]
"""Whether who acts now has a supervisor, and can reach Airflow."""


class Service(JobService):
    """The service's jobs in the world."""

    name = "batch"
    scope_word = scope_pattern = None
    id_word, id_pattern = "id", re.compile(r"\w+")

    def __init__(self) -> None:
        super().__init__(conn_id=CONN, region=REGION)

    @classmethod
    def over(cls, spec: ClientSpec, patience: Any) -> Self:  # noqa: ARG003  all the same here
        return cls()

    @property
    def spec(self) -> ClientSpec:
        return CLIENT

    def describe(self, jobs: Iterable[RemoteJob]) -> list[JobStatus]:
        return [self._status(job) for job in dict.fromkeys(jobs)]

    @staticmethod
    def _status(job: RemoteJob) -> JobStatus:
        known = OPEN[0].jobs.get(job.id)
        if known is None or not known.is_listed:
            return JobStatus(job, JobState.GONE)
        state = JobState.CANCELLED if known.is_asked else JobState.RUNNING
        return JobStatus(job, state, label=label(known.owner, reconnects=known.reconnects))

    def cancel(self, jobs: Iterable[RemoteJob], reason: str, *, force: bool = False) -> list[CancelResult]:
        return [self._cancelled(job) for job in dict.fromkeys(jobs)]

    @staticmethod
    def _cancelled(job: RemoteJob) -> CancelResult:
        world = OPEN[0]
        known = world.jobs.get(job.id)
        if known is None:
            return CancelResult(job, CancelOutcome.GONE)
        if known.is_asked:
            return CancelResult(job, CancelOutcome.ALREADY_ENDED)
        if wrong := may_be_cancelled(world, job.id):
            world.wrongs += (f"{job.id} was asked to end: {wrong}",)
        if world.cancels_lost:
            world.cancels_lost -= 1
            return CancelResult(job, CancelOutcome.UNANSWERED, "lost")
        world.jobs[job.id] = known._replace(is_asked=True)
        return CancelResult(job, CancelOutcome.REQUESTED)

    def scopes(self) -> Iterator[str]:
        yield "queue"

    def place(self, scope: str) -> str:
        return scope

    def _alive(self, scope: str, name_prefix: str = "") -> Iterator[JobStatus]:
        for name in OPEN[0].jobs:
            if not (status := self._status(address(name))).state.is_terminal:
                yield status


SERVICE = Service()


class Ti:
    """A task instance, as the SDK shows it in the task's process."""

    dag_id, run_id, task_id, map_index = TASK.dag_id, TASK.run_id, TASK.task_id, -1
    start_date = None

    def __init__(self, number: int, max_tries: int, *, is_resumed: bool) -> None:
        self.id, self.try_number, self.max_tries = ti_id(number), number + 1, max_tries
        self.state = "running"
        self.task = SimpleNamespace(log=QUIET, execution_timeout=None)
        self._ti_context_from_server = SimpleNamespace(
            next_method="execute_complete" if is_resumed else None, task_reschedule_count=0
        )

    def xcom_push(self, key: str, value: Any) -> None:
        lose_a_write()
        OPEN[0].xcom = json.dumps(value)

    def xcom_pull(self, **_: Any) -> Any:
        reach_airflow()
        return stored(OPEN[0].xcom)

    def get_template_context(self) -> dict[str, Any]:
        return {"task_state_store": StateStore()}


class StateStore:
    """Airflow's task state store."""

    def get(self, key: str) -> Any:
        reach_airflow()
        return stored(OPEN[0].stored)

    def set(self, key: str, value: Any) -> None:
        reach_airflow()
        OPEN[0].stored = json.dumps(value)

    def delete(self, key: str) -> None:
        reach_airflow()
        OPEN[0].stored = None


def stored(text: str | None) -> Any:
    return json.loads(text) if text is not None else None


def reach_airflow() -> None:
    if not CHANNEL[0]:
        raise AirflowUnavailable("The supervisor is gone.")


def lose_a_write() -> None:
    reach_airflow()
    if OPEN[0].is_write_lost:
        OPEN[0].is_write_lost, OPEN[0].has_lost_write = False, True
        raise OSError("Airflow does not answer.")
