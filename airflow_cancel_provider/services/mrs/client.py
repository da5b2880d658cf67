"""MRS over HTTP: one method for each call, one request for each method, and nothing repeated.

What the calls answer is parsed at once; no raw reply is kept or logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any, Self
from urllib.parse import quote, urlencode

import requests

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.services.mrs.auth import AkSkAuth, TokenAuth
from airflow_cancel_provider.services.mrs.calls import (
    API_VERSIONS,
    APIS,
    CANCEL_SQL,
    EXECUTE_SQL,
    LIST_CLUSTERS,
    SHOW_SQL,
    ApiVersion,
    Call,
    base_url,
)
from airflow_cancel_provider.services.mrs.records import JobRecord
from airflow_cancel_provider.services.mrs.transport import Transport
from airflow_cancel_provider.services.pacing import Meter

PAGE = 100
"""Items of one page of a listing: the most that both APIs give of jobs."""


class MrsClient:
    """The calls of MRS about jobs, in one project.

    Each raises :class:`~airflow_cancel_provider.services.mrs.errors.Fault`, a ``ServiceError``.

    :param endpoint: base URL (``https://mrs.eu-de.otc.t-systems.com``); an API version at its end is ignored.
    :param project_id: the id, not the name.
    :param verify: check certificates, or the path of a CA bundle.
    :param timeouts: seconds to connect, and seconds between bytes of a reply: a kill alone may take 10 s.
    :raises InvalidInput: the endpoint is not a URL, the version is unknown, the project id is empty.
    """

    def __init__(
        self,
        endpoint: str,
        project_id: str,
        auth: AkSkAuth | TokenAuth,
        *,
        api_version: ApiVersion = "v2",
        verify: bool | str = True,
        session: requests.Session | None = None,
        timeouts: tuple[float, float] = (10.0, 60.0),
    ) -> None:
        if api_version not in API_VERSIONS:
            raise InvalidInput(f"api_version {api_version!r} is not one of {', '.join(API_VERSIONS)}.")
        if not project_id:
            raise InvalidInput("project_id is missing: MRS needs it in every call.")
        self.endpoint = base_url(endpoint)
        self.project_id = project_id
        self.api_version = api_version
        self.auth = auth
        self.verify = verify
        self._api = APIS[api_version]
        self.meter = Meter()
        self._transport = Transport(
            auth, verify=verify, session=session or requests.Session(), timeouts=timeouts
        )

    def __repr__(self) -> str:
        return f"MrsClient({self.endpoint!r}, {self.project_id!r}, api_version={self.api_version!r})"

    def metered(self, meter: Meter) -> Self:
        """The same client, whose requests go through this meter."""
        other = copy(self)
        other.meter = meter
        return other

    @property
    def lists_living(self) -> bool:
        """Whether a listing can be of living jobs alone."""
        return bool(self._api.living)

    def submit_job(self, cluster_id: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Add and execute a job (mrs_02_0085; V1.1: mrs_02_0040), and give what became of it.

        A 200 may carry a submission that failed. Sent twice, it makes two jobs.
        """
        answer = self._send(self._api.submit, cluster_id, body=body)
        return _object(answer, "job_submit_result") or _object(answer, "job_execution")

    def show_job(self, cluster_id: str, job_execution_id: str) -> JobRecord:
        """Query a job (mrs_02_0086; V1.1: mrs_02_0047)."""
        answer = self._send(self._api.show, cluster_id, job_execution_id)
        detail = _object(answer, self._api.detail)
        return self._record({**detail, "job_id": job_execution_id, "id": job_execution_id})

    def list_jobs(
        self,
        cluster_id: str,
        page: int = 1,
        *,
        job_name: str | None = None,
        live_only: bool = False,
        since: int | None = None,
    ) -> list[JobRecord]:
        """Query one page of a cluster's jobs, newest first (mrs_02_0087; V1.1: mrs_02_0046).

        :param page: counts from 1; a page of less than :data:`PAGE` jobs is the last.
        :param job_name: a part of the name is enough for MRS.
        :param live_only: V2 only; pages of V1.1 hold ended jobs too.
        :param since: epoch milliseconds of the earliest submission; V2 only.
        """
        size, number = self._api.page
        query = {size: str(PAGE), number: str(page)}
        if self.api_version == "v1.1":
            query["cluster_id"] = cluster_id
        elif since is not None:
            query["submitted_time_begin"] = str(since)
        if job_name:
            query["job_name"] = job_name
        answer = self._send(
            self._api.listing, cluster_id, query=query | (self._api.living if live_only else {})
        )
        items = answer.get(self._api.items)
        return [self._record(item) for item in items or () if isinstance(item, dict)]

    def kill_job(self, cluster_id: str, job_execution_id: str) -> None:
        """Ask for a job to end (mrs_02_0088; V1.1: Canceling Job Execution, mrs_02_0052)."""
        self._send(self._api.cancel, cluster_id, job_execution_id)

    def execute_sql(self, cluster_id: str, body: Mapping[str, Any]) -> str:
        """Submit a Presto query and give its id (Huawei Cloud, ExecuteSql). Not on OTC."""
        answer = self._send(EXECUTE_SQL, cluster_id, body=body)
        # The reference's table calls it id, its samples sql_id.
        return str(answer.get("sql_id") or answer.get("id") or "")

    def show_sql(self, cluster_id: str, sql_id: str) -> str:
        """State of a Presto query, in the service's words (Huawei Cloud, ShowSqlResult)."""
        return str(self._send(SHOW_SQL, cluster_id, sql_id).get("status") or "")

    def cancel_sql(self, cluster_id: str, sql_id: str) -> str:
        """Cancel a Presto query; ``SUCCEED`` also for one that has ended (Huawei Cloud, CancelSql)."""
        return str(self._send(CANCEL_SQL, cluster_id, sql_id).get("status") or "")

    def list_clusters(self, page: int = 1) -> list[tuple[str, str]]:
        """Query one page of the project's clusters: id and state of each ("Querying a Cluster List").

        :param page: counts from 1; a page of less than :data:`PAGE` clusters is the last.
        """
        answer = self._send(LIST_CLUSTERS, query={"pageSize": str(PAGE), "currentPage": str(page)})
        items = [item for item in answer.get("clusters") or () if isinstance(item, dict)]
        return [(str(item.get("clusterId")), str(item.get("clusterState"))) for item in items]

    def count_clusters(self) -> int:
        """Number of clusters of the project (OTC API reference, "Querying a Cluster List")."""
        answer = self._send(LIST_CLUSTERS, query={"pageSize": "1", "currentPage": "1"})
        total = str(answer.get("clusterTotal"))
        return int(total) if total.isdecimal() else len(answer.get("clusters") or ())

    def _send(
        self,
        call: Call,
        cluster: str = "",
        job: str = "",
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        url = call.at(self.endpoint, self.project_id, cluster, job)
        if query:
            # Spaces as %20: a signature over a plus sign would depend on who decodes it.
            url += "?" + urlencode(query, quote_via=quote)
        about = "/".join(part for part in (cluster, job) if part) or f"project {self.project_id}"
        self.meter.turn(call.operation)
        return self._transport.send(call, url, about, body)

    def _record(self, fields: Mapping[str, Any]) -> JobRecord:
        return JobRecord.of_v1(fields) if self.api_version == "v1.1" else JobRecord.of_v2(fields)


def _object(answer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = answer.get(name)
    return value if isinstance(value, dict) else {}
