"""API version 1.1, and jobs in the two lists of MRS."""

from __future__ import annotations

import time

import pytest

from airflow_cancel_provider.exceptions import ServiceError
from airflow_cancel_provider.jobs import CancelOutcome, JobState
from airflow_cancel_provider.services.mrs.states import JobRecord
from tests.cloud.server import LocalCloud
from tests.mrs_fixtures import (
    CLUSTER,
    NONE,
    PROJECT,
    Opener,
    auth_type,
    cloud,
    mrs_server,
    open_service,
    submitted,
    version,
)

__all__ = ["auth_type", "cloud", "mrs_server", "open_service", "version"]


class TestVersion11:
    def test_a_redirect_is_not_followed(self, cloud: LocalCloud, open_service: Opener) -> None:
        cloud.mrs.settings.set(cancel_redirected=f"{cloud.url}/v1.1/{PROJECT}/cluster_infos")
        job = submitted(cloud)[0]
        result = open_service("v1.1", patience=NONE).cancel([job], "")[0]
        assert result.outcome is CancelOutcome.UNANSWERED
        assert "redirected" in str(result.detail)
        assert cloud.journal.count(operation="ListClusters") == 0

    def test_a_cached_reply_is_no_cancel(self, cloud: LocalCloud, open_service: Opener) -> None:
        cloud.mrs.settings.set(cancel_cached=True)
        result = open_service("v1.1", patience=NONE).cancel(submitted(cloud), "")[0]
        assert result.outcome is CancelOutcome.UNANSWERED
        assert "cache" in str(result.detail)

    def test_an_ended_job_is_sent_no_request_that_changes_something(
        self, cloud: LocalCloud, open_service: Opener
    ) -> None:
        job = submitted(cloud)[0]
        cloud.mrs.finish(job.id, "SUCCEEDED")
        assert open_service("v1.1").cancel([job], "")[0].outcome is CancelOutcome.ALREADY_ENDED
        assert cloud.journal.count(operation="CancelJobExecution") == 0

    @pytest.mark.parametrize(
        "option, version, advice",
        [
            ("only_v2", "v1.1", "api_version to v2"),
            ("kerberos", "v1.1", "Kerberos"),
            ("only_v1", "v2", "api_version to v1.1"),
        ],
    )
    def test_a_cluster_of_the_other_version(
        self, cloud: LocalCloud, open_service: Opener, option: str, version: str, advice: str
    ) -> None:
        cloud.mrs.settings.set(**{option: [CLUSTER]})
        results = open_service(version).cancel(submitted(cloud, 50), "")
        assert {result.outcome for result in results} == {CancelOutcome.REFUSED}
        assert advice in str(results[0].detail)
        assert len(cloud.journal) <= 3


class TestSql:
    def test_one_that_has_ended_is_no_error(self, cloud: LocalCloud, open_service: Opener) -> None:
        service, query = open_service(), submitted(cloud)[0]
        service.cancel_sql(CLUSTER, query.id)
        time.sleep(0.4)
        service.cancel_sql(CLUSTER, query.id)
        assert service.describe([query])[0].state is JobState.CANCELLED

    def test_refused(self, open_service: Opener) -> None:
        with pytest.raises(ServiceError, match="CancelSql"):
            open_service().cancel_sql(CLUSTER, "no-such-query")


class TestRecords:
    @pytest.mark.parametrize(
        "state, result, expected",
        [
            ("New", "UNDEFINED", JobState.PENDING),
            ("NEW_SAVING", "", JobState.PENDING),
            ("ACCEPTED", "UNDEFINED", JobState.PENDING),
            ("running", "undefined", JobState.RUNNING),
            ("FINISHED", "SUCCEEDED", JobState.SUCCEEDED),
            ("FINISHED", "FAILED", JobState.FAILED),
            ("FINISHED", "KILLED", JobState.CANCELLED),
            ("FINISHED", "UNDEFINED", JobState.FAILED),
            ("FAILED", "FAILED", JobState.FAILED),
            ("KILLED", "KILLED", JobState.CANCELLED),
            ("KILLED", "UNDEFINED", JobState.CANCELLED),
            ("SOMETHING_NEW", "UNDEFINED", JobState.RUNNING),
            (None, None, JobState.RUNNING),
        ],
    )
    def test_v2(self, state: str | None, result: str | None, expected: JobState) -> None:
        fields = {"job_id": "j", "job_state": state, "job_result": result, "arguments": "[s3cret]"}
        record = JobRecord.of_v2(fields)
        assert record.state is expected
        assert "s3cret" not in repr(record)

    @pytest.mark.parametrize(
        "state, final, expected",
        [
            (-1, 3, JobState.CANCELLED),
            ("-1", "1", JobState.FAILED),
            (-1, None, JobState.CANCELLED),
            (1, 0, JobState.PENDING),
            (2, 1, JobState.RUNNING),
            (3, 2, JobState.SUCCEEDED),
            (3, 1, JobState.FAILED),
            (3, 4, JobState.CANCELLED),
            (3, 0, JobState.FAILED),
            (4, 1, JobState.FAILED),
            (5, 0, JobState.FAILED),
            (9, 0, JobState.RUNNING),
        ],
    )
    def test_v1(self, state: object, final: object, expected: JobState) -> None:
        assert JobRecord.of_v1({"id": "j", "job_state": state, "job_final_status": final}).state is expected
