"""Jobs that could not be cancelled."""

from __future__ import annotations

import json

import pytest

from airflow_cancel_provider.jobs import CancelOutcome
from airflow_cancel_provider.reaper.backends.base import TryPhase
from airflow_cancel_provider.reaper.dead_letters import VARIABLE, DeadLetters
from airflow_cancel_provider.reaper.judge import DecisionKind
from airflow_cancel_provider.version_compat import redact
from tests.memory_service import Memory, memory
from tests.reaper_fixtures import (
    SERVICES,
    Ground,
    fates,
    ground,
    memory_reaper,
    over_two_connections,
    remembered,
)
from tests.task_fixtures import connections

__all__ = ["connections", "ground", "memory"]
pytestmark = pytest.mark.wide

S = TryPhase
each_service = pytest.mark.parametrize("service", SERVICES)


class TestDeadLetters:
    @each_service
    def test_what_is_refused_is_not_asked_again(self, ground: Ground, service: str) -> None:
        job = ground.start(service, S.FAILED)
        ground.benches[service].fail_cancels("denied")
        reaper = ground.reaper()
        report = reaper.sweep()
        assert fates(report) == {job: "refused"}
        letter = DeadLetters(ground.airflow).read()[str(job)]
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
        ground.benches["batch"].fail_cancels("denied")
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
        ground.write_letters({job: letter, other: letter})
        ground.benches["emr"].finish(job)
        report = ground.reaper().sweep()
        assert list(report.letters) == list(DeadLetters(ground.airflow).read()) == [str(other)]

    @pytest.mark.parametrize("place", ["batch://gone", "batch://aws_default@eu-west-1", "batch://"])
    def test_a_letter_of_a_place_where_this_reaper_does_not_look(self, ground: Ground, place: str) -> None:
        """A job that is GONE there may only be unknown to this reaper's identity."""
        elsewhere = f"{place}/00000000-0000-0000-0000-000000000000"
        ground.write_letters({elsewhere: {"why": "denied"}})
        letters = ground.airflow.letters
        job = ground.start("batch", S.FAILED)
        report = ground.reaper().sweep()
        assert fates(report) == {job: "ended"}
        assert ground.airflow.letters == letters
        assert (list(report.letters), report.troubles) == ([elsewhere], [])

    def test_a_letter_of_a_job_that_is_gone_here(self, ground: Ground) -> None:
        """It was listed here when the letter was written; but what a person wants left alone stays so."""
        jobs = [f"batch://aws_default@us-east-1/00000000-0000-0000-0000-00000000000{n}" for n in (1, 2)]
        ground.write_letters({jobs[0]: {"why": "denied"}, jobs[1]: {"why": "denied", "acknowledged": True}})
        assert ground.reaper().sweep().is_clean
        assert list(DeadLetters(ground.airflow).read()) == jobs[1:]

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
        ground.benches["batch"].fail_cancels("denied")
        report = ground.reaper().sweep()
        assert set(fates(report)) == set(jobs)
        assert len(json.loads(ground.airflow.letters)) == 2

    def test_what_a_person_wants_left_alone_is_not_forgotten_for_newer_ones(
        self, monkeypatch: pytest.MonkeyPatch, ground: Ground
    ) -> None:
        monkeypatch.setattr("airflow_cancel_provider.reaper.dead_letters.MOST", 2)
        ground.benches["batch"].fail_cancels("denied")
        left_alone = ground.start("batch", S.FAILED)
        ground.reaper().sweep()
        DeadLetters(ground.airflow).acknowledge([str(left_alone)])
        others = [ground.start("batch", S.FAILED) for _ in range(2)]
        assert set(fates(ground.reaper().sweep())) == set(others)
        ground.cloud.faults.clear()
        assert left_alone not in fates(ground.reaper().sweep())
        assert ground.lives(left_alone)

    @each_service
    def test_what_a_person_wants_left_alone_is_so_over_every_connection(
        self, ground: Ground, service: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = ground.start(service, S.FAILED)
        ground.write_letters({job: {"why": "denied", "acknowledged": True}})
        report = ground.reaper(places=over_two_connections(service, monkeypatch)).sweep()
        assert (report.orphans, report.kinds) == ([], {DecisionKind.DEAD_LETTER: 2})
        assert ground.lives(job)
        assert list(DeadLetters(ground.airflow).read()) == [str(job)]

    def test_no_name_of_a_job_is_taken_for_that_of_a_secret(self, ground: Ground) -> None:
        """Airflow's API masks what stands below such a name: it is lost when the Variable is written."""
        letter = {"why": "denied", "code": "AccessDenied", "task": "dag / run / task", "since": "then"}
        ground.write_letters({"glue://aws_proxy@us-east-1/tokenize-passwords/jr_1": letter})
        stored = json.loads(ground.airflow.letters)
        assert redact(stored, VARIABLE) == stored
