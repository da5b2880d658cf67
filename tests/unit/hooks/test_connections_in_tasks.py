"""Connections in a task: its supervisor is asked, and never the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import ErrorType

from airflow_cancel_provider.exceptions import AirflowUnavailable, CancelProviderError, InvalidInput
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.hooks.batch import BatchJobsHook
from tests.cloud.server import LocalCloud
from tests.connection_fixtures import CONN, IDS, aws, nowhere
from tests.service_fixtures import REGION
from tests.task_fixtures import connections, context, operator

__all__ = ["connections", "nowhere"]

ERRORS = [
    # Before Airflow 3.2 a denial is a GENERIC_ERROR.
    kind
    for kind in ("API_SERVER_ERROR", "GENERIC_ERROR", "PERMISSION_DENIED")
    if kind in ErrorType.__members__
]
EMPTY: dict[str, Any] = dict.fromkeys(("host", "schema", "login", "password", "port"))


class Comms:
    """A supervisor that answers as Airflow's does."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def send(self, message: Any) -> Any:
        if hasattr(message, "conn_id"):
            self.asked.append(message.conn_id)
            return self.answer
        return None


class TestInATask:
    """A process with a supervisor never reads the database."""

    @pytest.fixture
    def supervised(self, monkeypatch: pytest.MonkeyPatch, nowhere: LocalCloud) -> Callable[[Any], Comms]:
        from airflow.sdk.execution_time import task_runner
        from airflow.secrets.metastore import MetastoreBackend

        def forbidden(*_: Any, **__: Any) -> None:
            raise AssertionError("the database was asked")

        def answering(answer: Any) -> Comms:
            comms = Comms(answer)
            monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", comms, raising=False)
            monkeypatch.setattr(MetastoreBackend, "get_connection", forbidden)
            return comms

        return answering

    @staticmethod
    def error(kind: str) -> Any:
        from airflow.sdk.execution_time.comms import ErrorResponse

        return ErrorResponse(error=ErrorType[kind])

    def test_the_supervisor_has_it(self, supervised: Callable[[Any], Comms], cloud: LocalCloud) -> None:
        from airflow.sdk.execution_time.comms import ConnectionResult

        comms = supervised(ConnectionResult(conn_id=CONN, **{**EMPTY, **aws(cloud.url, "APIKEY")}))
        service = BatchJobsHook(CONN).service
        service.describe([service.address(IDS["batch"])])
        assert cloud.journal.entries("batch")[-1].access_key == "APIKEY"
        assert comms.asked == [CONN]

    def test_defined_nowhere(self, supervised: Callable[[Any], Comms]) -> None:
        comms = supervised(self.error("CONNECTION_NOT_FOUND"))
        with pytest.raises(InvalidInput, match="is not defined"):
            _ = BatchJobsHook(CONN).service
        assert BatchJobsHook(region_name=REGION).service.conn_id is None
        assert set(comms.asked) == {CONN, "aws_default"}

    @pytest.mark.parametrize("kind", ERRORS)
    @pytest.mark.parametrize("conn_id", ["aws_default", CONN])
    def test_an_answer_that_is_an_error(
        self, supervised: Callable[[Any], Comms], cloud: LocalCloud, kind: str, conn_id: str
    ) -> None:
        supervised(self.error(kind))
        for use in (
            lambda: BatchJobsHook(conn_id, region_name=REGION).service,
            lambda: operator("batch", job_ids=[IDS["batch"]], aws_conn_id=conn_id).execute(context()),
        ):
            with pytest.raises(AirflowUnavailable, match="could not be looked up"):
                use()
        assert list(cloud.journal) == []

    @pytest.mark.parametrize("conn_id", ["aws_default", CONN])
    def test_an_error_that_the_channel_raises(
        self, supervised: Callable[[Any], Comms], monkeypatch: pytest.MonkeyPatch, conn_id: str
    ) -> None:
        """As Airflow's own channel does where the API server answers with an error."""
        from airflow.sdk.exceptions import AirflowRuntimeError

        def raising(_: Any) -> None:
            raise AirflowRuntimeError(self.error("API_SERVER_ERROR"))

        monkeypatch.setattr(supervised(None), "send", raising)
        for use in (
            lambda: BatchJobsHook(conn_id, region_name=REGION).service,
            lambda: operator("batch", job_ids=[IDS["batch"]], aws_conn_id=conn_id).execute(context()),
        ):
            with pytest.raises(AirflowUnavailable, match="could not be looked up"):
                use()

    @pytest.mark.parametrize("conn_id", ["aws_default", "mrs_default"])
    def test_extra_that_is_not_json(self, supervised: Callable[[Any], Comms], conn_id: str) -> None:
        from airflow.sdk.execution_time.comms import ConnectionResult

        conn_type = "aws" if conn_id == "aws_default" else "huaweicloud_mrs"
        supervised(
            ConnectionResult(conn_id=conn_id, **{**EMPTY, "conn_type": conn_type, "extra": "no {JSON"})
        )
        with pytest.raises(CancelProviderError, match="extra is not JSON"):
            Access().service("batch" if conn_type == "aws" else "mrs", conn_id, REGION)
