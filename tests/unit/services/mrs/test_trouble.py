"""MRS jobs while the service fails, throttles, denies or does not answer."""

from __future__ import annotations

import time

import pytest

from airflow_cancel_provider.exceptions import AccessDenied, ServiceError, ServiceUnavailable
from airflow_cancel_provider.jobs import CancelOutcome
from airflow_cancel_provider.services.mrs.auth import AkSkAuth
from airflow_cancel_provider.services.mrs.client import MrsClient
from airflow_cancel_provider.services.mrs.service import MrsJobService
from tests.cloud.server import LocalCloud
from tests.mrs_fixtures import (
    NONE,
    PROJECT,
    SHOW,
    Opener,
    auth_type,
    cancel_operation,
    cloud,
    mrs_server,
    open_service,
    submitted,
    truth,
    unknown,
    version,
)

__all__ = ["auth_type", "cloud", "mrs_server", "open_service", "version"]


class TestTrouble:
    @pytest.mark.parametrize("kind", ["throttle", "server_error"])
    def test_every_second_reply_an_error(
        self, cloud: LocalCloud, open_service: Opener, version: str, auth_type: str, kind: str
    ) -> None:
        cloud.faults.add("mrs", cancel_operation(version), kind, every=2, seconds=3)
        jobs = submitted(cloud, 40)
        results = open_service(version, auth_type).cancel(jobs, "")
        assert {result.outcome for result in results} == {CancelOutcome.REQUESTED}
        assert all(job["cancel_requested_at"] for job in cloud.mrs.jobs())

    def test_throttled_for_some_seconds(self, cloud: LocalCloud, open_service: Opener) -> None:
        cloud.faults.add("mrs", "*", "throttle", seconds=2)
        job = submitted(cloud)[0]
        assert open_service().cancel([job], "")[0].outcome is CancelOutcome.REQUESTED

    @pytest.mark.parametrize("kind", ["throttle", "server_error", "reset"])
    def test_patience_ends(self, cloud: LocalCloud, open_service: Opener, version: str, kind: str) -> None:
        cloud.faults.add("mrs", "*", kind)
        jobs = submitted(cloud, 200)
        service = open_service(version, patience=NONE)
        began = time.monotonic()
        results = service.cancel(jobs, "")
        assert time.monotonic() - began < 20
        assert {result.outcome for result in results} == {CancelOutcome.UNANSWERED}
        with pytest.raises(ServiceUnavailable):
            service.describe(jobs)

    def test_a_reply_lost_after_the_act(self, cloud: LocalCloud, open_service: Opener, version: str) -> None:
        cloud.faults.add("mrs", cancel_operation(version), "lost_reply", times=1)
        job = submitted(cloud)[0]
        result = open_service(version).cancel([job], "")[0]
        assert result.outcome in (CancelOutcome.REQUESTED, CancelOutcome.ALREADY_CANCELLING)
        assert SHOW[version] in [entry.operation for entry in cloud.journal]

    def test_a_reply_lost_and_the_job_ended_since(self, cloud: LocalCloud, open_service: Opener) -> None:
        cloud.mrs.settings.set(cancel=0.0)
        cloud.faults.add("mrs", "StopJob", "lost_reply", times=1)
        assert open_service().cancel(submitted(cloud), "")[0].outcome is CancelOutcome.REQUESTED
        assert cloud.journal.count(operation="StopJob") == 1

    def test_a_reply_lost_and_the_job_ended_before_the_next_kill(
        self, cloud: LocalCloud, open_service: Opener
    ) -> None:
        """It still runs when it is described, and has ended when it is killed again."""
        cloud.mrs.settings.set(cancel=0.9)
        cloud.faults.add("mrs", "StopJob", "lost_reply", times=1)
        cloud.faults.add("mrs", "StopJob", "latency", seconds=1.0)
        assert open_service().cancel(submitted(cloud), "")[0].outcome is CancelOutcome.REQUESTED

    def test_a_service_that_hangs(self, cloud: LocalCloud, open_service: Opener) -> None:
        cloud.faults.add("mrs", "StopJob", "hang", times=1)
        job = submitted(cloud)[0]
        service = open_service(timeouts=(1.0, 0.3))
        assert service.cancel([job], "")[0].outcome is CancelOutcome.REQUESTED
        assert truth(cloud, job)["cancel_requested_at"]

    def test_what_is_not_sent_to_a_service_that_is_down_says_so(
        self, cloud: LocalCloud, open_service: Opener
    ) -> None:
        cloud.faults.add("mrs", "StopJob", "throttle")
        jobs = submitted(cloud, 4)
        results = open_service(patience=NONE).cancel(jobs, "")
        assert {result.outcome for result in results} == {CancelOutcome.UNANSWERED}
        said = [
            str(result.detail).startswith("Not sent, because the request before it") for result in results
        ]
        assert said == [False, False, True, True]

    def test_access_denied_names_the_permission(
        self, cloud: LocalCloud, open_service: Opener, version: str
    ) -> None:
        cloud.faults.add("mrs", cancel_operation(version), "denied")
        result = open_service(version).cancel(submitted(cloud, 3), "")
        assert {one.outcome for one in result} == {CancelOutcome.REFUSED}
        assert "mrs:job:stop" in str(result[0].detail)
        assert result[0].code == "12000052"
        assert cloud.journal.count(operation=cancel_operation(version)) == 1
        cloud.faults.add("mrs", SHOW[version], "denied")
        with pytest.raises(AccessDenied, match="mrs:job:get"):
            open_service(version).describe(submitted(cloud))

    def test_describing_denied_does_not_hinder_a_cancel(
        self, cloud: LocalCloud, open_service: Opener, version: str
    ) -> None:
        for operation in ("ShowSingleJobExe", "ShowJobExeListNew", "ShowJobExe", "ListJobExes"):
            cloud.faults.add("mrs", operation, "denied")
        cloud.faults.add("mrs", cancel_operation(version), "lost_reply", times=1)
        cloud.mrs.settings.set(kill_again="accepted")
        assert open_service(version).cancel(submitted(cloud), "")[0].outcome is CancelOutcome.REQUESTED

    def test_a_wrong_host_is_not_a_job_gone(self, cloud: LocalCloud) -> None:
        auth = AkSkAuth("DEMOACCESSKEY", "demo-secret-key", project_id=PROJECT)
        client = MrsClient(f"{cloud.url}/v2/another/tree", PROJECT, auth)
        service = MrsJobService(client, patience=NONE)
        assert service.cancel([unknown()], "")[0].outcome is CancelOutcome.REFUSED
        with pytest.raises(ServiceError, match="no such API"):
            service.describe([unknown()])

    def test_nobody_listens(self) -> None:
        client = MrsClient("http://127.0.0.1:9", PROJECT, AkSkAuth("a", "b"))
        result = MrsJobService(client, patience=NONE).cancel([unknown()], "")[0]
        assert result.outcome is CancelOutcome.UNANSWERED
