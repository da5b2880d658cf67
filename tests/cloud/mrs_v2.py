"""V2 of the job API, with Presto's queries (mrs_02_0085 to mrs_02_0088 of the OTC API reference)."""

from __future__ import annotations

import json
import re

from werkzeug.wrappers import Request, Response

from tests.cloud.mrs_jobs import Job, milliseconds
from tests.cloud.mrs_replies import MrsError, reply
from tests.cloud.mrs_store import Store

NAME = re.compile(r"[0-9A-Za-z_-]{1,64}")


class V2:
    """One method for each operation."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def submit(self, request: Request, cluster: str) -> Response:
        body = json.loads(request.get_data(cache=True))
        if not NAME.fullmatch(body["job_name"]):
            raise MrsError("0168", "The job name is invalid.", 400)
        failed = self._store.option("submit_result")
        if failed != "COMPLETE":
            result = {"job_id": "", "state": failed}
            return reply(
                {"job_submit_result": result, "error_msg": "Failed to submit.", "error_code": "0172"}
            )
        job = self._store.add(
            cluster, body["job_name"], body["job_type"], body["arguments"], body["properties"]
        )
        return reply({"job_submit_result": {"job_id": job, "state": "COMPLETE"}})

    def show(self, request: Request, cluster: str, job: str) -> Response:
        return reply({"job_detail": self._store.job(job, cluster).v2(self._store.clock())}, 202)

    def listing(self, request: Request, cluster: str) -> Response:
        query, now = request.args, self._store.clock()
        if int(query.get("offset", "1")) < 1:
            raise MrsError("MRS.0002", "the offset is invalid", 400)
        jobs = self._store.newest(cluster, query.get("job_name", ""))
        if "job_result" in query:
            jobs = [job for job in jobs if job.states(now)[1] == query["job_result"]]
        since = int(query.get("submitted_time_begin", "0"))
        jobs = [job for job in jobs if milliseconds(job.life.created_at) >= since]
        some = self._store.page(jobs, query.get("limit", "10"), query.get("offset", "1"))
        return reply({"total_record": len(jobs), "job_list": [job.v2(now) for job in some]}, 202)

    def kill(self, request: Request, cluster: str, job: str) -> Response:
        found = self._store.job(job, cluster)
        code = self._refusal(found)
        if code and code != "accepted":
            words = "The job is being submitted." if code == "0180" else "Failed to terminate the job."
            raise MrsError(code, words, self._store.option("kill_failed_status"))
        self._store.end(found)
        return Response(status=202)

    def _refusal(self, job: Job) -> str:
        """Code with which a kill is refused, "accepted" or "" for none."""
        now = self._store.clock()
        if job.life.ended(now):
            return str(self._store.option("kill_ended"))
        if job.life.state(now) == "New":
            return "0180"
        if job.life.cancel_requested_at is not None:
            return str(self._store.option("kill_again"))
        return "0175" if job.type == "SparkSql" else job.life.timings.refuse

    def cancel_sql(self, request: Request, cluster: str, job: str) -> Response:
        found = self._store.jobs.get(job)
        if found is None or found.life.timings.refuse:
            return reply({"status": "FAILED", "message": "Cancel sql error"}, 400)
        self._store.end(found)
        return reply({"status": "SUCCEED"})
