"""A Variable that could not be read is not one that is not there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, GetVariable, VariableResult

from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.hooks.variables import read_variable


def answering(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[Any]:
    """A supervisor that gives this answer, or raises it; what it was asked."""
    asked: list[Any] = []

    def send(message: Any) -> Any:
        asked.append(message)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=send), raising=False)
    return asked


def test_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answering(monkeypatch, VariableResult(key="k", value='{"all": true}'))
    assert read_variable("k") == '{"all": true}'
    assert asked == [GetVariable(key="k")]


def test_none_where_airflow_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND))
    assert read_variable("k") is None


@pytest.mark.parametrize(
    "answer",
    [
        ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 500}),
        ErrorResponse(error=ErrorType.GENERIC_ERROR),
        ConnectionError("the API server is away"),
    ],
)
def test_an_outage_is_no_absence(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    answering(monkeypatch, answer)
    with pytest.raises(AirflowUnavailable, match="Variable k"):
        read_variable("k")
