"""Links to the consoles of the services."""

from __future__ import annotations

import re
from functools import cache
from typing import Any
from urllib.parse import quote

from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.services.registry import service_info
from airflow_cancel_provider.version_compat import BaseOperatorLink

# By partition, as botocore names them; isolated partitions have no published domain.
_DOMAINS = {
    "aws": "aws.amazon.com",
    "aws-cn": "amazonaws.cn",
    "aws-us-gov": "amazonaws-us-gov.com",
    "aws-eusc": "amazonaws-eusc.eu",
}
LINKED = 3
"""Most jobs of a task that have a link."""


class RemoteJobLink(BaseOperatorLink):
    """The service's console, at one job of a task.

    :param number: which of the task's jobs, from 1 on.
    """

    def __init__(self, number: int = 1) -> None:
        self.number = number

    @property
    def name(self) -> str:
        """The text on the button."""
        return "Remote job" if self.number == 1 else f"Remote job {self.number}"

    @property
    def xcom_key(self) -> str:
        """XCom key under which Airflow stores the address."""
        own = f"_link_{type(self).__name__}"
        return own if self.number == 1 else f"{own}_{self.number}"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The console's address; empty where the task has no such job yet.

        Airflow calls it in the task process when the task ends, and stores the result.
        """
        jobs: list[RemoteJob] = getattr(operator, "jobs", [])
        return console_url(jobs[self.number - 1]) if len(jobs) >= self.number else ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteJobLink) and other.number == self.number

    def __hash__(self) -> int:  # type: ignore[override]  # the parent compares all as equal
        return hash((type(self), self.number))


def remote_job_links() -> tuple[RemoteJobLink, ...]:
    """A link for each of the first jobs of a task."""
    return tuple(RemoteJobLink(number) for number in range(1, LINKED + 1))


def console_url(job: RemoteJob) -> str:
    """The job's page in the console; empty for a service or region without one.

    MRS has none: the address of its console depends on the cloud and the account.
    """
    path = service_info(job.service).console_path
    domain = _DOMAINS.get(_partition(job.region)) if path and job.region else None
    if path is None or domain is None:
        return ""
    parts = {"region": job.region, "scope": job.scope, "id": job.id}
    safe = {name: quote(part or "", safe=":") for name, part in parts.items()}
    return f"https://{safe['region']}.console.{domain}" + path.format(**safe)


@cache
def _partition(region: str) -> str:
    """The partition of a region, as botocore knows it; empty if it is of none."""
    # Imported only when a task has jobs: parsing a Dag must not import botocore. A session would read the
    # endpoints of all services for it.
    from botocore.loaders import Loader

    partitions = Loader().load_data("partitions")["partitions"]
    return next((row["id"] for row in partitions if re.fullmatch(row["regionRegex"], region)), "")
