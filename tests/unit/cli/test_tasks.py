"""Jobs that are chosen by their Dag, run and task: list and cancel, over Airflow's own tables."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
import yaml

from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.owner import Label, deployment_of
from airflow_cancel_provider.reaper.backends.base import TryPhase
from airflow_cancel_provider.record import Actor, JobEnd, TryRecord
from tests.cli_fixtures import JSON, NAME, NOWHERE, TYPO, Line, deployment, line
from tests.reaper_airflow import tables
from tests.reaper_fixtures import ground
from tests.record_fixtures import AT, Records, records
from tests.task_fixtures import connections

__all__ = ["connections", "deployment", "ground", "line", "records", "tables"]

DAG = ("--dag-id", "dag")


@dataclass
class Tasks:
    """Task instances with jobs of this Airflow in the local cloud."""

    line: Line
    records: Records

    def start(self, service: str = "batch", state: str = "running", **names: Any) -> RemoteJob:
        """A job of a task instance, with the label of its try."""
        job = self.line.ground.start(service, TryPhase.ALIVE, deployment=deployment_of(NAME))
        self.put(job, self.line.ground.owners[job], state, **names)
        return job

    def put(self, job: RemoteJob, ti_id: UUID | None = None, state: str = "running", **names: Any) -> None:
        """A task instance with this job on record."""
        ti_id = ti_id or uuid4()
        self.records.put(TryRecord(ti_id, jobs=(job,), submitted={job: AT.timestamp()}), state, **names)


@pytest.fixture
def tasks(line: Line, records: Records) -> Tasks:
    return Tasks(line, records)


class TestList:
    def test_for_machines(self, tasks: Tasks) -> None:
        job = tasks.start(map_index=3)
        done = tasks.line("list", *JSON)
        (row,) = done.json
        assert done.code == 0
        assert row | {"ti_id": ""} == {
            "job": str(job),
            "service": "batch",
            "state": "living",
            "task": "dag / run / task[3] try 1",
            "dag_id": "dag",
            "run_id": "run",
            "task_id": "task",
            "map_index": 3,
            "try_number": 1,
            "ti_id": "",
            "task_state": "running",
            "is_current_try": True,
            "submitted": "2026-11-20T12:00:00+00:00",
            "orphan": False,
            "end": None,
            "ended_as": None,
            "ended_by": None,
            "ended_at": None,
            "reason": None,
        }
        assert done.err == ""
        assert yaml.safe_load(tasks.line("list", "-o", "yaml").out) == done.json

    def test_for_people(self, tasks: Tasks) -> None:
        assert tasks.line("list").out == "No remote jobs on record that match.\n"
        job, ti_id = tasks.start(state="failed"), uuid4()
        end = JobEnd(JobState.CANCELLED, Actor.SENTINEL, "killed", AT.timestamp())
        other = RemoteJob(NOWHERE)
        tasks.records.put(TryRecord(ti_id, jobs=(other,), ends={other: end}), "failed", task_id="other")
        told = tasks.line("list").out
        assert f"{job} | unknown | dag / run / task try 1  | 2026-11-20T12:00:00+00:00 | yes" in told
        assert "| CANCELLED by sentinel" in told
        (row,) = tasks.line("list", "--state", "ended", *JSON).json
        assert (row["ended_by"], row["reason"], row["ended_at"]) == (
            "sentinel",
            "killed",
            "2026-11-20T12:00:00+00:00",
        )

    @pytest.mark.parametrize(
        "arguments, found",
        [
            (["--dag-id", "dag"], [0]),
            (["--dag-id", "none"], []),
            (["--run-id", "r2"], [1]),
            (["--task-id", "task", "--map-index", "-1"], [0, 1]),
            (["--service", "emr"], []),
            (["--state", "living", "--state", "ended"], [1]),
            (["--orphans"], [0]),
            (["--since", "2026-11-20T11:59"], [0, 1]),
            (["--since", "2026-11-21"], []),
            (["--limit", "1"], [0]),
            (["--limit", "0"], [0, 1]),
        ],
    )
    def test_filters(self, tasks: Tasks, arguments: list[str], found: list[int]) -> None:
        jobs = [RemoteJob(NOWHERE[:-1] + number) for number in "21"]
        tasks.put(jobs[0], state="failed")
        tasks.put(jobs[1], dag_id="other", run_id="r2")
        assert [row["job"] for row in tasks.line("list", *JSON, *arguments).json] == [jobs[i] for i in found]

    def test_at_services(self, tasks: Tasks) -> None:
        """What lives there, with what the reaper's rules say of it."""
        ground = tasks.line.ground
        job = ground.start("batch", TryPhase.FAILED, deployment=deployment_of(NAME))
        foreign = ground.start("batch", None)
        done = tasks.line("list", *JSON, "--at", "batch://aws_default")
        rows = {row["job"]: row for row in done.json}
        assert done.code == 0
        assert (rows[job]["orphan"], rows[job]["kind"], rows[job]["dag_id"]) == (True, "suspect", "dag")
        assert (rows[foreign]["orphan"], rows[foreign]["kind"]) == (False, "foreign")
        only = tasks.line("list", *JSON, "--at", "aws://aws_default", "--orphans", "--dag-id", "dag").json
        assert [row["job"] for row in only] == [job]
        assert tasks.line("list", *JSON, "--at", "batch://aws_default", "--dag-id", "other").json == []

    def test_a_service_that_refuses_is_1(self, tasks: Tasks) -> None:
        tasks.line.ground.cloud.faults.add("batch", "DescribeJobQueues", "denied")
        done = tasks.line("list", *JSON, "--at", "batch://aws_default")
        assert (done.code, done.json) == (1, [])
        assert "batch:DescribeJobQueues" in done.err

    @pytest.mark.parametrize(
        "arguments, words",
        [
            (["--service", "gcp"], "no service 'gcp'"),
            (["--since", "soon"], "--since is 'soon'; expected a time, as 2026-11-20T12:00, or an age"),
            (["--since", "99999999999999d"], "--since is"),
            (["--limit", "-1"], "--limit is -1"),
            (["--map-index", "9" * 20], f"--map-index is {'9' * 20}; expected an index from 0 on."),
            (["--dag-id", "\udcff"], r"--dag-id is '\udcff'; expected text in UTF-8."),
            (["--at", "nonsense"], "not a place"),
            (["--at", "batch://no_such@us-east-1"], "'no_such' is not defined"),
            (["--at", "batch://aws_default", "--state", "living"], "--state is for jobs on record"),
            (["--airflow-conn-id", "airflow_api"], "--airflow-conn-id goes with --at"),
        ],
    )
    def test_bad_input_is_2(self, tasks: Tasks, arguments: list[str], words: str) -> None:
        done = tasks.line("list", *arguments)
        assert (done.code, done.out) == (2, "")
        assert words in done.err.splitlines()[-1]


class TestCancel:
    def test_by_the_task(self, tasks: Tasks) -> None:
        job, other = tasks.start(), tasks.start("emr", task_id="other")
        done = tasks.line("cancel", *DAG, "--task-id", "task", "--yes", *JSON)
        assert (done.code, done.states) == (0, {job: "CANCELLED"})
        assert tasks.line.ground.lives(other)

    @pytest.mark.parametrize("by_address", [False, True])
    def test_who_has_cancelled_it_is_on_record(self, tasks: Tasks, by_address: bool) -> None:
        job = tasks.start(state="failed")
        chosen = [str(job)] if by_address else [*DAG, "--yes"]
        assert tasks.line("cancel", "--reason", "wrong month", *chosen).code == 0
        (row,) = tasks.line("list", *JSON).json
        assert (row["end"], row["ended_by"], row["reason"]) == ("CANCELLED by user", "user", "wrong month")
        assert (row["state"], row["orphan"]) == ("ended", False)
        (row,) = tasks.line("describe", *JSON, str(job)).json
        assert (row["ended_by"], row["reason"], row["state"]) == ("user", "wrong month", "CANCELLED")
        assert tasks.line("cancel", *DAG, "--yes", *JSON).json == []

    def test_what_others_have_cancelled_before_is_not_taken_for_its_own(self, tasks: Tasks) -> None:
        job = tasks.start(state="failed")
        batch = tasks.line.ground.benches["batch"]
        batch.local.configure({"cancel": 0})
        batch.service().cancel([job], "by hand")
        assert tasks.line("cancel", "--reason", "wrong month", str(job)).code == 0
        (row,) = tasks.line("list", *JSON).json
        assert (row["end"], row["reason"]) == ("CANCELLED by others", None)

    def test_in_a_pipe_only_with_yes(self, tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
        job = tasks.start()
        monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
        done = tasks.line("cancel", *DAG)
        assert (done.code, done.out) == (2, "")
        assert "add --yes" in done.err.splitlines()[-1]
        assert tasks.line.ground.lives(job)

    @pytest.mark.parametrize("answer, code", [("y\n", 0), ("yes\n", 0), ("n\n", 2), ("\n", 2), ("", 2)])
    def test_a_person_is_asked(
        self, tasks: Tasks, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
    ) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        job = tasks.start()
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        done = tasks.line("cancel", *DAG, *JSON)
        assert done.code == code
        assert f"{job}  (dag / run / task try 1)\nCancel this job? [y/N]" in done.err
        assert tasks.line.ground.lives(job) is (code != 0)

    def test_what_is_released_while_a_person_is_asked_lives(
        self, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        released, job = tasks.start(task_id="released"), tasks.start()

        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

            def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
                tasks.records.succeed(task_id="released")
                return super().readline(size)

        monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
        done = tasks.line("cancel", *DAG, *JSON)
        outcomes = {row["job"]: row["outcome"] for row in done.json}
        assert (done.code, outcomes[released]) == (0, "LEFT_ALONE")
        assert tasks.line.ground.lives(released)
        assert not tasks.line.ground.lives(job)

    def test_dry(self, tasks: Tasks) -> None:
        job = tasks.start()
        done = tasks.line("cancel", *DAG, "--dry-run", *JSON)
        assert (done.code, [row["outcome"] for row in done.json]) == (0, ["WOULD_BE_CANCELLED"])
        assert tasks.line.ground.lives(job)
        assert tasks.line.ground.cancels() == 0

    def test_nothing_on_record(self, tasks: Tasks) -> None:
        done = tasks.line("cancel", *DAG, "--yes")
        words = "Nothing to cancel: no remote job is on record for this Dag, run or task.\n"
        assert (done.code, done.out) == (0, words)

    def test_nothing_but_what_was_released(self, tasks: Tasks) -> None:
        tasks.start(state="success")
        done = tasks.line("cancel", *DAG, "--yes")
        words = (
            "Nothing to cancel: of 1 job on record none is left that has not ended and was not released.\n"
        )
        assert (done.code, done.out) == (0, words)

    def test_what_was_released_only_when_asked(self, tasks: Tasks) -> None:
        job = tasks.start(state="success")
        assert tasks.line("cancel", *DAG, "--yes", *JSON).json == []
        assert tasks.line.ground.lives(job)
        assert tasks.line("cancel", *DAG, "--yes", "--released", *JSON).states == {job: "CANCELLED"}

    def test_what_another_airflow_has_started_is_said_to_be_that(self, tasks: Tasks) -> None:
        """This one runs on a copy of its database."""
        there = deployment_of("production")
        job = tasks.line.ground.start("batch", TryPhase.FAILED, deployment=there)
        record = TryRecord(tasks.line.ground.owners[job], jobs=(job,), deployment=there)
        tasks.records.put(record, "failed")
        (row,) = tasks.line("list", *JSON, "--state", "foreign").json
        assert (row["job"], row["orphan"]) == (str(job), False)
        done = tasks.line("cancel", *DAG, "--yes", *JSON)
        assert (done.code, [row["outcome"] for row in done.json]) == (1, ["LEFT_ALONE"])
        assert f"its record is another Airflow's ({there})" in done.err
        assert tasks.line.ground.lives(job)

    def test_a_record_that_names_the_job_of_another_is_no_proof(self, tasks: Tasks) -> None:
        """Anybody may write an XCom; nobody can change the label of a job."""
        start = partial(tasks.line.ground.start, "batch", TryPhase.ALIVE, deployment=deployment_of(NAME))
        stolen, other = start(), start()
        foreign = tasks.line.ground.start("emr", None)
        tasks.put(stolen)
        tasks.put(foreign, task_id="other")
        forged = TryRecord(tasks.line.ground.owners[other], jobs=(other,))
        tasks.records.put(forged, ti=uuid4(), task_id="third")
        done = tasks.line("cancel", *DAG, "--yes", *JSON)
        assert done.code == 1
        assert [row["outcome"] for row in done.json] == ["LEFT_ALONE"] * 3
        assert "its label names another try" in done.err
        assert "its label names another task" in done.err
        assert "its label names another Airflow" in done.err
        assert tasks.line.ground.lives(stolen, foreign, other)

    @pytest.mark.parametrize(
        "arguments, words",
        [
            ([], "Name jobs by their addresses, or by --dag-id"),
            ([NOWHERE, *DAG], "Name jobs by their addresses, or by --dag-id"),
            (["--task-id", "task"], "Name the Dag, too: --dag-id."),
            ([*DAG, "--run-id", "\udcff"], "--run-id is"),
            ([TYPO, "--pending-only"], "--pending-only is an option of AWS Batch; Amazon EMR has none."),
            (
                [NOWHERE, "--cancellation-option", "SEND_INTERRUPT"],
                "is an option of Amazon EMR; AWS Batch has none.",
            ),
            (
                [NOWHERE, "--shutdown-grace-period", "60"],
                "is an option of Amazon EMR Serverless; AWS Batch has none.",
            ),
            ([NOWHERE, "--pending-only", "--force"], "give one of them"),
            ([NOWHERE, "--reason", "x" * 1025], "--reason has 1025 characters"),
        ],
    )
    def test_bad_input_is_2_and_sends_nothing(self, tasks: Tasks, arguments: list[str], words: str) -> None:
        sent = len(tasks.line.ground.cloud.journal)
        done = tasks.line("cancel", *arguments)
        assert (done.code, done.out) == (2, "")
        assert words in done.err.splitlines()[-1]
        assert len(tasks.line.ground.cloud.journal) == sent

    def test_addresses_on_standard_input(self, tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
        jobs = [tasks.line.ground.unlabelled(service) for service in ("batch", "emr")]
        monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(jobs)))
        assert tasks.line("cancel", "-", *JSON).states == dict.fromkeys(jobs, "CANCELLED")
        monkeypatch.setattr(sys, "stdin", io.StringIO(""))
        assert tasks.line("cancel", "-").code == 2

    def test_every_wrong_address_is_named_at_once(self, tasks: Tasks) -> None:
        job = tasks.line.ground.unlabelled("batch")
        done = tasks.line("cancel", "nonsense", str(job), "x")
        assert done.code == 2
        assert [each.split("'")[1] for each in done.err.splitlines()[-2:]] == ["nonsense", "x"]
        assert "as emr://aws_default@us-east-1/j-2AXXXXXXGAPLF/s-3BYXXXXXXXXXX" in done.err
        done = tasks.line("cancel", "batch://aws_default@us-east-1/abc", str(job))
        assert "one looks like 00000000-0000-0000-0000-000000000000" in done.err
        assert tasks.line.ground.lives(job)

    def test_pending_only(self, tasks: Tasks) -> None:
        job = tasks.line.ground.unlabelled("batch")
        done = tasks.line("cancel", "--pending-only", *JSON, str(job))
        assert (done.code, done.json[0]["outcome"]) == (0, "LEFT_RUNNING")
        assert tasks.line.ground.lives(job)

    def test_options_of_a_service(self, tasks: Tasks) -> None:
        """A step that takes no notice of SIGTERM ends at once by what the option asks for."""
        ground = tasks.line.ground
        ground.cloud.emr.override("stubborn*", stubborn=True)
        job = ground.start("emr", None, name="stubborn")
        ground.cloud.clock.advance(1)
        done = tasks.line("cancel", "--cancellation-option", "TERMINATE_PROCESS", *JSON, str(job))
        assert (done.code, done.states) == (0, {job: "CANCELLED"})

    def test_the_reason_is_kept(self, tasks: Tasks) -> None:
        job = tasks.line.ground.unlabelled("batch")
        tasks.line("cancel", "--reason", "wrong month", str(job))
        assert "wrong month" in tasks.line.ground.truth(job)["reason"]


def test_a_label_of_this_airflow_is_described(line: Line) -> None:
    job = line.ground.start("batch", TryPhase.ALIVE, deployment=deployment_of(NAME))
    (row,) = line("describe", *JSON, str(job)).json
    assert Label.find(row["label"]) is not None
