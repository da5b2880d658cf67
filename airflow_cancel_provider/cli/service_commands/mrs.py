"""The operations of MRS, with methods as boto3 would make them from the model in ``models/mrs``."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any, TypeVar

from airflow_cancel_provider.services.mrs.calls import base_url
from airflow_cancel_provider.services.mrs.client import MrsClient
from airflow_cancel_provider.services.mrs.errors import Fault
from airflow_cancel_provider.services.mrs.states import JobRecord
from airflow_cancel_provider.services.retry import Patience

T = TypeVar("T")

PATIENCE = Patience(seconds=10.0)
"""How long a call is repeated: about as long as the AWS CLI repeats one."""
_CANCEL_FIELDS = frozenset(
    {
        *("id", "cluster_id", "job_id", "tenant_id", "created_at", "updated_at", "start_time", "end_time"),
        *("oozie_job_id", "engine_job_id", "return_code", "input_id", "output_id"),
        *("is_protected", "is_public"),
    }
)
"""What is shown of a reply: others, as ``job_configs``, may hold secrets."""


class MrsOperations:
    """Each method is one operation of the model; its parameters and its reply are those of the model.

    Each raises :class:`~airflow_cancel_provider.services.mrs.errors.Fault`, and ``InvalidInput`` for what
    can't be an id.

    :param hook: an :class:`~airflow_cancel_provider.hooks.mrs.MrsHook`.
    :param endpoint_url: base URL instead of the connection's.
    """

    def __init__(self, hook: Any, endpoint_url: str | None = None) -> None:
        self._client: MrsClient = copy(hook.client)
        if endpoint_url:
            self._client.endpoint = base_url(endpoint_url, "--endpoint-url")

    def cancel_job_execution(self, cluster_id: str, job_execution_id: str) -> dict[str, Any]:
        """Request the end of a job execution."""
        reply = _patiently(lambda: self._client.kill_job(cluster_id, job_execution_id), _may_be_sent_again)
        fields = reply.get("job_execution", reply)
        shown = {name: value for name, value in fields.items() if name in _CANCEL_FIELDS}
        return {"job_execution": shown} if shown else {}

    def describe_job_execution(self, cluster_id: str, job_execution_id: str) -> dict[str, Any]:
        """Show a job execution."""
        return {"job_detail": _shown(_patiently(lambda: self._client.show_job(cluster_id, job_execution_id)))}

    def list_job_executions(
        self,
        cluster_id: str,
        job_name: str | None = None,
        *,
        live_only: bool = False,
        submitted_time_begin: int | None = None,
        offset: int | None = None,
    ) -> dict[str, Any]:
        """List one page of a cluster's job executions."""
        number = offset or 1
        page = _patiently(
            lambda: self._client.list_jobs(
                cluster_id, number, job_name=job_name, live_only=live_only, since=submitted_time_begin
            )
        )
        # Pages of V1.1 hold ended jobs, too.
        living = [record for record in page.items if not (live_only and record.state.is_terminal)]
        next_page = {"next_offset": number + 1} if page.may_go_on(number) else {}
        return {"job_list": [_shown(record) for record in living], **next_page}


def _shown(record: JobRecord) -> dict[str, Any]:
    fields = {
        "job_id": record.id,
        "job_name": record.name,
        "job_type": record.type,
        "job_state": record.service_state,
        "job_result": record.result,
        "submitted_time": record.submitted,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _patiently(request: Callable[[], T], transient: Callable[[BaseException], bool] | None = None) -> T:
    return PATIENCE.started().call(request, transient or _is_transient)


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, Fault) and error.is_transient


def _may_be_sent_again(error: BaseException) -> bool:
    return isinstance(error, Fault) and error.is_transient and not error.may_have_acted
