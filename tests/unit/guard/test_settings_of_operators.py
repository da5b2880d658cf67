"""What an operator of the Amazon provider sets beside its connection: who cancels later needs it, too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from traceback import TracebackException
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from airflow.providers.amazon.aws.operators.batch import BatchOperator
from airflow.providers.amazon.aws.triggers.batch import BatchJobTrigger
from airflow.triggers.base import BaseTrigger
from botocore import UNSIGNED

import airflow_cancel_provider
from airflow_cancel_provider.exceptions import InvalidInput, NotEnded
from airflow_cancel_provider.guard.trigger import GuardTrigger
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.operators.mrs import MrsSubmitJobOperator
from airflow_cancel_provider.record import TryRecord, TryState
from airflow_cancel_provider.settings import own_deployment
from airflow_cancel_provider.version_compat import AirflowException, AirflowSensorTimeout, TaskDeferred
from tests.airflow_fakes import FakeAirflow
from tests.cloud.server import LocalCloud
from tests.gateway import Gateway, certificate
from tests.guard_fixtures import until
from tests.mrs_fixtures import define
from tests.service_fixtures import BatchBench
from tests.task_fixtures import MRS_KEYS, connect_aws, context, sensor, targets, through_serde
from tests.task_fixtures import operator as cancel_operator
from tests.trigger_fixtures import Endless, airflow, killed, story
from tests.try_fixtures import CANCEL, KEEP, RESUMED, Never, Store, Try, _guarded, cancelled, variables

__all__ = ["_guarded", "airflow", "variables"]

PACKAGE = str(Path(airflow_cancel_provider.__file__).parent)
PASSWORD = "PLANTED-proxy-password"
WITH_LOGIN = {"read_timeout": 7, "proxies": {"https": f"http://user:{PASSWORD}@proxy:3128"}}
HERE = {"deployment": own_deployment()}
FAILED = {"event": {"status": "error", "job_id": "?"}}


@pytest.fixture(params=["verify", "botocore_config"])
def given(
    request: pytest.FixtureRequest, cloud: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """Without these nobody reaches Batch over the connection: a CA bundle, or a proxy."""
    with ExitStack() as stack:
        if request.param == "verify":
            authority = certificate(tmp_path, "authority")
            server = certificate(tmp_path, "server", authority)
            gateway = stack.enter_context(Gateway(cloud.url, tls=server))
            connect_aws(monkeypatch, cloud, "odd", endpoint_url=gateway.url)
            yield {"verify": authority[0]}
        else:
            gateway = stack.enter_context(Gateway(cloud.url))
            connect_aws(monkeypatch, cloud, "odd", endpoint_url="http://batch.invalid")
            yield {"botocore_config": {"proxies": {"http": gateway.url}}}


def operator(given: dict[str, Any], **more: Any) -> BatchOperator:
    names = {"job_name": "job", "job_queue": "queue", "job_definition": "definition"}
    return BatchOperator(task_id="stop", aws_conn_id="odd", do_xcom_push=False, **names, **given, **more)


def deferred(given: dict[str, Any], **changes: Any) -> tuple[Try, Any]:
    """A try of such an operator that has deferred, and the trigger of its deferral."""
    ti = Try(**changes)
    ti.task = operator(given, deferrable=True)  # type: ignore[assignment]
    ti.guarded(replace(CANCEL, **HERE))
    with pytest.raises(TaskDeferred) as deferral:
        ti.task.execute({"ti": ti})  # type: ignore[call-arg]
    return ti, deferral.value.trigger


def test_a_deferred_one_that_is_killed(
    cloud: LocalCloud, given: dict[str, Any], airflow: FakeAirflow
) -> None:
    ti, trigger = deferred(given)
    airflow.put(ti, "failed", ti.record)
    assert ti.record.state is TryState.DEFERRED
    moved = GuardTrigger(**through_serde(trigger.serialize()[1]))
    moved.inner = Endless()
    story(lambda: killed(moved, ti))
    until(lambda: cancelled(cloud) == [True])


def test_one_that_fails_when_it_is_resumed(cloud: LocalCloud, given: dict[str, Any]) -> None:
    first, _ = deferred(given)
    back: Any = Try(id=first.id, pushed=first.pushed)
    back._ti_context_from_server = RESUMED
    back.task = operator(given)
    back.guarded(replace(CANCEL, **HERE))
    with pytest.raises(AirflowException, match="error"):
        back.task.resume_execution("execute_complete", FAILED, {"ti": back})
    assert cancelled(cloud) == [True]


def test_the_next_try_of_one_that_has_left_a_job(cloud: LocalCloud, given: dict[str, Any]) -> None:
    store = Store()
    deferred(given, store=store)  # and was lost with its triggerer
    ti = Try(store=store, try_number=2)
    ti.task = operator(given)  # type: ignore[assignment]
    ti.guarded(replace(CANCEL, **HERE))
    assert cancelled(cloud) == [True]


def test_the_last_try_of_one_that_keeps_its_jobs(cloud: LocalCloud, given: dict[str, Any]) -> None:
    store = Store()
    deferred(given, store=store)
    ti = Try(store=store, try_number=2, max_tries=1)
    ti.task = operator(given)  # type: ignore[assignment]
    guard = ti.guarded(replace(KEEP, **HERE))
    ti.state = "failed"
    guard.failed()
    assert cancelled(cloud) == [True]


@pytest.mark.parametrize(
    "conn_id, is_meant", [("odd", True), (None, True), ("other", False), ("aws_default", False)]
)
def test_they_are_for_its_own_connection(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, conn_id: str | None, is_meant: bool
) -> None:
    """And for the process's identity, which stands in for one that is not defined. Not for others."""
    for each in ("odd", "other"):
        connect_aws(monkeypatch, cloud, each)
    access = Access.of_task(operator({"verify": False}))
    spec = access.service("batch", conn_id, "us-east-1").spec
    assert (spec.verify is False) is is_meant


def test_those_of_an_operator_for_mrs(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, cloud, **MRS_KEYS)
    job = {"cluster_id": "cluster", "job_type": "Flink", "job_name": "job"}
    access = Access.of_task(MrsSubmitJobOperator(task_id="run", verify=False, **job))
    assert access.service("mrs", "mrs_default", None).spec.verify is False


def test_not_those_of_an_operator_for_something_else() -> None:
    assert Access.of_task(SimpleNamespace(verify=False)) == Access()


@pytest.mark.parametrize("name", ["verify", "botocore_config"])
@pytest.mark.parametrize("value", [lambda: True, ["rows"], 5, ""], ids=["method", "list", "number", "empty"])
def test_what_an_operator_of_a_users_own_calls_the_same_is_none(name: str, value: Any) -> None:
    """As a method ``verify`` that looks at what a job has written: with it no job could be reached."""
    assert Access.of_task(SimpleNamespace(aws_conn_id="odd", **{name: value})) == Access()


def test_what_cant_be_stored_leaves_a_deferral_as_it_is() -> None:
    access = Access(botocore_config={"signature_version": UNSIGNED})
    assert GuardTrigger.around(Never(), TryRecord(uuid4()), "why", "", access).access is None


def stored(inner: BaseTrigger, config: dict[str, Any]) -> dict[str, Any]:
    access = Access(botocore_config=config, only_over=["odd"])
    guarding = GuardTrigger.around(inner, TryRecord(uuid4()), "why", "", access)
    return GuardTrigger.around(guarding, TryRecord(uuid4()), "why", "", access).serialize()[1]


def test_the_guard_stores_no_login_of_a_proxy(caplog: pytest.LogCaptureFixture) -> None:
    """Airflow stores a trigger's arguments, and up to 3.1 shows them in its UI."""
    arguments = stored(Never(), WITH_LOGIN)
    assert PASSWORD not in json.dumps(arguments) + caplog.text
    assert arguments["access"]["botocore_config"] == {"read_timeout": 7}
    assert "holds a login" in caplog.text


def test_what_the_operators_own_trigger_stores_is_not_stored_again(caplog: pytest.LogCaptureFixture) -> None:
    """It is reached there."""
    arguments = stored(
        BatchJobTrigger(job_id="job", aws_conn_id="odd", botocore_config=WITH_LOGIN), WITH_LOGIN
    )
    assert json.dumps(arguments).count(PASSWORD) == 1
    assert arguments["access"]["botocore_config"] is None
    access = GuardTrigger(**arguments)._access()
    assert (access.botocore_config, access.only_over) == (WITH_LOGIN, ["odd"])
    assert caplog.text == ""


@pytest.mark.parametrize("config", [WITH_LOGIN, {"proxies": {"https": f"user:{PASSWORD}@proxy"}}])
def test_no_login_of_a_proxy_is_in_what_a_traceback_shows(config: dict[str, Any]) -> None:
    access = Access(botocore_config={**config, "nonsense": 1})
    assert access.holds_login
    with pytest.raises(InvalidInput, match="nonsense") as raised:
        access.service("batch", None, "us-east-1")
    shown = TracebackException.from_exception(raised.value, capture_locals=True)
    ours = [each for each in shown.stack if each.filename.startswith(PACKAGE)]
    assert len(ours) > 2
    assert PASSWORD not in f"{[each.locals for each in ours]} {access.key}"


@pytest.mark.parametrize("make, end", [(cancel_operator, NotEnded), (sensor, AirflowSensorTimeout)])
def test_ours_wait_in_the_worker_where_a_login_would_be_stored(
    cloud: LocalCloud,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make: Callable[..., Any],
    end: type[Exception],
) -> None:
    connect_aws(monkeypatch, cloud)
    jobs = BatchBench(cloud).submit("endless")
    seconds = {"waiter_max_attempts": 2} if make is cancel_operator else {"timeout": 0.1}
    with Gateway(cloud.url) as gateway:
        proxies = {"http": gateway.url.replace("//", f"//user:{PASSWORD}@")}
        config = {"proxies": proxies}
        task = make("batch", **targets(jobs), deferrable=True, botocore_config=config, **seconds)
        with pytest.raises(end):
            task.execute(context())
        assert gateway.seen
    log = capsys.readouterr().out
    assert "waits in its worker" in log
    assert PASSWORD not in log
