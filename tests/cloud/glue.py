"""AWS Glue: job runs are modelled here, jobs (their definitions) are moto's.

Follows the AWS Glue Web API Reference (StartJobRun, GetJobRun, GetJobRuns, BatchStopJobRun). Glue does not
document the codes with which it refuses to stop a run, and whether one that is stopping may be asked again.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, ClassVar

from werkzeug.wrappers import Request

from tests.cloud.aws import AwsError, Caller, Place
from tests.cloud.json_rpc import JsonRpcService
from tests.cloud.lifecycle import Clock, Life, Settings, Timings, Words
from tests.cloud.moto_backing import Moto
from tests.cloud.service import ErrorKind, Subject

PAGE = 200
MOST_STOPPED = 25
FINAL_STATES = ("STOPPED", "SUCCEEDED", "FAILED", "TIMEOUT", "ERROR", "EXPIRED")
STREAMING = "gluestreaming"
WORDS = Words(
    stages=(("WAITING", "submitted"), ("STARTING", "pending"), ("RUNNING", "run")),
    success="SUCCEEDED",
    failure="FAILED",
    cancelled="STOPPED",
    cancelling="STOPPING",
    cancel_wins=True,
)


def invalid(message: str) -> AwsError:
    """InvalidInputException."""
    return AwsError("InvalidInputException", message)


def missing(what: str) -> AwsError:
    """EntityNotFoundException: the same for a job and for a run."""
    return AwsError("EntityNotFoundException", f"{what} not found.")


@dataclass(eq=False)
class Run:
    """One run: what was asked for, and its life."""

    id: str
    request: dict[str, Any]
    place: Place
    is_streaming: bool
    life: Life

    @property
    def job(self) -> str:
        return str(self.request["JobName"])

    @property
    def arguments(self) -> dict[str, str]:
        return self.request.get("Arguments") or {}

    def stop(self, now: float, *, again: bool) -> dict[str, str]:
        """Ask the run to end; the error's code and message, or nothing."""
        life = self.life
        if life.timings.refuse:
            return {"ErrorCode": life.timings.refuse, "ErrorMessage": f"Job run {self.id} is not stopped."}
        if life.ended(now) or (life.cancel_requested_at is not None and not again):
            words = f"Job run {self.id} is in state {life.state(now)}."
            return {"ErrorCode": "JobRunInvalidStateTransitionException", "ErrorMessage": words}
        life.request_cancel(now, now + life.timings.cancel, "Stopped by request.")
        return {}

    def shown(self, now: float) -> dict[str, Any]:
        """A JobRun. One without arguments, a message or a timeout shows none."""
        end = self.life.end()
        optional = {
            "Arguments": self.arguments,
            "PreviousRunId": self.request.get("JobRunId"),
            "CompletedOn": self.life.ended_at(now),
            "ErrorMessage": end.reason if self.life.ended(now) else "",
            "Timeout": self.request.get("Timeout") or (None if self.is_streaming else 2880),
        }
        return {
            "Id": self.id,
            "JobName": self.job,
            "Attempt": 0,
            "JobRunState": self.life.state(now),
            "StartedOn": self.life.created_at,
            "PredecessorRuns": [],
            **{name: value for name, value in optional.items() if value},
        }


class GlueService(JsonRpcService):
    """Runs with live states; a stop passes through STOPPING, and each run has its own answer."""

    name = "glue"
    signing_name = "glue"
    target = "AWSGlue."
    errors: ClassVar[dict[ErrorKind, tuple[str, int]]] = {
        "throttle": ("ThrottlingException", 400),
        "server_error": ("InternalServiceException", 500),
        "denied": ("AccessDeniedException", 400),
        "expired_token": ("ExpiredTokenException", 400),
        "bad_key": ("UnrecognizedClientException", 400),
    }

    def __init__(self, clock: Clock, moto: Moto) -> None:
        timings = Timings(submitted=0, pending=0.3, run=3600, cancel=0.5)
        super().__init__(clock, moto, Settings(timings, stops_again=True))
        self.runs: dict[tuple[Place, str], dict[str, Run]] = {}
        self.handlers = {
            "StartJobRun": self.start_job_run,
            "GetJobRun": self.get_job_run,
            "GetJobRuns": self.get_job_runs,
            "BatchStopJobRun": self.batch_stop_job_run,
        }

    def read_subject(self, params: dict[str, Any]) -> Subject:
        ids = params.get("JobRunIds") or ([params["RunId"]] if "RunId" in params else [])
        return Subject(str(params.get("JobName", "")), tuple(map(str, ids)))

    # Jobs.
    def create_job(self, name: str, *, command: str = "glueetl", most: int = 1000) -> str:
        """Make a job without going over the network; its name."""
        body = {
            "Name": name,
            "Role": "arn:aws:iam::123456789012:role/glue",
            "Command": {"Name": command, "ScriptLocation": "s3://bucket/job.py"},
            "ExecutionProperty": {"MaxConcurrentRuns": most},
        }
        self.moto.call(self.signing_name, "us-east-1", self.target + "CreateJob", body)
        return name

    def _runs(self, caller: Caller, params: dict[str, Any]) -> dict[str, Run]:
        place, job = self.place(caller), params.get("JobName", "")
        if self.moto.glue_job(*place, job) is None:
            raise missing(f"Job {job}")
        return self.runs.setdefault((place, job), {})

    # Runs.
    def start_job_run(self, caller: Caller, params: dict[str, Any], request: Request) -> dict[str, Any]:
        """Start a run; a repeated request starts another."""
        runs, now, job = self._runs(caller, params), self.clock(), params["JobName"]
        definition = self.moto.glue_job(*self.place(caller), job)
        most = definition.execution_property.get("MaxConcurrentRuns", 1)
        if sum(not run.life.ended(now) for run in runs.values()) >= most:
            raise AwsError("ConcurrentRunsExceededException", f"Concurrent runs exceeded for {job}")
        earlier = params.get("JobRunId")
        if earlier is not None:
            if earlier not in runs:
                raise missing(f"Job run {earlier}")
            params = {"Arguments": runs[earlier].arguments, **params}
        run_id = f"jr_{secrets.token_hex(32)}"
        timings = self.settings.timings(job, (params.get("Arguments") or {}).get("--name", ""), run_id)
        streams = definition.command["Name"] == STREAMING
        runs[run_id] = Run(run_id, params, self.place(caller), streams, Life(WORDS, timings, now))
        return {"JobRunId": run_id}

    def get_job_run(self, caller: Caller, params: dict[str, Any], request: Request) -> dict[str, Any]:
        """Show one run."""
        run, now = self._runs(caller, params).get(params.get("RunId", "")), self.clock()
        if run is None or not run.life.is_seen(now):
            raise missing(f"Job run {params.get('RunId')}")
        return {"JobRun": run.shown(now)}

    def get_job_runs(self, caller: Caller, params: dict[str, Any], request: Request) -> dict[str, Any]:
        """List runs, newest first, whatever their states."""
        size, token = params.get("MaxResults", PAGE), params.get("NextToken") or "0"
        if not 1 <= size <= PAGE or not token.isdigit():
            raise invalid(f"MaxResults must be between 1 and {PAGE}, NextToken from the page before.")
        begin = int(token)
        now, runs = self.clock(), self._runs(caller, params).values()
        newest = sorted(runs, key=lambda run: run.life.created_at)[::-1]
        page = {"JobRuns": [run.shown(now) for run in newest[begin : begin + size]]}
        return page | ({"NextToken": str(begin + size)} if begin + size < len(newest) else {})

    def batch_stop_job_run(self, caller: Caller, params: dict[str, Any], request: Request) -> dict[str, Any]:
        """Ask runs of one job to end. Of an unknown job each run is unknown."""
        job, ids = params.get("JobName", ""), params.get("JobRunIds") or []
        if not 0 < len(ids) <= MOST_STOPPED:
            raise invalid(f"Between 1 and {MOST_STOPPED} job run ids.")
        runs, now = self.runs.get((self.place(caller), job), {}), self.clock()
        taken, errors = [], []
        for run_id in ids:
            about, run = {"JobName": job, "JobRunId": run_id}, runs.get(run_id)
            if run is None or not run.life.is_seen(now):
                words = f"Job run {run_id} not found."
                error = {"ErrorCode": "EntityNotFoundException", "ErrorMessage": words}
            else:
                error = run.stop(now, again=self.settings.options["stops_again"])
            if error:
                errors.append({**about, "ErrorDetail": error})
            else:
                taken.append(about)
        return {"SuccessfulSubmissions": taken, "Errors": errors}

    # Ground truth.
    def _all(self) -> list[Run]:
        return [run for runs in self.runs.values() for run in runs.values()]

    def jobs(self) -> list[dict[str, Any]]:
        with self.lock:
            return [self._truth(run) for run in self._all()]

    def _truth(self, run: Run) -> dict[str, Any]:
        names = {"service": self.name, "scope": run.job, "id": run.id, "name": ""}
        names |= {"region": run.place.region, "account": run.place.account}
        return {**names, **run.life.truth(self.clock()), "labels": {"arguments": run.arguments}}

    def finish(self, job_id: str, state: str, reason: str = "") -> None:
        """End a run now."""
        if state not in FINAL_STATES:
            raise ValueError(f"not a final state of a run: {state}")
        with self.lock:
            run = next((run for run in self._all() if run.id == job_id), None)
            if run is None:
                raise KeyError(job_id)
            run.life.finish(self.clock(), state, reason)

    def refresh_timings(self) -> None:
        now = self.clock()
        for run in self._all():
            if not run.life.ended(now):
                names = (run.job, run.arguments.get("--name", ""), run.id)
                run.life.timings = self.settings.timings(*names)

    def reset(self) -> None:
        with self.lock:
            self.runs.clear()
            self.settings.reset()
