"""Who acts later reaches the service as the submitting client did, in a process that knows nothing of it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from airflow_cancel_provider.services.aws.client import client_of, spec_of
from airflow_cancel_provider.services.client_spec import ClientSpec, as_json, identity_of
from airflow_cancel_provider.services.submissions import set_recorder
from tests.capture_fixtures import STEP, Notes, application, client, recorder, start, submit  # noqa: F401
from tests.cloud.server import LocalCloud
from tests.gateway import Gateway, certificate
from tests.guard_fixtures import until
from tests.service_fixtures import ROLE, create_virtual_cluster

ELSEWHERE = """
import json, sys
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.registry import open_service
from airflow_cancel_provider.services.retry import Patience
told = json.load(sys.stdin)
spec = ClientSpec(**told["spec"])
service = open_service(spec, Patience(seconds=3))
jobs = [spec.address(told["scope"], told["job"])]
print([str(result.outcome) for result in service.cancel(jobs, "why")])
"""


def cancel_elsewhere(spec: ClientSpec, scope: str | None, job: str) -> str:
    """What a process says that has nothing but the specification, as the sentinel has."""
    told = json.dumps({"spec": as_json(spec), "scope": scope, "job": job})
    bare = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        input=told,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        timeout=120,
        env={**bare, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def cancelled(cloud: LocalCloud) -> list[bool]:
    services = (cloud.batch, cloud.emr, cloud.emr_serverless, cloud.emr_containers, cloud.glue)
    return [bool(job["cancelled"]) for service in services for job in service.jobs()]


@pytest.mark.parametrize("service", ["batch", "emr", "emr-serverless", "emr-containers", "glue"])
def test_an_endpoint_with_a_path(cloud: LocalCloud, notes: Notes, stack: ExitStack, service: str) -> None:
    gateway = stack.enter_context(Gateway(cloud.url, f"/gateway/{service}"))
    made = client(cloud, service, endpoint_url=gateway.url)
    if service == "batch":
        scope, job = None, submit(made)["jobId"]
    elif service == "emr":
        scope = cloud.emr.create_cluster()
        (job,) = made.add_job_flow_steps(JobFlowId=scope, Steps=[STEP])["StepIds"]
    elif service == "emr-containers":
        scope = create_virtual_cluster(client(cloud, service))
        job = made.start_job_run(virtualClusterId=scope, executionRoleArn=ROLE)["id"]
    elif service == "glue":
        scope = cloud.glue.create_job("etl")
        job = made.start_job_run(JobName=scope)["JobRunId"]
    else:
        scope = application(client(cloud, service))
        job = start(made, scope)["jobRunId"]
    assert notes.specs[0].endpoint == gateway.url
    seen = len(gateway.seen)
    assert "REQUESTED" in cancel_elsewhere(notes.specs[0], scope, job).upper()
    assert len(gateway.seen) > seen
    until(lambda: cancelled(cloud) == [True])


@pytest.mark.parametrize("form", ["pair", "one file", "relative"])
def test_a_client_certificate(
    cloud: LocalCloud,
    notes: Notes,
    stack: ExitStack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
) -> None:
    authority = certificate(tmp_path, "authority")
    server, own = (certificate(tmp_path, name, authority) for name in ("server", "client"))
    given: Any = own
    if form == "one file":
        given = str(tmp_path / "both.pem")
        Path(given).write_text(Path(own[0]).read_text() + Path(own[1]).read_text())
    ca = authority[0]
    if form == "relative":
        monkeypatch.chdir(tmp_path)
        given, ca = ("client.pem", "client.key"), "authority.pem"
    gateway = stack.enter_context(Gateway(cloud.url, tls=server, client_ca=authority[0]))
    with pytest.raises(BotoCoreError):
        submit(client(cloud, "batch", endpoint_url=gateway.url, verify=ca))
    made = client(cloud, "batch", endpoint_url=gateway.url, verify=ca, config=Config(client_cert=given))
    job = submit(made)["jobId"]
    assert "REQUESTED" in cancel_elsewhere(notes.specs[-1], None, job).upper()
    until(lambda: cancelled(cloud) == [True])


@pytest.mark.parametrize("how", ["config", "environment"])
def test_a_proxy(
    cloud: LocalCloud, notes: Notes, stack: ExitStack, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    gateway = stack.enter_context(Gateway(cloud.url))
    proxy = gateway.url.replace("://", "://user:hidden@")
    options: dict[str, Any] = {"endpoint_url": "http://only-the-proxy-knows.invalid"}
    if how == "config":
        options["config"] = Config(proxies={"http": proxy})
    else:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.setenv("http_proxy", proxy)
    job = submit(client(cloud, "batch", **options))["jobId"]
    assert gateway.seen[0].target.startswith("http://only-the-proxy-knows.invalid/")
    assert "REQUESTED" in cancel_elsewhere(notes.specs[0], None, job).upper()
    until(lambda: cancelled(cloud) == [True])
    assert "hidden" not in repr(notes.specs[0])


def test_what_goes_past_the_environments_proxy_does_so_later(
    cloud: LocalCloud, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    submit(client(cloud, "batch"))
    assert notes.specs[0].proxies == {}
    submit_again = client_of(notes.specs[0])
    assert submit_again.describe_jobs(jobs=["x"])["jobs"] == []


def test_every_setting_goes_through_the_pipe(cloud: LocalCloud, notes: Notes) -> None:
    config = Config(  # type: ignore[call-arg]  # the stubs lack an option
        user_agent_extra="team/etl",
        signature_version="v4a",
        sigv4a_signing_region_set="*",
        auth_scheme_preference="sigv4a,sigv4",
        proxies_config={"proxy_ca_bundle": "ca.pem", "proxy_client_cert": ("c.pem", "c.key")},
        inject_host_prefix=False,
        tcp_keepalive=True,
        connect_timeout=77,
    )
    made = botocore.session.Session().create_client(
        "batch", region_name="eu-west-1", endpoint_url=cloud.url, config=config
    )
    spec = ClientSpec(**json.loads(json.dumps(as_json(spec_of(made, "aws_x")))))
    again = client_of(spec)
    after = again.meta.config
    assert (again.meta.region_name, again.meta.endpoint_url) == ("eu-west-1", cloud.url)
    assert (after.signature_version, after.user_agent_extra) == ("v4a", "team/etl")
    assert (after.sigv4a_signing_region_set, after.auth_scheme_preference) == ("*", "sigv4a,sigv4")
    assert (after.inject_host_prefix, after.tcp_keepalive) == (False, True)
    here = Path.cwd()
    assert after.proxies_config == {
        "proxy_ca_bundle": str(here / "ca.pem"),
        "proxy_client_cert": (str(here / "c.pem"), str(here / "c.key")),
    }
    # Time-outs and repetitions are those of whoever acts later.
    assert (after.connect_timeout, after.retries["total_max_attempts"]) == (5, 1)
    assert spec.conn_id == "aws_x"
    assert spec_of(again, "aws_x").config == spec.config
    assert not notes.told


def test_what_was_not_set_is_left_to_botocore(cloud: LocalCloud) -> None:
    made = botocore.session.Session().create_client("batch", region_name="eu-west-1", endpoint_url=cloud.url)
    config = spec_of(made).config
    assert "signature_version" not in config
    assert "user_agent" not in config


def test_a_client_that_signs_nothing(cloud: LocalCloud, notes: Notes) -> None:
    made = botocore.session.Session().create_client(
        "batch", region_name="eu-west-1", endpoint_url=cloud.url, config=Config(signature_version=UNSIGNED)
    )
    spec = ClientSpec(**json.loads(json.dumps(as_json(spec_of(made)))))
    again = client_of(spec)
    assert again.meta.config.signature_version is UNSIGNED
    assert identity_of(spec) == identity_of(spec_of(made))
    assert not notes.told


def test_where_the_request_goes_elsewhere_than_the_client_says(notes: Notes) -> None:
    """FIPS in GovCloud: the client shows another host than the one that it calls."""
    made = botocore.session.Session().create_client(
        "emr-serverless",
        region_name="us-gov-west-1",
        config=Config(use_fips_endpoint=True, connect_timeout=0.1, retries={"total_max_attempts": 1}),
    )
    called: list[str] = []

    def stop(request: Any, **_: Any) -> None:
        called.append(request.url)
        raise LookupError

    made.meta.events.register("before-send", stop)
    with pytest.raises(LookupError):
        start(made, "app")
    (spec,) = notes.specs
    assert spec.endpoint == "https://emr-serverless-fips.us-gov-west-1.amazonaws.com"
    assert called[0].startswith(f"{spec.endpoint}/")
    assert client_of(spec).meta.endpoint_url == spec.endpoint


def test_the_hosts_prefix_of_one_operation_is_not_of_the_client() -> None:
    made = botocore.session.Session().create_client("batch", region_name="eu-west-1")
    request = {
        "url": "https://api.other.example/base/v1/submitjob",
        "url_path": "/v1/submitjob",
        "host_prefix": "api.",
    }
    assert spec_of(made, request=request).endpoint == "https://other.example/base"
    request["url"] = "https://api.batch.eu-west-1.amazonaws.com/v1/submitjob"
    assert spec_of(made, request=request).endpoint == "https://batch.eu-west-1.amazonaws.com"


def test_an_asynchronous_client_with_certificate_and_path(
    cloud: LocalCloud, notes: Notes, stack: ExitStack, tmp_path: Path
) -> None:
    session = pytest.importorskip("aiobotocore.session")
    authority = certificate(tmp_path, "authority")
    server, own = (certificate(tmp_path, name, authority) for name in ("server", "client"))
    gateway = stack.enter_context(Gateway(cloud.url, "/batch", tls=server, client_ca=authority[0]))

    async def work() -> str:
        async with session.get_session().create_client(
            "batch",
            endpoint_url=gateway.url,
            region_name="us-east-1",
            verify=authority[0],
            config=Config(client_cert=own, user_agent_extra="team/etl"),
        ) as made:
            answer = await made.submit_job(jobName="job", jobQueue="queue", jobDefinition="def")
            return str(answer["jobId"])

    job = asyncio.run(work())
    assert "REQUESTED" in cancel_elsewhere(notes.specs[0], None, job).upper()
    until(lambda: cancelled(cloud) == [True])
    assert "team/etl" in gateway.seen[-1].headers["User-Agent"]


def test_a_client_of_ours_is_specified_as_any_other(cloud: LocalCloud) -> None:
    from airflow_cancel_provider.services.batch.service import BatchJobService

    set_recorder(None)
    made = client(cloud, "batch", config=Config(user_agent_extra="team/etl"))
    assert BatchJobService(made, conn_id="aws_x").spec == spec_of(made, "aws_x")
