"""Operators of MRS: jobs whose address is not heard of, that are shown late, or never."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk import DAG

from airflow_cancel_provider.exceptions import (
    AccessDenied,
    CancelRefused,
    InvalidInput,
    UnexpectedEnd,
    UnknownScope,
)
from airflow_cancel_provider.operators.mrs import MrsSubmitJobOperator
from tests.cloud.server import LocalCloud
from tests.mrs_fixtures import CLUSTER
from tests.task_fixtures import (
    TaskInstance,
    bench,
    connections,
    context,
    operator,
    run,
    sensor,
    shown_at_once,
)

__all__ = ["bench", "connections", "shown_at_once"]

SUBMIT: dict[str, Any] = {"job_type": "Flink", "job_name": "mine", "wait_for_completion": False}


def test_an_unknown_mrs_cluster_is_no_success(connections: None) -> None:  # noqa: ARG001  they are set
    cluster = str(uuid4())
    with pytest.raises(
        UnknownScope, match=f"cluster_id '{cluster}' is unknown over connection 'mrs_default'"
    ):
        operator("mrs", cluster_id=cluster, all_live=True).execute(context())
    with pytest.raises(CancelRefused, match=f"mrs://mrs_default/{cluster}/"):
        operator("mrs", cluster_id=cluster, job_execution_ids=[str(uuid4())]).execute(context())
    with pytest.raises(UnknownScope, match=f"mrs://mrs_default/{cluster}/"):
        sensor("mrs", cluster_id=cluster, job_execution_ids=[str(uuid4())]).execute(context())


class Unheard(TaskInstance):
    """Airflow does not take what the task has to say."""

    def xcom_push(self, key: str, value: Any) -> None:
        raise RuntimeError(key)

    def xcom_pull(self, key: str, **_: Any) -> Any:
        return self.pushed[key]


def unheard(**changes: Any) -> Any:
    return {"ti": Unheard(**changes)}


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.usefixtures("connections")
def test_a_job_of_mrs_whose_address_can_not_be_left_is_cancelled(cloud: LocalCloud, waits: bool) -> None:
    cluster = cloud.mrs.register_cluster("cluster")
    task = MrsSubmitJobOperator(
        task_id="submit", cluster_id=cluster, job_type="Flink", job_name="mine", wait_for_completion=waits
    )
    with pytest.raises(RuntimeError):
        task.execute(unheard())
    (job,) = cloud.mrs.jobs()
    assert job["cancel_requested_at"]


@pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])
@pytest.mark.usefixtures("connections")
def test_a_job_of_mrs_that_is_shown_late_is_waited_for(cloud: LocalCloud, deferrable: bool) -> None:
    cloud.mrs.configure({"submitted": 0, "pending": 0, "overrides": {"late*": {"unseen": 0.5, "run": 1}}})
    submit = {"cluster_id": cloud.mrs.register_cluster(), "job_type": "Flink", "job_name": "late"}

    def make() -> Any:
        return MrsSubmitJobOperator(task_id="submit", **submit, waiter_delay=0.2, deferrable=deferrable)

    assert run(make, context()).endswith(cloud.mrs.jobs()[0]["id"])
    assert not cloud.mrs.jobs()[0]["cancel_requested_at"]


@pytest.mark.usefixtures("connections")
def test_a_deferred_job_of_mrs_that_failed_by_itself_is_not_asked_to_end(cloud: LocalCloud) -> None:
    cloud.mrs.configure(
        {"submitted": 0, "pending": 0, "overrides": {"bad*": {"run": 0.3, "outcome": "failure"}}}
    )
    submit = {"cluster_id": cloud.mrs.register_cluster(), "job_type": "Flink", "job_name": "bad"}

    def make() -> Any:
        return MrsSubmitJobOperator(task_id="submit", **submit, waiter_delay=0.1, deferrable=True)

    with pytest.raises(UnexpectedEnd, match="is FAILED"):
        run(make, context())
    assert cloud.journal.count("mrs", "StopJob") == 0


TEMPLATES: dict[str, Any] = {
    "arguments": "{{ arguments }}",
    "properties": "{{ properties }}",
}


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.usefixtures("connections")
def test_what_a_template_makes_of_arguments_and_properties(cloud: LocalCloud, native: bool) -> None:
    with DAG("nightly", schedule=None, render_template_as_native_obj=native):
        task = MrsSubmitJobOperator(
            task_id="submit", **SUBMIT, **TEMPLATES, cluster_id=cloud.mrs.register_cluster()
        )
    arguments, properties = ["obs://b/a.jar", 7], {"cores": 2, "dynamic": True, "name": "x"}
    given: Any = {**context(), "arguments": arguments, "properties": properties}
    task.render_template_fields(given)
    task.execute(context())
    (job,) = cloud.mrs._store.jobs.values()
    assert job.arguments == ["obs://b/a.jar", "7"]
    assert job.properties == {"cores": "2", "dynamic": "true", "name": "x"}


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("empty", [None, "", " "], ids=repr)
@pytest.mark.parametrize("param", TEMPLATES)
@pytest.mark.usefixtures("connections")
def test_arguments_and_properties_that_render_to_nothing_are_not_left_out(
    cloud: LocalCloud, param: str, empty: str | None, native: bool
) -> None:
    with DAG("nightly", schedule=None, render_template_as_native_obj=native):
        task = MrsSubmitJobOperator(
            task_id="submit", **SUBMIT, **{param: TEMPLATES[param]}, cluster_id=cloud.mrs.register_cluster()
        )
    given: Any = {**context(), param: empty}
    task.render_template_fields(given)
    with pytest.raises(InvalidInput, match=f"^{param} is .*XCom"):
        task.execute(context())
    assert cloud.journal.count("mrs") == 0


@pytest.mark.usefixtures("connections")
def test_a_job_of_mrs_that_is_never_shown_is_cancelled(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_cancel_provider.watch.UNSEEN_SECONDS", 0.1)
    cloud.mrs.register_cluster()
    unknown = {"error_code": "0201", "error_msg": "The job does not exist."}
    reply = {"body": json.dumps(unknown), "status": 500}
    cloud.faults.add("mrs", "ShowSingleJobExe", "hostile_reply", **reply)
    task = MrsSubmitJobOperator(
        task_id="submit", cluster_id=CLUSTER, job_type="Flink", job_name="mine", waiter_delay=0.1
    )
    with pytest.raises(UnexpectedEnd, match="is GONE"):
        task.execute(context())
    assert cloud.mrs.jobs()[0]["cancel_requested_at"]


@pytest.mark.usefixtures("connections")
def test_a_job_of_mrs_that_may_not_be_looked_at_is_cancelled(cloud: LocalCloud) -> None:
    cluster = cloud.mrs.register_cluster()
    for operation in ("ShowSingleJobExe", "ShowJobExeListNew"):
        cloud.faults.add("mrs", operation, "denied")
    submit = {"cluster_id": cluster, "job_type": "Flink", "job_name": "mine"}
    with pytest.raises(AccessDenied):
        MrsSubmitJobOperator(task_id="submit", **submit).execute(context())
    assert cloud.mrs.jobs()[0]["cancel_requested_at"]
