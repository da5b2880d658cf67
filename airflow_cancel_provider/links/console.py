"""Links to the consoles of the services."""

from __future__ import annotations

from typing import Any

from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.version_compat import BaseOperatorLink

_DOMAINS = {"cn-": "amazonaws.cn", "us-gov-": "amazonaws-us-gov.com"}
_PATHS = {
    "emr": "/emr/home?region={region}#/clusterDetails/{scope}",
    "batch": "/batch/home?region={region}#jobs/detail/{id}",
    "emr-serverless": "/emr/home?region={region}#/serverless/applications/{scope}",
}


class RemoteJobLink(BaseOperatorLink):
    """The service's console, at the (first) job of a task or at its cluster or application."""

    name = "Remote job"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The console's address, or nothing where the task named no job yet.

        Called in the task's own process when the task ends; Airflow keeps the result.
        """
        jobs: list[RemoteJob] = getattr(operator, "jobs", [])
        return console_url(jobs[0]) if jobs else ""


def console_url(job: RemoteJob) -> str:
    """Where a person can see a job, or nothing for a service without such an address.

    MRS has none: the address of its console depends on the cloud and the account.
    """
    path = _PATHS.get(job.service)
    if path is None or job.region is None:
        return ""
    region = job.region
    domain = next((d for prefix, d in _DOMAINS.items() if region.startswith(prefix)), "aws.amazon.com")
    return f"https://{region}.console.{domain}" + path.format(region=region, scope=job.scope, id=job.id)
