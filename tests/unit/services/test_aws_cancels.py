"""Cancel requests side by side, and how few calls and seconds the cancel of many jobs takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError

from airflow_cancel_provider.exceptions import AccessDenied, ServiceUnavailable
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, RemoteJob
from airflow_cancel_provider.services.aws.cancel_requests import DENIALS, SILENCES, in_turn
from airflow_cancel_provider.services.cancel_requests import REQUESTS_AT_ONCE
from airflow_cancel_provider.services.ratelimit import Paces
from tests.cloud.server import LocalCloud
from tests.pace_fixtures import FakeTime, emr, sent
from tests.service_fixtures import BatchBench, EmrBench, EmrServerlessBench

__all__ = ["emr"]

JOBS = [[RemoteJob(f"emr://aws_default@us-east-1/j-1/s-{number}")] for number in range(40)]


class Asked:
    """Answers requests, and counts those under way."""

    def __init__(self, error: Callable[[int], Exception | None] = lambda _: None) -> None:
        self.sent: list[RemoteJob] = []
        self.peaks: list[int] = []
        self._error, self._now, self._lock = error, 0, threading.Lock()

    def __call__(self, jobs: Sequence[RemoteJob]) -> list[CancelResult]:
        with self._lock:
            self.sent += jobs
            self._now += 1
            self.peaks.append(self._now)
            number = len(self.sent)
        time.sleep(0.01)
        with self._lock:
            self._now -= 1
        if error := self._error(number):
            raise error
        return [CancelResult(job, CancelOutcome.REQUESTED) for job in jobs]


class TestSideBySide:
    def test_more_and_more_as_they_are_answered(self) -> None:
        asked = Asked()
        results = in_turn(JOBS, asked)
        assert [result.job for result in results] == [job for (job,) in JOBS]
        assert asked.peaks[0] == 1
        assert max(asked.peaks) == REQUESTS_AT_ONCE

    def test_a_single_request_needs_no_thread(self) -> None:
        threads: list[threading.Thread] = []

        def ask(_: Sequence[RemoteJob]) -> list[CancelResult]:
            threads.append(threading.current_thread())
            return []

        in_turn(JOBS[:1], ask)
        assert threads == [threading.current_thread()]

    def test_a_service_that_is_down_is_asked_a_few_times_only(self) -> None:
        asked = Asked(lambda _: ServiceUnavailable("down", "CancelSteps"))
        results = in_turn(JOBS, asked)
        assert len(asked.sent) == SILENCES
        assert {result.outcome for result in results} == {CancelOutcome.UNANSWERED}
        assert len(results) == len(JOBS)

    def test_what_is_denied_meanwhile_stops_those_behind(self) -> None:
        asked = Asked(lambda number: AccessDenied("no", "CancelSteps") if number > 8 else None)
        results = in_turn(JOBS, asked)
        # Those that were under way with the first denied one were sent as well.
        assert len(asked.sent) <= 8 + DENIALS + REQUESTS_AT_ONCE
        assert len(results) == len(JOBS)

    def test_a_kill_in_between_is_not_swallowed(self) -> None:
        asked = Asked(lambda _: KeyboardInterrupt())  # type: ignore[return-value]
        with pytest.raises(KeyboardInterrupt):
            in_turn(JOBS, asked)


class Denying(Asked):
    """IAM, which denies a whole request for the sake of one job, and names it."""

    def __init__(self, denied: Sequence[RemoteJob]) -> None:
        super().__init__()
        self.denied, self.requests = set(denied), 0

    def __call__(self, jobs: Sequence[RemoteJob]) -> list[CancelResult]:
        self.requests += 1
        if named := next((job for job in jobs if job in self.denied), None):
            said = {
                "Error": {"Code": "AccessDeniedException", "Message": f"not authorized on job/{named.id}"}
            }
            words = f"TerminateJobs on {len(jobs)} jobs ({jobs[0]} …) failed"
            raise AccessDenied(words, "TerminateJobs") from ClientError(said, "TerminateJobs")
        return super().__call__(jobs)


@pytest.mark.parametrize("denied, requests", [(3, 4), (DENIALS + 1, DENIALS + 1), (50, DENIALS + 1)])
def test_jobs_for_whose_sake_all_are_denied_leave_few_behind(denied: int, requests: int) -> None:
    """As policies do that allow jobs by their tags; one that allows none is told by a few requests."""
    jobs = [RemoteJob(f"batch://aws_default@us-east-1/job-{number:02}") for number in range(50)]
    ask = Denying(jobs[10 : 10 + denied])
    results = in_turn([jobs], ask)
    asked = set(ask.sent)
    assert asked == (set(jobs) - ask.denied if denied < DENIALS else set())
    refused = {result.job for result in results if result.outcome is CancelOutcome.REFUSED}
    assert (len(results), refused, ask.requests) == (50, set(jobs) - asked, requests)


class Published:
    """A local cloud that keeps to the published quotas, on a clock that waiting moves on."""

    def __init__(self, cloud: LocalCloud, service: Any) -> None:
        self.now, self._lock = 0.0, threading.Lock()
        for operation, (burst, rate) in service.quotas.items():
            cloud.faults.add(service.name, operation, "throttle", burst=int(burst), rate=rate)
        self.cloud = cloud
        service.paces = Paces(lambda: self.now, self.sleep)

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds
            self.cloud.clock.advance(seconds)


def throttled(cloud: LocalCloud) -> int:
    return sum(int(rule["fired"]) for rule in cloud.faults.as_list())


def test_five_hundred_steps_in_two_clusters_wait_for_no_quota(cloud: LocalCloud, emr: EmrBench) -> None:
    """Ten pages show how they ended, as many as EMR allows at once; the clusters are read side by side."""
    jobs = [job for _ in range(2) for job in emr.running(250)]
    fake = FakeTime()
    service = fake.service(emr)
    service.cancel(jobs, "")
    emr.let_end()
    cloud.journal.clear()
    assert all(status.state.is_terminal for status in service.describe(jobs))
    assert sent(cloud) == {"ListSteps": 10}
    assert fake.slept == []
    clusters = [entry.scope for entry in cloud.journal]
    assert clusters != sorted(clusters, key=clusters.index)


def test_a_thousand_steps_in_four_clusters(cloud: LocalCloud, emr: EmrBench) -> None:
    """20 pages show how they ended: 10 at once, then one every two seconds."""
    jobs = [job for _ in range(4) for job in emr.running(250)]
    service = emr.service()
    account = Published(cloud, service)
    cloud.journal.clear()
    results = service.cancel(jobs, "")
    assert {result.outcome for result in results} == {CancelOutcome.REQUESTED}
    emr.let_end()
    statuses = service.describe(jobs)
    assert all(status.state.is_terminal for status in statuses)
    # A client on a busy machine may send one again.
    assert emr.count("CancelSteps") <= 5
    assert emr.count("ListSteps") <= 21
    assert throttled(cloud) == 0
    assert account.now <= 1.1 * 20


def test_a_hundred_and_fifty_runs_one_by_one(cloud: LocalCloud) -> None:
    """25 at once, then one a second: 125 seconds."""
    bench = EmrServerlessBench(cloud)
    jobs = bench.running(150)
    service = bench.service()
    account = Published(cloud, service)
    cloud.journal.clear()
    results = service.cancel(jobs, "")
    assert {result.outcome for result in results} == {CancelOutcome.REQUESTED}
    assert bench.count("CancelJobRun") <= 155
    assert account.now <= 1.1 * 125
    bench.close()


def test_batch_keeps_to_its_one_quota(cloud: LocalCloud) -> None:
    bench = BatchBench(cloud)
    jobs = bench.running(200)
    service = bench.service()
    Published(cloud, service)
    cloud.journal.clear()
    results = service.cancel(jobs, "")
    assert {result.outcome for result in results} == {CancelOutcome.REQUESTED}
    assert bench.count() <= 2 + (200 if bench.one_by_one else 4)
    bench.close()


def test_steps_that_are_few_among_many_are_not_listed_to_the_end(cloud: LocalCloud, emr: EmrBench) -> None:
    """Old steps that live, behind newer ones: one page shows that; then the live ones are listed."""
    cluster = emr.new_scope()
    wanted = emr.running(60, cluster)
    emr.ended(60, cluster)
    cloud.journal.clear()
    assert len(emr.service().describe(wanted)) == 60
    assert emr.count("ListSteps") == 1 + 2
