"""Airflow as a task sees it: by the Task SDK, without the database and without an account."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from uuid import UUID

from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.owner import OWNER_PREFIX, Label, Owner
from airflow_cancel_provider.reaper.airflows.base import Airflow, owner_in, standing, task_name
from airflow_cancel_provider.reaper.decide import OwnerState, Standing


class TaskSdk(Airflow):
    """Asks Airflow for the states of tasks by name, from within a task.

    Two things make a try known: a Variable that its guard writes with its first job and deletes when its
    work is done (setting ``owner_variables``), or a label that holds the whole owner (Batch). Everything
    else is UNKNOWN. Only the Variable tells an earlier try from a later one; without it a job is taken for
    an orphan only when its task's whole run is gone.

    :param owner_variables: whether tries leave their names in Variables.
    """

    def __init__(self, *, owner_variables: bool = False) -> None:
        self._reads_variables = owner_variables

    def owners(self, labels: Collection[Label]) -> Mapping[UUID, OwnerState]:
        """One request for each try's Variable, one for each task of each Dag."""
        marked: dict[Label, Owner] = {}
        named: dict[UUID, Owner] = {}
        for label in labels:
            if (owner := self._marked(label)) is not None:
                marked[label] = owner
            elif label.owner is not None:
                named[label.ti_id] = label.owner
        states = _states([*marked.values(), *named.values()])
        found = {label.ti_id: _of_marked(label, owner, states) for label, owner in marked.items()}
        return found | {ti_id: _of_named(owner, states) for ti_id, owner in named.items()}

    def _marked(self, label: Label) -> Owner | None:
        if not self._reads_variables:
            return None
        return owner_in(self.variable(f"{OWNER_PREFIX}{label.ti_id}"), label)

    def variable(self, key: str) -> str | None:
        """An Airflow Variable."""
        # Variable.get would say of an API server that does not answer that there is no such Variable.
        from airflow.sdk.exceptions import ErrorType
        from airflow.sdk.execution_time import task_runner
        from airflow.sdk.execution_time.comms import ErrorResponse, GetVariable

        answer: Any = _asked(lambda: task_runner.SUPERVISOR_COMMS.send(GetVariable(key=key)))
        if isinstance(answer, ErrorResponse):
            if answer.error is ErrorType.VARIABLE_NOT_FOUND:
                return None
            raise _unavailable(str(answer.error))
        return str(answer.value or "")

    def set_variable(self, key: str, value: str | None) -> None:
        """Write an Airflow Variable."""
        from airflow.sdk import Variable

        if value is not None:
            _asked(lambda: Variable.set(key, value))
        elif self.variable(key) is not None:
            _asked(lambda: Variable.delete(key))


def _of_marked(label: Label, owner: Owner, states: Mapping[Owner, str | None]) -> OwnerState:
    """A try whose work is not done, for else it would have deleted its Variable."""
    name = _name(owner)
    if owner not in states:
        return OwnerState(Standing.DELETED, task=name, is_unfinished=True)
    now = standing(states[owner])
    # Where the task waits for its jobs, its success is a later try's, or a person's mark. Elsewhere it may be
    # this try's own, and the Variable be there because it could not be deleted.
    own = Standing.FAILED if now is Standing.SUCCEEDED and label.waits else now
    later = now if own is not now else None
    return OwnerState(own, later, name, states[owner] or "not started", is_unfinished=True)


def _of_named(owner: Owner, states: Mapping[Owner, str | None]) -> OwnerState:
    """A try that may be over in a way that the state of its task does not tell."""
    name = _name(owner)
    if owner not in states:
        return OwnerState(Standing.DELETED, task=name)
    alive = standing(states[owner]) in (Standing.ALIVE, Standing.RETRYING)
    return OwnerState(Standing.ALIVE if alive else Standing.UNKNOWN, task=name, state=states[owner] or "")


def _name(owner: Owner) -> str:
    return task_name(owner.dag_id, owner.run_id, owner.task_id, owner.map_index, owner.try_number)


def _states(owners: Iterable[Owner]) -> dict[Owner, str | None]:
    """State of each owner's task; a task that Airflow does not know is left out."""
    groups: dict[tuple[str, str, int], list[Owner]] = defaultdict(list)
    for owner in owners:
        groups[owner.dag_id, owner.task_id, owner.map_index].append(owner)
    found: dict[Owner, str | None] = {}
    for (dag_id, task_id, map_index), group in groups.items():
        by_run = _asked_states(dag_id, task_id, map_index, sorted({owner.run_id for owner in group}))
        for owner in group:
            if owner.run_id in by_run:
                found[owner] = by_run[owner.run_id]
    return found


def _asked_states(dag_id: str, task_id: str, map_index: int, run_ids: list[str]) -> dict[str, str | None]:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states: Any = _asked(
        lambda: RuntimeTaskInstance.get_task_states(
            dag_id=dag_id, task_ids=[task_id], run_ids=run_ids, map_index=map_index
        )
    )
    # A mapped task's state comes under "task_id_index"; there is but one in each run.
    return {
        run_id: next((str(state) if state else None for state in tasks.values()), None)
        for run_id, tasks in states.items()
        if tasks
    }


def _asked(question: Any) -> Any:
    try:
        return question()
    except Exception as error:
        # The SDK has no one error for "the API server did not answer".
        raise _unavailable(type(error).__name__) from error


def _unavailable(words: str) -> AirflowUnavailable:
    return AirflowUnavailable(f"Airflow did not answer the reaper's task: {words}. Nothing is cancelled.")
