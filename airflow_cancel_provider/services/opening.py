"""From a line to a service that can cancel, in whatever process."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.client_spec import ClientSpec, frozen
from airflow_cancel_provider.services.patience import Patience

AWS_SERVICES = {
    "emr": "airflow_cancel_provider.services.emr.EmrStepService",
    "batch": "airflow_cancel_provider.services.batch.BatchJobService",
    "emr-serverless": "airflow_cancel_provider.services.emr_serverless.EmrServerlessJobRunService",
}
CONNECT_SECONDS = 5
READ_SECONDS = 8


def open_line(line: ClientSpec, patience: Patience) -> JobService:
    """A service over the same endpoint, with the same identity, as the client that submitted."""
    if line.service in AWS_SERVICES:
        module, _, name = AWS_SERVICES[line.service].rpartition(".")
        service_class = getattr(import_module(module), name)
        service: JobService = service_class(_aws_client(line), conn_id=line.conn_id, patience=patience)
        return service
    from airflow_cancel_provider.services.mrs.lines import client_of_line
    from airflow_cancel_provider.services.mrs.service import MrsJobService

    return MrsJobService(client_of_line(line), conn_id=line.conn_id, region=line.region, patience=patience)


def _aws_client(line: ClientSpec) -> Any:
    from botocore.config import Config
    from botocore.session import Session

    return Session().create_client(
        line.service,
        region_name=line.region,
        endpoint_url=line.endpoint,
        verify=line.verify,
        config=Config(
            proxies=line.proxies,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 1},
        ),
        **frozen(line.secrets).get("credentials", {}),
    )
