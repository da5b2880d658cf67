"""Amazon EMR on EKS: virtual clusters and their job runs.

Follows the EMR on EKS API Reference (StartJobRun, DescribeJobRun, ListJobRuns, CancelJobRun), also where it
names no error for what is unknown: CancelJobRun calls an unknown run invalid, and ListJobRuns shows an
unknown virtual cluster as an empty one.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from werkzeug.wrappers import Request

from tests.cloud.aws import AwsError, Caller, Place, random_id
from tests.cloud.job_runs import JobRunsService, invalid, timestamp, whole
from tests.cloud.lifecycle import Clock, Life, Words
from tests.cloud.moto_backing import Moto
from tests.cloud.rest import page
from tests.cloud.service import ErrorKind, Subject

PAGE = 50
RUN_STATES = ("PENDING", "SUBMITTED", "RUNNING", "FAILED", "CANCELLED", "CANCEL_PENDING", "COMPLETED")
FINAL_STATES = ("COMPLETED", "FAILED", "CANCELLED")
CLUSTER_STATES = ("RUNNING", "TERMINATING", "TERMINATED", "ARRESTED")
MOST_STATES = 10
NAME = re.compile(r"[.\-_/#A-Za-z0-9]{1,64}")
ID = re.compile(r"[0-9a-z]{1,64}")
ROLE = re.compile(r"arn:aws[a-zA-Z0-9-]*:iam::\d{12}:role/.+")
WORDS = Words(
    stages=(("PENDING", "pending"), ("SUBMITTED", "starting"), ("RUNNING", "run")),
    success="COMPLETED",
    failure="FAILED",
    cancelled="CANCELLED",
    cancelling="CANCEL_PENDING",
    cancel_wins=True,
)
SHOWN = (
    *("name", "clientToken", "executionRoleArn", "releaseLabel", "jobDriver", "configurationOverrides"),
    *("tags", "retryPolicyConfiguration"),
)
"""What a run shows of its request, in listings too."""


def missing(what: str) -> AwsError:
    """ResourceNotFoundException, which this service answers with HTTP 400."""
    return AwsError("ResourceNotFoundException", f"{what} doesn't exist.")


def moment(seconds: float) -> str:
    """A time as this service writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def states(request: Request, known: tuple[str, ...]) -> list[str]:
    """The states that are asked for."""
    asked = request.args.getlist("states")
    if len(asked) > MOST_STATES or set(asked) - set(known):
        raise invalid(f"At most {MOST_STATES} states, among {', '.join(known)}.")
    return asked


@dataclass(eq=False)
class Cluster:
    """A virtual cluster: a namespace of an EKS cluster."""

    id: str
    name: str
    namespace: str
    state: str = "RUNNING"

    def shown(self) -> dict[str, Any]:
        """A VirtualCluster."""
        return {"id": self.id, "name": self.name, "state": self.state}


@dataclass(eq=False)
class Run:
    """One job run: what was asked for, and its life."""

    id: str
    request: dict[str, Any]
    place: Place
    created_by: str
    life: Life

    @property
    def scope(self) -> str:
        return str(self.request["virtualClusterId"])

    @property
    def name(self) -> str:
        return str(self.request.get("name") or "")

    @property
    def arn(self) -> str:
        where = f"arn:aws:emr-containers:{self.place.region}:{self.place.account}"
        return f"{where}:/virtualclusters/{self.scope}/jobruns/{self.id}"

    def shown(self, now: float) -> dict[str, Any]:
        """A JobRun."""
        end, ended_at = self.life.end(), self.life.ended_at(now)
        shown = {
            **{name: self.request[name] for name in SHOWN if self.request.get(name) is not None},
            "id": self.id,
            "virtualClusterId": self.scope,
            "arn": self.arn,
            "createdBy": self.created_by,
            "state": self.life.state(now),
            "createdAt": moment(self.life.created_at),
        }
        if ended_at is None:
            return shown
        if end.reason:
            shown["stateDetails"] = end.reason
        if end.state == "FAILED":
            shown["failureReason"] = "USER_ERROR"
        return {**shown, "finishedAt": moment(ended_at)}


class EmrContainersService(JobRunsService[Run]):
    """Runs with live states; a cancel passes through CANCEL_PENDING."""

    name = "emr-containers"
    signing_name = "emr-containers"
    errors: ClassVar[dict[ErrorKind, tuple[str, int]]] = {
        **JobRunsService.errors,
        "throttle": ("RequestThrottledException", 400),
    }
    final_states = FINAL_STATES

    def __init__(self, clock: Clock, moto: Moto) -> None:
        super().__init__(clock, moto)
        self.clusters: dict[tuple[Place, str], Cluster] = {}
        self.handlers = {
            "CreateVirtualCluster": self.create_virtual_cluster,
            "DeleteVirtualCluster": self.delete_virtual_cluster,
            "DescribeVirtualCluster": self.describe_virtual_cluster,
            "ListVirtualClusters": self.list_virtual_clusters,
            "StartJobRun": self.start_job_run,
            "DescribeJobRun": self.describe_job_run,
            "ListJobRuns": self.list_job_runs,
            "CancelJobRun": self.cancel_job_run,
        }

    # Wire.
    def parse(self, operation: str, request: Request) -> dict[str, Any]:
        parts = request.path.strip("/").split("/")
        params = super().parse(operation, request)
        if parts[0] == "virtualclusters" and len(parts) > 1:
            params["virtualClusterId"] = parts[1]
        if len(parts) > 3:
            params["jobRunId"] = parts[3]
        return params

    def read_subject(self, params: dict[str, Any]) -> Subject:
        ids = (params["jobRunId"],) if "jobRunId" in params else ()
        return Subject(params.get("virtualClusterId", ""), ids)

    # Virtual clusters.
    def create_virtual_cluster(
        self, caller: Caller, params: dict[str, Any], request: Request
    ) -> dict[str, Any]:
        """Register a namespace, which no other virtual cluster has."""
        place, container = self.place(caller), params["containerProvider"]
        namespace = f"{container['id']}/{container['info']['eksInfo']['namespace']}"
        for (there, _), other in self.clusters.items():
            if there == place and other.namespace == namespace and other.state != "TERMINATED":
                raise invalid("A virtual cluster already exists in the given namespace")
        cluster = Cluster(random_id(25, string.ascii_lowercase + string.digits), params["name"], namespace)
        self.clusters[place, cluster.id] = cluster
        return {"id": cluster.id, "name": cluster.name}

    def delete_virtual_cluster(
        self, caller: Caller, params: dict[str, Any], request: Request
    ) -> dict[str, Any]:
        """Refuse while runs are alive."""
        cluster, now = self._cluster(caller, params), self.clock()
        runs = self.runs.get((self.place(caller), cluster.id), {})
        if any(not run.life.ended(now) for run in runs.values()):
            raise invalid(f"Virtual cluster {cluster.id} has job runs that are not finished.")
        cluster.state = "TERMINATED"
        return {"id": cluster.id}

    def describe_virtual_cluster(
        self, caller: Caller, params: dict[str, Any], request: Request
    ) -> dict[str, Any]:
        """Show one."""
        return {"virtualCluster": self._cluster(caller, params).shown()}

    def list_virtual_clusters(
        self, caller: Caller, params: dict[str, Any], request: Request
    ) -> dict[str, Any]:
        """List them by state."""
        asked, place = states(request, CLUSTER_STATES), self.place(caller)
        rows = [each.shown() for (there, _), each in self.clusters.items() if there == place]
        rows = [row for row in rows if not asked or row["state"] in asked]
        return self._page("virtualClusters", rows, request)

    def _cluster(self, caller: Caller, params: dict[str, Any]) -> Cluster:
        identifier = params["virtualClusterId"]
        if not ID.fullmatch(identifier):
            raise invalid("virtualClusterId must match [0-9a-z]+.")
        cluster = self.clusters.get((self.place(caller), identifier))
        if cluster is None:
            raise missing(f"Virtual cluster {identifier}")
        return cluster

    @staticmethod
    def _page(member: str, rows: list[dict[str, Any]], request: Request) -> dict[str, Any]:
        size, begin = whole(request, "maxResults", PAGE), whole(request, "nextToken", 0)
        if not 1 <= size <= PAGE:
            raise invalid(f"maxResults must be between 1 and {PAGE}.")
        return page(member, rows, begin, size)

    # Runs.
    def start_job_run(self, caller: Caller, params: dict[str, Any], request: Request) -> dict[str, Any]:
        """Start a run."""
        params.pop("operation")
        cluster = self._cluster(caller, params)
        self._check_start(params)
        if cluster.state != "RUNNING":
            raise invalid(f"Virtual cluster {cluster.id} is not in state RUNNING.")
        run = self.started(caller, cluster.id, params)
        return {"id": run.id, "name": run.name, "arn": run.arn, "virtualClusterId": cluster.id}

    def make(self, caller: Caller, params: dict[str, Any]) -> Run:
        run_id = "0000000" + random_id(12, string.ascii_lowercase + string.digits)
        timings = self.settings.timings(params["virtualClusterId"], params.get("name") or "", run_id)
        created_by = self.moto.principal(caller.access_key)
        attempts = int((params.get("retryPolicyConfiguration") or {}).get("maxAttempts", 1))
        life = Life(WORDS, timings, self.clock(), attempts=attempts)
        return Run(run_id, params, self.place(caller), created_by, life)

    def token_conflict(self) -> AwsError:
        """StartJobRun names no error but this for what is wrong with a request."""
        return invalid("The client token was used with another request.")

    @staticmethod
    def _check_start(params: dict[str, Any]) -> None:
        name, token, tags = params.get("name"), params.get("clientToken") or "", params.get("tags") or {}
        if not 1 <= len(token) <= 64 or not token.strip():
            raise invalid("clientToken must have between 1 and 64 characters, not only blanks.")
        if name is not None and not NAME.fullmatch(name):
            raise invalid("name must match [.\\-_/#A-Za-z0-9]{1,64}.")
        if not ROLE.fullmatch(params.get("executionRoleArn") or ""):
            raise invalid("executionRoleArn must be the ARN of a role.")
        if len(tags) > 50 or any(not 0 < len(key) <= 128 or len(text) > 256 for key, text in tags.items()):
            raise invalid("At most 50 tags, with keys of 1 to 128 and values of up to 256 characters.")

    def _run(self, caller: Caller, params: dict[str, Any]) -> Run | None:
        run = self.runs.get((self.place(caller), params["virtualClusterId"]), {}).get(params["jobRunId"])
        return run if run and run.life.is_seen(self.clock()) else None

    def describe_job_run(self, caller: Caller, params: dict[str, Any], request: Request) -> dict[str, Any]:
        """Show one run."""
        run = self._run(caller, params)
        if run is None:
            raise missing(f"Job run {params['jobRunId']}")
        return {"jobRun": run.shown(self.clock())}

    def list_job_runs(self, caller: Caller, params: dict[str, Any], request: Request) -> dict[str, Any]:
        """List runs, newest first."""
        asked, now, query = states(request, RUN_STATES), self.clock(), request.args
        after, before = (
            timestamp(query.get(name, default))
            for name, default in (("createdAfter", "1970-01-02"), ("createdBefore", "9000-01-01"))
        )
        runs = list(self.runs.get((self.place(caller), params["virtualClusterId"]), {}).values())[::-1]
        found = [run for run in runs if after <= run.life.created_at <= before]
        found = [run for run in found if query.get("name", run.name) == run.name]
        rows = [run.shown(now) for run in found if not asked or run.life.state(now) in asked]
        return self._page("jobRuns", rows, request)

    def cancel_job_run(self, caller: Caller, params: dict[str, Any], request: Request) -> dict[str, Any]:
        """Ask a run to end; one that has ended, or is ending, can't be asked."""
        run, now = self._run(caller, params), self.clock()
        if run is None:
            raise invalid(f"Job run {params['jobRunId']} doesn't exist.")
        self.check_cancel(run)
        if run.life.cancel_requested_at is not None:
            raise invalid(f"Job run {run.id} is not in a cancellable state")
        run.life.request_cancel(now, now + run.life.timings.cancel, "JobRun CANCELLED successfully.")
        return {"id": run.id, "virtualClusterId": run.scope}

    def cluster(self, identifier: str) -> Cluster:
        """A virtual cluster, for tests that change its state."""
        return next(cluster for cluster in self.clusters.values() if cluster.id == identifier)

    def reset(self) -> None:
        super().reset()
        self.clusters.clear()
