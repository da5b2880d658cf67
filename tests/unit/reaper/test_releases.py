"""Releases that are removed, and those that are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from airflow_cancel_provider.exceptions import AccessDenied, AirflowUnavailable, UnknownScope
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.reaper.backends.base import OwnerState, TryPhase
from airflow_cancel_provider.reaper.places import Scopes
from airflow_cancel_provider.release import MOST_JOBS, place_of
from tests.memory_service import Memory, MemoryService, memory
from tests.reaper_fixtures import DEPLOYMENT, SERVICES, Ground, fates, ground, memory_reaper
from tests.task_fixtures import connections

__all__ = ["connections", "ground", "memory"]
pytestmark = pytest.mark.wide

S = TryPhase
each_service = pytest.mark.parametrize("service", SERVICES)


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

    @pytest.mark.parametrize("days,stays", [(8, False), (6, True)])
    def test_a_purged_job_is_gone_and_not_one_that_its_service_must_know_yet(
        self, ground: Ground, days: int, stays: bool
    ) -> None:
        """The connection may lead to another account for a while."""
        alive = ground.start("batch", S.ALIVE)
        gone = "batch://aws_default@us-east-1/00000000-0000-0000-0000-000000000001"
        ground.owners[RemoteJob(gone)] = uuid4()
        ground.airflow.tries[ground.owners[RemoteJob(gone)]] = OwnerState(S.DELETED)
        at = (datetime.now(UTC) - timedelta(days=days)).isoformat()
        kept = ground.release(RemoteJob(gone), RemoteJob(gone), at=at)
        assert self.swept(ground) == ({kept} if stays else set())
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

    @pytest.mark.parametrize("count", [0, MOST_JOBS])
    @each_service
    def test_one_that_does_not_spell_out_every_job_goes_when_none_of_its_try_lives_there(
        self, ground: Ground, service: str, count: int
    ) -> None:
        alive = ground.start(service, S.SUCCEEDED)
        jobs = [str(alive)] * count
        kept = ground.release(alive, is_all=True, jobs=jobs, more=[str(place_of(alive))])
        assert self.swept(ground) == {kept}
        ground.benches[service].finish(alive)
        assert self.swept(ground) == set()

    @pytest.mark.parametrize("why", ["elsewhere", "scopes", "trouble", "unknown"])
    def test_one_that_does_not_spell_out_every_job_stays_where_the_sweep_did_not_see_all(
        self, ground: Ground, why: str
    ) -> None:
        job = ground.start("batch", S.SUCCEEDED)
        place = str(place_of(job)) if why != "elsewhere" else "batch://other@us-east-1/*"
        kept = ground.release(job, is_all=True, jobs=[], more=[place] if why != "unknown" else [])
        ground.benches["batch"].finish(job)
        reaper = ground.reaper()
        if why == "scopes":
            reaper.scopes = Scopes(deny=["none"])
        if why == "trouble":
            ground.cloud.faults.add("emr", "ListClusters", "denied")
        reaper.sweep()
        assert set(ground.airflow.variables) == {kept}

    @pytest.mark.parametrize("phase", [S.ALIVE, S.UNKNOWN, None])
    def test_of_a_try_that_may_still_write_to_it(self, ground: Ground, phase: TryPhase | None) -> None:
        ended = ground.start("batch", phase)
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
        monkeypatch.setattr("airflow_cancel_provider.reaper.releases.MOST_DESCRIBED", 2)
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
        monkeypatch.setattr("airflow_cancel_provider.reaper.releases.MOST_DESCRIBED", 2)

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
            raise AirflowUnavailable("Variables can't be listed.")

        monkeypatch.setattr(ground.airflow, "releases", refuse)
        report = ground.reaper().sweep()
        assert fates(report) == {job: "ended"}
        assert report.troubles == ["Variables can't be listed. No release is removed in this sweep."]
