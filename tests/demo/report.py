"""The table at the end, and whether it is good. States come from the cloud, not from Airflow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from tests.demo.runs import Run

HEADER = ("service", "job", "started by", "cancelled by", "state seen in the service", "seconds")


class Row(NamedTuple):
    """One job that a Dag started."""

    service: str
    job: str
    started_by: str
    cancelled_by: str
    state: str
    seconds: str


def rows(runs: Iterable[Run], truth: Sequence[dict[str, Any]]) -> list[Row]:
    """A row for each job of each run."""
    by_id = {job["id"]: job for job in truth}
    return [_row(run, job_id, task, by_id.get(job_id)) for run in runs for job_id, task in run.jobs.items()]


def _row(run: Run, job_id: str, task: str, job: dict[str, Any] | None) -> Row:
    service, by = run.scenario.service, run.scenario.cancelled_by
    if job is None:
        return Row(service, job_id, task, by, "not there", "-")
    seconds = "-"
    if job["ended_at"] and job["cancel_requested_at"]:
        seconds = f"{job['ended_at'] - job['cancel_requested_at']:.1f}"
    return Row(service, job_id, task, by, _shown(job), seconds)


def _shown(job: dict[str, Any]) -> str:
    """The service's state; where it has none for a cancelled job, with what it has instead."""
    if not job["cancelled"]:
        return str(job["state"])
    cancelled = job["state"].upper() in ("CANCELLED", "KILLED")
    return str(job["state"]) + ("" if cancelled else " (cancelled)")


def problems(runs: Sequence[Run], truth: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What is not as it should be."""
    cancelled = {job["id"]: job["cancelled"] and job["ended_at"] for job in truth}
    for run in runs:
        scenario = run.scenario
        if run.state != scenario.run_state:
            yield f"{scenario.dag_id} ended as {run.state}, not {scenario.run_state}: {run.task_states}"
        missing = [task for task in scenario.started_by if not any(_is(task, by) for by in run.jobs.values())]
        for task in missing:
            yield f"{scenario.dag_id}: {task} started no job"
        for job_id in run.jobs:
            if not cancelled.get(job_id):
                yield f"{scenario.dag_id}: {scenario.service} job {job_id} is not cancelled in the service"


def strangers(runs: Iterable[Run], truth: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Jobs that are in the cloud, but in no run's XCom."""
    known = {job_id for run in runs for job_id in run.jobs}
    for job in truth:
        if job["id"] not in known:
            yield f"{job['service']} job {job['id']} is {job['state']}, and no task's XCom names it"


def _is(task: str, key: str) -> bool:
    return key == task or key.startswith(f"{task}[")


def table(header: Sequence[str], some: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their content, the last one at the right."""
    lines = [header, *some]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(_line(line, widths) for line in lines)


def _line(line: Sequence[str], widths: Sequence[int]) -> str:
    cells = [cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=False)]
    return "  ".join([*cells, line[-1].rjust(widths[-1])])
