"""Airflow Variables, read so that an outage is not taken for "there is no such Variable"."""

from __future__ import annotations

import sys
from typing import Any

from airflow_cancel_provider.exceptions import AirflowUnavailable


def read_variable(key: str) -> str | None:
    """Ask the supervisor of a task or a triggerer for a Variable's text; None where there is none.

    ``Variable.get`` gives its default whatever goes wrong.

    :raises AirflowUnavailable: Airflow did not say whether there is one.
    """
    from airflow.sdk.exceptions import ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse, GetVariable

    task_runner: Any = sys.modules["airflow.sdk.execution_time.task_runner"]
    try:
        answer: Any = task_runner.SUPERVISOR_COMMS.send(GetVariable(key=key))
    except Exception as error:
        raise AirflowUnavailable(f"Airflow did not say what Variable {key} holds: {error!r}.") from error
    if not isinstance(answer, ErrorResponse):
        return str(answer.value or "")
    if answer.error is ErrorType.VARIABLE_NOT_FOUND:
        return None
    raise AirflowUnavailable(f"Airflow did not say what Variable {key} holds: {answer.error.name}.")
