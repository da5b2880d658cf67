"""Listeners of other plugins may raise: Airflow then calls none of those that come after them."""

from __future__ import annotations

from typing import Any

import pluggy
import pytest
from airflow.listeners import hookimpl

from airflow_cancel_provider.plugin import listener
from airflow_cancel_provider.services.submissions import current_recorder
from tests.cloud.server import LocalCloud
from tests.try_fixtures import Try, _guarded, cancelled, submit_and_fail, variables

__all__ = ["_guarded", "variables"]

EVENTS = [name for name, each in vars(listener).items() if hasattr(each, "airflow_impl")]


class Raises:
    """A plugin of somebody else, which was loaded last."""

    @hookimpl
    def on_task_instance_running(self, previous_state: Any, task_instance: Any) -> None:
        raise RuntimeError("an error of its own")

    on_task_instance_failed = on_task_instance_running


def beside(other: object) -> Any:
    """The listeners of this package and of another, as Airflow calls them."""
    manager = pluggy.PluginManager("airflow")
    manager.register(listener)
    manager.register(other)
    return manager.hook


def test_a_task_is_guarded_also_where_the_listener_of_another_plugin_raises(cloud: LocalCloud) -> None:
    hook, ti = beside(Raises()), Try(work=submit_and_fail)
    with pytest.raises(RuntimeError, match="an error of its own"):
        hook.on_task_instance_running(previous_state="queued", task_instance=ti)
    assert current_recorder() is not None
    with pytest.raises(ValueError, match="after submitting"):
        ti.task.execute()
    assert cancelled(cloud) == [True]


@pytest.mark.parametrize("event", EVENTS)
def test_no_listener_of_another_plugin_comes_first(event: str) -> None:
    other = type("Other", (), {event: hookimpl(lambda _: None)})()
    assert getattr(beside(other), event).get_hookimpls()[-1].plugin is listener
