"""The cancels of a reaper, from the request until the jobs are seen to have ended."""

from __future__ import annotations

import threading

import pytest

from airflow_cancel_provider.jobs import CancelOutcome, JobState
from airflow_cancel_provider.reaper import cancels
from airflow_cancel_provider.reaper.backends.base import TryPhase
from airflow_cancel_provider.reaper.places import Place
from tests.guard_fixtures import until
from tests.memory_service import Memory, memory
from tests.reaper_fixtures import PLACES, SERVICES, Ground, fates, ground, memory_reaper, remembered
from tests.task_fixtures import connections

__all__ = ["connections", "ground", "memory"]
pytestmark = pytest.mark.wide

S = TryPhase


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
        assert ground.airflow.questions == 2 * len(SERVICES) + 1, "no second check of what is ending"
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

    def test_a_place_that_denies_polls_holds_up_no_other(self, ground: Ground) -> None:
        jobs = {service: ground.start(service, S.FAILED) for service in SERVICES}

        def deny(question: int) -> None:
            if question == len(SERVICES) + 1:
                ground.cloud.faults.add("emr-serverless", "GetJobRun", "denied")
                ground.cloud.faults.add("emr-serverless", "ListJobRuns", "denied")

        ground.airflow.before_question = deny
        report = ground.reaper().sweep()
        blind = jobs.pop("emr-serverless")
        assert fates(report) == {**dict.fromkeys(jobs.values(), "ended"), blind: "requested"}
        (trouble,) = report.troubles
        assert trouble.startswith(
            "emr-serverless://aws_default@us-east-1: the state of cancelled jobs can't be read"
        )

    def test_no_answer_to_a_request(self, ground: Ground, memory: Memory) -> None:
        job = remembered(ground, memory, "a")
        memory.outcomes["a"] = CancelOutcome.UNANSWERED
        reaper = memory_reaper(ground)
        report = reaper.sweep()
        assert fates(report) == {job: "unanswered"}
        assert "1 job: no answer" in report.troubles[0]
        assert report.gauges["cancelled"] == 0
        memory.outcomes["a"] = CancelOutcome.REQUESTED
        memory.sent.clear()
        report = reaper.sweep()
        assert (fates(report), memory.sent) == ({job: "requested"}, [("a", False)])
        assert report.is_clean

    def test_a_job_that_ends_soon_is_on_record_before_a_slow_one(
        self, ground: Ground, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cancels, "POLL_SECONDS", 0.05)
        soon, late = (remembered(ground, memory, each) for each in ("soon", "late"))
        sweep = threading.Thread(target=memory_reaper(ground, confirm_seconds=30).sweep)
        sweep.start()
        until(lambda: len(memory.sent) == 2)
        memory.states["soon"] = JobState.CANCELLED
        until(lambda: ground.airflow.ends, 10)
        assert set(ground.airflow.ends) == {soon}
        memory.states["late"] = JobState.CANCELLED
        sweep.join()
        assert set(ground.airflow.ends) == {soon, late}

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

    @pytest.mark.parametrize("state, sent", [(JobState.RUNNING, 2), (JobState.CANCELLING, 1)])
    def test_a_request_that_was_accepted_and_has_no_effect_is_repeated(
        self, ground: Ground, memory: Memory, monkeypatch: pytest.MonkeyPatch, state: JobState, sent: int
    ) -> None:
        job = remembered(ground, memory, "a")
        reaper = memory_reaper(ground, escalate_after=3600)
        assert fates(reaper.sweep()) == {job: "requested"}
        memory.states["a"] = state
        assert fates(reaper.sweep()) == {job: "requested"}
        assert len(memory.sent) == 1, "it has time to end"
        monkeypatch.setattr(cancels, "REPEAT_SECONDS", 0.0)
        reaper.sweep()
        assert fates(reaper.sweep()) == {job: "requested"}
        assert memory.sent == [("a", False)] * sent

    def test_before_it_is_repeated_its_task_is_asked_for_again(
        self, ground: Ground, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cancels, "REPEAT_SECONDS", 0.0)
        job = remembered(ground, memory, "a")
        reaper = memory_reaper(ground)
        assert fates(reaper.sweep()) == {job: "requested"}
        ground.owner(job, S.ALIVE)
        assert reaper.sweep().orphans == []
        assert memory.sent == [("a", False)]

    def test_what_another_is_cancelling_is_left_to_end(self, ground: Ground) -> None:
        job = ground.start("batch", S.FAILED)
        bench = ground.benches["batch"]
        bench.local.configure({"cancel": 1})
        other = bench.service()
        ground.airflow.before_question = lambda question: (
            other.cancel([job], "by hand") if question == 2 else None
        )
        report = ground.reaper(places=[Place("batch", "aws_default")]).sweep()
        assert fates(report) == {job: "ended"}
        assert ground.truth(job)["reason"] == "by hand"
