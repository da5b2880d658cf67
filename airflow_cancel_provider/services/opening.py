"""From a client's specification to a service that can cancel, in whatever process."""

from __future__ import annotations

from importlib import import_module

from airflow_cancel_provider.services.aws_client import client_of
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.patience import Patience

AWS_SERVICES = {
    "emr": "airflow_cancel_provider.services.emr.EmrStepService",
    "batch": "airflow_cancel_provider.services.batch.BatchJobService",
    "emr-serverless": "airflow_cancel_provider.services.emr_serverless.EmrServerlessJobRunService",
}


def open_line(line: ClientSpec, patience: Patience) -> JobService:
    """A service over the same endpoint, with the same identity, as the client that submitted."""
    if line.service in AWS_SERVICES:
        module, _, name = AWS_SERVICES[line.service].rpartition(".")
        service_class = getattr(import_module(module), name)
        service: JobService = service_class(client_of(line), conn_id=line.conn_id, patience=patience)
        return service
    from airflow_cancel_provider.services.mrs.lines import client_of_line
    from airflow_cancel_provider.services.mrs.service import MrsJobService

    return MrsJobService(client_of_line(line), conn_id=line.conn_id, region=line.region, patience=patience)
