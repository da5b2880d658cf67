"""ListJobs of AWS Batch, with its filters and pages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.cloud import batch_views
from tests.cloud.aws import AwsError
from tests.cloud.batch_jobs import JOB_STATES, Job, short_name
from tests.cloud.rest import page

FILTERS = ("JOB_NAME", "JOB_DEFINITION", "BEFORE_CREATED_AT", "AFTER_CREATED_AT", "SHARE_IDENTIFIER")
CONTAINERS = ("jobQueue", "arrayJobId", "multiNodeJobId")


def container_of(params: dict[str, Any]) -> str:
    """The one member that says where to look."""
    given = [name for name in CONTAINERS if params.get(name)]
    if len(given) != 1:
        raise AwsError("ClientException", f"Exactly one of {', '.join(CONTAINERS)} must be given.")
    return given[0]


def page_size(params: dict[str, Any]) -> int:
    """How many results fit on a page: fewer when filters are used."""
    limit = 100 if params.get("filters") else 1000
    size = params.get("maxResults") or limit
    if not 1 <= size <= limit:
        raise AwsError("ClientException", f"maxResults must be between 1 and {limit}.")
    return int(size)


def status_wanted(params: dict[str, Any]) -> str:
    """The status to list, "" for all: filters replace it, except the one by share identifier."""
    status = params.get("jobStatus") or "RUNNING"
    if status not in JOB_STATES:
        raise AwsError("ClientException", f"jobStatus must be one of {', '.join(JOB_STATES)}.")
    filters = params.get("filters") or []
    return "" if any(item.get("name") != "SHARE_IDENTIFIER" for item in filters) else status


def filtered(jobs: Iterable[Job], params: dict[str, Any]) -> list[Job]:
    """Apply the filter; there may be only one."""
    filters = params.get("filters") or []
    if not filters:
        return list(jobs)
    name, values = filters[0].get("name"), [str(value) for value in filters[0].get("values") or []]
    if len(filters) > 1 or name not in FILTERS or not values:
        raise AwsError("ClientException", f"Give one filter with values, named one of {', '.join(FILTERS)}.")
    return [job for job in jobs if any(_matches(job, name, value) for value in values)]


def _matches(job: Job, name: str, value: str) -> bool:
    created = int(job.life.created_at * 1000)
    if name in ("BEFORE_CREATED_AT", "AFTER_CREATED_AT"):
        if not value.isdigit():
            raise AwsError("ClientException", f"{name} needs epoch milliseconds.")
        return created < int(value) if name == "BEFORE_CREATED_AT" else created > int(value)
    if name == "SHARE_IDENTIFIER":
        return bool(job.request.get("shareIdentifier") == value)
    if name == "JOB_DEFINITION":
        return _pattern(short_name(job.request["jobDefinition"]), value)
    return _pattern(job.name.lower(), value.lower())


def _pattern(text: str, pattern: str) -> bool:
    """An asterisk is understood at the end of a pattern only."""
    if pattern.endswith("*"):
        return text.startswith(pattern[:-1])
    return pattern in (text, text.partition(":")[0])


def page_asked_for(rows: list[dict[str, Any]], params: dict[str, Any]) -> dict[str, Any]:
    """Cut the page that nextToken and maxResults ask for."""
    size, token = page_size(params), params.get("nextToken") or "0"
    if not token.isdigit():
        raise AwsError("ClientException", "nextToken is not valid.")
    return page("jobSummaryList", rows, int(token), size)


def list_jobs(jobs: Iterable[Job], params: dict[str, Any], now: float) -> dict[str, Any]:
    """Summaries of the jobs of one queue or one array, newest first."""
    status = status_wanted(params)
    chosen = [job for job in filtered(jobs, params) if not status or job.state(now) == status]
    return page_asked_for([batch_views.summary(job, now) for job in reversed(chosen)], params)


def list_nodes(job: Job, params: dict[str, Any], now: float) -> dict[str, Any]:
    """Summaries of the nodes of a multi-node parallel job."""
    status = status_wanted(params)
    shown = job.nodes if not status or job.state(now) == status else 0
    return page_asked_for([batch_views.node_summary(job, node, now) for node in range(shown)], params)
