"""Sessions and clients made before the task runs, and the connection that a session was made from."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.session
import pytest
from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.providers.amazon.aws.hooks.batch_client import BatchClientHook
from airflow.providers.amazon.aws.hooks.emr import EmrServerlessHook

from airflow_cancel_provider.guard import capture
from airflow_cancel_provider.guard.preloaded import clients, sessions
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.plugin import listener
from tests.capture_fixtures import LABEL, Notes, application, client, recorder, start, submit  # noqa: F401
from tests.cloud.server import LocalCloud
from tests.task_fixtures import connect_aws


@pytest.fixture
def uncaptured() -> Iterator[None]:
    """As if nobody had asked for capture in this process."""
    import botocore

    was, capture._installed = capture._installed, False
    if was:
        botocore.unregister_initializer(capture.see_session)
    yield
    if not capture._installed:
        capture.install()


@pytest.mark.parametrize("kind", [BatchClientHook, AwsBaseHook])
def test_the_address_names_the_connection_that_was_used(
    cloud: LocalCloud, notes: Notes, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    connect_aws(monkeypatch, cloud, "aws_team")
    hook = kind(aws_conn_id="aws_team", **({"client_type": "batch"} if kind is AwsBaseHook else {}))
    answer = submit(hook.get_conn() if kind is AwsBaseHook else hook.client)
    assert notes.jobs == [RemoteJob(f"batch://aws_team@us-east-1/{answer['jobId']}")]


def test_an_asynchronous_client_of_a_hook_names_its_connection(
    cloud: LocalCloud, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiobotocore")
    import asyncio

    connect_aws(monkeypatch, cloud, "aws_team")

    async def work() -> None:
        hook: Any = AwsBaseHook(aws_conn_id="aws_team", client_type="batch")
        async with await hook.get_async_conn() as made:
            await made.submit_job(jobName="job", jobQueue="queue", jobDefinition="def")

    asyncio.run(work())
    assert [job.conn_id for job in notes.jobs] == ["aws_team"]


@pytest.mark.parametrize("conn_id", ["aws_default", "aws_typo", None])
def test_a_connection_that_is_not_defined_is_not_named(
    cloud: LocalCloud, notes: Notes, monkeypatch: pytest.MonkeyPatch, conn_id: str | None
) -> None:
    """The hook goes on with the ambient credentials; whoever acts later must use the same."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.url)
    monkeypatch.setattr(AwsBaseHook, "get_connection", not_found)
    hook: Any = EmrServerlessHook(aws_conn_id=conn_id, region_name="us-east-1")
    app = application(client(cloud, "emr-serverless"))
    answer = start(hook.conn, app)
    assert notes.jobs == [RemoteJob(f"emr-serverless://@us-east-1/{app}/{answer['jobRunId']}")]
    assert notes.specs[0].conn_id is None


def not_found(_: Any, conn_id: str) -> Any:
    from airflow_cancel_provider.version_compat import AirflowNotFoundException

    raise AirflowNotFoundException(conn_id)


def test_a_session_made_by_hand_inside_of_a_hook_names_no_connection(
    cloud: LocalCloud, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect_aws(monkeypatch, cloud, "aws_team")

    class Own(BatchClientHook):
        def run(self) -> Any:
            assert self.conn_config.conn_id == "aws_team"
            return submit(client(cloud, "batch"))

    Own(aws_conn_id="aws_team").run()
    assert [job.conn_id for job in notes.jobs] == [None]


def test_who_makes_a_session_is_not_asked_for_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up may come while a signal is handled, or fail; what the hook has read is enough."""
    from airflow.providers.amazon.aws.hooks.base_aws import BaseSessionFactory

    class Maker(BaseSessionFactory):
        def make(self) -> str | None:
            return capture._connection_at_work()

    monkeypatch.setattr(BaseSessionFactory, "conn", property(lambda _: 1 / 0))
    assert Maker(conn=SimpleNamespace(conn_id="aws_team")).make() == "aws_team"
    assert Maker(conn=None).make() is None
    assert Maker(conn=SimpleNamespace(conn_id=object())).make() is None


@pytest.mark.usefixtures("uncaptured")
def test_sessions_and_clients_that_were_there_before_are_seen(cloud: LocalCloud) -> None:
    session: Any = boto3.session.Session()
    plain = botocore.session.Session()
    old = session.client("batch", endpoint_url=cloud.url, region_name="us-east-1")
    made: Any = Notes()
    from airflow_cancel_provider.services.submissions import set_recorder

    capture.install()
    set_recorder(made)
    try:
        submit(old)
        submit(session.client("batch", endpoint_url=cloud.url, region_name="us-east-1"))
        submit(plain.create_client("batch", endpoint_url=cloud.url, region_name="us-east-1"))
    finally:
        set_recorder(None)
    assert made.words == ["started"] * 3
    assert all(job["labels"]["parameters"] == {"airflow_owner": str(LABEL)} for job in cloud.batch.jobs())


@pytest.mark.usefixtures("uncaptured")
def test_what_the_executor_froze_before_it_forked_is_found() -> None:
    import gc

    session: Any = boto3.session.Session(aws_access_key_id="a", aws_secret_access_key="b")
    made = session.client("emr", region_name="us-east-1")
    gc.freeze()
    try:
        assert session._session in sessions()
        assert made in clients(capture.SERVICES)
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_a_client_is_seen_once_however_often_it_is_found(cloud: LocalCloud, notes: Notes) -> None:
    made = client(cloud, "batch")
    capture.see_client(made)
    capture.see_client(made, "aws_x")
    submit(made)
    assert notes.words == ["started"]


class TaskRunnerMarker:
    """Called as Airflow's own."""


@pytest.mark.usefixtures("uncaptured")
def test_the_start_of_a_task_runner_installs_and_that_of_others_does_not() -> None:
    for other in (SimpleNamespace(), object(), type("SchedulerJobRunner", (), {})()):
        listener.on_starting(component=other)
        assert not capture._installed
    listener.on_starting(component=TaskRunnerMarker())
    assert capture._installed


@pytest.mark.usefixtures("uncaptured")
def test_an_installation_that_fails_does_not_fail_the_task_runner(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(capture, "install", lambda: 1 / 0)
    listener.on_starting(component=TaskRunnerMarker())
    assert "could not be installed" in caplog.text


def test_a_task_that_never_uses_aws_pays_next_to_nothing() -> None:
    script = """
import sys
from airflow_cancel_provider.guard import capture
capture.install()
heavy = [name for name in ("boto3", "botocore.session", "botocore.client", "requests") if name in sys.modules]
assert not heavy, heavy
assert capture._installed
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
