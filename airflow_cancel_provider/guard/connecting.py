"""From an address to a line, over the Airflow connection that the address names."""

from __future__ import annotations

from typing import Any

from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.services.client_spec import ClientSpec


def line_of(job: RemoteJob) -> ClientSpec:
    """How to reach a job's service. Asks Airflow for the connection: never from a signal handler.

    :raises InvalidInput: the connection is unusable.
    """
    service: Any = Access().service(job.service, job.conn_id, job.region)
    line: ClientSpec = service.line
    return line
