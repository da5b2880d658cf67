"""A kill in the middle of a request to Airflow: its answer comes later, and is not taken for another's."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from airflow_cancel_provider.exceptions import Killed
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.version_compat import AirflowTaskTimeout
from tests.cloud.server import LocalCloud
from tests.supervisor_fixtures import SLOW, Supervisor, supervisor
from tests.try_fixtures import CANCEL, Try, _guarded, cancelled, submit, variables

__all__ = ["_guarded", "supervisor", "variables"]
KEEP = Settings(on_retry="keep")


@pytest.mark.parametrize(
    "end, settings, is_cancelled",
    [(Killed, CANCEL, True), (AirflowTaskTimeout, CANCEL, True), (AirflowTaskTimeout, KEEP, False)],
)
def test_a_callback_hears_what_it_asks_for(
    cloud: LocalCloud,
    supervisor: Supervisor,
    end: type[BaseException],
    settings: Settings,
    *,
    is_cancelled: bool,
) -> None:
    def interrupt(*_: Any) -> None:
        supervisor.may_answer.set()
        if end is Killed:
            ti.task.on_kill()
        raise end("Timeout")

    def work() -> None:
        submit()
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        supervisor.get(SLOW)

    ti = Try(work=work)
    ti.guarded(settings)
    with pytest.raises(end):
        ti.task.execute()
    assert [supervisor.get(key) for key in ("first", "second")] == ["first", "second"]
    assert cancelled(cloud) == [is_cancelled]
