"""V1.1 of the job API (mrs_02_0040, 0046, 0047, 0052 of the OTC API reference) and the list of clusters."""

from __future__ import annotations

import json

from werkzeug.wrappers import Request, Response

from tests.cloud.mrs_jobs import OLD_TYPES
from tests.cloud.mrs_replies import MrsError, reply
from tests.cloud.mrs_store import Store

CLUSTER_STATES = (
    "starting",
    "running",
    "terminated",
    "failed",
    "abnormal",
    "terminating",
    "frozen",
    "scaling-out",
    "scaling-in",
)


class V1:
    """One method for each operation."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def submit(self, request: Request) -> Response:
        body = json.loads(request.get_data(cache=True))
        program = body.get("jar_path") or body.get("hive_script_path") or ""
        arguments = [program, *body["arguments"].split()]
        job = self._store.add(
            body["cluster_id"], body["job_name"], OLD_TYPES[body["job_type"]], arguments, {}
        )
        return reply({"job_execution": self._store.job(job).v1(self._store.clock())})

    def show(self, request: Request, job: str) -> Response:
        return reply({"job_execution": self._store.job(job, status=404).v1(self._store.clock())})

    def listing(self, request: Request) -> Response:
        query, now = request.args, self._store.clock()
        if "cluster_id" not in query:
            raise MrsError("12000002", "The parameter cluster_id is missing.", 400)
        jobs = self._store.newest(query["cluster_id"], query.get("job_name", ""))
        some = self._store.page(jobs, query.get("page_size", "10"), query.get("current_page", "1"))
        return reply({"totalRecord": len(jobs), "job_executions": [job.v1(now) for job in some]})

    def cancel(self, request: Request, job: str) -> Response:
        """Answers the same for a job that had ended: what Sahara does, of which this API is a descendant."""
        elsewhere = self._store.option("cancel_redirected")
        if elsewhere:
            return Response(status=302, headers={"Location": elsewhere})
        found = self._store.job(job, status=404)
        project = request.path.split("/")[2]
        body = {"job_execution": found.cancelled(project, self._store.clock())}
        if self._store.option("cancel_cached"):
            return reply(body, headers={"Age": "17"})
        if found.life.timings.refuse:
            raise MrsError(found.life.timings.refuse, "Failed to cancel the job.", 400)
        self._store.end(found)
        return reply(body)

    def clusters(self, request: Request) -> Response:
        """The project's clusters, also those that have ended, by pages that count from 1."""
        query, state = request.args, request.args.get("clusterState")
        if state is not None and state not in CLUSTER_STATES:
            raise MrsError("12000002", f"The parameter clusterState {state} is invalid.", 400)
        clusters = [
            {"clusterId": id_, "clusterName": id_, "clusterState": now}
            for id_, now in sorted(self._store.clusters.items())
            if state in (None, now)
        ]
        some = self._store.page(clusters, query.get("pageSize", "10"), query.get("currentPage", "1"))
        return reply({"clusterTotal": str(len(clusters)), "clusters": some})
