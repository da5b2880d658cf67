"""MrsHook: connections without Airflow's database, verbs over real HTTP."""

from __future__ import annotations

import json
import logging
import re
import time
from typing import Any

import pytest

from airflow_cancel_provider.exceptions import (
    AccessDenied,
    InvalidInput,
)
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.hooks.mrs import MrsHook
from airflow_cancel_provider.jobs import CancelOutcome, JobState, RemoteJob
from airflow_cancel_provider.services.mrs.regions import endpoints
from airflow_cancel_provider.services.retry import Patience
from airflow_cancel_provider.version_compat import BaseHook
from tests.cloud.server import LocalCloud
from tests.cloud_fixtures import eventually
from tests.mrs_fixtures import CLUSTER, NONE, PROJECT, QUICK, cloud, define, hook, mrs_server, submitted
from tests.reaper_airflow import Tables, tables

__all__ = ["cloud", "hook", "mrs_server", "tables"]


AKSK = {"login": "DEMOACCESSKEY", "password": "demo-secret-key", "auth_type": "aksk", "domain": None}


class TestConnection:
    @pytest.mark.parametrize(
        "changes",
        [
            {},
            AKSK,
            {"project_id": None, "project_name": "eu-de"},
            AKSK | {"project_id": None, "project_name": "eu-de"},
            {"region": None},
            {"verify": "false"},
            {"verify": False},
            {"api_version": "V1.1"},
            {"auth_type": ""},
        ],
    )
    def test_what_works(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
    ) -> None:
        define(monkeypatch, cloud, **changes)
        hook = MrsHook(patience=QUICK)
        ok, words = hook.test_connection()
        assert ok, words
        assert words == f"Signed in. Project {PROJECT} has 1 cluster at {cloud.url}."
        job = submitted(cloud)[0]
        assert hook.kill_job(CLUSTER, job.id).outcome is CancelOutcome.REQUESTED

    @pytest.mark.parametrize(
        "changes, words",
        [
            ({"conn_type": "aws"}, "has type 'aws'"),
            (
                {"conn_type": ""},
                r"has no type; MrsHook needs type .*; a URI begins with huaweicloud-mrs://\.",
            ),
            (
                {"region": None, "endpoint": None},
                r"Region \(region\) is missing; set MRS endpoint \(endpoint\), or one of",
            ),
            (
                {"region": "mars-1", "endpoint": None},
                r"Region \(region\) 'mars-1' is not known; set MRS endpoint \(endpoint\), or one .* eu-de,",
            ),
            (
                {"region": "mars-1", "iam_endpoint": None},
                r"'mars-1' is not known; set IAM endpoint \(iam_endpoint\), or one of the regions",
            ),
            (
                {"project_id": None},
                r"Project ID \(project_id\) is missing; set it, or Project name \(project_name\)\.",
            ),
            (
                {"project_id": None, "project_name": "eu-nl"},
                r"Check user name, password, account name \(domain\), project",
            ),
            (AKSK | {"project_id": None, "project_name": "eu-nl"}, "No project is named 'eu-nl'"),
            ({"endpoint": "mrs.eu-de.otc.t-systems.com"}, "with the scheme"),
            ({"iam_endpoint": "iam.eu-de.otc.t-systems.com"}, r"IAM endpoint \(iam_endpoint\) 'iam.eu-de"),
            ({"api_version": "v3"}, r"MRS API version \(api_version\) 'v3' is not one of v2, v1\.1"),
            ({"auth_type": "oidc"}, r"Sign in with \(auth_type\) 'oidc' is not one of password, aksk"),
            ({"password": None}, r"Password or secret access key \(password\) is missing\."),
            ({"login": None}, r"User name or access key ID \(login\) is missing\."),
            (
                {"project_id": None, "projectid": PROJECT},
                r"Project ID \(project_id\) is missing; .* \(no field of extra is called 'projectid'; the",
            ),
            (AKSK | {"password": None}, r"secret access key \(password\) is missing"),
            ({"domain": None}, r"Account name \(domain\) is missing; signing in with a password needs it"),
            ({"region": 5}, r"Region \(region\) is not text"),
            ({"verify": "/no/such/bundle.pem"}, "nor the path of a CA bundle"),
            ({"endpoint": "https://[::1"}, r"MRS endpoint \(endpoint\) 'https://.::1' is not a URL"),
            (
                AKSK | {"login": "DEMOACCESSKEY\n"},
                r"User name or access key ID \(login\) holds a space, a line break",
            ),
            (AKSK | {"login": "DEMO\u2013KEY"}, "another character that no key has"),
            (AKSK | {"password": "demo-secret-key\n"}, r"secret access key \(password\) holds"),
            (AKSK | {"security_token": "a\nb"}, r"Security token \(security_token\) holds a space"),
        ],
    )
    def test_what_does_not(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], words: str
    ) -> None:
        define(monkeypatch, cloud, **changes)
        hook = MrsHook(patience=NONE)
        with pytest.raises((InvalidInput, AccessDenied), match=words):
            hook.service  # noqa: B018  a property that checks
        assert not hook.test_connection()[0]
        assert cloud.journal.count("mrs", "StopJob") == 0
        if "project_name" not in changes:
            assert len(cloud.journal) == 0

    def test_names_in_extra_that_mean_nothing(
        self,
        cloud: LocalCloud,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """Whoever knows an AWS connection writes ``endpoint_url``, and MRS is asked at another place."""
        define(monkeypatch, cloud, endpoint_url="https://gateway")
        MrsHook(patience=NONE).service  # noqa: B018  a property that opens
        logged = caplog.text + capfd.readouterr().out  # before Airflow 3.1 by the standard library's logger
        assert "Connection 'mrs_default': no field of extra is called 'endpoint_url'; the fields" in logged
        assert "gateway" not in logged

    def test_a_uri_with_the_type_as_it_is_written(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A scheme of a URI has no underscore: Airflow finds no type in this one."""
        monkeypatch.setenv("AIRFLOW_CONN_MRS_DEFAULT", "huaweicloud_mrs://demo:demo@/?region=eu-de")
        with pytest.raises(InvalidInput, match="has no type"):
            MrsHook().check_connection()
        monkeypatch.setenv(
            "AIRFLOW_CONN_MRS_DEFAULT", "huaweicloud-mrs://demo:demo@/?region=eu-de&domain=d&project_name=p"
        )
        MrsHook().check_connection()

    @pytest.mark.parametrize("verify", [None, False])
    def test_a_verify_that_rendered_to_nothing(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, verify: bool | None
    ) -> None:
        """It is no default, as for AWS: the connection may say something else."""
        define(monkeypatch, cloud, verify=verify)
        with pytest.raises(InvalidInput, match="verify is empty"):
            MrsHook(verify="").check_connection()

    @pytest.mark.parametrize("conn_id", [None, 5])
    def test_what_is_no_id_of_a_connection(self, conn_id: Any) -> None:
        with pytest.raises(InvalidInput, match=f"^{conn_id} is no connection; expected the id"):
            MrsHook(conn_id).check_connection()

    def test_an_unknown_one(self, tables: Tables) -> None:
        with pytest.raises(InvalidInput, match="'no_such' is not defined"):
            MrsHook("no_such").service  # noqa: B018  as above

    @pytest.mark.parametrize("extra", ["not json s3cret", '["s3cret"]'])
    def test_extra_that_is_no_object(self, monkeypatch: pytest.MonkeyPatch, extra: str) -> None:
        values = {"conn_type": "huaweicloud_mrs", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_MRS_DEFAULT", json.dumps(values))
        with pytest.raises(InvalidInput, match=r"extra is not (JSON|a JSON object)") as caught:
            MrsHook().service  # noqa: B018  as above
        assert "s3cret" not in str(caught.value)

    def test_a_wrong_password_says_so_in_the_form(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        define(monkeypatch, cloud, password="wr0ng")
        ok, words = MrsHook().test_connection()
        assert not ok
        assert "user demo" in words
        assert "wr0ng" not in words
        assert "mrs_default" not in words

    @pytest.mark.parametrize(
        "changes", [{"password": "wr0ng"}, {"domain": None}, {"endpoint": "http://127.0.0.1:9"}]
    )
    def test_the_form_names_no_connection_that_airflow_made_up(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
    ) -> None:
        define(monkeypatch, cloud, "qx7kd2", **changes)
        ok, words = MrsHook("qx7kd2").test_connection()
        assert not ok
        assert "qx7kd2" not in words
        assert words[0].isupper()

    @pytest.mark.parametrize("operation", ["ListClusters", "KeystoneListProjects"])
    def test_the_form_tries_once_and_says_for_how_long(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, operation: str
    ) -> None:
        define(monkeypatch, cloud, **AKSK | {"project_id": None, "project_name": "eu-de"})
        cloud.faults.add("mrs", operation, "throttle")
        began = time.monotonic()
        ok, words = MrsHook(patience=Patience(seconds=60)).test_connection()
        assert not ok
        assert operation == "KeystoneListProjects" or re.search(r"\(Tried for \d\.\d s\.\)", words), words
        assert time.monotonic() - began < 20

    def test_through_airflow(self, hook: MrsHook) -> None:
        connection = BaseHook.get_connection("mrs_default")
        assert connection.conn_type == hook.conn_type

    def test_the_region_given_is_part_of_the_address(self, hook: MrsHook, cloud: LocalCloud) -> None:
        job = cloud.mrs.add_job()
        assert hook.show_job(CLUSTER, job).job == RemoteJob(f"mrs://mrs_default/{CLUSTER}/{job}")
        elsewhere = MrsHook(region_name="eu-de")
        assert elsewhere.show_job(CLUSTER, job).job == RemoteJob(f"mrs://mrs_default@eu-de/{CLUSTER}/{job}")

    def test_reached_like_every_service(self, hook: MrsHook, cloud: LocalCloud) -> None:
        service = Access(verify=False).service("mrs", "mrs_default", None)
        job = RemoteJob.of("mrs", cloud.mrs.add_job(), scope=CLUSTER, conn_id="mrs_default")
        assert service.describe([job])[0].job == job
        hurried = service.with_patience(Patience(seconds=1))
        assert hurried.cancel([job], "")[0].outcome is CancelOutcome.REQUESTED

    def test_secrets_stay_inside(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        cloud.mrs.keystone.register_key("TEMP", "temp-s3cret", security_token="temp-t0ken")
        define(
            monkeypatch,
            cloud,
            **AKSK | {"login": "TEMP", "password": "temp-s3cret", "security_token": "temp-t0ken"},
        )
        hook = MrsHook()
        hook.list_jobs(CLUSTER)
        cloud.mrs.keystone.register_key("TEMP", "another")
        with pytest.raises(AccessDenied) as caught:
            hook.list_jobs(CLUSTER)
        shown = (
            caplog.text + str(caught.value) + repr(caught.value) + repr(vars(hook)) + repr(hook._connection())
        )
        assert "temp-s3cret" not in shown
        assert "temp-t0ken" not in shown


class TestVerbs:
    def test_submit_show_list_kill(self, hook: MrsHook) -> None:
        job = hook.submit_job(CLUSTER, "SparkSubmit", "my-job", ["a.jar", "--x"], {"k": "v"})
        assert job.scope == CLUSTER
        hook.submit_job(CLUSTER, "SparkSubmit", "my-job-2", ["a.jar"])
        assert not hook.show_job(CLUSTER, job.id).state.is_terminal
        assert [status.job for status in hook.list_jobs(CLUSTER, "my-job")] == [job]
        assert len(hook.list_jobs(CLUSTER, live_only=True)) == 2
        assert hook.kill_job(CLUSTER, job.id).outcome is CancelOutcome.REQUESTED
        assert hook.show_job(CLUSTER, "no-such-job").state is JobState.GONE

    def test_v1(self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
        define(monkeypatch, cloud)
        hook = MrsHook(api_version="v1.1", patience=QUICK)
        job = hook.submit_job(CLUSTER, "MapReduce", "old-job", ["/user/a.jar", "wordcount"])
        assert [status.job for status in hook.list_jobs(CLUSTER, "old-job")] == [job]
        assert hook.kill_job(CLUSTER, job.id).outcome is CancelOutcome.REQUESTED
        with pytest.raises(InvalidInput, match=r"V1\.1 takes MapReduce"):
            hook.submit_job(CLUSTER, "Flink", "old-job", ["/user/a.jar"])

    @pytest.mark.parametrize(
        "changes",
        [
            {"job_name": "with space"},
            {"job_name": "x" * 65},
            {"job_type": "Spark"},
            {"arguments": "a.jar"},
            {"cluster_id": "../../x"},
        ],
    )
    def test_bad_parameters(self, hook: MrsHook, cloud: LocalCloud, changes: dict[str, Any]) -> None:
        good: dict[str, Any] = {
            "cluster_id": CLUSTER,
            "job_type": "Flink",
            "job_name": "j",
            "arguments": ["a"],
        }
        with pytest.raises(InvalidInput):
            hook.submit_job(**good | changes)
        assert not cloud.mrs.jobs()

    def test_sql(self, hook: MrsHook, cloud: LocalCloud) -> None:
        query = submitted(cloud)[0]
        hook.cancel_sql_execution(CLUSTER, query.id)
        eventually(lambda: hook.show_job(CLUSTER, query.id).state, JobState.CANCELLED)
        with pytest.raises(InvalidInput):
            hook.cancel_sql_execution(CLUSTER, "..")


@pytest.mark.parametrize(
    "region, hosts",
    [
        ("eu-de", ("https://mrs.eu-de.otc.t-systems.com", "https://iam.eu-de.otc.t-systems.com")),
        ("eu-de_sub", ("https://mrs.eu-de.otc.t-systems.com", "https://iam.eu-de.otc.t-systems.com")),
        (
            "cn-north-4",
            ("https://mrs.cn-north-4.myhuaweicloud.com", "https://iam.cn-north-4.myhuaweicloud.com"),
        ),
        (
            "ap-southeast-1",
            ("https://mrs.ap-southeast-1.myhuaweicloud.cn", "https://iam.ap-southeast-1.myhuaweicloud.com"),
        ),
        (
            "eu-west-101",
            ("https://mrs.eu-west-101.myhuaweicloud.eu", "https://iam.eu-west-101.myhuaweicloud.eu"),
        ),
        ("mars-1", None),
    ],
)
def test_regions(region: str, hosts: tuple[str, str] | None) -> None:
    assert endpoints(region) == hosts
