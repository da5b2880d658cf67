"""MRS over HTTP: one method for each call, one request for each method, and nothing repeated.

Replies are parsed at once; no raw reply is kept or logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any, Generic, NamedTuple, Self, TypeVar
from urllib.parse import quote, urlencode

import requests

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.services.meter import Meter
from airflow_cancel_provider.services.mrs.auth import AkSkAuth, TokenAuth
from airflow_cancel_provider.services.mrs.calls import (
    API_VERSIONS,
    APIS,
    CANCEL_SQL,
    IDENTIFIER,
    LIST_CLUSTERS,
    ApiCall,
    ApiVersion,
    base_url,
)
from airflow_cancel_provider.services.mrs.errors import Fault
from airflow_cancel_provider.services.mrs.states import JobRecord
from airflow_cancel_provider.services.mrs.submission import QUOTAS
from airflow_cancel_provider.services.mrs.transport import Transport, failed, misunderstood
from airflow_cancel_provider.services.ratelimit import PACES

T = TypeVar("T")
PAGE = 100
"""Items of one page of a listing: the most that both APIs give of jobs."""


class Page(NamedTuple, Generic[T]):
    """One page of a listing.

    :param total: number of the items of all pages, as the page says; 0: it says nothing.
    """

    items: list[T]
    total: int

    def may_go_on(self, number: int) -> bool:
        """Whether there may be a page behind this one, the ``number``-th: MRS may give fewer items."""
        shown = len(self.items)
        is_rest = (number - 1) * PAGE + shown == self.total
        return shown >= PAGE or (0 < number * shown < self.total and not is_rest)


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
        self.meter = Meter(lambda: PACES.of("mrs", self.endpoint, self.project_id, QUOTAS))
        self._transport = Transport(auth, verify=verify, session=requests.Session(), timeouts=timeouts)

    def __repr__(self) -> str:
        return f"MrsClient({self.endpoint!r}, {self.project_id!r}, api_version={self.api_version!r})"

    def metered(self, meter: Meter) -> Self:
        """The same client, whose requests go through this meter."""
        other = copy(self)
        other.meter = meter
        return other

    @property
    def date(self) -> str:
        """The ``Date`` of the last reply, by MRS's clock."""
        return self._transport.date

    @property
    def lists_living(self) -> bool:
        """Whether a listing can be of living jobs alone."""
        return bool(self._api.living)

    def submit_job(self, cluster_id: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Add and execute a job (mrs_02_0085; V1.1: mrs_02_0040), and return the result.

        A 200 may report a submission that failed. Sent twice, it makes two jobs.
        """
        call = self._api.submit
        answer = self._send(call, cluster_id, body=body)
        result = _object(answer, "job_submit_result") or _object(answer, "job_execution")
        if not result:
            raise _misunderstood(call, cluster_id, "a reply without job_submit_result or job_execution")
        return result

    def show_job(self, cluster_id: str, job_execution_id: str) -> JobRecord:
        """Query a job (mrs_02_0086; V1.1: mrs_02_0047)."""
        call, about = self._api.show, f"{cluster_id}/{job_execution_id}"
        answer = self._send(call, cluster_id, job_execution_id)
        record = self._record(_object(answer, self._api.detail))
        if record.id != job_execution_id or not record.service_state:
            raise _misunderstood(
                call, about, f"a reply whose {self._api.detail} is not the state of this job"
            )
        return record

    def list_jobs(
        self,
        cluster_id: str,
        page: int = 1,
        *,
        job_name: str | None = None,
        live_only: bool = False,
        since: int | None = None,
    ) -> Page[JobRecord]:
        """Query one page of a cluster's jobs, newest first (mrs_02_0087; V1.1: mrs_02_0046).

        :param page: counts from 1.
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
        call = self._api.listing
        answer = self._send(call, cluster_id, query=query | (self._api.living if live_only else {}))
        found = _page(answer, self._api.items, self._api.total, call, cluster_id)
        records = [self._record(item) for item in found.items]
        if not all(IDENTIFIER.fullmatch(record.id) for record in records):
            raise _misunderstood(call, cluster_id, "a list with a job that has no id")
        return Page(records, found.total)

    def kill_job(self, cluster_id: str, job_execution_id: str) -> Mapping[str, Any]:
        """Terminate a job (mrs_02_0088; V1.1: Canceling Job Execution, mrs_02_0052), and return the reply.

        V2 answers nothing. V1.1 answers ``job_execution``: ``id``, ``cluster_id``, ``job_id``, ``tenant_id``,
        ``created_at``, ``updated_at``, ``start_time``, ``end_time``, ``oozie_job_id``, ``engine_job_id``,
        ``return_code``, ``input_id``, ``output_id``, ``is_protected``, ``is_public``, ``job_configs``,
        ``data_source_urls`` and ``info``, of which ``job_configs`` may hold secrets; no state.
        """
        call, about = self._api.cancel, f"{cluster_id}/{job_execution_id}"
        answer = self._send(call, cluster_id, job_execution_id)
        if self.api_version == "v1.1":
            answer = dict(_object(answer, self._api.detail))
            if answer.get("id") != job_execution_id:
                raise _misunderstood(call, about, "a reply whose job_execution is not this job")
        elif answer.keys() - {"result"} or str(answer.get("result", "succeeded")).lower() != "succeeded":
            raise _misunderstood(call, about, "a reply with a body, where MRS sends none")
        return answer

    def cancel_sql(self, cluster_id: str, sql_id: str) -> str:
        """Cancel a Presto query; ``SUCCEED`` also for one that has ended (Huawei Cloud, CancelSql)."""
        status = _text(self._send(CANCEL_SQL, cluster_id, sql_id), "status")
        if not status:
            raise _misunderstood(CANCEL_SQL, f"{cluster_id}/{sql_id}", "a reply without a status")
        return status

    def list_clusters(self, page: int = 1) -> Page[tuple[str, str]]:
        """Query one page of the project's clusters: id and state of each ("Querying a Cluster List").

        :param page: counts from 1.
        """
        found = self._clusters(PAGE, page)
        clusters = [(_text(item, "clusterId"), _text(item, "clusterState")) for item in found.items]
        if not all(IDENTIFIER.fullmatch(id_) and state for id_, state in clusters):
            raise _misunderstood(LIST_CLUSTERS, self._project, "a list with a cluster without id or state")
        return Page(clusters, found.total)

    def count_clusters(self) -> int:
        """Number of clusters of the project (OTC API reference, "Querying a Cluster List")."""
        found = self._clusters(1, 1)
        return found.total or len(found.items)

    def _clusters(self, size: int, page: int) -> Page[Mapping[str, Any]]:
        answer = self._send(LIST_CLUSTERS, query={"pageSize": str(size), "currentPage": str(page)})
        return _page(answer, "clusters", "clusterTotal", LIST_CLUSTERS, self._project)

    @property
    def _project(self) -> str:
        return f"project {self.project_id}"

    def _send(
        self,
        call: ApiCall,
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
        about = "/".join(part for part in (cluster, job) if part) or self._project
        self.meter.count(call.operation)
        return self._transport.send(call, url, about, body)

    def _record(self, fields: Mapping[str, Any]) -> JobRecord:
        return JobRecord.of_v1(fields) if self.api_version == "v1.1" else JobRecord.of_v2(fields)


def _object(answer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = answer.get(name)
    return value if isinstance(value, dict) else {}


def _page(
    answer: Mapping[str, Any], name: str, total_name: str, call: ApiCall, about: str
) -> Page[Mapping[str, Any]]:
    items, total = answer.get(name), str(answer.get(total_name))
    if items is None and total == "0":
        items = []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise _misunderstood(call, about, f"a reply without the list {name}")
    return Page(items, int(total) if total.isascii() and total.isdecimal() and len(total) < 10 else 0)


def _text(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    return value if isinstance(value, str) else ""


def _misunderstood(call: ApiCall, about: str, why: str) -> Fault:
    return misunderstood(call, failed(call, about), why)
