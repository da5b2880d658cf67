"""Airflow's answers to triggers and callbacks, from tables: whoever asks for another's gets another's."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.sdk.execution_time.xcom import XCom

from airflow_cancel_provider.ends_on_record import OF_TRIGGER
from airflow_cancel_provider.hooks import variables as airflow_variables
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.record import RECORD_KEY, TryRecord
from airflow_cancel_provider.version_compat import Variable

Key = tuple[str, str, str, int]
"""Dag, run, task and map index."""


def key_of(ti: Any) -> Key:
    return (ti.dag_id, ti.run_id, ti.task_id, ti.map_index)


class FakeAirflow:
    """The present state of each task instance, its XComs on remote jobs, and Variables.

    ``asked`` counts requests. ``down``: raised instead of an answer. ``before_states`` is called with the
    number of each request for states, before it is answered.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.states: dict[Key, str | None] = {}
        self.xcoms: dict[Key, Any] = {}
        self.ends_by_key: dict[Key, dict[str, Any]] = {}
        """What a triggerer has written of ends, by the keys of the XComs."""
        self.variables: dict[str, Any] = {}
        self.asked: Counter[str] = Counter()
        self.down: Exception | None = None
        self.before_states: Callable[[int], None] = lambda _: None
        monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", self._task_states)
        monkeypatch.setattr(XCom, "get_one", self._xcom)
        monkeypatch.setattr(XCom, "set", self._set)
        monkeypatch.setattr(Variable, "set", self._set_variable)
        monkeypatch.setattr(Variable, "delete", self.variables.pop)
        monkeypatch.setattr(airflow_variables, "read_variable", self._variable)

    def put(self, ti: Any, state: str | None, record: TryRecord | dict[str, Any] | None = None) -> None:
        """A task instance stands so from now on."""
        self.states[key_of(ti)] = state
        self.xcoms[key_of(ti)] = record.as_json() if isinstance(record, TryRecord) else record

    @property
    def ends(self) -> dict[Key, Any]:
        """What a triggerer has written of ends, all services together."""
        return {
            task: {job: end for values in written.values() for job, end in values.items()}
            for task, written in self.ends_by_key.items()
        }

    def remove(self, ti: Any) -> None:
        """Its run was deleted."""
        del self.states[key_of(ti)], self.xcoms[key_of(ti)]

    def _task_states(
        self,
        dag_id: str,
        map_index: int | None = None,
        task_ids: list[str] | None = None,
        task_group_id: str | None = None,
        logical_dates: list[Any] | None = None,
        run_ids: list[str] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """As the API server does it."""
        assert task_group_id is None
        assert logical_dates is None
        self._answer("states")
        found: dict[str, dict[str, Any]] = {}
        for (dag, run, task, index), state in self.states.items():
            if (
                dag == dag_id
                and (map_index is None or index == map_index)
                and (not task_ids or task in task_ids)
                and (not run_ids or run in run_ids)
            ):
                found.setdefault(run, {})[f"{task}_{index}" if index >= 0 else task] = state
        return found

    def _xcom(
        self,
        *,
        key: str,
        dag_id: str,
        task_id: str,
        run_id: str,
        map_index: int | None = None,
        include_prior_dates: bool = False,
    ) -> Any:
        assert map_index is not None
        assert not include_prior_dates
        assert key == RECORD_KEY
        self._answer("xcom")
        value = self.xcoms.get((dag_id, run_id, task_id, map_index))
        if isinstance(value, Exception):
            raise value
        return value

    def _set(self, *, key: str, value: Any, dag_id: str, task_id: str, run_id: str, map_index: int) -> None:
        if key == RECORD_KEY:
            self.xcoms[(dag_id, run_id, task_id, map_index)] = json.loads(json.dumps(value))
            return
        assert {OF_TRIGGER.format(RemoteJob(job).service) for job in value} == {key}
        self._answer("ends")
        written = self.ends_by_key.setdefault((dag_id, run_id, task_id, map_index), {})
        written[key] = json.loads(json.dumps(value))

    def _set_variable(
        self, key: str, value: Any, description: str | None = None, serialize_json: bool = False
    ) -> None:
        assert description
        assert serialize_json
        self.variables[key] = json.loads(json.dumps(value))

    def _variable(self, key: str) -> str | None:
        self._answer("variable")
        return json.dumps(self.variables[key]) if key in self.variables else None

    def _answer(self, what: str) -> None:
        self.asked[what] += 1
        if what == "states":
            self.before_states(self.asked[what])
        if self.down is not None:
            raise self.down


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> FakeAirflow:
    """An Airflow that answers from tables."""
    return FakeAirflow(monkeypatch)
