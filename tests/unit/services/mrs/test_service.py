"""MRS jobs over real HTTP, in both versions of the API and with both ways to sign in."""

from __future__ import annotations

import json
import threading
import time
from itertools import islice
from typing import Any

import pytest
import requests

from airflow_cancel_provider.exceptions import InvalidInput, ServiceUnavailable, UnknownScope
from airflow_cancel_provider.jobs import CancelOutcome, JobState
from airflow_cancel_provider.services.cancel_requests import REQUESTS_AT_ONCE
from airflow_cancel_provider.services.mrs.auth import AkSkAuth
from airflow_cancel_provider.services.mrs.client import MrsClient
from airflow_cancel_provider.services.mrs.service import MrsJobService
from airflow_cancel_provider.services.polls import PollMemory
from airflow_cancel_provider.services.pool import ServicePool
from airflow_cancel_provider.services.retry import Patience
from tests.cloud.server import LocalCloud
from tests.mrs_fixtures import (
    CLUSTER,
    NONE,
    PROJECT,
    SHOW,
    Opener,
    auth_type,
    cloud,
    mrs_server,
    open_service,
    submitted,
    truth,
    unknown,
    version,
)

__all__ = ["auth_type", "cloud", "mrs_server", "open_service", "version"]


class TestCancel:
    def test_pending_running_ended_and_unknown(
        self, cloud: LocalCloud, open_service: Opener, version: str, auth_type: str
    ) -> None:
        cloud.mrs.settings.override("pending-*", pending=60)
        service = open_service(version, auth_type)
        running, pending, succeeded, failed, killed = (
            submitted(cloud, name=name)[0] for name in ("r", "pending-1", "s", "f", "k")
        )
        for job, state in ((succeeded, "SUCCEEDED"), (failed, "FAILED"), (killed, "KILLED")):
            cloud.mrs.finish(job.id, state)
        time.sleep(0.25)
        jobs = [running, pending, succeeded, failed, killed, unknown()]
        assert [status.state for status in service.describe(jobs)] == [
            JobState.RUNNING,
            JobState.PENDING,
            JobState.SUCCEEDED,
            JobState.FAILED,
            JobState.CANCELLED,
            JobState.GONE,
        ]
        results = service.cancel(jobs, "because")
        assert [result.job for result in results] == jobs
        assert [result.outcome for result in results] == [
            *[CancelOutcome.REQUESTED] * 2,
            *[CancelOutcome.ALREADY_ENDED] * 3,
            CancelOutcome.GONE,
        ]
        time.sleep(0.4)
        assert truth(cloud, running)["cancelled"]
        assert truth(cloud, pending)["cancelled"]
        assert {status.state for status in service.describe([running, pending])} == {JobState.CANCELLED}

    def test_one_running_job_costs_one_request(self, cloud: LocalCloud, open_service: Opener) -> None:
        service = open_service()
        service.cancel(submitted(cloud), "")
        assert [entry.operation for entry in cloud.journal] == ["StopJob"]

    def test_a_job_that_is_being_killed(self, cloud: LocalCloud, open_service: Opener, version: str) -> None:
        cloud.mrs.settings.set(cancel=5.0)
        service = open_service(version)
        jobs = submitted(cloud)
        service.cancel(jobs, "")
        again = service.cancel(jobs, "")[0].outcome
        assert again is CancelOutcome.ALREADY_CANCELLING

    def test_a_kill_by_somebody_else_that_mrs_shows_late(
        self, cloud: LocalCloud, open_service: Opener
    ) -> None:
        cloud.mrs.settings.set(cancel=0.3)
        jobs = submitted(cloud)
        open_service().cancel(jobs, "")
        other = open_service()
        other.lag = 0.5
        assert other.cancel(jobs, "")[0].outcome is CancelOutcome.ALREADY_ENDED

    @pytest.mark.parametrize("status", [400, 500])
    def test_a_kill_that_failed_is_described_and_left_to_be_asked_again(
        self, cloud: LocalCloud, open_service: Opener, status: int
    ) -> None:
        cloud.mrs.settings.set(kill_failed_status=status, refuse="0175")
        result = open_service().cancel(submitted(cloud), "")[0]
        assert result.outcome is CancelOutcome.UNANSWERED
        assert result.code == "0175"
        assert "SparkSql" in str(result.detail)
        assert cloud.journal.count(operation="StopJob") == 1

    def test_a_refusal_that_could_not_be_looked_into_for_now_is_asked_again(
        self, cloud: LocalCloud, open_service: Opener
    ) -> None:
        cloud.mrs.settings.set(refuse="12000062")
        cloud.faults.add("mrs", "ShowSingleJobExe", "throttle")
        result = open_service(patience=NONE).cancel(submitted(cloud), "")[0]
        assert (result.outcome, result.code) == (CancelOutcome.UNANSWERED, "12000062")
        assert "Check that the cluster is running" in str(result.detail)

    def test_spark_sql_can_not_be_stopped(self, cloud: LocalCloud, open_service: Opener) -> None:
        result = open_service().cancel(submitted(cloud, type="SparkSql"), "")[0]
        assert result.outcome is CancelOutcome.REFUSED
        assert "can't stop SparkSql" in str(result.detail)

    def test_a_job_still_being_submitted_is_asked_again(
        self, cloud: LocalCloud, open_service: Opener
    ) -> None:
        cloud.mrs.settings.set(submitted=0.5)
        job = submitted(cloud)[0]
        assert open_service().cancel([job], "")[0].outcome is CancelOutcome.REQUESTED
        assert truth(cloud, job)["cancel_requested_at"]

    def test_many(
        self, cloud: LocalCloud, open_service: Opener, version: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        service = open_service(version, "password")
        jobs = submitted(cloud, 200)
        began = time.monotonic()
        results = service.cancel(jobs, "")
        requests_made, seconds = len(cloud.journal), time.monotonic() - began
        cloud.journal.clear()
        assert {result.outcome for result in results} == {CancelOutcome.REQUESTED}
        time.sleep(0.4)
        assert {status.state for status in service.describe(jobs)} == {JobState.CANCELLED}
        with capsys.disabled():
            print(
                f"\n{version}: {len(jobs)} cancelled with {requests_made} requests in {seconds:.1f} s,"
                f" described with {len(cloud.journal)}"
            )
        assert requests_made <= 203  # one for a token, two to describe first in V1.1
        assert len(cloud.journal) <= 4

    def test_kills_go_side_by_side_as_long_as_they_are_answered(
        self, cloud: LocalCloud, open_service: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """MRS may take ten seconds for each; a service that is down is asked twice, one after the other."""
        service = open_service()
        kill, lock, under_way, peaks = service.client.kill_job, threading.Lock(), [0], list[int]()

        def counted(cluster_id: str, job_execution_id: str) -> Any:
            with lock:
                under_way[0] += 1
                peaks.append(under_way[0])
            time.sleep(0.02)
            try:
                return kill(cluster_id, job_execution_id)
            finally:
                with lock:
                    under_way[0] -= 1

        monkeypatch.setattr(service.client, "kill_job", counted)
        jobs = submitted(cloud, 40)
        assert [result.outcome for result in service.cancel(jobs, "")] == [CancelOutcome.REQUESTED] * 40
        assert (peaks[0], max(peaks)) == (1, REQUESTS_AT_ONCE)
        peaks.clear()
        cloud.faults.add("mrs", "StopJob", "server_error")
        hasty = service.with_patience(Patience(seconds=0))
        results = hasty.cancel(submitted(cloud, 20), "")
        assert {result.outcome for result in results} == {CancelOutcome.UNANSWERED}
        assert peaks == [1, 1]

    def test_several_clusters(self, cloud: LocalCloud, open_service: Opener, version: str) -> None:
        other = cloud.mrs.register_cluster("other-cluster")
        jobs = (
            submitted(cloud, 7) + submitted(cloud, 7, cluster_id=other) + [unknown(cluster="no-such-cluster")]
        )
        service = open_service(version)
        outcomes = [result.outcome for result in service.cancel(jobs, "")]
        # V1.1 asks for a job without its cluster.
        last = CancelOutcome.REFUSED if version == "v2" else CancelOutcome.GONE
        assert outcomes == [CancelOutcome.REQUESTED] * 14 + [last]

    def test_a_cluster_that_can_not_be_looked_into_hides_no_end_in_another(
        self, cloud: LocalCloud, open_service: Opener
    ) -> None:
        """V1.1 takes a request also for what has ended."""
        other = cloud.mrs.register_cluster("other-cluster")
        (here,), (there,) = submitted(cloud), submitted(cloud, cluster_id=other)
        cloud.mrs.finish(there.id, "SUCCEEDED")
        cloud.faults.add("mrs", SHOW["v1.1"], "denied", id=here.id)
        results = open_service("v1.1").cancel([here, there], "")
        assert [each.outcome for each in results] == [CancelOutcome.REQUESTED, CancelOutcome.ALREADY_ENDED]

    def test_a_key_that_was_replaced_in_its_connection(self, cloud: LocalCloud) -> None:
        def opened(*_: object) -> MrsJobService:
            return MrsJobService(MrsClient(cloud.url, PROJECT, auth), conn_id="mrs_default", patience=NONE)

        auth, jobs = AkSkAuth("DEMOACCESSKEY", "demo-secret-key", project_id=PROJECT), submitted(cloud, 3)
        pool = ServicePool(opened)
        pool.check(jobs)
        cloud.mrs.keystone.keys.clear()
        assert {each.outcome for each in pool.cancel(jobs, "")} == {CancelOutcome.UNANSWERED}
        cloud.mrs.keystone.register_key("NEW", "new-secret")
        auth = AkSkAuth("NEW", "new-secret", project_id=PROJECT)
        assert {each.outcome for each in pool.cancel(jobs, "")} == {CancelOutcome.REQUESTED}


class TestLiving:
    def test_pages(self, cloud: LocalCloud, open_service: Opener, version: str) -> None:
        jobs = submitted(cloud, 250)
        for job in jobs[::2]:
            cloud.mrs.finish(job.id, "SUCCEEDED")
        living = list(open_service(version).living(CLUSTER))
        assert {status.job for status in living} == set(jobs[1::2])
        assert {status.name for status in living} == {"demo-job"}

    def test_pages_that_hold_less_than_was_asked_for(
        self, cloud: LocalCloud, open_service: Opener, version: str
    ) -> None:
        cloud.mrs.settings.set(largest_page=40)
        jobs = submitted(cloud, 100)
        service = open_service(version)
        assert {status.job for status in service.living(CLUSTER)} == set(jobs)
        assert {status.job for status in service.describe(jobs)} == set(jobs)
        clusters = {cloud.mrs.register_cluster(f"c-{number:02}") for number in range(79)}
        assert set(service.scopes()) == clusters | {CLUSTER}

    def test_a_terminated_cluster_has_none(
        self, cloud: LocalCloud, open_service: Opener, version: str
    ) -> None:
        gone = cloud.mrs.register_cluster("gone", "terminated")
        cloud.mrs.settings.set(jobless=[gone])
        service = open_service(version)
        assert list(service.living(gone)) == list(service.claims(gone)) == []
        with pytest.raises(UnknownScope):
            list(service.living("no-such-cluster"))

    @pytest.mark.parametrize("pages", [1, 2, 3])
    def test_pages_that_go_round_in_circles_end(
        self, cloud: LocalCloud, open_service: Opener, pages: int
    ) -> None:
        for number in range(pages):
            jobs = [{"job_id": f"{number}-{each}", "job_state": "RUNNING"} for each in range(100)]
            reply = {"body": json.dumps({"job_list": jobs}), "every": pages - number}
            cloud.faults.add("mrs", "ShowJobExeListNew", "hostile_reply", **reply)
        with pytest.raises(ServiceUnavailable, match="of a list with page 1 again"):
            list(islice(open_service(patience=NONE).living(CLUSTER), 1000))

    @pytest.mark.parametrize("id_", ["a b", "x" * 65, "../.."])
    def test_what_is_no_id_is_in_no_listing(self, cloud: LocalCloud, open_service: Opener, id_: str) -> None:
        jobs = json.dumps({"job_list": [{"job_id": id_, "job_state": "RUNNING"}]})
        cloud.faults.add("mrs", "ShowJobExeListNew", "hostile_reply", body=jobs)
        clusters = json.dumps({"clusters": [{"clusterId": id_, "clusterState": "running"}]})
        cloud.faults.add("mrs", "ListClusters", "hostile_reply", body=clusters)
        service = open_service(patience=NONE)
        for listing in (service.living(CLUSTER), service.scopes()):
            with pytest.raises(ServiceUnavailable, match="no valid answer of MRS"):
                list(listing)

    def test_an_id_that_is_none(self, open_service: Opener) -> None:
        with pytest.raises(InvalidInput):
            list(open_service().living("../../other"))
        with pytest.raises(InvalidInput):
            open_service().client.kill_job(CLUSTER, "..")


class TestClusters:
    def listed(self, service: MrsJobService, query: str) -> tuple[str, list[str]]:
        """Total and ids of one page, as the API gives them."""
        url = f"{service.client.endpoint}/v1.1/{PROJECT}/cluster_infos?{query}"
        headers = {"Content-Type": "application/json"}
        answer = requests.get(url, auth=service.client.auth, headers=headers, timeout=5).json()
        return answer["clusterTotal"], [cluster["clusterId"] for cluster in answer["clusters"]]

    def test_pages_and_states(self, cloud: LocalCloud, open_service: Opener) -> None:
        names = [cloud.mrs.register_cluster(f"c-{number:02}") for number in range(24)]
        cloud.mrs.register_cluster("c-03", "scaling-out")
        service = open_service()
        assert self.listed(service, "") == ("25", names[:10])
        assert self.listed(service, "pageSize=20&currentPage=2") == ("25", [*names[20:], CLUSTER])
        assert self.listed(service, "clusterState=scaling-out") == ("1", ["c-03"])
        assert self.listed(service, "pageSize=20&currentPage=3") == ("25", [])

    def test_a_full_last_page_is_followed_by_an_empty_one(
        self, cloud: LocalCloud, open_service: Opener
    ) -> None:
        names = {cloud.mrs.register_cluster(f"c-{number:02}") for number in range(99)}
        assert set(open_service().scopes()) == names | {CLUSTER}
        assert cloud.journal.count("mrs", "ListClusters") == 2


def test_no_poll_takes_more_calls_than_the_better_way(cloud: LocalCloud, open_service: Opener) -> None:
    service, jobs = open_service(), submitted(cloud, 60)
    time.sleep(0.25)
    costs = []
    for waits in (1, 2, 5, 6, 30, 60):
        memory = PollMemory()
        for _ in range(2):
            before = service.traffic.total()
            assert {each.state for each in service.poll(jobs[:waits], memory)} == {JobState.RUNNING}
        costs.append(service.traffic.total() - before)
    assert costs == [1] * 6
