"""An Airflow in memory, jobs of its tasks in every service, and reapers over real connections."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import pytest

from airflow_cancel_provider.ends_on_record import Ends
from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label, release_key
from airflow_cancel_provider.reaper import cancels as ending
from airflow_cancel_provider.reaper.backends.base import RELEASE_PREFIX, Airflow, OwnerState, TryPhase
from airflow_cancel_provider.reaper.dead_letters import VARIABLE, Letters, text_of
from airflow_cancel_provider.reaper.places import Place, Scopes
from airflow_cancel_provider.reaper.reaper import Reaper
from airflow_cancel_provider.reaper.report import Orphan, Report
from airflow_cancel_provider.reaper.rules import Rules
from airflow_cancel_provider.record import JobEnd
from airflow_cancel_provider.release import Release
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.retry import Patience
from airflow_cancel_provider.services.submissions import LABEL_PARAMETER
from tests.cloud.server import LocalCloud
from tests.memory_service import Memory
from tests.service_fixtures import HASTY, BatchBench, Bench
from tests.task_fixtures import ALL

DEPLOYMENT, FOREIGN = "0a1b2c3d", "99999999"
LONG_AGO = "2026-01-01T00:00:00+00:00"
PLACES = (
    Place("emr", "aws_default"),
    Place("batch", "aws_default"),
    Place("emr-serverless", "aws_default"),
    Place("emr-containers", "aws_default"),
    Place("mrs", "mrs_default"),
    Place("glue", "aws_default"),
)
SERVICES = [place.service for place in PLACES]
LISTINGS = {
    "emr": "ListSteps",
    "batch": "ListJobs",
    "emr-serverless": "ListJobRuns",
    "emr-containers": "ListJobRuns",
    "mrs": "ShowJobExeListNew",
    "glue": "GetJobRuns",
}
CANCELS = {kind.name: kind.cancel_operations for kind in ALL}


@dataclass
class MemoryAirflow(Airflow):
    """Tries and Variables that a test sets. ``questions`` counts the questions for owners.

    :param is_down: no question is answered.
    :param before_question: called with the number of each question for owners, from 1 on.
    """

    tries: dict[UUID, OwnerState] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    ends: dict[RemoteJob, JobEnd] = field(default_factory=dict)
    is_down: bool = False
    questions: int = 0
    before_question: Callable[[int], None] = lambda _: None

    def owners(self, ti_ids: Collection[UUID]) -> Mapping[UUID, OwnerState]:
        self.questions += 1
        self.before_question(self.questions)
        self._answer()
        return {ti_id: self._with_release(ti_id) for ti_id in ti_ids if ti_id in self.tries}

    def _with_release(self, ti_id: UUID) -> OwnerState:
        text = self.variables.get(release_key(ti_id))
        return replace(self.tries[ti_id], release=Release.parse(text)) if text else self.tries[ti_id]

    def releases(self, most: int) -> Mapping[str, str | None]:
        self._answer()
        keys = sorted(key for key in self.variables if key.startswith(RELEASE_PREFIX))
        return {key: self.variables[key] for key in keys[:most]}

    def variable(self, key: str) -> str | None:
        self._answer()
        return self.variables.get(key)

    def write_ends(self, ends: Mapping[UUID, Ends]) -> None:
        self._answer()
        for found in ends.values():
            self.ends |= found

    def set_variable(self, key: str, value: str | None) -> None:
        self._answer()
        self.writes.append(key)
        if value is None:
            self.variables.pop(key, None)
        else:
            self.variables[key] = value

    def _answer(self) -> None:
        if self.is_down:
            raise AirflowUnavailable("Airflow is down.")

    @property
    def letters(self) -> str:
        return self.variables.get(VARIABLE, "")


@dataclass
class Ground:
    """All services with jobs of one Airflow."""

    cloud: LocalCloud
    airflow: MemoryAirflow
    benches: dict[str, Bench]
    scopes: dict[str, str | None] = field(default_factory=dict)
    owners: dict[RemoteJob, UUID] = field(default_factory=dict)

    def start(
        self,
        service: str,
        phase: TryPhase | None,
        *,
        later: TryPhase | None = None,
        name: str = "running",
        deployment: str = DEPLOYMENT,
        reconnects: bool = False,
        scope: str | None = None,
    ) -> RemoteJob:
        """Submit a job of a try; ``phase`` None: Airflow leaves the try out of its answer."""
        label = Label(deployment, uuid4(), reconnects)
        if phase is not None:
            self.airflow.tries[label.ti_id] = OwnerState(phase, later, "dag / run / task")
        job = self._submit(service, name, label, scope)
        self.owners[job] = label.ti_id
        return job

    def unlabelled(self, service: str) -> RemoteJob:
        return self._submit(service, "running", None, None)

    def _submit(self, service: str, name: str, label: Label | None, scope: str | None) -> RemoteJob:
        bench = self.benches[service]
        more: dict[str, Any] = {}
        if isinstance(bench, BatchBench):
            more = {"parameters": {LABEL_PARAMETER: label.in_full}} if label else {}
        elif label is not None:
            name = f"{name}-{label}"
        if scope is None and service not in self.scopes:
            self.scopes[service] = bench.new_scope()
        return bench.submit(name, 1, scope or self.scopes[service], **more)[0]

    def write_letters(self, letters: Letters) -> None:
        """Have these dead letters, and no others."""
        self.airflow.variables[VARIABLE] = text_of(letters)

    def release(self, job: RemoteJob, *jobs: RemoteJob, is_all: bool = False, **more: Any) -> str:
        """Have a job's try release these; the key of the Variable."""
        value = {"all": is_all, "jobs": list(jobs), "at": LONG_AGO, "task": "dag / run / task", **more}
        key = release_key(self.owners[job])
        self.airflow.variables[key] = json.dumps(value)
        return key

    def owner(self, job: RemoteJob, phase: TryPhase) -> None:
        """Let a job's try stand otherwise from now on."""
        self.airflow.tries[self.owners[job]] = OwnerState(phase)

    def reaper(
        self,
        *,
        places: Collection[Place] = PLACES,
        scopes: Scopes | None = None,
        stop: Event | None = None,
        patience: Patience = HASTY,
        **rules: Any,
    ) -> Reaper:
        """A reaper in a hurry, over real connections."""
        access = Access()

        def open_place(place: Place) -> JobService:
            return access.service(place.service, place.conn_id, place.region).with_patience(patience)

        chosen = Rules(**{"grace": 0.05, "confirm_seconds": 20, **rules})
        return Reaper(
            self.airflow, DEPLOYMENT, list(places), open_place, scopes=scopes, rules=chosen, stop=stop
        )

    def truth(self, job: RemoteJob) -> dict[str, Any]:
        """What the cloud knows of a job."""
        return self.benches[job.service].truth()[job.id]

    def lives(self, *jobs: RemoteJob) -> bool:
        """Whether none of the jobs was asked to end."""
        return all(self.truth(job)["cancel_requested_at"] is None for job in jobs)

    def cancels(self, job: RemoteJob | None = None) -> int:
        """Cancel requests that have arrived, for a job or at all."""
        sent = [entry for entry in self.cloud.journal if entry.operation in CANCELS.get(entry.service, ())]
        return sum(job is None or job.id in entry.ids for entry in sent)


@pytest.fixture
def ground(cloud: LocalCloud, connections: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:  # noqa: ARG001
    """All services; a cancel takes a tenth of a second, and reapers poll ever so often."""
    monkeypatch.setattr(ending, "POLL_SECONDS", 0.05)
    benches = {kind.name: kind(cloud) for kind in ALL}
    for bench in benches.values():
        bench.local.configure({"cancel": 0.1})
    yield Ground(cloud, MemoryAirflow(), benches)
    for bench in benches.values():
        bench.close()


def over_two_connections(service: str, monkeypatch: pytest.MonkeyPatch) -> list[Place]:
    """The place of a service, and the same one over another connection."""
    usual, name = next(place for place in PLACES if place.service == service), "AIRFLOW_CONN_{}"
    monkeypatch.setenv(name.format("SECOND"), os.environ[name.format(str(usual.conn_id).upper())])
    return [usual, Place(service, "second")]


def fates(report: Report) -> dict[RemoteJob, str]:
    """What became of each orphan of a report."""
    return {orphan.found.job: orphan.fate for orphan in report.orphans}


def orphan(report: Report, job: RemoteJob) -> Orphan:
    """What a report says of a job."""
    return next(orphan for orphan in report.orphans if orphan.found.job == job)


def memory_reaper(ground: Ground, **rules: object) -> Reaper:
    return ground.reaper(places=[Place("memory")], **{"confirm_seconds": 0, **rules})


def remembered(ground: Ground, memory: Memory, id: str, phase: TryPhase = TryPhase.FAILED) -> RemoteJob:
    """A running job in memory whose try stands so."""
    job, label = memory.job(id), Label(DEPLOYMENT, uuid4())
    ground.owners[job] = label.ti_id
    ground.airflow.tries[label.ti_id] = OwnerState(phase)
    memory.claims.append(JobStatus(job, JobState.RUNNING, label=label))
    return job
