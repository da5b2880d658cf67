"""``CancelRemoteJobs`` over a whole run, with Airflow's answers in place of Airflow."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Annotated, Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.execution_time.comms import GetConnection, GetVariable
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.sdk.execution_time.xcom import XCom
from packaging.version import Version

from airflow_cancel_provider.jobs import XCOM_KEY, RemoteJob
from airflow_cancel_provider.notifications.cancel import CancelRemoteJobs
from airflow_cancel_provider.version_compat import is_answered
from tests.airflow_versions import AIRFLOW
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import until
from tests.service_fixtures import BatchBench
from tests.task_fixtures import connections  # noqa: F401  a fixture

RUN = {"dag_run": {"dag_id": "nightly", "run_id": "manual__2026"}}


class Run:
    """What Airflow tells of a run: the state of each task, and what it has started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.states: dict[str, Any] = {}
        self.started: dict[tuple[str, int], list[RemoteJob]] = {}
        monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", self._states)
        monkeypatch.setattr(XCom, "get_one", self._xcom)

    def _states(self, dag_id: str, run_ids: list[str]) -> dict[str, Any]:
        return {run_ids[0]: self.states} if dag_id == "nightly" else {}

    def _xcom(self, key: str, task_id: str, map_index: int, **_: Any) -> Any:
        return self.started.get((task_id, map_index)) if key == XCOM_KEY else None


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(monkeypatch)


@pytest.fixture
def bench(cloud: LocalCloud, connections: None) -> BatchBench:  # noqa: ARG001, F811
    bench = BatchBench(cloud)
    bench.local.configure({"cancel": 0.1})
    return bench


def cancelled(cloud: LocalCloud) -> set[str]:
    return {job["id"] for job in cloud.batch.jobs() if job["cancelled"]}


LIVING = ["success", "running", "deferred", "awaiting_input", "up_for_reschedule", "up_for_retry"]


def test_it_takes_tasks_that_are_over_and_leaves_those_at_work(
    cloud: LocalCloud, bench: BatchBench, run: Run
) -> None:
    over, mapped, *living = (bench.submit(f"job-{number}")[0] for number in range(8))
    run.states = {"over": "failed", "many_3": "skipped", **{state: state for state in LIVING}}
    run.started = {("over", -1): [over], ("many", 3): [mapped]}
    run.started |= {(state, -1): [job] for state, job in zip(LIVING, living, strict=True)}
    CancelRemoteJobs(whole_run=True).notify(RUN)
    until(lambda: cancelled(cloud) >= {over.id, mapped.id})
    assert cancelled(cloud) == {over.id, mapped.id}


def test_a_connection_that_is_gone_keeps_no_other_job_alive(
    cloud: LocalCloud, bench: BatchBench, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    lost, other = bench.submit("lost")[0], bench.submit("other")[0]
    lost = RemoteJob.of("batch", lost.id, conn_id="gone", region="us-east-1")
    run.states, run.started = {"over": "failed"}, {("over", -1): [lost, other]}
    CancelRemoteJobs(whole_run=True).notify(RUN)
    until(lambda: cancelled(cloud) >= {other.id})
    assert cancelled(cloud) == {other.id}
    assert str(lost) in capsys.readouterr().out


def test_a_dag_callback_about_no_task_is_about_its_run(
    cloud: LocalCloud, bench: BatchBench, run: Run
) -> None:
    job = bench.submit("job")[0]
    run.states, run.started = {"over": "failed"}, {("over", -1): [job]}
    dag = DAG("nightly", schedule=None)
    CancelRemoteJobs(whole_run=True)({"dag": dag, "run_id": "manual__2026", "reason": "all_done"})
    until(lambda: cancelled(cloud) >= {job.id})


def called_by(module: str, call: Callable[[], Any]) -> Any:
    """What a call returns that a function of this module of Airflow makes."""
    names = {**vars(import_module(module)), "call": call}
    exec("result = call()", names)
    return names["result"]


@pytest.mark.parametrize("request_", ["GetXCom", "GetTaskStates"])
@pytest.mark.parametrize(
    "module, since",
    [
        ("airflow.sdk.execution_time.task_runner", "3.0"),
        ("airflow.jobs.triggerer_job_runner", "3.0"),
        ("airflow.dag_processing.processor", "3.1"),
        ("airflow.sdk.execution_time.callback_supervisor", None),
    ],
)
def test_what_airflow_answers_to_a_callback_is_known(module: str, since: str | None, request_: str) -> None:
    if module.endswith("callback_supervisor"):
        pytest.importorskip(module, reason="from Airflow 3.3 on")
    answered = since is not None and Version(since) <= AIRFLOW
    assert called_by(module, lambda: is_answered(request_)) is answered


@pytest.mark.parametrize("about", ["task", "run"])
def test_a_callback_that_airflow_would_not_answer_refuses_at_once(
    cloud: LocalCloud,
    bench: BatchBench,
    run: Run,
    about: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    module = ModuleType("airflow.dag_processing.processor")
    # What the Dag processor of Airflow 3.0 may be asked.
    vars(module)["ToManager"] = Annotated[GetConnection | GetVariable, "discriminator"]
    job = bench.submit("job")[0]
    run.states, run.started = {"over": "failed"}, {("over", -1): [job]}
    ti = SimpleNamespace(dag_id="nightly", run_id="manual__2026", task_id="over", map_index=-1)
    context = RUN | ({"ti": ti} if about == "task" else {})
    names = {**vars(module), "call": lambda: CancelRemoteJobs(whole_run=about == "run").notify(context)}
    exec("call()", names)
    assert "cancels nothing here" in capsys.readouterr().out + caplog.text
    assert cancelled(cloud) == set()
    CancelRemoteJobs(whole_run=about == "run").notify(context)  # elsewhere it is answered
    until(lambda: cancelled(cloud) == {job.id})
