"""Polls that many waits share: how few calls they take, and that they claim no more than was seen."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_cancel_provider.exceptions import AccessDenied
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.services.polls import FULL_EVERY, PollMemory
from tests.cloud.server import LocalCloud
from tests.pace_fixtures import emr
from tests.service_fixtures import BENCHES, Bench, EmrBench, EmrContainersBench, EmrServerlessBench

__all__ = ["emr"]

STEPS = 250
SLOTS = 10
SUCCEEDED, PENDING, RUNNING, CANCELLED, GONE = (
    JobState.SUCCEEDED,
    JobState.PENDING,
    JobState.RUNNING,
    JobState.CANCELLED,
    JobState.GONE,
)


@pytest.fixture(params=[EmrServerlessBench, EmrContainersBench], ids=lambda kind: str(kind.name))
def runs(request: pytest.FixtureRequest, cloud: LocalCloud) -> Iterator[Bench]:
    bench: Bench = request.param(cloud)
    yield bench
    bench.close()


class Polls:
    """Polls of the jobs of one scope, one after the other, and what each cost."""

    def __init__(self, bench: Bench, listing: str) -> None:
        self.service, self.memory = bench.service(), PollMemory()
        self._bench, self._listing = bench, listing
        self.calls = self.asked = 0

    def __call__(
        self, jobs: list[RemoteJob], *fresh: RemoteJob, may_leave_out: bool = True
    ) -> dict[RemoteJob, JobState]:
        self._bench.cloud.journal.clear()
        statuses: list[JobStatus] = self.service.poll(
            jobs, self.memory, fresh=set(fresh), may_leave_out=may_leave_out
        )
        assert [status.job for status in statuses] == jobs
        self.calls = self._bench.count(self._listing)
        self.asked = self._bench.count() - self.calls
        return {status.job: status.state for status in statuses}

    def full(self, jobs: list[RemoteJob]) -> dict[RemoteJob, JobState]:
        return self(jobs, may_leave_out=False)


def queued(emr: EmrBench, count: int = STEPS) -> list[RemoteJob]:
    """Steps of a cluster that runs ten at a time."""
    jobs = emr.submit("step", count, emr.cloud.emr.create_cluster("emr-7.5.0", concurrency=SLOTS))
    emr.cloud.clock.advance(1)
    return jobs


class TestEmr:
    def test_what_has_ended_is_found_with_two_calls_instead_of_six(self, emr: EmrBench) -> None:
        jobs, poll = queued(emr), Polls(emr, "ListSteps")
        first = poll.full(jobs)
        assert poll.calls == 5
        assert list(first.values()) == [RUNNING] * SLOTS + [PENDING] * (STEPS - SLOTS)
        for job in jobs[2:5]:
            emr.finish(job)
        emr.cloud.clock.advance(1)
        second = poll(jobs)
        assert poll.calls == 2
        assert [job for job in jobs if second[job] is SUCCEEDED] == jobs[2:5]
        assert [job for job in jobs if second[job] is RUNNING] == jobs[:2] + jobs[5 : SLOTS + 3]
        poll(jobs[:2] + jobs[5:])
        assert poll.calls == 1

    def test_what_was_left_out_is_seen_by_and_by(self, emr: EmrBench) -> None:
        jobs, poll = queued(emr), Polls(emr, "ListSteps")
        poll.full(jobs)
        emr.service().cancel(jobs[-1:], "by somebody else")
        emr.let_end()
        seen = [poll(jobs)[jobs[-1]] for _ in range(FULL_EVERY)]
        assert seen == [PENDING] * (FULL_EVERY - 1) + [CANCELLED]

    def test_what_is_polled_more_rarely_than_others_does_not_wait_for_a_full_poll(
        self, emr: EmrBench
    ) -> None:
        jobs, poll = queued(emr), Polls(emr, "ListSteps")
        often, rarely = jobs[:-1], jobs[-1]
        poll.full(jobs)
        for _ in range(FULL_EVERY + 1):
            poll(often)
        emr.service().cancel([rarely], "by somebody else")
        emr.let_end()
        assert poll(jobs)[rarely] is CANCELLED
        assert poll.calls <= 2

    def test_what_must_be_fresh_or_is_new_is_asked_for(self, emr: EmrBench) -> None:
        jobs, poll = queued(emr), Polls(emr, "ListSteps")
        poll.full(jobs)
        jobs += emr.submit("new", 2, jobs[0].scope)
        emr.service().cancel(jobs[-3:], "by us")
        emr.let_end()
        seen = poll(jobs, jobs[-3])
        assert [seen[job] for job in jobs[-3:]] == [CANCELLED] * 3
        assert poll.calls == 2

    def test_only_an_id_that_emr_does_not_know_is_gone(self, emr: EmrBench) -> None:
        jobs, poll = queued(emr), Polls(emr, "ListSteps")
        unknown = emr.unknown(jobs[0].scope)
        assert poll.full([*jobs, unknown])[unknown] is GONE
        assert poll([*jobs, unknown])[unknown] is GONE

    def test_few_steps_are_asked_for_by_ids(self, emr: EmrBench) -> None:
        jobs, poll = queued(emr), Polls(emr, "ListSteps")
        poll.full(jobs[40:60])
        assert poll.calls == 2
        assert poll.service.traffic == {"ListSteps": 2}

    def test_an_order_that_is_not_kept_costs_calls_and_hides_nothing(
        self, emr: EmrBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        filtered, shuffle = emr.local._filtered, random.Random(7).shuffle

        def in_any_order(*args: Any) -> list[Any]:
            steps: list[Any] = filtered(*args)
            shuffle(steps)
            return steps

        jobs, poll = queued(emr, 45), Polls(emr, "ListSteps")
        poll.memory.full_calls = 1
        poll.full(jobs)
        monkeypatch.setattr(emr.local, "_filtered", in_any_order)
        emr.finish(jobs[3])
        emr.cloud.clock.advance(1)
        for _ in range(5):
            seen = poll(jobs)
            assert [job for job in jobs if seen[job] is SUCCEEDED] == [jobs[3]]

    @pytest.mark.parametrize("seed", range(2))
    def test_whatever_happens_no_poll_claims_what_was_never_so(self, emr: EmrBench, seed: int) -> None:
        dice = random.Random(seed)
        poll = Polls(emr, "ListSteps")
        jobs = queued(emr, 120)
        been: dict[RemoteJob, set[JobState]] = {job: set() for job in jobs}
        for turn in range(2 * FULL_EVERY):
            if turn in (3, 9):
                new = emr.submit("step", 20, jobs[0].scope)
                jobs += new
                been |= {job: set() for job in new}
            emr.cloud.clock.advance(1)
            true = {status.job: status.state for status in emr.service().describe(jobs)}
            for job in jobs:
                been[job].add(true[job])
            seen = poll(jobs)
            for job in jobs:
                assert seen[job] in been[job]
                assert seen[job] is true[job] or (seen[job], true[job]) == (PENDING, CANCELLED)
            running = [job for job in jobs if true[job] is RUNNING]
            for job in dice.sample(running, min(3, len(running))):
                emr.finish(job)
            emr.service().cancel(dice.sample(jobs, 1), "by somebody else")
            jobs = [job for job in jobs if not seen[job].is_terminal]


class TestRuns:
    def test_only_the_ended_ones_are_listed_where_the_quota_is_small(self, runs: Bench) -> None:
        older = runs.ended(60)
        runs.cloud.clock.advance(100)
        jobs, poll = runs.running(210, older[0].scope), Polls(runs, "ListJobRuns")
        poll.full(jobs)
        full = poll.calls
        assert full >= 5
        for job in jobs[100:103]:
            runs.finish(job)
        seen = poll(jobs)
        assert (poll.calls, poll.asked) == (1, 0)
        assert [job for job in jobs if seen[job] is SUCCEEDED] == jobs[100:103]
        assert {seen[job] for job in jobs[:100]} == {RUNNING}

    def test_new_runs_and_fresh_ones_are_asked_for(self, runs: Bench) -> None:
        jobs, poll = runs.running(210), Polls(runs, "ListJobRuns")
        poll.full(jobs)
        new = runs.submit("pending", 2, jobs[0].scope)
        gone = runs.unknown(jobs[0].scope)
        seen = poll([*jobs, *new, gone], jobs[0])
        assert [seen[job] for job in (*new, gone)] == [PENDING, PENDING, GONE]
        assert (poll.calls, poll.asked) == (1, 4)

    def test_too_many_ended_ones_are_not_read(self, runs: Bench) -> None:
        jobs, poll = runs.running(110), Polls(runs, "ListJobRuns")
        poll.full(jobs)
        for job in jobs[:90]:
            runs.finish(job)
        poll.memory.full_calls = 3
        seen = poll(jobs)
        assert [job for job in jobs if seen[job] is SUCCEEDED] == jobs[:90]
        before = poll.calls
        poll(jobs[90:])
        assert poll.calls < before
        assert poll.memory.since_full == 0


SIZES = (1, 2, 4, 8, 11, 20, 30, 49, 60, 90)
"""Waits, from those that are asked for by their ids to those that take more than one page."""
PER_PAGE = {"emr": 50, "batch": 100, "emr-serverless": 50, "emr-containers": 50, "glue": 200, "mrs": 100}


def fewest(service: str, waits: int) -> int:
    """Calls of the cheapest poll of so many jobs, that are all that live there."""
    by_ids = -(-waits // {"emr": 10, "batch": 100}.get(service, 1))
    return min(by_ids, -(-waits // PER_PAGE[service]))


def calls_of_polls(service: Any, jobs: list[RemoteJob]) -> dict[int, int]:
    """Calls of a poll by the number of waits, when some polls have shown what they cost."""
    found = {}
    for waits in SIZES:
        memory = PollMemory()
        for _ in range(3):
            before = service.traffic.total()
            service.poll(jobs[:waits], memory)
            found[waits] = service.traffic.total() - before
    return found


@pytest.mark.parametrize("kind", BENCHES, ids=lambda kind: str(kind.name))
def test_no_more_calls_than_the_better_way_takes_and_never_fewer_for_more_waits(
    kind: type[Bench], cloud: LocalCloud
) -> None:
    bench = kind(cloud)
    jobs = bench.running(max(SIZES))
    # They are submitted side by side, so that the service may have taken them in another order.
    taken = list(bench.truth())
    jobs.sort(key=lambda job: taken.index(job.id))
    # EMR lists live steps oldest first, the others the newest runs: so the other ones here are listed last.
    found = calls_of_polls(bench.service(), jobs if bench.name == "emr" else jobs[::-1])
    bench.close()
    assert found == {waits: fewest(bench.name, waits) for waits in SIZES}
    assert list(found.values()) == sorted(found.values())


class TestWhatAListingCosts:
    def test_jobs_of_others_make_it_dear_and_it_is_tried_again_only_now_and_then(self, runs: Bench) -> None:
        ours = runs.running(3)
        runs.running(60, ours[0].scope)
        poll = Polls(runs, "ListJobRuns")
        costs = []
        for _ in range(2 * FULL_EVERY):
            assert set(poll.full(ours).values()) == {RUNNING}
            costs.append(poll.calls + poll.asked)
        assert sum(costs) <= len(costs) * 3 + 2 * 2
        assert costs[1:FULL_EVERY] == [3] * (FULL_EVERY - 1)

    def test_where_listing_is_not_permitted_few_are_asked_for_by_ids(self, runs: Bench) -> None:
        jobs, poll = runs.running(3), Polls(runs, "ListJobRuns")
        runs.cloud.faults.add(runs.name, "ListJobRuns", "denied")
        assert set(poll.full(jobs).values()) == {RUNNING}
        assert (poll.calls, poll.asked) == (1, 3)
        poll.full(jobs)
        assert (poll.calls, poll.asked) == (0, 3)

    def test_one_that_has_ended_is_asked_for_by_its_id(self, runs: Bench) -> None:
        jobs, poll = runs.running(8), Polls(runs, "ListJobRuns")
        runs.finish(jobs[2])
        assert poll.full(jobs)[jobs[2]] is SUCCEEDED
        assert (poll.calls, poll.asked) == (1, 1)


RUNS = (4, 120)
WAITS_AND_OTHERS = {"emr": (30, 200), "batch": (150, 0), "emr-serverless": RUNS, "emr-containers": RUNS}
"""Waits that are asked for by their ids, in several calls, and jobs of others beside them."""


@pytest.fixture(
    params=[kind for kind in BENCHES if kind.name in WAITS_AND_OTHERS], ids=lambda kind: str(kind.name)
)
def busy(request: pytest.FixtureRequest, cloud: LocalCloud) -> Iterator[tuple[Bench, list[RemoteJob]]]:
    bench: Bench = request.param(cloud)
    waits, others = WAITS_AND_OTHERS[bench.name]
    jobs = bench.running(waits)
    bench.running(others, jobs[0].scope)
    yield bench, jobs
    bench.close()


class TestAPollThatFailsAtItsLastCall:
    """Credentials expire, or the service fails for a while, in the middle of a poll that takes many calls."""

    def failed(self, bench: Bench, jobs: list[RemoteJob]) -> tuple[Polls, int]:
        """It, and how many calls it would have taken."""
        unharmed, poll = Polls(bench, "*"), Polls(bench, "*")
        unharmed.full(jobs)
        bench.cloud.faults.add(bench.name, "*", "denied", after=unharmed.calls - 1)
        with pytest.raises(AccessDenied):
            poll.full(jobs)
        bench.cloud.faults.clear()
        return poll, unharmed.calls

    def test_the_next_one_does_not_ask_again_for_what_has_ended(
        self, busy: tuple[Bench, list[RemoteJob]]
    ) -> None:
        bench, jobs = busy
        for job in jobs:
            bench.finish(job)
        poll, calls = self.failed(bench, jobs)
        assert set(poll.full(jobs).values()) == {SUCCEEDED}
        assert poll.calls == 1 < calls

    def test_nothing_that_lives_is_remembered(self, busy: tuple[Bench, list[RemoteJob]]) -> None:
        bench, jobs = busy
        poll, _ = self.failed(bench, jobs)
        for job in jobs:
            bench.finish(job)
        assert set(poll.full(jobs).values()) == {SUCCEEDED}
