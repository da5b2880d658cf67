"""Amazon EMR on EC2: steps are modelled here, clusters are moto's.

Follows the Amazon EMR API Reference (AddJobFlowSteps, CancelSteps, DescribeStep, ListSteps, RunJobFlow).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from werkzeug.wrappers import Request, Response

from tests.cloud.aws import AwsError, Caller, Place
from tests.cloud.emr_cluster import STEP_STATES, Cluster, Step
from tests.cloud.emr_validation import MAX_STEPS, check_steps, invalid, not_valid
from tests.cloud.json_rpc import JsonRpcService
from tests.cloud.lifecycle import Clock, Settings, Timings
from tests.cloud.moto_backing import Moto
from tests.cloud.service import ErrorKind, Subject

PAGE = 50
OLDEST = ("AddJobFlowSteps", "CancelSteps", "RunJobFlow", "TerminateJobFlows")
# Of a cluster that is asked for without any; moto's own default has no name.
APPLICATIONS = [{"Name": "Hadoop"}]


class EmrService(JsonRpcService):
    """Steps with live states, asynchronous cancels and the limits of the service."""

    name = "emr"
    signing_name = "elasticmapreduce"
    target = "ElasticMapReduce."
    errors: ClassVar[dict[ErrorKind, tuple[str, int]]] = {
        "throttle": ("ThrottlingException", 400),
        "server_error": ("InternalServerException", 500),
        "denied": ("AccessDeniedException", 400),
        "expired_token": ("ExpiredTokenException", 400),
        "bad_key": ("UnrecognizedClientException", 400),
    }

    def __init__(self, clock: Clock, moto: Moto) -> None:
        super().__init__(clock, moto, Settings(Timings(pending=0.3, run=3600, cancel=0.5)))
        self.clusters: dict[str, Cluster] = {}
        self.handlers = {
            "AddJobFlowSteps": self.add_job_flow_steps,
            "CancelSteps": self.cancel_steps,
            "DescribeStep": self.describe_step,
            "ListSteps": self.list_steps,
            "RunJobFlow": self.run_job_flow,
            "TerminateJobFlows": self.terminate_job_flows,
        }

    # Wire.
    def error(self, kind: ErrorKind, operation: str) -> Response:
        """Render an injected fault; the oldest operations name the service's own failures in another way."""
        if kind == "server_error" and operation in OLDEST:
            words = "An error occurred while processing the request, and the request was not completed."
            return self.render(AwsError("InternalServerError", words, 400))
        return super().error(kind, operation)

    def read_subject(self, params: dict[str, Any]) -> Subject:
        scope = params.get("ClusterId") or params.get("JobFlowId") or ",".join(params.get("JobFlowIds", []))
        ids = params.get("StepIds") or ([params["StepId"]] if "StepId" in params else [])
        return Subject(str(scope), tuple(ids))

    # Clusters.
    def create_cluster(
        self,
        release: str = "emr-7.5.0",
        *,
        concurrency: int = 1,
        region: str = "us-east-1",
        name: str = "local",
    ) -> str:
        """Make a cluster that waits for steps, without going over the network; its id."""
        body = {
            "Name": name,
            "ReleaseLabel": release,
            "StepConcurrencyLevel": concurrency,
            "Applications": APPLICATIONS,
            "Instances": {"KeepJobFlowAliveWhenNoSteps": True, "InstanceCount": 1},
        }
        reply = self.moto.call(self.signing_name, region, self.target + "RunJobFlow", body)
        return str(reply["JobFlowId"])

    def find_cluster(self, caller: Caller, cluster_id: str) -> Cluster | None:
        """The model beside moto's cluster, brought up to now."""
        place = self.place(caller)
        theirs = self.moto.cluster(*place, cluster_id)
        if theirs is None:
            return None
        cluster = self.clusters.get(cluster_id)
        if cluster is None:
            cluster = self._adopt(theirs, cluster_id, place)
        if len(cluster.slots) != theirs.step_concurrency_level:
            cluster.resize(theirs.step_concurrency_level, self.clock())
        self._bring_up_to_now(cluster)
        return cluster

    def _adopt(self, theirs: Any, cluster_id: str, place: Place) -> Cluster:
        cluster = Cluster(cluster_id, place, theirs.release_label or "", self.clock())
        cluster.keep_alive = bool(theirs.keep_job_flow_alive_when_no_steps)
        self.clusters[cluster_id] = cluster
        return cluster

    def _bring_up_to_now(self, cluster: Cluster) -> None:
        """Advance the steps, and show moto's cluster in the state that follows from them."""
        now = self.clock()
        theirs = self.moto.cluster(*cluster.place, cluster.id)
        cluster.advance(now)
        if theirs is None:
            return
        if theirs.state == "TERMINATED":
            cluster.terminate(now, "Cluster terminated.")
        elif cluster.ended_at is not None:
            theirs.terminate()
        else:
            theirs.state = "RUNNING" if cluster.active(now) else "WAITING"

    def _cluster(self, caller: Caller, cluster_id: str) -> Cluster:
        cluster = self.find_cluster(caller, cluster_id)
        if cluster is None:
            raise invalid(f"Cluster id '{cluster_id}' is not valid.")
        return cluster

    def run_job_flow(self, caller: Caller, params: dict[str, Any], request: Request) -> Response:
        """Let moto make the cluster, and queue its first steps in the model."""
        steps = params.pop("Steps", None) or []
        instances = dict(params.get("Instances") or {})
        keep_alive = bool(instances.get("KeepJobFlowAliveWhenNoSteps"))
        check_steps(steps, int(params.get("StepConcurrencyLevel") or 1), 0)
        if steps:
            # moto ends a cluster without steps at once, and it is not shown ours.
            params["Instances"] = {**instances, "KeepJobFlowAliveWhenNoSteps": True}
        params["Applications"] = params.get("Applications") or APPLICATIONS
        response = self.moto.answer(request, json.dumps(params).encode())
        if response.status_code == 200 and steps:
            cluster = self._cluster(caller, json.loads(response.get_data())["JobFlowId"])
            cluster.keep_alive = keep_alive
            self.moto.cluster(*cluster.place, cluster.id).keep_job_flow_alive_when_no_steps = keep_alive
            self._queue(cluster, steps, "")
        return response

    def terminate_job_flows(self, caller: Caller, params: dict[str, Any], request: Request) -> Response:
        """Let moto end the clusters, and end their steps with them."""
        found = [self.find_cluster(caller, cluster_id) for cluster_id in params.get("JobFlowIds", [])]
        if None in found:
            raise not_valid("Specified job flow ID is not valid.")
        response = self.moto.answer(request)
        for cluster in found:
            if cluster is not None:
                self._bring_up_to_now(cluster)
        return response

    def fall_back(self, caller: Caller, operation: str, request: Request) -> Response:
        """moto answers for clusters; their states are brought up to now before."""
        for cluster in list(self.clusters.values()):
            self._bring_up_to_now(cluster)
        params = self.parse(operation, request)
        if "ClusterId" in params and self.find_cluster(caller, params["ClusterId"]) is None:
            raise invalid(f"Cluster id '{params['ClusterId']}' is not valid.")
        return self.moto.answer(request)

    # Steps.
    def _queue(self, cluster: Cluster, steps: Sequence[dict[str, Any]], role: str) -> list[str]:
        now = self.clock()
        return [cluster.add(step, role, self.settings, now).id for step in steps]

    def add_job_flow_steps(self, caller: Caller, params: dict[str, Any], request: Request) -> dict[str, Any]:
        """Queue steps on a living cluster."""
        cluster = self.find_cluster(caller, params.get("JobFlowId", ""))
        if cluster is None:
            raise not_valid("Specified job flow ID does not exist.")
        if cluster.ended_at is not None:
            raise not_valid("A job flow that is shutting down, terminating, or finished may not be modified.")
        steps = params.get("Steps") or []
        check_steps(steps, cluster.concurrency, len(cluster.active(self.clock())))
        return {"StepIds": self._queue(cluster, steps, params.get("ExecutionRoleArn", ""))}

    def describe_step(self, caller: Caller, params: dict[str, Any], request: Request) -> dict[str, Any]:
        """Show one step."""
        cluster = self._cluster(caller, params.get("ClusterId", ""))
        step = cluster.steps.get(params.get("StepId", ""))
        if step is None:
            raise invalid(f"Step id '{params.get('StepId')}' is not valid.")
        shown = step.summary(self.clock())
        if step.role:
            shown["ExecutionRoleArn"] = step.role
        return {"Step": shown}

    def list_steps(self, caller: Caller, params: dict[str, Any], request: Request) -> dict[str, Any]:
        """List steps, newest first unless a filter is given, 50 to a page."""
        cluster = self._cluster(caller, params.get("ClusterId", ""))
        now = self.clock()
        steps = self._filtered(cluster, params.get("StepIds") or [], params.get("StepStates") or [], now)
        marker = params.get("Marker")
        if marker:
            rising = bool(params.get("StepIds") or params.get("StepStates"))
            steps = self._after_marker(cluster, steps, marker, rising=rising)
        result: dict[str, Any] = {"Steps": [step.summary(now) for step in steps[:PAGE]]}
        if len(steps) > PAGE:
            result["Marker"] = steps[PAGE - 1].id
        return result

    @staticmethod
    def _after_marker(cluster: Cluster, steps: list[Step], marker: str, *, rising: bool) -> list[Step]:
        """The rest of a list. The marked step itself may have left the filter since the page before."""
        marked = cluster.steps.get(marker)
        if marked is None:
            raise invalid(f"Marker '{marker}' is not valid.")
        if rising:
            return [step for step in steps if step.number > marked.number]
        return [step for step in steps if step.number < marked.number]

    @staticmethod
    def _filtered(cluster: Cluster, ids: list[str], states: list[str], now: float) -> list[Step]:
        if len(ids) > 10:
            raise invalid("The number of step ids must not exceed 10.")
        if set(states) - set(STEP_STATES):
            raise not_valid(f"StepStates must be among {', '.join(STEP_STATES)}.")
        seen = {step.id for step in cluster.steps.values() if step.life.is_seen(now)}
        if unknown := [step_id for step_id in ids if step_id not in seen]:
            raise invalid(f"Step id '{unknown[0]}' is not valid.")
        steps = [step for step in cluster.steps.values() if not ids or step.id in ids]
        if states:
            steps = [step for step in steps if step.life.state(now) in states]
        return steps if ids or states else steps[::-1]

    def cancel_steps(self, caller: Caller, params: dict[str, Any], request: Request) -> dict[str, Any]:
        """Ask steps to end. Each id has its own outcome; taken requests work in the background."""
        cluster = self._cluster(caller, params.get("ClusterId", ""))
        ids, option = params.get("StepIds") or [], params.get("StepCancellationOption", "SEND_INTERRUPT")
        if not 0 < len(ids) <= MAX_STEPS:
            raise invalid(f"The number of step ids must be between 1 and {MAX_STEPS}.")
        if option not in ("SEND_INTERRUPT", "TERMINATE_PROCESS"):
            raise invalid(f"StepCancellationOption '{option}' is not valid.")
        if cluster.version < (4, 8, 0) or cluster.version == (5, 0, 0):
            raise invalid(f"CancelSteps is not supported on release '{cluster.release}'.")
        now, kill = self.clock(), option == "TERMINATE_PROCESS"
        outcomes = []
        for step_id in ids:
            taken, reason = cluster.cancel(step_id, kill=kill, now=now)
            status = "SUBMITTED" if taken else "FAILED"
            outcomes.append({"StepId": step_id, "Status": status, **({"Reason": reason} if reason else {})})
        return {"CancelStepsInfoList": outcomes}

    # Ground truth.
    def _steps(self) -> list[tuple[Cluster, Step]]:
        for cluster in self.clusters.values():
            self._bring_up_to_now(cluster)
        return [(cluster, step) for cluster in self.clusters.values() for step in cluster.steps.values()]

    def jobs(self) -> list[dict[str, Any]]:
        with self.lock:
            return [self._truth(cluster, step) for cluster, step in self._steps()]

    def _truth(self, cluster: Cluster, step: Step) -> dict[str, Any]:
        names = {"service": self.name, "scope": cluster.id, "id": step.id, "name": step.name}
        names |= {"region": cluster.place.region, "account": cluster.place.account}
        labels = {"properties": step.properties, "args": step.config.get("Args", [])}
        return {**names, **step.life.truth(self.clock()), "labels": labels}

    def finish(self, job_id: str, state: str, reason: str = "") -> None:
        """End a step now."""
        if state not in ("COMPLETED", "CANCELLED", "FAILED", "INTERRUPTED"):
            raise ValueError(f"not a final state of a step: {state}")
        with self.lock:
            step = next((step for _, step in self._steps() if step.id == job_id), None)
            if step is None:
                raise KeyError(job_id)
            step.life.finish(self.clock(), state, reason)

    def refresh_timings(self) -> None:
        now = self.clock()
        for cluster, step in self._steps():
            if not step.life.ended(now):
                step.life.timings = self.settings.timings(cluster.id, step.name, step.id)

    def reset(self) -> None:
        with self.lock:
            self.clusters.clear()
            self.settings.reset()
