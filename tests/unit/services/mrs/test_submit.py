"""``MrsSubmitJobOperator`` that was deferred and comes back: whose job it ends, and what is on record."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.operators.mrs import MrsSubmitJobOperator
from airflow_cancel_provider.owner import Label, deployment_of
from airflow_cancel_provider.record import TryRecord, TryState
from airflow_cancel_provider.version_compat import TaskDeferred
from airflow_cancel_provider.watch import Watch
from tests.airflow_versions import TaskDeferralError
from tests.cloud.server import LocalCloud
from tests.task_fixtures import TaskInstance, connections, event_of, moved, through_serde
from tests.unit.operators.test_mrs import unheard

__all__ = ["connections"]


class PulledFrom(TaskInstance):
    """What a task has left is there when it comes back."""

    def xcom_pull(self, key: str, task_ids: str, map_indexes: int) -> Any:
        assert (task_ids, map_indexes) == (self.task_id, self.map_index)
        return self.pushed[key]


def resumed(context: Any, event: Any = None) -> None:
    """The rest of a task that was deferred: with what its trigger has fired, or because that has failed."""
    task = MrsSubmitJobOperator(task_id="submit", cluster_id="c", job_type="Flink", job_name="mine")
    if event:
        task.resume_execution("execute_complete", {"event": event}, context)
    else:
        task.resume_execution("__fail__", {"error": "Trigger failure"}, context)


@pytest.mark.parametrize("has_fired", [True, False])
@pytest.mark.usefixtures("connections")
def test_so_is_one_whose_task_comes_back_and_is_not_heard(cloud: LocalCloud, has_fired: bool) -> None:
    cluster = cloud.mrs.register_cluster("cluster")
    address = RemoteJob.of("mrs", cloud.mrs.add_job(cluster, "mine"), scope=cluster, conn_id="mrs_default")
    ctx = unheard()
    ctx["ti"].pushed["remote_jobs"] = TryRecord(ctx["ti"].id, TryState.DEFERRED, (address,)).as_json()
    with pytest.raises(RuntimeError):
        resumed(ctx, {"watch": Watch([address]).as_json(), "error": None} if has_fired else None)
    assert cloud.mrs.jobs()[0]["cancel_requested_at"]


@pytest.mark.usefixtures("connections")
def test_a_task_that_comes_back_ends_its_own_job_whatever_others_wrote_on_its_record(
    cloud: LocalCloud, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = cloud.mrs.register_cluster("cluster")

    def job(name: str) -> RemoteJob:
        return RemoteJob.of("mrs", cloud.mrs.add_job(cluster, name), scope=cluster, conn_id="mrs_default")

    foreign = job(f"foreign-{Label('another0', uuid4())}")
    another_try = job(f"other-{Label(deployment_of('production'), uuid4())}")
    own = job("own")
    ctx: Any = {"ti": PulledFrom()}
    record = TryRecord(ctx["ti"].id, TryState.DEFERRED, (foreign, own, another_try))
    for written in (["mrs://mrs_default/x/y"], "garbage", replace(record, ti_id=uuid4()).as_json()):
        ctx["ti"].pushed["remote_jobs"] = written
        with pytest.raises(TaskDeferralError):
            resumed(ctx)
    assert not any(job["cancel_requested_at"] for job in cloud.mrs.jobs())
    ctx["ti"].pushed["remote_jobs"] = record.as_json()
    with pytest.raises(TaskDeferralError):
        resumed(ctx)
    asked = {job["id"] for job in cloud.mrs.jobs() if job["cancel_requested_at"]}
    assert asked == {own.id}
    said = capsys.readouterr().out
    assert f"{foreign} is in the record, but it is not cancelled: its label names another Airflow" in said
    # From then on its own process is responsible, not the trigger.
    assert ctx["ti"].pushed["remote_jobs"]["state"] == "running"


@pytest.mark.usefixtures("connections")
def test_the_record_of_an_unguarded_task_says_who_is_responsible(cloud: LocalCloud) -> None:
    cluster = cloud.mrs.register_cluster("cluster")
    options = {"cluster_id": cluster, "job_type": "Flink", "job_name": "mine", "waiter_delay": 0.1}
    ctx: Any = {"ti": PulledFrom()}
    with pytest.raises(TaskDeferred) as deferral:
        MrsSubmitJobOperator(task_id="submit", **options, deferrable=True).execute(ctx)
    record = TryRecord.from_json(ctx["ti"].pushed["remote_jobs"])
    (job,) = cloud.mrs.jobs()
    assert (record.ti_id, record.state) == (ctx["ti"].id, TryState.DEFERRED)
    assert [job.id for job in record.jobs] == [job["id"]]
    cloud.mrs.finish(job["id"], "FINISHED")
    event = asyncio.run(event_of(moved(deferral.value.trigger)))
    MrsSubmitJobOperator(task_id="submit", **options).resume_execution(
        "execute_complete", {"event": through_serde(event)}, ctx
    )
    assert TryRecord.from_json(ctx["ti"].pushed["remote_jobs"]).state is TryState.RETURNED
    MrsSubmitJobOperator(task_id="submit", **options, wait_for_completion=False).execute(ctx)
    assert TryRecord.from_json(ctx["ti"].pushed["remote_jobs"]).state is TryState.RETURNED
