"""How a try begins: what was started before it, and what may go wrong as it is guarded."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from pendulum import now

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.guard import release, track
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Owner, release_key
from airflow_cancel_provider.plugin import listener
from airflow_cancel_provider.record import RECORD_KEY, TryRecord, TryState
from airflow_cancel_provider.services.submissions import LABEL_PARAMETER, current_recorder
from tests.airflow_versions import AirflowRescheduleException
from tests.cloud.server import LocalCloud
from tests.try_fixtures import (
    CANCEL,
    RESCHEDULED,
    RESUMED,
    Store,
    Try,
    _guarded,
    cancelled,
    ended,
    submit,
    submit_and,
    submit_once,
    variables,
)

__all__ = ["_guarded", "variables"]


class DagRunTriggerException(Exception):
    """As that of ``TriggerDagRunOperator``."""


def on_record(*jobs: str, ti_id: UUID | None = None) -> Store:
    """What an earlier try has left."""
    return Store({RECORD_KEY: TryRecord(ti_id or uuid4(), jobs=tuple(map(RemoteJob, jobs))).as_json()})


class TestBefore:
    """What earlier tries, or this one, had started before."""

    def test_a_guard_that_could_not_be_installed_records_nothing(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise PermissionError("no XCom for you")

        monkeypatch.setattr(Try, "xcom_pull", refuse)
        ti: Any = Try(work=submit_once)
        ti._ti_context_from_server = RESUMED  # and what it had started can't be read
        listener.on_task_instance_running(ti)
        ti.task.execute()
        assert "could not be installed" in caplog.text
        assert current_recorder() is None
        (job,) = cloud.batch.jobs()
        assert LABEL_PARAMETER not in job["labels"]["parameters"]

    def test_what_cant_be_reached_keeps_neither_the_rest_nor_this_try_from_it(
        self, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
    ) -> None:
        owner = Owner.from_context({"ti": Try()}, CANCEL.deployment)
        job = RemoteJob(f"batch://@us-east-1/{submit('earlier', str(owner.label))}")
        store = on_record(f"batch://gone/{job.id}", job, ti_id=owner.ti_id)
        ti = Try(work=submit_and(ValueError), store=store)
        ti.try_number = 2
        ti.run(CANCEL)
        assert f"batch://gone/{job.id}" in caplog.text
        assert cancelled(cloud) == [True, True]

    def test_a_record_that_cant_be_read_is_no_reason_not_to_guard(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(_: Any) -> Any:
            raise ValueError("parameters are not what they were")

        monkeypatch.setattr(Try, "get_template_context", broken)
        Try(work=submit_and(ValueError), try_number=2).run(CANCEL)
        assert cancelled(cloud) == [True]

    @pytest.mark.parametrize("try_number", [1, 2])
    @pytest.mark.parametrize("fails", [False, True])
    def test_a_rescheduled_try_goes_on_with_its_jobs(
        self, cloud: LocalCloud, try_number: int, fails: bool
    ) -> None:
        store = Store()
        later = AirflowRescheduleException(now())  # type: ignore[no-untyped-call]
        first = Try(work=submit_and(later), store=store, try_number=try_number)
        ended(first, AirflowRescheduleException)
        assert cancelled(cloud) == [False]
        ti: Any = Try(id=first.id, work=lambda: 1 / (not fails), store=store, try_number=try_number)
        ti._ti_context_from_server = RESCHEDULED
        ti.run(CANCEL)
        assert cancelled(cloud) == [fails]

    @pytest.mark.parametrize("is_success", [True, False])
    def test_a_task_that_triggers_a_run_ends_with_an_exception(
        self,
        cloud: LocalCloud,
        variables: dict[str, Any],
        is_success: bool,
    ) -> None:
        """Airflow handles it after ``execute``, and then tells the listeners how the task has ended."""
        ti = Try(work=submit_and(DagRunTriggerException()), try_number=2)
        guard = ended(ti, DagRunTriggerException)
        guard.succeeded() if is_success else guard.failed()
        assert cancelled(cloud) == [not is_success]
        assert ti.record.state is (TryState.RETURNED if is_success else TryState.RUNNING)
        assert variables.get(release_key(ti.id), {"all": False})["all"] is is_success

    def test_a_setting_that_cant_be_read_disturbs_no_other_listener(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__ON_RETRY", "kepp")
        listener.on_task_instance_running(Try())
        assert "expected cancel or keep" in caplog.text
        monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__FAIL_CLOSED", "True")
        with pytest.raises(SystemExit, match="fail_closed"):
            listener.on_task_instance_running(Try())

    def test_a_task_that_is_not_guarded_is_not_the_last_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Try().guarded(CANCEL)
        monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__ENABLED", "False")
        listener.on_task_instance_running(Try())
        assert current_recorder() is None


@pytest.mark.parametrize("call", [track, release])
@pytest.mark.parametrize("is_guarded", [True, False])
def test_a_task_that_is_not_to_be_guarded_may_track_and_release(
    cloud: LocalCloud, call: Any, monkeypatch: pytest.MonkeyPatch, *, is_guarded: bool
) -> None:
    """It must not fail after it has started its job, only because somebody has switched the guard off."""
    monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__ENABLED", str(is_guarded))
    ti: Any = Try(work=lambda: call(f"batch://@us-east-1/{submit()}"))
    listener.on_task_instance_running(ti)
    ti.task.execute()
    assert len(cloud.batch.jobs()) == 1
    assert (current_recorder() is not None) == is_guarded
    with pytest.raises(InvalidInput):
        call("no address")


@pytest.mark.parametrize("call", [track, release])
def test_nothing_is_tracked_outside_a_task(call: Any) -> None:
    with pytest.raises(InvalidInput, match=f"{call.__name__}.. works in a task only"):
        call("batch://@us-east-1/job")
