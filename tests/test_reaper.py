"""Sweeps over real connections against the local cloud, and an Airflow that a test holds in its hand."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from threading import Event
from uuid import UUID, uuid4

import pytest
from airflow.sdk.exceptions import ParamValidationError

from airflow_cancel_provider.exceptions import (
    AccessDenied,
    AirflowUnavailable,
    InvalidInput,
    ServiceUnavailable,
    UnknownScope,
)
from airflow_cancel_provider.jobs import CancelOutcome, JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label, deployment_of
from airflow_cancel_provider.reaper import listing as sweeping
from airflow_cancel_provider.reaper.dag import reaper_dag
from airflow_cancel_provider.reaper.dead_letters import VARIABLE, DeadLetters
from airflow_cancel_provider.reaper.factory import make_reaper
from airflow_cancel_provider.reaper.judge import DecisionKind, OwnerState, Standing
from airflow_cancel_provider.reaper.listing import BATCH, WAITING, listed
from airflow_cancel_provider.reaper.places import Place, Scopes, by_place, places
from airflow_cancel_provider.reaper.reaper import STOPPED, Reaper, Rules
from airflow_cancel_provider.reaper.report import Report
from airflow_cancel_provider.services import registry
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.retry import Patience
from tests.memory_service import ROW, Memory, MemoryHook, MemoryService
from tests.reaper_fixtures import (
    DEPLOYMENT,
    FOREIGN,
    LISTINGS,
    PLACES,
    SERVICES,
    Ground,
    fates,
    ground,
    orphan,
)
from tests.task_fixtures import connections

__all__ = ["connections", "ground"]

S = Standing
each_service = pytest.mark.parametrize("service", SERVICES)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    """A service that a test has every answer of in its hand, among the real ones."""
    monkeypatch.setitem(registry.SERVICES, "memory", ROW)
    monkeypatch.setattr(MemoryHook, "memory", Memory())
    return MemoryHook.memory


def memory_reaper(ground: Ground, **rules: object) -> Reaper:
    return ground.reaper(places=[Place("memory")], **{"confirm_seconds": 0, **rules})


def remembered(ground: Ground, memory: Memory, id: str, standing: Standing = S.FAILED) -> RemoteJob:
    """A running job in memory whose try stands so."""
    job, label = memory.job(id), Label(DEPLOYMENT, uuid4())
    ground.owners[job] = label.ti_id
    ground.airflow.tries[label.ti_id] = OwnerState(standing)
    memory.claims.append(JobStatus(job, JobState.RUNNING, label=label))
    return job


class TestSweep:
    def test_orphans_of_all_services_are_cancelled_and_seen_to_end(self, ground: Ground) -> None:
        dead = [S.FAILED, S.DELETED, S.RETRYING]
        jobs = [ground.start(service, standing) for service in SERVICES for standing in dead]
        replaced = [ground.start(service, S.FAILED, later=S.ALIVE) for service in SERVICES]
        report = ground.reaper().sweep()
        assert report.troubles == []
        assert fates(report) == dict.fromkeys(jobs + replaced, "ended")
        assert all(ground.truth(job)["cancelled"] for job in jobs + replaced)
        assert report.is_clean
        assert report.kinds == {DecisionKind.SUSPECT: 4 * len(SERVICES)}

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
        orphans = [ground.start(service, S.FAILED, reconnects=True) for service in SERVICES]
        report = ground.reaper().sweep()
        assert ground.lives(*living)
        assert fates(report) == dict.fromkeys(orphans, "ended")
        count = len(SERVICES)
        assert report.kinds == {
            DecisionKind.FOREIGN: count,
            DecisionKind.UNLABELLED: count,
            DecisionKind.ALIVE: count,
            DecisionKind.SUCCEEDED: count,
            DecisionKind.UNKNOWN: 2 * count,
            DecisionKind.RECONNECTING: 2 * count,
            DecisionKind.RELEASED: 2 * count,
            DecisionKind.SUSPECT: count,
        }
        assert report.foreign == {FOREIGN: count}
        assert report.gauges["living"] == 11 * count

    def test_a_try_that_airflow_leaves_out_of_its_answer(self, ground: Ground) -> None:
        left_out, orphan = ground.start("batch", None), ground.start("batch", S.FAILED)
        report = ground.reaper(places=[Place("batch", "aws_default")]).sweep()
        assert fates(report) == {orphan: "ended"}
        assert ground.lives(left_out)
        assert report.kinds[DecisionKind.UNANSWERED] == 1
        assert "did not say how the tasks of some jobs stand" in report.troubles[0]

    def test_a_pending_job_is_cancelled(self, ground: Ground) -> None:
        job = ground.start("batch", S.FAILED, name="pending")
        assert fates(ground.reaper(places=[Place("batch", "aws_default")]).sweep()) == {job: "ended"}

    def test_nothing_lives(self, ground: Ground) -> None:
        report = ground.reaper().sweep()
        assert (report.is_clean, report.kinds.total(), report.orphans) == (True, 0, [])
        assert ground.airflow.looks == 0
        assert report.calls.total() >= 4

    def test_one_job_at_two_places_is_cancelled_once(self, ground: Ground) -> None:
        job = ground.start("batch", S.FAILED)
        both = [Place("batch", "aws_default"), Place("batch", "aws_default", "us-east-1")]
        report = ground.reaper(places=both).sweep()
        assert [each.fate for each in report.orphans] == ["ended"]
        assert ground.cancels(job) == 1

    def test_scopes_that_are_looked_at(self, ground: Ground) -> None:
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
    def test_down_at_the_first_look(self, ground: Ground) -> None:
        jobs = [ground.start(service, S.FAILED) for service in SERVICES]
        ground.airflow.before_look = lambda _: setattr(ground.airflow, "is_down", True)
        report = ground.reaper().sweep()
        assert ground.lives(*jobs)
        assert report.troubles == ["Airflow is down. Nothing is cancelled."]
        assert report.kinds == {DecisionKind.UNANSWERED: len(SERVICES)}
        assert not report.is_clean

    def test_down_from_the_start(self, ground: Ground) -> None:
        job = ground.start("batch", S.FAILED)
        ground.airflow.is_down = True
        report = ground.reaper().sweep()
        assert report.troubles == ["Airflow is down. Nothing is cancelled."]
        assert ground.lives(job)

    def test_down_at_the_second_look(self, ground: Ground) -> None:
        job = ground.start("batch", S.FAILED)

        def fall(look: int) -> None:
            ground.airflow.is_down = look == 2

        ground.airflow.before_look = fall
        report = ground.reaper(places=[Place("batch", "aws_default")]).sweep()
        assert (ground.airflow.looks, report.orphans) == (2, [])
        assert report.troubles == ["Airflow is down. Nothing is cancelled."]
        assert ground.lives(job)
        ground.airflow.is_down = False
        assert fates(ground.reaper(places=[Place("batch", "aws_default")]).sweep()) == {job: "ended"}

    @each_service
    @pytest.mark.parametrize("standing", [S.ALIVE, S.SUCCEEDED, S.UNKNOWN])
    def test_an_owner_that_is_back_between_the_looks(
        self, ground: Ground, service: str, standing: Standing
    ) -> None:
        job = ground.start(service, S.FAILED)
        ground.airflow.before_look = lambda look: ground.owner(job, standing) if look == 2 else None
        report = ground.reaper().sweep()
        assert ground.airflow.looks == 2
        assert report.orphans == []
        assert ground.lives(job)
        assert report.is_clean is (standing is not S.UNKNOWN)

    def test_released_between_the_looks(self, ground: Ground) -> None:
        job = ground.start("batch", S.FAILED)

        def release(look: int) -> None:
            if look == 2:
                ground.release(job, job)

        ground.airflow.before_look = release
        assert ground.reaper().sweep().orphans == []
        assert ground.lives(job)

    def test_the_grace_goes_by_between_the_looks(self, ground: Ground) -> None:
        ground.start("batch", S.FAILED)
        moments: list[float] = []
        ground.airflow.before_look = lambda _: moments.append(time.monotonic())
        ground.reaper(grace=1.0).sweep()
        assert moments[1] - moments[0] >= 1.0

    def test_owners_are_asked_for_together(self, ground: Ground, memory: Memory) -> None:
        for number in range(BATCH + 1):
            remembered(ground, memory, f"j{number}", S.ALIVE)
        report = memory_reaper(ground).sweep()
        assert (report.kinds, ground.airflow.looks) == ({DecisionKind.ALIVE: BATCH + 1}, 2)

    @pytest.mark.parametrize("words", ["no JSON", "[1]", '{"not an address": {}}', '{"batch://a/1": 7}', "3"])
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
        jobs = [ground.start("batch", standing) for standing in dead]
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


class TestServices:
    @each_service
    def test_a_job_that_ends_between_the_looks(self, ground: Ground, service: str) -> None:
        job = ground.start(service, S.FAILED)
        end = ground.benches[service].finish
        ground.airflow.before_look = lambda look: end(job) if look == 1 else None
        report = ground.reaper().sweep()
        assert report.orphans == []
        assert ground.cancels() == 0
        assert report.is_clean

    @each_service
    def test_a_place_that_denies_listing(self, ground: Ground, service: str) -> None:
        jobs = {name: ground.start(name, S.FAILED) for name in SERVICES}
        denied = jobs.pop(service)
        ground.cloud.faults.add(service, LISTINGS[service], "denied")
        reaper = ground.reaper()
        report = reaper.sweep()
        assert fates(report) == dict.fromkeys(jobs.values(), "ended")
        assert ground.lives(denied)
        assert report.troubles
        assert all(trouble.startswith(f"{service}://") for trouble in report.troubles)
        assert not report.is_clean
        ground.cloud.faults.clear()
        assert fates(reaper.sweep()) == {denied: "ended"}

    def test_two_scopes_that_deny_listing(self, ground: Ground) -> None:
        scopes = [str(ground.benches["emr"].new_scope()) for _ in range(3)]
        jobs = [ground.start("emr", S.FAILED, scope=scope) for scope in scopes]
        for scope in scopes[:2]:
            ground.cloud.faults.add("emr", "ListSteps", "denied", scope=scope)
        report = ground.reaper(places=PLACES[:1]).sweep()
        assert fates(report) == {jobs[2]: "ended"}
        assert len(report.troubles) == 2
        assert report.calls["ListSteps"] >= 4
        assert ground.lives(*jobs[:2])

    def test_a_place_that_names_no_scopes(self, ground: Ground) -> None:
        job = ground.start("batch", S.FAILED)
        ground.cloud.faults.add("emr", "ListClusters", "denied")
        report = ground.reaper().sweep()
        assert fates(report) == {job: "ended"}
        assert "ListClusters" in report.troubles[0]

    def test_a_service_that_is_down_costs_its_patience_but_twice(self, ground: Ground) -> None:
        for _ in range(5):
            ground.start("emr", S.FAILED, scope=str(ground.benches["emr"].new_scope()))
        job = ground.start("batch", S.FAILED)
        ground.cloud.faults.add("emr", "ListSteps", "server_error")
        report = ground.reaper().sweep()
        assert fates(report) == {job: "ended"}
        assert len({entry.scope for entry in ground.cloud.journal.entries("emr", "ListSteps")}) == 2
        assert len(report.troubles) == 3

    def test_a_connection_that_is_not_there(self, ground: Ground) -> None:
        job = ground.start("batch", S.FAILED)
        with pytest.raises(InvalidInput, match="no_such"):
            ground.reaper(places=[*PLACES, Place("emr", "no_such")]).sweep()
        assert ground.lives(job)

    def test_a_fault_in_a_listing_is_told(
        self, ground: Ground, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        remembered(ground, memory, "a")
        job = ground.start("batch", S.FAILED)

        def scopes(_: object) -> Iterator[str]:
            raise ZeroDivisionError("oops")

        monkeypatch.setattr(MemoryService, "scopes", scopes)
        report = ground.reaper(places=[Place("memory"), *PLACES]).sweep()
        assert fates(report) == {job: "ended"}
        assert "ZeroDivisionError('oops')" in report.troubles[0]

    def test_two_reapers_at_once(self, ground: Ground) -> None:
        for bench in ground.benches.values():
            bench.local.configure({"cancel": 2})
        jobs = [ground.start(service, S.FAILED) for service in SERVICES for _ in range(3)]
        living = [ground.start(service, S.ALIVE) for service in SERVICES]
        reports: list[Report] = []
        threads = [threading.Thread(target=lambda: reports.append(ground.reaper().sweep())) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(reports) == 2
        for report in reports:
            assert report.troubles == []
            assert set(fates(report).values()) <= {"ended"}
        assert set(fates(reports[0])) | set(fates(reports[1])) == set(jobs)
        assert all(ground.truth(job)["cancelled"] for job in jobs)
        # MRS says of a job that is ending only that it can't be killed, so it is asked again.
        assert all(ground.cancels(job) <= 2 for job in jobs if job.service != "mrs")
        assert ground.lives(*living)
        assert ground.airflow.letters == ""


class TestDeadLetters:
    @each_service
    def test_what_is_refused_is_not_asked_again(self, ground: Ground, service: str) -> None:
        job = ground.start(service, S.FAILED)
        for operation in ground.benches[service].cancel_operations:
            ground.cloud.faults.add(service, operation, "denied")
        reaper = ground.reaper()
        report = reaper.sweep()
        assert fates(report) == {job: "refused"}
        letter = json.loads(ground.airflow.letters)[str(job)]
        assert letter["task"] == "dag / run / task"
        assert letter["why"]
        assert report.letters == {str(job): letter}
        assert not report.is_clean
        sent = ground.cancels()
        assert sent >= 1
        for later in (reaper.sweep(), ground.reaper().sweep()):
            assert (later.orphans, list(later.letters), later.is_clean) == ([], [str(job)], False)
        assert ground.cancels() == sent

    def test_acknowledged_and_retried(self, ground: Ground) -> None:
        job = ground.start("batch", S.FAILED)
        for operation in ground.benches["batch"].cancel_operations:
            ground.cloud.faults.add("batch", operation, "denied")
        ground.reaper().sweep()
        ground.cloud.faults.clear()
        sent, letters = ground.cancels(), DeadLetters(ground.airflow)
        letters.acknowledge([str(job)])
        report = ground.reaper().sweep()
        assert (report.letters, report.is_clean, report.kinds) == ({}, True, {DecisionKind.DEAD_LETTER: 1})
        assert ground.cancels() == sent
        assert ground.lives(job)
        letters.drop([str(job)])
        assert VARIABLE not in ground.airflow.variables
        assert fates(ground.reaper().sweep()) == {job: "ended"}

    def test_the_letter_of_an_ended_job_is_dropped(self, ground: Ground) -> None:
        job, other = ground.start("emr", S.FAILED), ground.start("emr", S.FAILED)
        letter = {"why": "denied", "since": "then", "task": "", "code": None}
        ground.airflow.variables[VARIABLE] = json.dumps({str(job): letter, str(other): letter})
        ground.benches["emr"].finish(job)
        report = ground.reaper().sweep()
        assert list(report.letters) == list(json.loads(ground.airflow.letters)) == [str(other)]

    @pytest.mark.parametrize("place", ["batch://gone", "batch://aws_default@eu-west-1", "batch://"])
    def test_a_letter_of_a_place_where_this_reaper_does_not_look(self, ground: Ground, place: str) -> None:
        """A job that is GONE there may only be unknown to this reaper's identity."""
        elsewhere = f"{place}/00000000-0000-0000-0000-000000000000"
        letters = json.dumps({elsewhere: {"why": "denied"}})
        ground.airflow.variables[VARIABLE] = letters
        job = ground.start("batch", S.FAILED)
        report = ground.reaper().sweep()
        assert fates(report) == {job: "ended"}
        assert ground.airflow.letters == letters
        assert (list(report.letters), report.troubles) == ([elsewhere], [])

    def test_a_letter_of_a_job_that_is_gone_here(self, ground: Ground) -> None:
        """It was listed here when the letter was written; but what a person wants left alone stays so."""
        jobs = [f"batch://aws_default@us-east-1/00000000-0000-0000-0000-00000000000{n}" for n in (1, 2)]
        letters = {jobs[0]: {"why": "denied"}, jobs[1]: {"why": "denied", "acknowledged": True}}
        ground.airflow.variables[VARIABLE] = json.dumps(letters)
        assert ground.reaper().sweep().is_clean
        assert list(json.loads(ground.airflow.letters)) == jobs[1:]

    def test_a_refusal_that_comes_late_gets_its_letter(self, ground: Ground, memory: Memory) -> None:
        job = remembered(ground, memory, "a")
        memory.outcomes["a"] = CancelOutcome.UNANSWERED
        reaper = memory_reaper(ground)
        assert fates(reaper.sweep()) == {job: "unanswered"}
        memory.outcomes["a"] = CancelOutcome.REFUSED
        report = reaper.sweep()
        assert fates(report) == {job: "refused"}
        assert list(report.letters) == [str(job)]
        memory.sent.clear()
        assert reaper.sweep().orphans == []
        assert memory.sent == []

    def test_only_the_newest_are_kept(self, monkeypatch: pytest.MonkeyPatch, ground: Ground) -> None:
        monkeypatch.setattr("airflow_cancel_provider.reaper.dead_letters.MOST", 2)
        jobs = [ground.start("batch", S.FAILED) for _ in range(3)]
        for operation in ground.benches["batch"].cancel_operations:
            ground.cloud.faults.add("batch", operation, "denied")
        report = ground.reaper().sweep()
        assert set(fates(report)) == set(jobs)
        assert len(json.loads(ground.airflow.letters)) == 2


class TestIdentity:
    """An identity that is no good any more is no denial: what was not answered is asked again."""

    @each_service
    def test_a_session_that_is_over_leaves_no_dead_letter(self, ground: Ground, service: str) -> None:
        job = ground.start(service, S.FAILED)
        for operation in ground.benches[service].cancel_operations:
            ground.cloud.faults.add(service, operation, "expired_token")
        place = next(place for place in PLACES if place.service == service)
        reaper = ground.reaper(places=[place], patience=Patience(seconds=0.5, longest_pause=0.1))
        report = reaper.sweep()
        assert fates(report) == {job: "unanswered"}
        assert (report.letters, report.is_clean) == ({}, False)
        ground.cloud.faults.clear()
        assert fates(reaper.sweep()) == {job: "ended"}

    @pytest.mark.parametrize("what", ["listing", "cancel", "second look"])
    def test_the_next_sweep_opens_what_did_not_answer_anew(
        self, ground: Ground, memory: Memory, what: str
    ) -> None:
        """With credentials that may have been renewed."""
        job = remembered(ground, memory, "a")
        expired = ServiceUnavailable("The session is over.", "List", "ExpiredToken")
        reaper = memory_reaper(ground)
        if what == "cancel":
            memory.outcomes["a"] = CancelOutcome.UNANSWERED
        elif what == "listing":
            memory.errors.append(expired)
        else:
            ground.airflow.before_look = lambda look: memory.errors.append(expired) if look == 1 else None
        assert reaper.sweep().troubles
        assert len(memory.opened) == 1
        memory.outcomes.clear()
        report = reaper.sweep()
        assert len(memory.opened) == 2
        assert fates(report) == {job: "requested"}
        assert report.is_clean
        reaper.sweep()
        assert len(memory.opened) == 2


class TestHostileReplies:
    """Nothing that a service says ends a sweep, or keeps it from the other places."""

    @pytest.mark.parametrize("method", ["scopes", "claims", "describe", "cancel"])
    @pytest.mark.parametrize("error", [KeyError("jobs"), TypeError("oops"), RecursionError("deep")], ids=repr)
    def test_an_error_that_is_not_ours(
        self, ground: Ground, memory: Memory, monkeypatch: pytest.MonkeyPatch, method: str, error: Exception
    ) -> None:
        lost = remembered(ground, memory, "a")
        job = ground.start("batch", S.FAILED)

        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(MemoryService, method, fail)
        places = [Place("memory"), Place("batch", "aws_default")]
        report = ground.reaper(places=places, confirm_seconds=2).sweep()
        assert fates(report)[job] == "ended"
        assert any("memory://" in trouble or "no answer" in trouble for trouble in report.troubles)
        assert (method, fates(report).get(lost)) in {
            *(("scopes", None), ("claims", None), ("describe", None), ("cancel", "unanswered")),
        }
        assert report.letters == {}

    def test_a_place_that_can_not_be_opened(self, ground: Ground, memory: Memory) -> None:
        job = ground.start("batch", S.FAILED)
        reaper = ground.reaper(places=[Place("memory"), Place("batch", "aws_default")])
        opened = reaper.services._open_place

        def open_place(place: Place) -> JobService:
            if place.service == "memory":
                raise OSError("oops")
            return opened(place)

        reaper.services._open_place = open_place
        report = reaper.sweep()
        assert fates(report) == {job: "ended"}
        assert report.troubles == ["memory://: OSError('oops')"]
        assert memory.sent == []

    def test_a_scope_whose_listing_fails_half_way(
        self, ground: Ground, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What it has shown is judged, and the scopes behind it are listed."""
        first = remembered(ground, memory, "a")
        second = memory.job("b", scope="other")
        ground.owners[second] = uuid4()
        ground.owner(second, S.FAILED)
        label = Label(DEPLOYMENT, ground.owners[second])
        memory.claims.append(JobStatus(second, JobState.RUNNING, label=label))

        def claims(service: MemoryService, scope: str) -> Iterator[JobStatus]:
            yield from service._alive(scope)
            if scope == "place":
                raise KeyError("nextToken")

        monkeypatch.setattr(MemoryService, "claims", claims)
        report = memory_reaper(ground).sweep()
        assert set(fates(report)) == {first, second}
        assert report.troubles == ["memory://: Listing place failed: KeyError('nextToken')"]

    def test_a_label_that_is_another_at_the_second_look(
        self, ground: Ground, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = remembered(ground, memory, "a")
        other = Label(DEPLOYMENT, uuid4())
        ground.airflow.tries[other.ti_id] = OwnerState(S.FAILED)
        monkeypatch.setattr(
            MemoryService, "describe", lambda *_: [JobStatus(job, JobState.RUNNING, label=other)]
        )
        report = memory_reaper(ground).sweep()
        assert (report.orphans, memory.sent) == ([], [])


class TestEnding:
    def test_a_job_that_ignores_the_first_cancel_is_forced(self, ground: Ground) -> None:
        ground.cloud.emr.override("stubborn*", stubborn=True)
        job = ground.start("emr", S.FAILED, name="stubborn")
        ground.cloud.clock.advance(1)
        reaper = ground.reaper(places=PLACES[:1], escalate_after=0.3)
        assert fates(reaper.sweep()) == {job: "ended"}
        assert ground.cancels(job) == 2

    def test_a_later_sweep_goes_on(self, ground: Ground) -> None:
        for bench in ground.benches.values():
            bench.local.configure({"cancel": 1000})
        jobs = [ground.start(service, S.FAILED) for service in SERVICES]
        reaper = ground.reaper(confirm_seconds=0, escalate_after=3600)
        assert fates(reaper.sweep()) == dict.fromkeys(jobs, "requested")
        sent = ground.cancels()
        again = reaper.sweep()
        assert fates(again) == dict.fromkeys(jobs, "requested")
        assert ground.airflow.looks == 2 * len(SERVICES) + 1, "no second look at what is ending"
        ground.cloud.clock.advance(2000)
        assert fates(reaper.sweep()) == dict.fromkeys(jobs, "ended")
        assert reaper.sweep().orphans == []
        assert ground.cancels() == sent

    def test_a_job_that_never_ends_holds_up_no_sweep(self, ground: Ground) -> None:
        ground.cloud.batch.override("endless*", cancel=1e6)
        job = ground.start("batch", S.FAILED, name="endless")
        reaper = ground.reaper(places=[Place("batch", "aws_default")], confirm_seconds=4, escalate_after=3600)
        assert reaper.sweep().seconds >= 4
        report = reaper.sweep()
        assert fates(report) == {job: "requested"}
        assert report.seconds < 4

    def test_a_place_that_denies_looks_holds_up_no_other(self, ground: Ground) -> None:
        jobs = {service: ground.start(service, S.FAILED) for service in SERVICES}

        def deny(look: int) -> None:
            if look == len(SERVICES) + 1:
                ground.cloud.faults.add("emr-serverless", "GetJobRun", "denied")
                ground.cloud.faults.add("emr-serverless", "ListJobRuns", "denied")

        ground.airflow.before_look = deny
        report = ground.reaper().sweep()
        blind = jobs.pop("emr-serverless")
        assert fates(report) == {**dict.fromkeys(jobs.values(), "ended"), blind: "requested"}
        (trouble,) = report.troubles
        assert trouble.startswith(
            "emr-serverless://aws_default@us-east-1: what was cancelled can't be looked at"
        )

    def test_no_answer_to_a_request(self, ground: Ground, memory: Memory) -> None:
        job = remembered(ground, memory, "a")
        memory.outcomes["a"] = CancelOutcome.UNANSWERED
        reaper = memory_reaper(ground)
        report = reaper.sweep()
        assert fates(report) == {job: "unanswered"}
        assert "1 jobs: no answer" in report.troubles[0]
        assert report.gauges["cancelled"] == 0
        memory.outcomes["a"] = CancelOutcome.REQUESTED
        memory.sent.clear()
        report = reaper.sweep()
        assert (fates(report), memory.sent) == ({job: "requested"}, [("a", False)])
        assert report.is_clean

    def test_what_was_not_answered_is_decided_on_anew(self, ground: Ground, memory: Memory) -> None:
        """The next try may have taken the job over since."""
        job = remembered(ground, memory, "a")
        memory.outcomes["a"] = CancelOutcome.UNANSWERED
        reaper = memory_reaper(ground)
        assert fates(reaper.sweep()) == {job: "unanswered"}
        ground.owner(job, S.ALIVE)
        memory.sent.clear()
        assert reaper.sweep().orphans == []
        assert memory.sent == []

    def test_what_another_is_cancelling_is_left_to_end(self, ground: Ground) -> None:
        job = ground.start("batch", S.FAILED)
        bench = ground.benches["batch"]
        bench.local.configure({"cancel": 1})
        other = bench.service()
        ground.airflow.before_look = lambda look: other.cancel([job], "by hand") if look == 2 else None
        report = ground.reaper(places=[Place("batch", "aws_default")]).sweep()
        assert fates(report) == {job: "ended"}
        assert ground.truth(job)["reason"] == "by hand"


class TestStop:
    def test_before(self, ground: Ground) -> None:
        job, stop = ground.start("batch", S.FAILED), Event()
        stop.set()
        report = ground.reaper(stop=stop).sweep()
        assert ground.lives(job)
        assert report.troubles == [STOPPED]

    @pytest.mark.parametrize("look", [1, 2])
    def test_in_a_look(self, ground: Ground, look: int) -> None:
        jobs, stop = [ground.start(service, S.FAILED) for service in SERVICES], Event()
        ground.airflow.before_look = lambda number: stop.set() if number >= 3 + look else None
        begun = time.monotonic()
        report = ground.reaper(stop=stop, grace=0.05 if look == 2 else 60).sweep()
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
        assert time.monotonic() - begun < 5
        ground.cloud.faults.clear()
        assert ground.lives(job)

    def test_while_jobs_end(self, ground: Ground, memory: Memory) -> None:
        job, stop = remembered(ground, memory, "a"), Event()
        threading.Timer(0.5, stop.set).start()
        reaper = ground.reaper(
            stop=stop, places=[Place("memory")], grace=0, confirm_seconds=60, escalate_after=0.7
        )
        report = reaper.sweep()
        assert fates(report) == {job: "requested"}
        assert report.seconds < 10
        time.sleep(0.3)
        reaper.sweep()
        assert memory.sent == [("a", False)], "no escalation once it is stopped"


class TestDryRun:
    def test_it_says_what_it_would_do(self, ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        job, other = ground.start("batch", S.FAILED), ground.start("emr", S.FAILED)
        ground.airflow.variables[VARIABLE] = json.dumps({str(other): {"why": "denied"}})
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


class TestReleases:
    """Removed once all of their jobs were seen to have ended, and no sooner."""

    def swept(self, ground: Ground, **rules: object) -> set[str]:
        """Keys that are left after a sweep without troubles."""
        report = ground.reaper(**rules).sweep()
        assert report.troubles == []
        return set(ground.airflow.variables)

    @each_service
    def test_those_of_jobs_that_have_ended(self, ground: Ground, service: str) -> None:
        ended, alive = ground.start(service, S.SUCCEEDED), ground.start(service, S.SUCCEEDED)
        ground.release(ended, ended, is_all=True)
        kept = ground.release(alive, alive, ended)
        ground.benches[service].finish(ended)
        assert self.swept(ground) == {kept}
        ground.benches[service].finish(alive)
        assert self.swept(ground) == set()

    def test_a_purged_job_is_gone_where_this_reaper_looks(self, ground: Ground) -> None:
        alive = ground.start("batch", S.ALIVE)
        gone = "batch://aws_default@us-east-1/00000000-0000-0000-0000-000000000001"
        ground.owners[RemoteJob(gone)] = uuid4()
        ground.airflow.tries[ground.owners[RemoteJob(gone)]] = OwnerState(S.DELETED)
        ground.release(RemoteJob(gone), RemoteJob(gone))
        assert self.swept(ground) == set()
        assert ground.lives(alive)

    @pytest.mark.parametrize(
        "more",
        [
            {"at": "9999-01-01T00:00:00+00:00"},
            {"at": None},
            {"at": "2026-01-01T00:00:00"},
            {"jobs": []},
            {"jobs": ["no address"]},
            {"all": "no"},
            {"jobs": ["batch://other@us-east-1/00000000-0000-0000-0000-000000000001"]},
            {"jobs": ["batch://@us-east-1/00000000-0000-0000-0000-000000000001"]},
        ],
        ids=str,
    )
    def test_in_doubt_it_stays(self, ground: Ground, more: dict[str, object]) -> None:
        ended = ground.start("batch", S.SUCCEEDED)
        kept = ground.release(ended, ended, **more)
        ground.benches["batch"].finish(ended)
        assert kept in self.swept(ground)

    @pytest.mark.parametrize("standing", [S.ALIVE, S.UNKNOWN, None])
    def test_of_a_try_that_may_still_write_to_it(self, ground: Ground, standing: Standing | None) -> None:
        ended = ground.start("batch", standing)
        kept = ground.release(ended, ended)
        ground.benches["batch"].finish(ended)
        assert kept in self.swept(ground)
        ground.owner(ended, S.FAILED)
        assert self.swept(ground) == set()

    def test_a_job_of_the_same_try_lives(self, ground: Ground) -> None:
        """Its label says so, though the release does not name it."""
        ended = ground.start("batch", S.SUCCEEDED)
        label = Label(DEPLOYMENT, ground.owners[ended])
        other = ground._submit("batch", "running", label, None)
        kept = ground.release(ended, ended, is_all=True)
        ground.benches["batch"].finish(ended)
        assert self.swept(ground) == {kept}
        ground.benches["batch"].finish(other)
        assert self.swept(ground) == set()

    def test_a_service_that_does_not_answer(self, ground: Ground) -> None:
        ended, job = ground.start("batch", S.SUCCEEDED), ground.start("emr", S.FAILED)
        kept = ground.release(ended, ended)
        ground.benches["batch"].finish(ended)
        ground.cloud.faults.add("batch", "DescribeJobs", "server_error")
        assert fates(ground.reaper().sweep()) == {job: "ended"}
        assert set(ground.airflow.variables) == {kept}

    def test_not_in_a_dry_run(self, ground: Ground) -> None:
        ended = ground.start("batch", S.SUCCEEDED)
        kept = ground.release(ended, ended)
        ground.benches["batch"].finish(ended)
        assert self.swept(ground, is_dry=True) == {kept}
        assert ground.airflow.writes == []

    def test_a_bounded_number_in_each_sweep(self, ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("airflow_cancel_provider.reaper.releases.MOST_LOOKED_AT", 2)
        jobs = [ground.start("batch", S.SUCCEEDED) for _ in range(5)]
        for job in jobs:
            ground.release(job, job)
            ground.benches["batch"].finish(job)
        left = [len(self.swept(ground)) for _ in range(3)]
        assert left == [3, 1, 0]

    @pytest.mark.parametrize(
        "error", [UnknownScope("There is no such place."), AccessDenied("Not allowed."), KeyError("oops")]
    )
    def test_those_that_can_not_be_judged_hold_up_no_other(
        self, ground: Ground, memory: Memory, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        """A cluster that is unknown may have been another's: that is no end, and no trouble."""
        monkeypatch.setattr("airflow_cancel_provider.reaper.releases.MOST_LOOKED_AT", 2)

        def describe(service: MemoryService, jobs: list[RemoteJob]) -> list[JobStatus]:
            if any(job.scope == "elsewhere" for job in jobs):
                raise error
            return [JobStatus(job, service.memory.states[job.id]) for job in jobs]

        monkeypatch.setattr(MemoryService, "describe", describe)
        unknown = memory.job("u", scope="elsewhere")
        keys = set()
        for number in range(4):
            ground.owners[unknown] = UUID(int=number)
            ground.owner(unknown, S.SUCCEEDED)
            keys.add(ground.release(unknown, unknown))
        ended = memory.job("a", JobState.SUCCEEDED)
        ground.owners[ended] = uuid4()
        ground.owner(ended, S.SUCCEEDED)
        kept = ground.release(ended, ended)
        for _ in range(60):
            report = memory_reaper(ground).sweep()
            assert report.troubles == []
            if kept not in ground.airflow.variables:
                break
        assert set(ground.airflow.variables) == keys

    def test_an_airflow_that_does_not_list_them(
        self, ground: Ground, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It keeps no sweep from the orphans."""
        job = ground.start("batch", S.FAILED)

        def refuse(_: int) -> dict[str, str]:
            raise AirflowUnavailable("Variables can't be listed. Nothing is cancelled.")

        monkeypatch.setattr(ground.airflow, "releases", refuse)
        report = ground.reaper().sweep()
        assert fates(report) == {job: "ended"}
        assert report.troubles == ["Variables can't be listed. Nothing is cancelled."]


class TestPlaces:
    def test_what_they_are_called(self) -> None:
        assert places(["aws://a@eu-west-1", "mrs://m", "batch://"]) == [
            Place("emr", "a", "eu-west-1"),
            Place("batch", "a", "eu-west-1"),
            Place("emr-serverless", "a", "eu-west-1"),
            Place("emr-containers", "a", "eu-west-1"),
            Place("mrs", "m"),
            Place("batch"),
        ]
        assert list(map(str, places(["emr://a@eu-west-1", "batch://"]))) == ["emr://a@eu-west-1", "batch://"]

    @pytest.mark.parametrize("text", ["aws", "gcp://a", "aws://a@b@c", "", "aws://a b", "AWS://a"])
    def test_what_is_none(self, text: str) -> None:
        with pytest.raises(InvalidInput):
            places([text])

    def test_jobs_by_place(self) -> None:
        jobs = [RemoteJob(f"batch://{name}") for name in ("a/1", "b@r/2", "a/3")]
        assert by_place(jobs) == {Place("batch", "a"): jobs[::2], Place("batch", "b", "r"): [jobs[1]]}

    @pytest.mark.parametrize(
        "url",
        [
            *("", "/", "airflow.example.com", "http://", "http://[::1"),
            *("http://localhost:8080", "http://LOCALHOST", "http://localhost.", "http://airflow.localhost"),
            *(
                "http://127.0.0.1:8080",
                "http://127.1",
                "http://0.0.0.0",
                "http://10.0.0.7",
                "http://2130706433",
            ),
            *("http://0x7f.0.0.0x1", "http://52.95.110.1", "https://[::1]:8080", "https://[2001:db8::1]"),
            *("http://[fe80::1%25eth0]", "http://[::ffff:10.0.0.7]", "http://airflow@10.0.0.7"),
            *("http://airflow-api-server:8080", "http://airflow", "http://airflow:8080/base"),
            *("http://airflow-api-server.airflow", "http://airflow.prod:8080"),
            "http://airflow-api-server.airflow.svc",
            "http://airflow-api-server.airflow.svc:8080/",
            "http://airflow-api-server.airflow.svc.cluster.local",
            "http://airflow-api-server.airflow.svc.cluster.local.:8080",
            "http://Airflow-Api-Server.Airflow.SVC.Cluster.Local",
            "http://airflow-api-server.airflow.svc.k8s.example.com",
            *("http://a.b.local", "http://a.b.internal", "http://a.b.lan", "http://a.b.localdomain"),
            *("http://host.docker.internal:8080", "http://ip-10-0-0-7.eu-west-1.compute.internal"),
            *("http://a.b.home.arpa", "http://a.b.corp", "http://a.b.test", "http://a.b.example"),
            *("http://airflow.127.0.0.1.nip.io", "http://a.lvh.me", "http://localhost.localdomain.com"),
            *("http://a..example.com", "http://.example.com"),
        ],
    )
    def test_a_name_that_others_may_have(
        self, monkeypatch: pytest.MonkeyPatch, ground: Ground, url: str
    ) -> None:
        monkeypatch.setenv("AIRFLOW__API__BASE_URL", url)
        with pytest.raises(InvalidInput, match=r"Set \[cancel_provider\] deployment"):
            make_reaper(ground.airflow, at=["aws://aws_default"])
        for name in (" ", "production"):
            monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT", name)
            if name.strip():
                assert make_reaper(ground.airflow, at=["aws://aws_default"]).deployment == deployment_of(name)
            else:
                with pytest.raises(InvalidInput, match="deployment"):
                    make_reaper(ground.airflow, at=["aws://aws_default"])

    @pytest.mark.parametrize(
        "url",
        [
            *("https://airflow.example.com", "http://airflow.example.com:8080/base", "https://a.b.co.uk."),
            *(
                "https://airflow.localexample.com",
                "https://internal.example.org",
                "https://x.xn--p1ai.xn--p1ai",
            ),
        ],
    )
    def test_a_name_that_no_other_has(
        self, monkeypatch: pytest.MonkeyPatch, ground: Ground, url: str
    ) -> None:
        monkeypatch.setenv("AIRFLOW__API__BASE_URL", url)
        assert make_reaper(ground.airflow, at=["aws://aws_default"]).deployment == deployment_of(url)

    @pytest.mark.parametrize("name", ["at", "scopes", "except_scopes"])
    def test_a_text_is_no_list_of_patterns(
        self, monkeypatch: pytest.MonkeyPatch, ground: Ground, name: str
    ) -> None:
        """Of the letters of "etl-*" the last is a pattern of everything."""
        monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT", "blue")
        given: dict[str, object] = {"at": ["aws://aws_default"], name: "etl-*"}
        with pytest.raises(InvalidInput, match=rf"{name} is 'etl-\*'; expected a list"):
            make_reaper(ground.airflow, **given)
        with pytest.raises(InvalidInput, match=rf"{name} is 'etl-\*'; expected a list"):
            reaper_dag(airflow_conn_id="airflow_api", **given)

    @pytest.mark.parametrize("params", [{"except_scopes": "prod-1"}, {"scopes": [1]}, {"dry_run": "no"}])
    def test_a_run_of_the_dag_that_says_something_else(self, params: dict[str, object]) -> None:
        dag = reaper_dag(airflow_conn_id="airflow_api", at=["aws://aws_default"], scopes=["etl-*"])
        assert dag.params.validate() == {"dry_run": False, "scopes": ["etl-*"], "except_scopes": []}
        with pytest.raises(ParamValidationError, match="is not of type"):
            dag.params.update(params)

    def test_no_place(self, monkeypatch: pytest.MonkeyPatch, ground: Ground) -> None:
        monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT", "blue")
        with pytest.raises(InvalidInput, match="reaper_places"):
            make_reaper(ground.airflow)

    @pytest.mark.parametrize("name", ["grace", "confirm_seconds", "escalate_after", "brake"])
    @pytest.mark.parametrize("number", [-1, float("nan"), float("inf")])
    def test_numbers_that_are_none(self, name: str, number: float) -> None:
        with pytest.raises(InvalidInput, match=name):
            Rules(**{name: number})


class TestListing:
    def test_a_slow_consumer_bounds_what_is_read(
        self, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Jobs without end live; no more of them are read than there is room for."""
        read = 0

        def claims(_: MemoryService, scope: str) -> Iterator[JobStatus]:
            nonlocal read
            claim = JobStatus(RemoteJob.of("memory", "a", scope=scope), JobState.RUNNING)
            while True:
                read += 1
                yield claim

        monkeypatch.setattr(MemoryService, "claims", claims)
        monkeypatch.setattr(MemoryService, "scopes", lambda _: iter(["place"]))
        batches = listed({Place("memory"): MemoryService(memory, None, None)}, Scopes())
        room = (WAITING + 2) * BATCH
        for taken in range(1, 4):
            assert len(next(batches).claims) == BATCH
            time.sleep(0.3)
            assert read <= room + taken * BATCH
        batches.close()  # type: ignore[attr-defined]
        wait_until(lambda: not reapers())

    def test_nobody_is_left_behind(self, ground: Ground) -> None:
        ground.start("batch", S.ALIVE)
        ground.reaper().sweep()
        wait_until(lambda: not reapers())

    def test_silences(self, memory: Memory) -> None:
        assert sweeping.SILENCES == 2
        service = MemoryService(memory, None, None)
        assert list(listed({Place("memory"): service}, Scopes())) == []
        assert list(listed({}, Scopes())) == []


def reapers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("reaper ")]


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)
