"""The client of MRS, and whose identity it uses."""

from __future__ import annotations

import logging

import pytest

from airflow_cancel_provider.exceptions import AccessDenied, InvalidInput
from airflow_cancel_provider.jobs import CancelOutcome, JobState
from airflow_cancel_provider.services.mrs.auth import AkSkAuth, TokenAuth
from airflow_cancel_provider.services.mrs.client import MrsClient
from airflow_cancel_provider.services.mrs.service import MrsJobService
from airflow_cancel_provider.services.retry import Patience
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
    unknown,
    version,
)

__all__ = ["auth_type", "cloud", "mrs_server", "open_service", "version"]


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


class TestClient:
    @pytest.mark.parametrize(
        "endpoint",
        ["mrs.eu-de.otc.t-systems.com", "ftp://host", "https://", "https://[::1", "https://host:abc", ""],
    )
    def test_an_endpoint_that_is_none(self, endpoint: str) -> None:
        with pytest.raises(InvalidInput, match="is not a URL"):
            MrsClient(endpoint, PROJECT, AkSkAuth("a", "b"))

    @pytest.mark.parametrize("endpoint", ["https://host/?key=s3cret", "https://host#s3cret", "host?s3cret"])
    def test_what_stands_behind_an_endpoint_is_not_repeated(self, endpoint: str) -> None:
        with pytest.raises(InvalidInput, match=r"'(https://)?host/?' is not a URL") as caught:
            MrsClient(endpoint, PROJECT, AkSkAuth("a", "b"))
        assert "s3cret" not in str(caught.value)

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
