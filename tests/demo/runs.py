"""Runs of scenarios: triggered, followed, and read back from Airflow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.demo.machine import Machine
from tests.demo.scenarios import Scenario
from tests.real_airflow.rest import AirflowRest

ENDED = ("success", "failed")


@dataclass
class Run:
    """One run of a scenario. ``jobs`` maps the id of each job that it started to the task that did."""

    scenario: Scenario
    run_id: str
    state: str = "queued"
    task_states: dict[str, str | None] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """Whether Airflow is done with it."""
        return self.state in ENDED

    def refresh(self, rest: AirflowRest) -> Iterator[str]:
        """Look again; yields a line for each thing that is new."""
        dag_id = self.scenario.dag_id
        tasks = rest.tasks(dag_id, self.run_id)
        for task in sorted(tasks, key=lambda task: str(task["start_date"])):
            yield from self._take_in(rest, task)
        state = rest.run_state(dag_id, self.run_id)
        if state != self.state and state in ENDED:
            yield f"run {state}" + (", as it should" if state == self.scenario.run_state == "failed" else "")
        self.state = state

    def _take_in(self, rest: AirflowRest, task: dict[str, Any]) -> Iterator[str]:
        task_id, state = task["task_id"], task["state"]
        key = f"{task_id}[{task['map_index']}]" if task["map_index"] >= 0 else task_id
        if self.task_states.get(key) == state:
            return
        self.task_states[key] = state
        if state == "success" and task_id in self.scenario.started_by:
            started = self._started(rest, task)
            self.jobs.update(dict.fromkeys(started, key))
            yield f"{key} started {', '.join(started)}"
        elif state == "deferred":
            yield f"{key} waits in the triggerer"
        elif state in ("running", "failed", "upstream_failed"):
            yield f"{key} {'runs' if state == 'running' else state}"

    def _started(self, rest: AirflowRest, task: dict[str, Any]) -> list[str]:
        """Ids of the jobs that a task started; an address ends with the id."""
        value = rest.xcom(self.scenario.dag_id, self.run_id, task["task_id"], map_index=task["map_index"])
        named = value if isinstance(value, list) else [value]
        return [str(name).rpartition("/")[2] for name in named]


def trigger(machine: Machine, scenarios: Iterable[Scenario]) -> list[Run]:
    """Start one run of each."""
    machine.rest.wait_for_dags(*{scenario.dag_id for scenario in scenarios})
    return [Run(s, machine.rest.trigger(s.dag_id, s.conf_at(machine.places))) for s in scenarios]
