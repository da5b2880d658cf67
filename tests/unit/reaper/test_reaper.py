"""Sweeps over real connections against the local cloud, and an Airflow that the test controls."""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from threading import Event

import pytest

from airflow_cancel_provider.exceptions import AirflowUnavailable, InvalidInput
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.reaper.backends.base import OwnerState, TryPhase
from airflow_cancel_provider.reaper.dead_letters import VARIABLE
from airflow_cancel_provider.reaper.factory import make_reaper
from airflow_cancel_provider.reaper.judge import DecisionKind
from airflow_cancel_provider.reaper.living_jobs import BATCH
from airflow_cancel_provider.reaper.places import Place, Scopes
from airflow_cancel_provider.reaper.reaper import STOPPED
from airflow_cancel_provider.reaper.rules import Rules
from tests.memory_service import Memory, memory
from tests.reaper_fixtures import (
    DEPLOYMENT,
    FOREIGN,
    PLACES,
    SERVICES,
    Ground,
    fates,
    ground,
    memory_reaper,
    orphan,
    over_two_connections,
    remembered,
)
from tests.task_fixtures import connections

__all__ = ["connections", "ground", "memory"]
pytestmark = pytest.mark.wide

S = TryPhase
each_service = pytest.mark.parametrize("service", SERVICES)


class TestSweep:
    def test_orphans_of_all_services_are_cancelled_and_seen_to_end(self, ground: Ground) -> None:
        dead = [S.FAILED, S.DELETED, S.RETRYING]
        jobs = [ground.start(service, phase) for service in SERVICES for phase in dead]
        replaced = [ground.start(service, S.FAILED, later=S.ALIVE) for service in SERVICES]
        report = ground.reaper().sweep()
        assert report.troubles == []
        assert fates(report) == dict.fromkeys(jobs + replaced, "ended")
        assert all(ground.truth(job)["cancelled"] for job in jobs + replaced)
        assert report.is_clean
        assert report.kinds == {DecisionKind.ORPHAN: 4 * len(SERVICES)}
        # Batch knows no state for it, but its reason for the end is the reaper's.
        assert {job: (end.state, end.by) for job, end in ground.airflow.ends.items()} == dict.fromkeys(
            jobs + replaced, ("CANCELLED", "reaper")
        )
        assert all(end.reason.startswith("Its task was over: ") for end in ground.airflow.ends.values())

    def test_everything_else_lives(self, ground: Ground) -> None:
        living = []
        for service in SERVICES:
            released, tidied_up = ground.start(service, S.FAILED), ground.start(service, S.DELETED)
            # By its task, over a connection of its own.
            ground.release(
                released, RemoteJob.of(service, released.id, scope=released.scope, conn_id="other")
            )
            ground.release(tidied_up, is_all=True)
            living += [
                ground.start(service, S.FAILED, deployment=FOREIGN),
                ground.unlabelled(service),
                ground.start(service, S.ALIVE),
                ground.start(service, S.SUCCEEDED),
                ground.start(service, S.UNKNOWN),
                ground.start(service, S.DELETED, reconnects=True),
                ground.start(service, S.RETRYING, reconnects=True),
                ground.start(service, S.FAILED, later=S.ALIVE, reconnects=True),
                released,
                tidied_up,
            ]
            living.append(copied := ground.start(service, S.FAILED))
            hour_ago = datetime.now(UTC) - timedelta(hours=1)
            ground.airflow.tries[ground.owners[copied]] = OwnerState(S.FAILED, ended=hour_ago)
        orphans = [ground.start(service, S.FAILED, reconnects=True) for service in SERVICES]
        report = ground.reaper().sweep()
        assert ground.lives(*living)
        assert fates(report) == dict.fromkeys(orphans, "ended")
        assert report.kinds == {
            DecisionKind.FOREIGN: len(SERVICES),
            DecisionKind.UNLABELLED: len(SERVICES),
            DecisionKind.ALIVE: len(SERVICES),
            DecisionKind.SUCCEEDED: len(SERVICES),
            DecisionKind.UNKNOWN: 2 * len(SERVICES),
            DecisionKind.RECONNECTING: 2 * len(SERVICES),
            DecisionKind.RELEASED: 2 * len(SERVICES),
            DecisionKind.COPIED: len(SERVICES),
            DecisionKind.ORPHAN: len(SERVICES),
        }
        assert report.foreign == {FOREIGN: len(SERVICES)}
        assert report.gauges["living"] == 12 * len(SERVICES)

    def test_a_try_that_airflow_leaves_out_of_its_answer(self, ground: Ground) -> None:
        left_out, orphan = ground.start("batch", None), ground.start("batch", S.FAILED)
        report = ground.reaper(places=[Place("batch", "aws_default")]).sweep()
        assert fates(report) == {orphan: "ended"}
        assert ground.lives(left_out)
        assert report.kinds[DecisionKind.UNANSWERED] == 1
        assert "did not give the state of the tasks of some jobs" in report.troubles[0]

    def test_a_pending_job_is_cancelled(self, ground: Ground) -> None:
        job = ground.start("batch", S.FAILED, name="pending")
        assert fates(ground.reaper(places=[Place("batch", "aws_default")]).sweep()) == {job: "ended"}

    def test_nothing_lives(self, ground: Ground) -> None:
        report = ground.reaper().sweep()
        assert (report.is_clean, report.kinds.total(), report.orphans) == (True, 0, [])
        assert ground.airflow.questions == 0
        assert report.calls.total() >= 4

    def test_one_job_at_two_places_is_cancelled_once(self, ground: Ground) -> None:
        job = ground.start("batch", S.FAILED)
        both = [Place("batch", "aws_default"), Place("batch", "aws_default", "us-east-1")]
        report = ground.reaper(places=both).sweep()
        assert [each.fate for each in report.orphans] == ["ended"]
        assert ground.cancels(job) == 1

    @each_service
    def test_one_job_over_two_connections_is_one_orphan(
        self, ground: Ground, service: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The brake counts jobs, and so do people."""
        job = ground.start(service, S.FAILED)
        report = ground.reaper(places=over_two_connections(service, monkeypatch), brake=1).sweep()
        assert [(each.job.identity, each.fate) for each in report.orphans] == [(job.identity, "ended")]
        assert report.kinds == {DecisionKind.ORPHAN: 1}
        assert ground.cancels(job) == 1

    def test_scopes_that_are_listed(self, ground: Ground) -> None:
        taken, left, odd = (str(ground.benches["emr"].new_scope()) for _ in range(3))
        jobs = {scope: ground.start("emr", S.FAILED, scope=scope) for scope in (taken, left, odd)}
        scopes = Scopes((taken, left), (left[:-1] + "?",))
        report = ground.reaper(places=PLACES[:1], scopes=scopes).sweep()
        assert fates(report) == {jobs[taken]: "ended"}
        assert list(report.scopes) == [f"emr://aws_default/{taken}"]
        assert ground.cloud.journal.entries("emr", "ListSteps")[0].scope == taken
        assert {entry.scope for entry in ground.cloud.journal.entries("emr", "ListSteps")} == {taken}

    def test_through_the_front_door(self, ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
        """`make_reaper` takes its places and names from the configuration, and keeps to the quotas."""
        monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT", "blue")
        monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__REAPER_PLACES", "aws://aws_default, mrs://mrs_default")
        rules = Rules(grace=0.05, confirm_seconds=20)
        reaper = make_reaper(ground.airflow, share=1, rules=rules)
        jobs = [ground.start(name, S.FAILED, deployment=reaper.deployment) for name in SERVICES]
        foreign = ground.start("batch", S.FAILED, deployment=DEPLOYMENT)
        assert fates(reaper.sweep()) == dict.fromkeys(jobs, "ended")
        assert ground.lives(foreign)


class TestAirflow:
    def test_down_at_the_first_check(self, ground: Ground) -> None:
        jobs = [ground.start(service, S.FAILED) for service in SERVICES]
        ground.airflow.before_question = lambda _: setattr(ground.airflow, "is_down", True)
        report = ground.reaper().sweep()
        assert ground.lives(*jobs)
        assert report.troubles == ["Airflow is down. The jobs that it was asked about are kept."]
        assert report.kinds == {DecisionKind.UNANSWERED: len(SERVICES)}
        assert not report.is_clean

    def test_down_from_the_start(self, ground: Ground) -> None:
        job = ground.start("batch", S.FAILED)
        ground.airflow.is_down = True
        report = ground.reaper().sweep()
        assert report.troubles == ["Airflow is down. Nothing is cancelled."]
        assert ground.lives(job)

    def test_down_at_the_second_check(self, ground: Ground) -> None:
        job = ground.start("batch", S.FAILED)

        def fall(question: int) -> None:
            ground.airflow.is_down = question == 2

        ground.airflow.before_question = fall
        report = ground.reaper(places=[Place("batch", "aws_default")]).sweep()
        assert (ground.airflow.questions, report.orphans) == (2, [])
        assert report.troubles == ["Airflow is down. The jobs that it was asked about are kept."]
        assert ground.lives(job)
        ground.airflow.is_down = False
        assert fates(ground.reaper(places=[Place("batch", "aws_default")]).sweep()) == {job: "ended"}

    @pytest.mark.parametrize("error", [AirflowUnavailable("HTTP 403."), InvalidInput("It was broken.")])
    def test_dead_letters_that_can_not_be_written(
        self, ground: Ground, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        """What was cancelled before stands in the report, and nobody reads that nothing was cancelled."""
        job, refused = ground.start("batch", S.FAILED), ground.start("emr", S.FAILED)
        earlier = "mrs://other/cluster/job"
        ground.benches["emr"].fail_cancels("denied")
        ground.write_letters({earlier: {"why": "denied"}})

        def refuse(*_: object) -> None:
            raise error

        monkeypatch.setattr(ground.airflow, "set_variable", refuse)
        report = ground.reaper().sweep()
        assert fates(report) == {job: "ended", refused: "refused"}
        assert report.troubles == [f"The dead letters could not be written: {error}"]
        assert list(report.letters) == [earlier]

    @pytest.mark.wide("batch", "mrs")
    @each_service
    @pytest.mark.parametrize("phase", [S.ALIVE, S.SUCCEEDED, S.UNKNOWN])
    def test_an_owner_that_is_back_between_the_checks(
        self, ground: Ground, service: str, phase: TryPhase
    ) -> None:
        job = ground.start(service, S.FAILED)
        ground.airflow.before_question = lambda question: ground.owner(job, phase) if question == 2 else None
        report = ground.reaper().sweep()
        assert ground.airflow.questions == 2
        assert report.orphans == []
        assert ground.lives(job)
        assert report.is_clean is (phase is not S.UNKNOWN)

    def test_released_between_the_checks(self, ground: Ground) -> None:
        job = ground.start("batch", S.FAILED)

        def release(question: int) -> None:
            if question == 2:
                ground.release(job, job)

        ground.airflow.before_question = release
        assert ground.reaper().sweep().orphans == []
        assert ground.lives(job)

    def test_the_grace_goes_by_between_the_checks(self, ground: Ground) -> None:
        ground.start("batch", S.FAILED)
        moments: list[float] = []
        ground.airflow.before_question = lambda _: moments.append(time.monotonic())
        ground.reaper(grace=1.0).sweep()
        assert moments[1] - moments[0] >= 1.0

    def test_owners_are_asked_for_together(self, ground: Ground, memory: Memory) -> None:
        for number in range(BATCH + 1):
            remembered(ground, memory, f"j{number}", S.ALIVE)
        report = memory_reaper(ground).sweep()
        assert (report.kinds, ground.airflow.questions) == ({DecisionKind.ALIVE: BATCH + 1}, 2)

    @pytest.mark.parametrize(
        "words", ["no JSON", "[1]", '[{"job": "not an address"}]', '[{"why": "denied"}]', '{"job": 7}', "3"]
    )
    def test_a_variable_that_was_broken(self, ground: Ground, words: str) -> None:
        job = ground.start("batch", S.FAILED)
        ground.airflow.variables[VARIABLE] = words
        with pytest.raises(InvalidInput, match=VARIABLE):
            ground.reaper().sweep()
        assert ground.lives(job)
        assert ground.airflow.letters == words


class TestBrake:
    def test_too_many_orphans_of_whatever_kind(self, ground: Ground) -> None:
        """A copied database marks tries failed, another's has no trace of them: the brake counts all."""
        dead = [S.FAILED, S.DELETED, S.REMOVED, S.RETRYING]
        jobs = [ground.start("batch", phase) for phase in dead]
        report = ground.reaper(brake=3).sweep()
        assert fates(report) == dict.fromkeys(jobs, "braked")
        assert ground.lives(*jobs)
        assert ground.cancels() == 0
        (trouble,) = report.troubles
        assert trouble.startswith("4 orphans, more than the brake allows (3): none is cancelled.")
        assert (report.gauges["braked"], report.gauges["orphans"], report.is_clean) == (4, 4, False)
        assert report.as_json()["fates"] == {"braked": 4}
        assert ": braked" in str(report)
        assert fates(ground.reaper(brake=4).sweep()) == dict.fromkeys(jobs, "ended")

    def test_a_dry_run_says_so_too(self, ground: Ground) -> None:
        jobs = [ground.start("batch", S.FAILED) for _ in range(2)]
        report = ground.reaper(brake=1, is_dry=True).sweep()
        assert fates(report) == dict.fromkeys(jobs, "braked")
        assert "more than the brake allows" in report.troubles[0]
        assert "would be cancelled" not in str(report)

    def test_what_is_ending_already_does_not_count(self, ground: Ground) -> None:
        bench = ground.benches["batch"]
        bench.local.configure({"cancel": 1000})
        ending, job = ground.start("batch", S.FAILED), ground.start("batch", S.FAILED)
        bench.service().cancel([ending], "by another")
        report = ground.reaper(brake=1, confirm_seconds=0).sweep()
        assert report.troubles == []
        assert ground.cancels(job) == 1

    def test_what_was_asked_before_is_still_seen_to_end(self, ground: Ground) -> None:
        ground.benches["batch"].local.configure({"cancel": 1000})
        first = ground.start("batch", S.FAILED)
        reaper = ground.reaper(brake=1, confirm_seconds=0)
        assert fates(reaper.sweep()) == {first: "requested"}
        more = [ground.start("batch", S.FAILED) for _ in range(2)]
        ground.cloud.clock.advance(2000)
        assert fates(reaper.sweep()) == {first: "ended", **dict.fromkeys(more, "braked")}


class TestStop:
    def test_before(self, ground: Ground) -> None:
        job, stop = ground.start("batch", S.FAILED), Event()
        stop.set()
        report = ground.reaper(stop=stop).sweep()
        assert ground.lives(job)
        assert report.troubles == [STOPPED]

    @pytest.mark.parametrize("check", [1, 2])
    def test_in_a_check(self, ground: Ground, check: int) -> None:
        jobs, stop = [ground.start(service, S.FAILED) for service in SERVICES], Event()
        ground.airflow.before_question = lambda number: stop.set() if number >= 3 + check else None
        begun = time.monotonic()
        report = ground.reaper(stop=stop, grace=0.05 if check == 2 else 60).sweep()
        assert time.monotonic() - begun < 20
        assert ground.lives(*jobs)
        assert ground.cancels() == 0
        assert STOPPED in report.troubles

    def test_while_a_place_is_slow_to_list(self, ground: Ground) -> None:
        job, stop = ground.start("batch", S.FAILED), Event()
        ground.cloud.faults.add("batch", "ListJobs", "hang")
        threading.Timer(0.5, stop.set).start()
        begun = time.monotonic()
        ground.reaper(stop=stop, places=[Place("batch", "aws_default")]).sweep()
        assert time.monotonic() - begun < 20
        ground.cloud.faults.clear()
        assert ground.lives(job)

    def test_while_jobs_end(self, ground: Ground, memory: Memory) -> None:
        job, stop = remembered(ground, memory, "a"), Event()
        threading.Timer(0.5, stop.set).start()
        reaper = ground.reaper(
            stop=stop, places=[Place("memory")], grace=0, confirm_seconds=60, escalate_after=2
        )
        report = reaper.sweep()
        assert fates(report) == {job: "requested"}
        assert report.seconds < 10
        time.sleep(2)
        reaper.sweep()
        assert memory.sent == [("a", False)], "no escalation once it is stopped"


class TestDryRun:
    def test_it_says_what_it_would_do(self, ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        job, other = ground.start("batch", S.FAILED), ground.start("emr", S.FAILED)
        ground.write_letters({other: {"why": "denied"}})
        ground.benches["emr"].finish(other)
        report = ground.reaper(is_dry=True).sweep()
        assert ground.cancels() == 0
        assert ground.lives(job)
        assert ground.airflow.writes == []
        assert fates(report) == {job: "found"}
        assert f"ORPHAN {job}" in str(report)
        assert "would be cancelled" in str(report)
        assert str(report).startswith("Dry run: nothing is cancelled.")
        assert orphan(report, job).as_json()["task"] == "dag / run / task"
        changing = [
            entry.operation
            for entry in ground.cloud.journal
            if not entry.operation.startswith(("List", "Describe", "Get", "Show", "Submit", "Add", "Create"))
        ]
        assert changing == []
