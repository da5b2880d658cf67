"""AWS Batch: jobs are modelled here, everything they run on is moto's.

Follows the AWS Batch API Reference (SubmitJob, DescribeJobs, ListJobs, CancelJob(s), TerminateJob(s)).
Queues and job definitions must exist: ``QUEUES`` and ``DEFINITIONS`` do, so that a test can submit without
set-up. Others are made by ``set_queue`` and ``set_definition`` or with the SDK, or get timings of their own.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar
from uuid import uuid4

from werkzeug.wrappers import Request

from tests.cloud import batch_listing, batch_queues, batch_views
from tests.cloud.aws import AwsError, Caller, Place
from tests.cloud.batch_jobs import WORDS, Job, make_children, short_name
from tests.cloud.lifecycle import Clock, Life, Settings, Timings
from tests.cloud.moto_backing import Moto
from tests.cloud.rest import RestService
from tests.cloud.service import ErrorKind, Subject

QUEUES, DEFINITIONS = ("queue", "q"), ("definition", "job", "def", "d")
"""Names that are always known."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
MAX_BULK = 50
MAX_DESCRIBE = 100
MAX_REASON = 1024


def client_error(message: str) -> AwsError:
    """ClientException, the one modelled error for mistakes of the caller."""
    return AwsError("ClientException", message)


class BatchService(RestService):
    """Jobs with live states, slow cancels, and answers that promise less than they seem to."""

    name = "batch"
    signing_name = "batch"
    errors: ClassVar[dict[ErrorKind, tuple[str, int]]] = {
        "throttle": ("TooManyRequestsException", 429),
        "server_error": ("ServerException", 500),
        "denied": ("AccessDeniedException", 403),
        "expired_token": ("ExpiredTokenException", 403),
        "bad_key": ("UnrecognizedClientException", 403),
    }

    def __init__(self, clock: Clock, moto: Moto) -> None:
        timings = Timings(submitted=0.05, pending=0.15, starting=0.1, run=3600, cancel=0.3)
        # bulk: whether CancelJobs and TerminateJobs exist, as they do since September 2026.
        super().__init__(clock, moto, Settings(timings, bulk=True))
        self.by_id: dict[tuple[Place, str], Job] = {}
        self.waiting: list[Job] = []
        self.queues: dict[str, dict[str, str]] = {}
        self.definitions: set[str] = set()
        self.handlers = {
            "SubmitJob": self.submit_job,
            "DescribeJobs": self.describe_jobs,
            "ListJobs": self.list_jobs,
            "DescribeJobQueues": self.describe_job_queues,
            "CancelJob": self.stop_job,
            "TerminateJob": self.stop_job,
            "CancelJobs": self.stop_jobs,
            "TerminateJobs": self.stop_jobs,
        }

    # Wire.
    def read_subject(self, params: dict[str, Any]) -> Subject:
        scope = next((params[name] for name in batch_listing.CONTAINERS if params.get(name)), "")
        ids = params.get("jobs") or ([params["jobId"]] if params.get("jobId") else [])
        return Subject(str(scope), tuple(ids))

    # Submitting.
    def submit_job(self, caller: Caller, params: dict[str, Any], request: Request) -> dict[str, Any]:
        """Take a job, an array of jobs or a multi-node job."""
        params.pop("operation")
        self._check_submission(params)
        place, now = self.place(caller), self.clock()
        self._check_queue(place, params["jobQueue"])
        self._check_definition(place, params["jobDefinition"])
        kinds = [(item.get("jobId") or "", item.get("type") or "") for item in params.get("dependsOn") or []]
        job_id, size = str(uuid4()), (params.get("arrayProperties") or {}).get("size") or 0
        self._check_dependencies(place, kinds, size)
        job = self._make(job_id, params, place, now)
        if size:
            make_children(job, size, kinds)
        else:
            job.depends_on = [other for other, _ in kinds]
            job.life.held = bool(kinds)
        for member in (job, *job.children):
            self.by_id[place, member.id] = member
            if member.depends_on:
                self.waiting.append(member)
        return {"jobArn": job.arn, "jobName": job.name, "jobId": job_id}

    def _check_queue(self, place: Place, given: str) -> None:
        name = short_name(given)
        made = {queue["jobQueueName"] for queue in self.moto.queues(*place)}
        if name not in {*QUEUES, *self.queues, *self.settings.overrides, *made}:
            raise client_error(f"JobQueue {given} not found.")

    def _check_definition(self, place: Place, given: str) -> None:
        name = short_name(given).partition(":")[0]
        if name not in {*DEFINITIONS, *self.definitions} and not self.moto.has_definition(*place, given):
            raise client_error(f"JobDefinition {given} not found.")

    def _check_dependencies(self, place: Place, kinds: list[tuple[str, str]], size: int) -> None:
        for other_id, kind in kinds:
            if kind == "SEQUENTIAL" and size and not other_id:
                continue
            other = self.by_id.get((place, other_id))
            if other is None:
                raise client_error(f"Job {other_id!r} to depend on does not exist.")
            if kind == "N_TO_N" and not len(other.children) == size > 0:
                raise client_error("N_TO_N needs two arrays of the same size.")

    def _make(self, job_id: str, params: dict[str, Any], place: Place, now: float) -> Job:
        name = str(params["jobName"])
        attempts = (params.get("retryStrategy") or {}).get("attempts") or 1
        timings = self.settings.timings(params["jobQueue"], name, job_id)
        job = Job(job_id, name, params, place, Life(WORDS, timings, now, attempts=attempts))
        nodes = (params.get("nodeOverrides") or {}).get("numNodes")
        job.nodes = nodes or self.moto.nodes(*place, params["jobDefinition"])
        return job

    @staticmethod
    def _check_submission(params: dict[str, Any]) -> None:
        tags = params.get("tags") or {}
        if not NAME.fullmatch(params.get("jobName") or ""):
            raise client_error("jobName must match [A-Za-z0-9][A-Za-z0-9_-]{0,127}.")
        if not params.get("jobQueue") or not params.get("jobDefinition"):
            raise client_error("jobQueue and jobDefinition must not be empty.")
        if len(tags) > 50 or any(not 0 < len(key) <= 128 or len(text) > 256 for key, text in tags.items()):
            raise client_error("At most 50 tags, with keys of 1 to 128 and values of up to 256 characters.")
        if len(params.get("dependsOn") or []) > 20:
            raise client_error("A job can depend on at most 20 jobs.")
        size = (params.get("arrayProperties") or {}).get("size")
        if size is not None and not 2 <= size <= 10_000:
            raise client_error("The size of an array must be between 2 and 10000.")

    # Describing.
    def settle(self) -> None:
        """Let dependants go on whose dependencies have ended, in the order of submission."""
        now = self.clock()
        for job in self.waiting:
            job.settle([self.by_id[job.place, other] for other in job.depends_on], now)
        self.waiting = [job for job in self.waiting if job.waits()]

    def describe_jobs(self, caller: Caller, params: dict[str, Any], request: Request) -> dict[str, Any]:
        """Show jobs in full; ids that are not known are left out."""
        ids = params.get("jobs") or []
        if not 0 < len(ids) <= MAX_DESCRIBE:
            raise client_error(f"The number of jobs must be between 1 and {MAX_DESCRIBE}.")
        self.settle()
        shown = [self._describe(self.place(caller), job_id) for job_id in ids]
        return {"jobs": [job for job in shown if job is not None]}

    def _describe(self, place: Place, job_id: str) -> dict[str, Any] | None:
        whole, _, node = job_id.partition("#")
        job, now = self.by_id.get((place, whole)), self.clock()
        if job is None or not job.life.is_seen(now):
            return None
        if not node:
            return batch_views.detail(job, now)
        known = node.isdigit() and int(node) < job.nodes
        return batch_views.node_detail(job, int(node), now) if known else None

    def list_jobs(self, caller: Caller, params: dict[str, Any], request: Request) -> dict[str, Any]:
        """List a queue, an array or the nodes of a job."""
        kind = batch_listing.container_of(params)
        self.settle()
        place, now, wanted = self.place(caller), self.clock(), params[kind]
        if kind == "jobQueue":
            self._check_queue(place, wanted)
            queue = short_name(wanted)
            jobs = [job for (at, _), job in self.by_id.items() if at == place and job.queue == queue]
            return batch_listing.list_jobs([job for job in jobs if job.parent is None], params, now)
        job = self.by_id.get((place, wanted))
        if kind == "arrayJobId" or job is None:
            return batch_listing.list_jobs(job.children if job else [], params, now)
        return batch_listing.list_nodes(job, params, now)

    def set_queue(self, name: str, state: str = "ENABLED", status: str = "VALID", kind: str = "ECS") -> None:
        """Have a queue, in this state and status, in every account and region."""
        self.queues[name] = {"state": state, "status": status, "jobQueueType": kind}

    def set_definition(self, name: str) -> None:
        """Have a job definition, in every account and region."""
        self.definitions.add(name)

    def describe_job_queues(self, caller: Caller, params: dict[str, Any], request: Request) -> dict[str, Any]:
        """Show queues."""
        place = self.place(caller)
        used = {job.queue for (at, _), job in self.by_id.items() if at == place}
        return batch_queues.describe_job_queues(self.moto.queues(*place), used, self.queues, params, place)

    # Stopping.
    @staticmethod
    def _reason(params: dict[str, Any]) -> str:
        reason = params.get("reason") or ""
        if not 0 < len(reason) <= MAX_REASON:
            raise client_error(f"reason must have between 1 and {MAX_REASON} characters.")
        return str(reason)

    def _stop(self, place: Place, job_id: str, reason: str, *, terminate: bool) -> str:
        """Pass a request on to a job; the code of a refusal, "" also for jobs that nobody knows."""
        job = self.by_id.get((place, job_id))
        if job is None or not job.life.is_seen(self.clock()):
            return ""
        if job.life.timings.refuse:
            return job.life.timings.refuse
        job.stop(reason, self.clock(), terminate=terminate)
        return ""

    def stop_job(self, caller: Caller, params: dict[str, Any], request: Request) -> dict[str, Any]:
        """CancelJob and TerminateJob: the answer is empty whatever becomes of the request."""
        reason = self._reason(params)
        if not params.get("jobId"):
            raise client_error("jobId must not be empty.")
        self.settle()
        terminate = params["operation"] == "TerminateJob"
        refusal = self._stop(self.place(caller), params["jobId"], reason, terminate=terminate)
        if refusal == "AccessDenied":
            raise AwsError("AccessDeniedException", f"not authorized to stop {params['jobId']}", 403)
        if refusal:
            raise AwsError(refusal, f"{params['jobId']} can't be stopped", 400)
        return {}

    def stop_jobs(self, caller: Caller, params: dict[str, Any], request: Request) -> dict[str, Any]:
        """CancelJobs and TerminateJobs: an outcome for each id, which says taken rather than done."""
        if not self.settings.options["bulk"]:
            raise AwsError("UnknownOperationException", "Not Found", 404)
        reason, ids = self._reason(params), params.get("jobs") or []
        if not 0 < len(ids) <= MAX_BULK:
            raise client_error(f"The number of jobs must be between 1 and {MAX_BULK}.")
        self.settle()
        place, terminate = self.place(caller), params["operation"] == "TerminateJobs"
        refusals = {job_id: self._stop(place, job_id, reason, terminate=terminate) for job_id in ids}
        errors = [
            {"job": job_id, "code": code, "message": f"{job_id} can't be stopped"}
            for job_id, code in refusals.items()
            if code
        ]
        return {"successful": [job_id for job_id, code in refusals.items() if not code], "errors": errors}

    # Ground truth.
    def jobs(self) -> list[dict[str, Any]]:
        with self.lock:
            self.settle()
            now = self.clock()
            return [self._truth(job, now) for job in self.by_id.values()]

    def _truth(self, job: Job, now: float) -> dict[str, Any]:
        names = {"service": self.name, "scope": job.queue, "id": job.id, "name": job.name}
        names |= {"region": job.place.region, "account": job.place.account}
        labels = {key: job.request.get(key) or {} for key in ("tags", "parameters")}
        labels["environment"] = (job.request.get("containerOverrides") or {}).get("environment") or []
        return {**names, **job.truth(now), "labels": labels}

    def finish(self, job_id: str, state: str, reason: str = "") -> None:
        """End a job now, with its children if it has some."""
        if state not in ("SUCCEEDED", "FAILED"):
            raise ValueError(f"not a final state of a job: {state}")
        with self.lock:
            self.settle()
            job = next((job for (_, known), job in self.by_id.items() if known == job_id), None)
            if job is None:
                raise KeyError(job_id)
            for member in (job, *job.children):
                member.life.finish(self.clock(), state, reason)

    def refresh_timings(self) -> None:
        now = self.clock()
        for job in self.by_id.values():
            if not job.ended(now):
                names = [job.queue, job.name, job.id] + ([job.parent.id] if job.parent else [])
                job.life.timings = self.settings.timings(*names)

    def reset(self) -> None:
        with self.lock:
            self.by_id.clear()
            self.waiting.clear()
            self.queues.clear()
            self.definitions.clear()
            self.settings.reset()
