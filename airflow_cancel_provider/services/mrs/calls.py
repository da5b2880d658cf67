"""The calls of both APIs as data: name, method, path, and the IAM action that allows it.

OTC API reference, "Job Object APIs V2" and "Job Object APIs V1 (Not Recommended)",
"Job Execution Object APIs V1".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, NamedTuple
from urllib.parse import quote, urlsplit

from airflow_cancel_provider.exceptions import InvalidInput

ApiVersion = Literal["v2", "v1.1"]
API_VERSIONS: tuple[ApiVersion, ...] = ("v2", "v1.1")

IDENTIFIER = re.compile(r"[0-9A-Za-z_-]{1,64}", re.ASCII)
"""The form of ids of clusters, job executions and SQL queries; nothing else may go into a path."""

_VERSIONED = re.compile(r"/v\d[\d.]*(/[^/]*)?/*$")


class ApiCall(NamedTuple):
    """One call: the service's name for it, and how it is made."""

    operation: str
    method: str
    path: str
    action: str
    mutates: bool = False

    def at(self, endpoint: str, project: str, cluster: str = "", job: str = "") -> str:
        """URL of this call.

        :raises InvalidInput: an id could not be one.
        """
        for name, value in (("{cluster}", cluster), ("{job}", job)):
            if name in self.path and not IDENTIFIER.fullmatch(value):
                raise InvalidInput(f"{value!r} is not an id of MRS; expected {IDENTIFIER.pattern}.")
        return endpoint + self.path.format(project=quote(project, safe=""), cluster=cluster, job=job)


@dataclass(frozen=True)
class Api:
    """The calls about jobs in one version of the API, and the names of what they take and give."""

    submit: ApiCall
    show: ApiCall
    listing: ApiCall
    cancel: ApiCall
    detail: str
    items: str
    total: str
    """Number of all items, beside those of the page."""
    page: tuple[str, str]
    """Parameters for the size and the number of a page; pages count from 1."""
    living: dict[str, str] = field(default_factory=dict)
    """Filter of a listing for jobs that have not ended, where there is one."""


_JOBS = "/v2/{project}/clusters/{cluster}/job-executions"

V2 = Api(
    submit=ApiCall("CreateExecuteJob", "POST", _JOBS, "mrs:job:submit", mutates=True),
    show=ApiCall("ShowSingleJobExe", "GET", _JOBS + "/{job}", "mrs:job:get"),
    listing=ApiCall("ShowJobExeListNew", "GET", _JOBS, "mrs:job:list"),
    cancel=ApiCall("StopJob", "POST", _JOBS + "/{job}/kill", "mrs:job:stop", mutates=True),
    detail="job_detail",
    items="job_list",
    total="total_record",
    page=("limit", "offset"),
    living={"job_result": "UNDEFINED"},
)
V1_1 = Api(
    submit=ApiCall(
        "CreateAndExecuteJob", "POST", "/v1.1/{project}/jobs/submit-job", "mrs:job:submit", mutates=True
    ),
    show=ApiCall("ShowJobExe", "GET", "/v1.1/{project}/job-exes/{job}", "mrs:job:get"),
    listing=ApiCall("ListJobExes", "GET", "/v1.1/{project}/job-exes", "mrs:job:list"),
    cancel=ApiCall(
        "CancelJobExecution",
        "GET",
        "/v1.1/{project}/job-executions/{job}/cancel",
        "mrs:job:stop",
        mutates=True,
    ),
    detail="job_execution",
    items="job_executions",
    total="totalRecord",
    page=("page_size", "current_page"),
)
APIS: dict[ApiVersion, Api] = {"v2": V2, "v1.1": V1_1}

CANCEL_SQL = ApiCall(
    "CancelSql",
    "POST",
    "/v2/{project}/clusters/{cluster}/sql-execution/{job}/cancel",
    "mrs:sql:cancel",
    mutates=True,
)
LIST_CLUSTERS = ApiCall("ListClusters", "GET", "/v1.1/{project}/cluster_infos", "mrs:cluster:list")


def base_url(endpoint: str, what: str = "endpoint") -> str:
    """The endpoint without a trailing slash or API version.

    :raises InvalidInput: it is not an http or https URL.
    """
    if "@" in endpoint:
        # First: the other errors repeat the value.
        raise InvalidInput(
            f"{what} holds a user or password: these belong in the connection's login and password."
        )
    if not _is_url(endpoint.strip()):
        shown = re.split("[?#]", endpoint)[0]  # a key may stand behind
        raise InvalidInput(f"{what} {shown!r} is not a URL; expected https://host, with the scheme.")
    return _VERSIONED.sub("", endpoint.strip().rstrip("/")).rstrip("/")


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises as well
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query + parts.fragment
