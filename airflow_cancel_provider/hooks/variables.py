"""Airflow Variables, read so that an outage is not taken for "there is no such Variable"."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from airflow_cancel_provider.exceptions import AirflowUnavailable, InvalidInput
from airflow_cancel_provider.owner import release_key
from airflow_cancel_provider.release import MOST_JOBS, Release


def read_variable(key: str) -> str | None:
    """Ask the supervisor of a task or a triggerer for a Variable's text; None where there is none.

    ``Variable.get`` gives its default whatever goes wrong.

    :raises AirflowUnavailable: Airflow gave no answer.
    """
    from airflow.sdk.exceptions import ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse, GetVariable

    task_runner: Any = sys.modules["airflow.sdk.execution_time.task_runner"]
    try:
        answer: Any = task_runner.SUPERVISOR_COMMS.send(GetVariable(key=key))
    except Exception as error:
        raise AirflowUnavailable(f"Airflow did not answer what Variable {key} holds: {error!r}.") from error
    if not isinstance(answer, ErrorResponse):
        return str(answer.value or "")
    if answer.error is ErrorType.VARIABLE_NOT_FOUND:
        return None
    raise AirflowUnavailable(f"Airflow did not answer what Variable {key} holds: {answer.error.name}.")


def read_release(ti_id: UUID) -> Release | None:
    """The release of a try; None where there is none. Asks as :func:`read_variable`.

    :raises AirflowUnavailable: Airflow gave no answer.
    :raises InvalidInput: the guard did not write it, so it may mean any job.
    """
    key = release_key(ti_id)
    text = read_variable(key)
    release = Release.parse(text) if text is not None else None
    if release is not None and not release.is_readable:
        raise InvalidInput(
            f"Variable {key} is not a release as the guard writes it: repair it, or delete it if none of the "
            "try's jobs is to be left running."
        )
    return release


def write_release(ti_id: UUID, release: Release, task: str) -> None:
    """Write the release of a try.

    :param task: the try, for people.
    :raises Exception: Airflow did not take it.
    """
    from airflow_cancel_provider.version_compat import Variable

    value: dict[str, Any] = {
        "all": release.all,
        "jobs": [str(job) for job in release.jobs][:MOST_JOBS],
        "at": datetime.now(UTC).isoformat(),
        "task": task,
    }
    if release.more:
        value["more"] = [str(place) for place in release.more]
    words = "Remote jobs that their task has released; the reaper removes this when they have ended"
    Variable.set(release_key(ti_id), value, description=words, serialize_json=True)
