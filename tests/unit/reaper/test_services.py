"""Services that deny, are silent or reply with nonsense: no other place is affected."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from uuid import uuid4

import pytest

from airflow_cancel_provider.exceptions import InvalidInput, ServiceUnavailable
from airflow_cancel_provider.jobs import CancelOutcome, JobState, JobStatus
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.reaper.backends.base import OwnerState, TryPhase
from airflow_cancel_provider.reaper.places import Place
from airflow_cancel_provider.reaper.report import Report
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.retry import Patience
from tests.memory_service import Memory, MemoryService, memory
from tests.reaper_fixtures import (
    DEPLOYMENT,
    LISTINGS,
    PLACES,
    SERVICES,
    Ground,
    fates,
    ground,
    memory_reaper,
    remembered,
)
from tests.task_fixtures import connections

__all__ = ["connections", "ground", "memory"]
pytestmark = pytest.mark.wide

S = TryPhase
each_service = pytest.mark.parametrize("service", SERVICES)


class TestServices:
    @each_service
    def test_a_job_that_ends_between_the_checks(self, ground: Ground, service: str) -> None:
        job = ground.start(service, S.FAILED)
        end = ground.benches[service].finish
        ground.airflow.before_question = lambda question: end(job) if question == 1 else None
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
        """Somebody has deleted one of several: the jobs that are reached over the others are seen to."""
        job = ground.start("batch", S.FAILED)
        report = ground.reaper(places=[Place("emr", "no_such"), *PLACES]).sweep()
        assert fates(report) == {job: "ended"}
        assert [trouble.partition(" Define")[0] for trouble in report.troubles] == [
            "emr://no_such: Connection 'no_such' is not defined in Airflow."
        ]
        with pytest.raises(InvalidInput, match="no_such"):
            ground.reaper(places=[Place("emr", "no_such"), Place("batch", "no_such")]).sweep()

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


class TestIdentity:
    """An identity that is no good any more is no denial: what was not answered is asked again."""

    @each_service
    def test_a_session_that_is_over_leaves_no_dead_letter(self, ground: Ground, service: str) -> None:
        job = ground.start(service, S.FAILED)
        ground.benches[service].fail_cancels("expired_token")
        place = next(place for place in PLACES if place.service == service)
        hasty = Patience(seconds=0.5, longest_pause=0.1)
        reaper = ground.reaper(places=[place], patience=hasty, confirm_seconds=5)
        report = reaper.sweep()
        assert fates(report) == {job: "unanswered"}
        assert (report.letters, report.is_clean) == ({}, False)
        ground.cloud.faults.clear()
        assert fates(reaper.sweep()) == {job: "ended"}

    @pytest.mark.parametrize("what", ["listing", "cancel", "second check"])
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
            ground.airflow.before_question = lambda question: (
                memory.errors.append(expired) if question == 1 else None
            )
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

    def test_a_label_that_is_another_at_the_second_check(
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
