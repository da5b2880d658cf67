"""A task that executes a sensor in its own code, beside jobs that it has started."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_cancel_provider.record import TryState
from airflow_cancel_provider.sensors.batch import BatchJobTerminalSensor
from airflow_cancel_provider.version_compat import TaskDeferred
from tests.cloud.server import LocalCloud
from tests.try_fixtures import CANCEL, Try, _guarded, submit_once, variables

__all__ = ["_guarded", "variables"]


class Both(Try):
    """A task with a job of its own, and a sensor in its code that waits for another's and keeps a record."""

    def wait(self, *, is_deferrable: bool) -> None:
        self.other, self.own = submit_once("other"), submit_once("own")
        self.finish()
        sensor: Any = BatchJobTerminalSensor(
            task_id="inner",
            job_ids=[self.other.id],
            poke_interval=0.05,
            cancel_on_kill=True,
            deferrable=is_deferrable,
        )
        sensor.execute({"ti": self})

    def finish(self) -> None:
        """Let the other job end, or not."""


def test_after_a_sensor_the_record_names_the_jobs_of_the_task(cloud: LocalCloud) -> None:
    class Short(Both):
        def finish(self) -> None:
            cloud.batch.finish(self.other.id, "SUCCEEDED")

    def work() -> None:
        ti.wait(is_deferrable=False)
        assert ti.record.state is TryState.RUNNING
        assert ti.own in ti.record.jobs

    ti = Short(work=work)
    ti.guarded(CANCEL)
    ti.task.execute()


def test_so_it_does_while_the_task_is_deferred() -> None:
    ti = Both(work=lambda: ti.wait(is_deferrable=True))
    ti.guarded(CANCEL)
    with pytest.raises(TaskDeferred) as deferred:
        ti.task.execute()
    assert ti.record.state is TryState.DEFERRED
    assert ti.own in ti.record.jobs
    assert deferred.value.trigger.record == ti.record.as_json()
