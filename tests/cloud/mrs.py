"""MapReduce Service of Huawei Cloud and OTC: V2 and V1.1 of its job APIs, behind their API gateway.

Follows the OTC API reference of MRS; what it leaves open is an option below.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from typing import Any

from werkzeug.wrappers import Request, Response

from tests.cloud.aws import Caller
from tests.cloud.keystone import Keystone, Unidentified
from tests.cloud.lifecycle import Clock
from tests.cloud.mrs_replies import MrsError, complain, complain_oldly, gateway
from tests.cloud.mrs_store import CLUSTER, Store
from tests.cloud.mrs_v1 import V1
from tests.cloud.mrs_v2 import V2
from tests.cloud.service import ErrorKind, Subject

UNKNOWN = "UnknownApi"
OLD = ("CreateAndExecuteJob", "ListJobExes", "ShowJobExe", "CancelJobExecution")

_V2 = r"/v2/(?P<project>[^/]+)/clusters/(?P<cluster>[^/]+)"
_V1 = r"/v1\.1/(?P<project>[^/]+)"
ROUTES: list[tuple[str, str, re.Pattern[str]]] = [
    (operation, method, re.compile(path))
    for operation, method, path in (
        ("CreateExecuteJob", "POST", _V2 + "/job-executions"),
        ("ShowJobExeListNew", "GET", _V2 + "/job-executions"),
        ("ShowSingleJobExe", "GET", _V2 + "/job-executions/(?P<job>[^/]+)"),
        ("StopJob", "POST", _V2 + "/job-executions/(?P<job>[^/]+)/kill"),
        ("CancelSql", "POST", _V2 + "/sql-execution/(?P<job>[^/]+)/cancel"),
        ("CreateAndExecuteJob", "POST", _V1 + "/jobs/submit-job"),
        ("ListJobExes", "GET", _V1 + "/job-exes"),
        ("ShowJobExe", "GET", _V1 + "/job-exes/(?P<job>[^/]+)"),
        ("CancelJobExecution", "GET", _V1 + "/job-executions/(?P<job>[^/]+)/cancel"),
        ("ListClusters", "GET", _V1 + "/cluster_infos"),
    )
]
ACTIONS = {
    "CreateExecuteJob": "mrs:cluster:createJob",
    "ShowJobExeListNew": "mrs:cluster:listJobs",
    "ShowSingleJobExe": "mrs:cluster:getJob",
    "StopJob": "mrs:cluster:stopJob",
    "CancelSql": "mrs:cluster:stopSql",
    "ListClusters": "mrs:cluster:list",
}


class MrsService:
    """Clusters with jobs. ``keystone`` knows who may call."""

    name = "mrs"

    def __init__(self, clock: Clock) -> None:
        self._lock = threading.RLock()
        self.keystone, self._store = Keystone(clock), Store(clock)
        self.settings = self._store.settings
        v1, v2 = V1(self._store), V2(self._store)
        self._handlers: dict[str, Callable[..., Response]] = {
            "CreateExecuteJob": v2.submit,
            "ShowSingleJobExe": v2.show,
            "ShowJobExeListNew": v2.listing,
            "StopJob": v2.kill,
            "CancelSql": v2.cancel_sql,
            "CreateAndExecuteJob": v1.submit,
            "ShowJobExe": v1.show,
            "ListJobExes": v1.listing,
            "CancelJobExecution": v1.cancel,
            "ListClusters": v1.clusters,
        }

    # What tests use directly.
    def register_cluster(self, cluster_id: str = CLUSTER, state: str = "running") -> str:
        """Make a cluster known, or set its state; see ``mrs_v1.CLUSTER_STATES``."""
        self._store.clusters[cluster_id] = state
        return cluster_id

    def add_job(
        self,
        cluster_id: str = CLUSTER,
        name: str = "demo-job",
        type: str = "SparkSubmit",
        arguments: list[str] | None = None,
        properties: dict[str, str] | None = None,
    ) -> str:
        """Submit a job without a request; its execution id."""
        with self._lock:
            return self._store.add(cluster_id, name, type, arguments or [], properties or {})

    # The server's side.
    def operation(self, request: Request) -> str | None:
        """The operation asked for; ``UnknownApi`` for a path that MRS does not have."""
        if Caller.of(request) is not None or not request.path.startswith(("/v1.1/", "/v2/", "/v3")):
            return None
        return self.keystone.operation(request) or self._match(request)[0]

    def subject(self, operation: str, request: Request) -> Subject:
        """Cluster and job that the path names."""
        parts = self._match(request)[1]
        job = parts.get("job")
        return Subject(parts.get("cluster", request.args.get("cluster_id", "")), (job,) if job else ())

    def answer(self, operation: str, request: Request) -> Response:
        """Perform an operation, for those who may."""
        if operation.startswith("Keystone"):
            return self.keystone.answer(operation, request)
        if operation == UNKNOWN:
            return gateway("APIGW.0101", "The API does not exist or has not been published.", 404)
        parts = self._match(request)[1]
        try:
            if self.keystone.project_of(request) != parts.pop("project"):
                return complain("12000001", "The authentication information is invalid.", 401)
        except Unidentified as error:
            return self._unidentified(str(error))
        if request.headers.get("Content-Type") != "application/json":
            return complain("12000002", "Content-Type must be application/json.", 400)
        return self._perform(operation, request, parts)

    def error(self, kind: ErrorKind, operation: str) -> Response:
        """An injected fault in the words of MRS or of its gateway."""
        if operation.startswith("Keystone"):
            return self.keystone.error(kind)
        if kind == "throttle":
            return gateway("APIGW.0308", "The throttling threshold has been reached.", 429)
        if kind == "server_error":
            return complain("12000004", "Internal error.", 500)
        if kind == "denied":
            return complain(
                "12000052", f"Policy doesn't allow {ACTIONS.get(operation, operation)} to be performed.", 403
            )
        return self._unidentified("decrypt token fail")

    def jobs(self) -> list[dict[str, Any]]:
        """The truth about every job."""
        with self._lock:
            return [job.truth(self._store.clock()) for job in self._store.jobs.values()]

    def configure(self, values: dict[str, Any]) -> None:
        """Change settings; see ``mrs_store.OPTIONS`` and ``Timings``."""
        self.settings.update(values)

    def configuration(self) -> dict[str, Any]:
        """All settings."""
        return self.settings.as_dict()

    def finish(self, job_id: str, state: str, reason: str = "") -> None:
        """End a job as SUCCEEDED, FAILED or KILLED (FINISHED: succeeded)."""
        end = "SUCCEEDED" if state == "FINISHED" else state
        if end not in ("SUCCEEDED", "FAILED", "KILLED"):
            raise ValueError(f"not an end of a job: {state}")
        self._store.jobs[job_id].life.finish(self._store.clock(), end, reason, cancelled=end == "KILLED")

    def reset(self) -> None:
        """Forget jobs, clusters, identities and settings."""
        self.settings.reset()
        self.keystone.reset()
        self._store.forget()

    @staticmethod
    def _match(request: Request) -> tuple[str, dict[str, str]]:
        for operation, method, path in ROUTES:
            found = path.fullmatch(request.path)
            if found and request.method == method:
                return operation, found.groupdict()
        return UNKNOWN, {}

    def _perform(self, operation: str, request: Request, parts: dict[str, str]) -> Response:
        with self._lock:
            try:
                self._check_cluster(operation, parts.get("cluster") or self._cluster_of(request, parts))
                return self._handlers[operation](request, **parts)
            except MrsError as error:
                return (complain_oldly if operation in OLD else complain)(
                    error.code, error.message, error.status
                )

    def _cluster_of(self, request: Request, parts: dict[str, str]) -> str | None:
        job = self._store.jobs.get(parts.get("job", ""))
        if job is not None:
            return job.cluster_id
        if request.method == "POST":
            return str(json.loads(request.get_data(cache=True) or b"{}").get("cluster_id"))
        return request.args.get("cluster_id")

    def _check_cluster(self, operation: str, cluster: str | None) -> None:
        if cluster is None:
            return
        old = operation in OLD
        options = self.settings.options
        if cluster not in self._store.clusters or cluster in options["jobless"]:
            raise MrsError("12000003", "The cluster does not exist.", 400)
        if old and cluster in options["only_v2"]:
            raise MrsError("12000085", "This interface does not support the cluster of this version.", 400)
        if old and cluster in options["kerberos"]:
            raise MrsError("12000064", "Jobs cannot be submitted to a security cluster by API.", 400)
        if not old and cluster in options["only_v1"]:
            raise MrsError("0167", "The v2 job API cannot be accessed.", 500)

    def _unidentified(self, words: str) -> Response:
        code = self.settings.options["token_refusal"]
        if code == "APIGW.0301":
            return gateway(code, f"Incorrect IAM authentication information: {words}", 401)
        return complain(code, "The token is invalid.", 500 if code == "130000002" else 401)
