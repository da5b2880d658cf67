"""``CancelRemoteJobs`` over a whole run, with Airflow's answers in place of Airflow."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.sdk.execution_time.xcom import XCom

from airflow_cancel_provider.jobs import XCOM_KEY, RemoteJob
from airflow_cancel_provider.notifications.cancel import CancelRemoteJobs
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
