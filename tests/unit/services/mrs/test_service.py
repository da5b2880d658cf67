"""MRS jobs over real HTTP, in both versions of the API and with both ways to sign in."""

from __future__ import annotations

import logging
import pickle
import time

import pytest
import requests

from airflow_cancel_provider.exceptions import AccessDenied, InvalidInput, ServiceError, ServiceUnavailable
from airflow_cancel_provider.jobs import CancelOutcome, JobState, RemoteJob
from airflow_cancel_provider.services.mrs.auth import AkSkAuth, TokenAuth
from airflow_cancel_provider.services.mrs.client import MrsClient
from airflow_cancel_provider.services.mrs.errors import Fault, FaultKind, classify, complaint
from airflow_cancel_provider.services.mrs.service import MrsJobService
from airflow_cancel_provider.services.mrs.states import JobRecord
from airflow_cancel_provider.services.retry import Patience
from tests.cloud.server import LocalCloud
from tests.mrs_fixtures import (
    CLUSTER,
    NONE,
    PROJECT,
    Opener,
    auth_type,
    cancel_operation,
    cloud,
    mrs_server,
    open_service,
    submitted,
    truth,
    version,
)

__all__ = ["auth_type", "cloud", "mrs_server", "open_service", "version"]

SHOW = {"v2": "ShowSingleJobExe", "v1.1": "ShowJobExe"}


def unknown(id_: str = "00000000-dead-beef-0000-000000000000", cluster: str = CLUSTER) -> RemoteJob:
    return RemoteJob.of("mrs", id_, scope=cluster, conn_id="mrs_default")


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
    def test_a_kill_that_failed_is_looked_at_and_left_to_be_asked_again(
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

    def test_a_thousand(
        self, cloud: LocalCloud, open_service: Opener, version: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        service = open_service(version, "password")
        jobs = submitted(cloud, 1000)
        began = time.monotonic()
        results = service.cancel(jobs, "")
        requests_made, seconds = len(cloud.journal), time.monotonic() - began
        cloud.journal.clear()
        assert {result.outcome for result in results} == {CancelOutcome.REQUESTED}
        time.sleep(0.4)
        assert {status.state for status in service.describe(jobs)} == {JobState.CANCELLED}
        with capsys.disabled():
            print(
                f"\n{version}: 1,000 cancelled with {requests_made} requests in {seconds:.1f} s,"
                f" described with {len(cloud.journal)}"
            )
        assert requests_made <= 1011  # one for a token, ten to look first in V1.1
        assert len(cloud.journal) <= 12

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
        assert time.monotonic() - began < 3
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

    def test_looking_denied_does_not_hinder_a_cancel(
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


class Answering(requests.adapters.BaseAdapter):
    """A transport that gives one reply, or fails, whatever it is asked."""

    def __init__(
        self,
        status: int = 200,
        body: bytes = b"",
        error: Exception | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._status, self._body, self._error, self._headers = status, body, error, headers

    def send(self, request: requests.PreparedRequest, **_: object) -> requests.Response:  # type: ignore[override]
        if self._error:
            raise self._error
        response = requests.Response()
        response.status_code, response._content, response.request = self._status, self._body, request
        response.headers.update(self._headers or {})
        return response

    def close(self) -> None:
        pass

    def service(self) -> MrsJobService:
        session = requests.Session()
        session.mount("https://", self)
        client = MrsClient("https://mrs", PROJECT, AkSkAuth("a", "b"), session=session)
        return MrsJobService(client, patience=NONE, lag=0.1)


class TestOddReplies:
    @pytest.mark.parametrize(
        "status, body, outcome",
        [
            (200, b"<html>log in</html>", CancelOutcome.UNANSWERED),
            (200, b'{"result": "succeeded"}', CancelOutcome.REQUESTED),
            (204, b"", CancelOutcome.REQUESTED),
            (200, b'{"error_code": "0201", "error_msg": "no such job"}', CancelOutcome.GONE),
            (304, b"", CancelOutcome.UNANSWERED),
            (301, b"", CancelOutcome.REFUSED),
            (404, b"<html>not here</html>", CancelOutcome.REFUSED),
            (403, b"<html>forbidden</html>", CancelOutcome.REFUSED),
            (502, b"<html>bad gateway</html>", CancelOutcome.UNANSWERED),
        ],
    )
    def test_of_a_cancel(self, status: int, body: bytes, outcome: CancelOutcome) -> None:
        assert Answering(status, body).service().cancel([unknown()], "")[0].outcome is outcome

    def test_the_age_of_what_no_cache_may_keep(self) -> None:
        """Some proxies add it to all that passes, and a submission would be sent again for it."""
        answer = Answering(202, headers={"Age": "0"})
        assert answer.service().cancel([unknown()], "")[0].outcome is CancelOutcome.REQUESTED

    @pytest.mark.parametrize(
        "error, outcome",
        [
            (requests.exceptions.SSLError("certificate verify failed"), CancelOutcome.REFUSED),
            (requests.ConnectTimeout("too slow"), CancelOutcome.UNANSWERED),
            (requests.exceptions.InvalidHeader("broken"), CancelOutcome.REFUSED),
            (requests.exceptions.ContentDecodingError("not gzip"), CancelOutcome.UNANSWERED),
        ],
    )
    def test_of_the_transport(self, error: Exception, outcome: CancelOutcome) -> None:
        result = Answering(error=error).service().cancel([unknown()], "")[0]
        assert result.outcome is outcome

    def test_an_identity_service_that_nobody_runs(self, cloud: LocalCloud) -> None:
        auth = TokenAuth("http://127.0.0.1:9", "demo", "p", "d", project_id=PROJECT)
        service = MrsJobService(MrsClient(cloud.url, PROJECT, auth), patience=NONE)
        assert service.cancel([unknown()], "")[0].outcome is CancelOutcome.UNANSWERED

    def test_an_identity_service_that_is_something_else(self, cloud: LocalCloud) -> None:
        auth = TokenAuth(f"{cloud.url}/v2/x", "demo", "p", "d", project_id=PROJECT)
        service = MrsJobService(MrsClient(cloud.url, PROJECT, auth), patience=NONE)
        with pytest.raises(ServiceError, match="iam_endpoint"):
            service.describe([unknown()])


class TestVersion11:
    def test_a_redirect_is_not_followed(self, cloud: LocalCloud, open_service: Opener) -> None:
        cloud.mrs.settings.set(cancel_redirected=f"{cloud.url}/v1.1/{PROJECT}/cluster_infos")
        job = submitted(cloud)[0]
        result = open_service("v1.1").cancel([job], "")[0]
        assert result.outcome is CancelOutcome.REFUSED
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


class TestIdentity:
    def test_one_token_for_all(self, cloud: LocalCloud, open_service: Opener) -> None:
        for _ in range(3):
            open_service("v2", "password").describe(submitted(cloud))
        assert cloud.journal.count(operation="KeystoneCreateUserTokenByPassword") <= 1

    @pytest.mark.parametrize("code", ["APIGW.0301", "130000002", "12000001"])
    def test_a_token_that_is_refused_is_renewed_once(
        self, cloud: LocalCloud, open_service: Opener, version: str, code: str
    ) -> None:
        cloud.mrs.settings.set(token_refusal=code)
        service = open_service(version, "password")
        service.describe(submitted(cloud))
        cloud.mrs.keystone.revoke_tokens()
        cloud.journal.clear()
        assert service.cancel(submitted(cloud), "")[0].outcome is CancelOutcome.REQUESTED
        assert cloud.journal.count(operation="KeystoneCreateUserTokenByPassword") == 1

    def test_a_token_that_is_always_refused(self, cloud: LocalCloud, open_service: Opener) -> None:
        cloud.faults.add("mrs", "ShowSingleJobExe", "expired_token")
        with pytest.raises(AccessDenied, match="mrs_default"):
            open_service("v2", "password").describe(submitted(cloud))
        assert cloud.journal.count(operation="ShowSingleJobExe") == 2

    def test_a_wrong_password(self, cloud: LocalCloud) -> None:
        auth = TokenAuth(cloud.url, "demo", "wr0ng-password", "demo-domain", project_id=PROJECT)
        service = MrsJobService(MrsClient(cloud.url, PROJECT, auth), patience=NONE)
        with pytest.raises(AccessDenied, match="user demo") as caught:
            service.describe([unknown()])
        assert "wr0ng" not in str(caught.value)
        assert "wr0ng" not in repr((auth, service.client))
        # The password may be set right while it is tried.
        assert service.cancel([unknown()], "")[0].outcome is CancelOutcome.UNANSWERED

    def test_an_identity_service_that_fails_is_waited_for(
        self, cloud: LocalCloud, open_service: Opener
    ) -> None:
        cloud.mrs.keystone.register_user("second", "p")
        cloud.faults.add("mrs", "KeystoneCreateUserTokenByPassword", "server_error", times=2)
        auth = TokenAuth(cloud.url, "second", "p", "demo-domain", project_id=PROJECT)
        service = MrsJobService(MrsClient(cloud.url, PROJECT, auth), patience=Patience(10, 0.02, 0.1))
        assert service.cancel(submitted(cloud), "")[0].outcome is CancelOutcome.REQUESTED

    def test_a_temporary_key(self, cloud: LocalCloud) -> None:
        cloud.mrs.keystone.register_key("TEMPORARY", "temp-secret", security_token="token/with=signs")
        auth = AkSkAuth("TEMPORARY", "temp-secret", security_token="token/with=signs", project_id=PROJECT)
        service = MrsJobService(MrsClient(cloud.url, PROJECT, auth), patience=NONE)
        assert service.describe(submitted(cloud))[0].state is JobState.PENDING
        assert "temp-secret" not in repr(auth)

    def test_a_wrong_secret_key(self, cloud: LocalCloud) -> None:
        client = MrsClient(cloud.url, PROJECT, AkSkAuth("DEMOACCESSKEY", "n0t-this", project_id=PROJECT))
        with pytest.raises(AccessDenied, match="verify aksk signature fail"):
            MrsJobService(client, patience=NONE).describe([unknown()])

    def test_nothing_secret_is_logged(
        self,
        cloud: LocalCloud,
        open_service: Opener,
        version: str,
        auth_type: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.DEBUG)
        cloud.mrs.keystone.revoke_tokens()
        job = submitted(
            cloud,
            name="named",
            arguments=["--password", "s3cret-arg"],
            properties={"fs.obs.secret.key": "s3cret-p"},
        )[0]
        cloud.mrs.settings.override("named", refuse="0175")
        service = open_service(version, auth_type)
        said = [*service.describe([job]), *service.living(CLUSTER), *service.cancel([job], "")]
        tokens = list(cloud.mrs.keystone.tokens)
        assert bool(tokens) == (auth_type == "password")
        for secret in ("s3cret", "demo-password", "demo-secret-key", "Signature=", *tokens):
            assert secret not in caplog.text
            assert secret not in repr(said)


class TestLiving:
    def test_pages(self, cloud: LocalCloud, open_service: Opener, version: str) -> None:
        jobs = submitted(cloud, 250)
        for job in jobs[::2]:
            cloud.mrs.finish(job.id, "SUCCEEDED")
        living = list(open_service(version).living(CLUSTER))
        assert {status.job for status in living} == set(jobs[1::2])
        assert {status.name for status in living} == {"demo-job"}

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


class TestSql:
    def test_submit_show_cancel(self, cloud: LocalCloud, open_service: Opener) -> None:
        service = open_service()
        query = service.client.execute_sql(CLUSTER, {"sql_type": "presto", "sql_content": "select 1"})
        assert service.client.show_sql(CLUSTER, query) in ("SUBMITTED", "ACCEPTED", "RUNNING")
        service.cancel_sql(CLUSTER, query)
        time.sleep(0.4)
        service.cancel_sql(CLUSTER, query)
        assert service.client.show_sql(CLUSTER, query) == "KILLED"

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


class TestErrors:
    @pytest.mark.parametrize(
        "body, code",
        [
            (b'{"error_code":"0175","error_msg":"no"}', "0175"),
            (b'{"error_code":"APIGW.0308","error_msg":"no","request_id":"r-1"}', "APIGW.0308"),
            (b'{"errorCode":"12000002","message":"no"}', "12000002"),
            (b'{"errorCode":"12000002","errorMsg":"no"}', "12000002"),
            (b'{"x":{"code":"7","message":"no"}}', "7"),
            (b'{"error":{"code":401,"message":"no","title":"Unauthorized"}}', "401"),
            (b"<html>no</html>", ""),
            (b'"no"', ""),
            (b'{"error_code":"0175" "error_msg":"no"}', ""),
            (b"", ""),
            (b"\xff\xfe\x00", ""),
        ],
    )
    def test_every_shape(self, body: bytes, code: str) -> None:
        response = requests.Response()
        response.status_code, response._content = 500, body
        assert complaint(response).code == code
        assert str(complaint(response))

    @pytest.mark.parametrize(
        "code, status, kind",
        [
            ("0175", 500, FaultKind.OTHER),
            ("0175", 400, FaultKind.OTHER),
            ("0180", 500, FaultKind.SUBMITTING),
            ("0176", 500, FaultKind.GONE),
            ("0999", 404, FaultKind.GONE),
            ("0999", 500, FaultKind.OTHER),
            ("0999", 503, FaultKind.TRANSIENT),
            ("", 404, FaultKind.WRONG_PATH),
            ("404", 404, FaultKind.WRONG_PATH),
            ("APIGW.0101", 404, FaultKind.WRONG_PATH),
            ("APIG.0101", 404, FaultKind.WRONG_PATH),
            ("APIGW.0999", 404, FaultKind.WRONG_PATH),
            ("APIG.0308", 429, FaultKind.THROTTLED),
            ("", 500, FaultKind.TRANSIENT),
            ("130000002", 500, FaultKind.TOKEN),
            ("", 401, FaultKind.TOKEN),
            ("0192", 500, FaultKind.DENIED),
            ("12000085", 400, FaultKind.USE_V2),
            ("0167", 500, FaultKind.USE_V1),
        ],
    )
    def test_the_code_decides_before_the_status(self, code: str, status: int, kind: FaultKind) -> None:
        assert classify(code, status).kind is kind

    def test_faults_pickle(self) -> None:
        fault = Fault("it failed", "StopJob", "0180", FaultKind.SUBMITTING, may_have_acted=True)
        again = pickle.loads(pickle.dumps(fault))
        assert (str(again), again.kind, again.may_have_acted) == ("it failed", FaultKind.SUBMITTING, True)
        assert isinstance(again.named(), ServiceUnavailable)


class TestClient:
    @pytest.mark.parametrize(
        "endpoint",
        ["mrs.eu-de.otc.t-systems.com", "ftp://host", "https://", "https://[::1", "https://host:abc", ""],
    )
    def test_an_endpoint_that_is_none(self, endpoint: str) -> None:
        with pytest.raises(InvalidInput, match="is not a URL"):
            MrsClient(endpoint, PROJECT, AkSkAuth("a", "b"))

    @pytest.mark.parametrize(
        "endpoint", ["https://u:s3cret@host", "u:s3cret@host", "ftp://u:s3cret@host", "https://u:s3cret@h?x"]
    )
    def test_an_endpoint_with_a_password_is_not_repeated(self, endpoint: str) -> None:
        with pytest.raises(InvalidInput, match="login and password") as caught:
            MrsClient(endpoint, PROJECT, AkSkAuth("a", "b"))
        assert "s3cret" not in str(caught.value)

    @pytest.mark.parametrize("tail", ["", "/", "/v1.1", "/v2/", f"/v1.1/{PROJECT}"])
    def test_a_version_in_the_endpoint_is_left_out(self, tail: str) -> None:
        assert (
            MrsClient(f"https://host:8443{tail}", PROJECT, AkSkAuth("a", "b")).endpoint == "https://host:8443"
        )

    def test_bad_arguments(self) -> None:
        with pytest.raises(InvalidInput, match=r"v2, v1\.1"):
            MrsClient("https://host", PROJECT, AkSkAuth("a", "b"), api_version="v3")
        with pytest.raises(InvalidInput, match="project_id"):
            MrsClient("https://host", "", AkSkAuth("a", "b"))
