"""Errors of MRS: what they say, and what is retried."""

from __future__ import annotations

import pickle

import pytest
import requests

from airflow_cancel_provider.exceptions import ServiceError, ServiceUnavailable
from airflow_cancel_provider.jobs import CancelOutcome, JobState
from airflow_cancel_provider.services.mrs.auth import AkSkAuth, TokenAuth
from airflow_cancel_provider.services.mrs.client import MrsClient
from airflow_cancel_provider.services.mrs.errors import Fault, FaultKind, classify, complaint
from airflow_cancel_provider.services.mrs.service import MrsJobService
from tests.cloud.server import LocalCloud
from tests.mrs_fixtures import (
    NONE,
    PROJECT,
    QUICK,
    auth_type,
    cloud,
    mrs_server,
    open_service,
    submitted,
    unknown,
    version,
)

__all__ = ["auth_type", "cloud", "mrs_server", "open_service", "version"]


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
        client = MrsClient("https://mrs", PROJECT, AkSkAuth("a", "b"))
        client._transport._session.mount("https://", self)
        return MrsJobService(client, patience=NONE, lag=0.1)


def signed_in(cloud: LocalCloud) -> MrsJobService:
    """The service for a user with a password."""
    auth = TokenAuth(cloud.url, "demo", "demo-password", "demo-domain", project_id=PROJECT)
    return MrsJobService(MrsClient(cloud.url, PROJECT, auth), patience=QUICK)


class TestOddReplies:
    @pytest.mark.parametrize(
        "status, body, outcome",
        [
            (200, b"<html>log in</html>", CancelOutcome.UNANSWERED),
            (200, b'{"result": "succeeded"}', CancelOutcome.REQUESTED),
            (204, b"", CancelOutcome.REQUESTED),
            (200, b'{"error_code": "0201", "error_msg": "no such job"}', CancelOutcome.GONE),
            (304, b"", CancelOutcome.UNANSWERED),
            (301, b"", CancelOutcome.UNANSWERED),
            (404, b"<html>not here</html>", CancelOutcome.UNANSWERED),
            (404, b"{}", CancelOutcome.REFUSED),
            (403, b"<html>forbidden</html>", CancelOutcome.UNANSWERED),
            (403, b'{"error_msg": "not allowed"}', CancelOutcome.REFUSED),
            (400, b"", CancelOutcome.UNANSWERED),
            (502, b"<html>bad gateway</html>", CancelOutcome.UNANSWERED),
            (520, b"<html>web server returned an unknown error</html>", CancelOutcome.UNANSWERED),
            (500, b'{"error_code": "APIGW.0606", "error_msg": "internal error"}', CancelOutcome.UNANSWERED),
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

    @pytest.mark.parametrize("status", [200, 201])
    @pytest.mark.parametrize("shape", ["html", "empty", "array", "missing", "null", "truncated"])
    def test_a_page_instead_of_a_token_is_no_answer(self, cloud: LocalCloud, shape: str, status: int) -> None:
        reply = {"shape": shape, "status": status, "times": 1}
        cloud.faults.add("mrs", "KeystoneCreateUserTokenByPassword", "hostile_reply", **reply)
        (result,) = signed_in(cloud).cancel(submitted(cloud), "")
        assert result.outcome is CancelOutcome.REQUESTED

    def test_a_redirect_to_another_page_is_final(self, cloud: LocalCloud) -> None:
        cloud.faults.add(
            "mrs", "KeystoneCreateUserTokenByPassword", "hostile_reply", shape="html", status=302
        )
        with pytest.raises(ServiceError, match="is not a token in JSON") as caught:
            signed_in(cloud).describe(submitted(cloud))
        assert caught.value.code == "HTTP 302"
        assert cloud.journal.count("mrs", "KeystoneCreateUserTokenByPassword") == 1

    @pytest.mark.parametrize(
        "shape", ["nulls", "null_leaves", "missing_leaves", "wrong_types", "wrong_leaves"]
    )
    def test_a_token_that_can_not_be_read_is_not_kept(self, cloud: LocalCloud, shape: str) -> None:
        """All of a process share the token."""
        operation = "KeystoneCreateUserTokenByPassword"
        cloud.faults.add("mrs", operation, "hostile_reply", shape=shape, times=1)
        cloud.mrs.configure({"pending": 1e6})
        jobs = submitted(cloud)
        for _ in range(3):
            assert signed_in(cloud).describe(jobs)[0].state is JobState.PENDING
        assert cloud.journal.count("mrs", operation) == 2

    def test_an_identity_service_that_is_something_else(self, cloud: LocalCloud) -> None:
        auth = TokenAuth(f"{cloud.url}/v2/x", "demo", "p", "d", project_id=PROJECT)
        service = MrsJobService(MrsClient(cloud.url, PROJECT, auth), patience=NONE)
        with pytest.raises(ServiceError, match="iam_endpoint"):
            service.describe([unknown()])


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
            ("", 520, FaultKind.TRANSIENT),
            ("524", 524, FaultKind.TRANSIENT),
            ("APIG.0601", 500, FaultKind.TRANSIENT),
            ("0999", 520, FaultKind.OTHER),
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
