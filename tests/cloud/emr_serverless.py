"""Amazon EMR Serverless: job runs are modelled here, applications are moto's.

Follows the EMR Serverless API Reference (StartJobRun, GetJobRun, ListJobRuns, CancelJobRun).
"""

from __future__ import annotations

import json
import re
import string
from typing import Any

from werkzeug.wrappers import Request, Response

from tests.cloud.aws import AwsError, Caller, random_id
from tests.cloud.emr_serverless_runs import FINAL_STATES, RUN_STATES, WORDS, Run
from tests.cloud.job_runs import JobRunsService, invalid, timestamp, whole
from tests.cloud.lifecycle import Clock, Life
from tests.cloud.moto_backing import Moto
from tests.cloud.rest import page
from tests.cloud.service import Subject

PAGE = 50
TAG_TEXT = re.compile(r"[A-Za-z0-9 /_.:=+@-]*")
CLIENT_TOKEN = re.compile(r"[A-Za-z0-9._-]{1,64}")
ROLE = re.compile(r"arn:aws[a-zA-Z0-9-]*:iam::\d{12}:role/.+")


def missing(kind: str, identifier: str) -> AwsError:
    """ResourceNotFoundException."""
    return AwsError("ResourceNotFoundException", f"{kind} {identifier} does not exist", 404)


class EmrServerlessService(JobRunsService[Run]):
    """Runs with live states; a cancel passes through CANCELLING."""

    name = "emr-serverless"
    signing_name = "emr-serverless"
    final_states = FINAL_STATES

    def __init__(self, clock: Clock, moto: Moto) -> None:
        super().__init__(clock, moto)
        self.handlers = {
            "CreateApplication": self.create_application,
            "StopApplication": self.stop_application,
            "StartJobRun": self.start_job_run,
            "GetJobRun": self.get_job_run,
            "ListJobRuns": self.list_job_runs,
            "CancelJobRun": self.cancel_job_run,
        }

    # Wire.
    def parse(self, operation: str, request: Request) -> dict[str, Any]:
        parts = request.path.strip("/").split("/")
        params = super().parse(operation, request)
        if parts[0] == "applications" and len(parts) > 1:
            params["applicationId"] = parts[1]
        if len(parts) > 3:
            params["jobRunId"] = parts[3]
        return params

    def read_subject(self, params: dict[str, Any]) -> Subject:
        ids = (params["jobRunId"],) if "jobRunId" in params else ()
        return Subject(params.get("applicationId", ""), ids)

    def fall_back(self, caller: Caller, operation: str, request: Request) -> Response:
        """moto answers, but says 400 where the service says 404."""
        response = self.moto.answer(request)
        if "ResourceNotFound" in response.headers.get("x-amzn-errortype", ""):
            response.status_code = 404
        return response

    # Applications.
    def create_application(self, caller: Caller, params: dict[str, Any], request: Request) -> Response:
        """Let moto create it; a new application is CREATED, and starts by itself with its first run."""
        response = self.moto.answer(request)
        if response.status_code == 200:
            application_id = json.loads(response.get_data())["applicationId"]
            self.moto.application(*self.place(caller), application_id).state = "CREATED"
        return response

    def stop_application(self, caller: Caller, params: dict[str, Any], request: Request) -> Response:
        """Refuse while runs are alive."""
        runs, now = self._runs(caller, params), self.clock()
        if any(not run.life.ended(now) for run in runs.values()):
            raise invalid(f"Application {params['applicationId']} has job runs that are not finished.")
        return self.moto.answer(request)

    def _runs(self, caller: Caller, params: dict[str, Any]) -> dict[str, Run]:
        place, application_id = self.place(caller), params["applicationId"]
        if self.moto.application(*place, application_id) is None:
            raise missing("Application", application_id)
        return self.runs.setdefault((place, application_id), {})

    def _run(self, caller: Caller, params: dict[str, Any]) -> Run:
        run = self._runs(caller, params).get(params["jobRunId"])
        if run is None or not run.life.is_seen(self.clock()):
            raise missing("JobRun", params["jobRunId"])
        return run

    # Runs.
    def start_job_run(self, caller: Caller, params: dict[str, Any], request: Request) -> dict[str, Any]:
        """Start a run."""
        params.pop("operation")
        self._runs(caller, params)
        self._check_start(params)
        run = self.started(caller, params["applicationId"], params)
        return {"applicationId": run.application_id, "jobRunId": run.id, "arn": run.arn}

    def make(self, caller: Caller, params: dict[str, Any]) -> Run:
        place, application_id = self.place(caller), params["applicationId"]
        application = self.moto.application(*place, application_id)
        if application.state == "TERMINATED":
            raise invalid(f"Application {application_id} is terminated.")
        application.state = "STARTED"
        run_id = "00" + random_id(14, string.ascii_lowercase + string.digits)
        timings = self.settings.timings(application_id, params.get("name") or "", run_id)
        life = Life(WORDS, timings, self.clock())
        created_by = self.moto.principal(caller.access_key)
        release, engine = application.release_label, application.type
        return Run(run_id, application_id, release, engine, params, place, created_by, life)

    def retry(self, job_id: str) -> None:
        """An attempt of a run fails, and the next one begins."""
        with self.lock:
            next(run for run in self.all_runs() if run.id == job_id).attempt += 1

    @staticmethod
    def _check_start(params: dict[str, Any]) -> None:
        name, tags = params.get("name"), params.get("tags") or {}
        if not CLIENT_TOKEN.fullmatch(params.get("clientToken") or ""):
            raise invalid("clientToken must match [A-Za-z0-9._-]{1,64}.")
        if not ROLE.fullmatch(params.get("executionRoleArn") or ""):
            raise invalid("executionRoleArn must be the ARN of a role.")
        if name is not None and (len(name) > 256 or not name.strip()):
            raise invalid("name must have between 1 and 256 characters, not only blanks.")
        if len(tags) > 200 or any(not 0 < len(key) <= 128 or len(text) > 256 for key, text in tags.items()):
            raise invalid("At most 200 tags, with keys of 1 to 128 and values of up to 256 characters.")
        if not all(TAG_TEXT.fullmatch(text) for pair in tags.items() for text in pair):
            raise invalid("Tags must match [A-Za-z0-9 /_.:=+@-]*.")

    def get_job_run(self, caller: Caller, params: dict[str, Any], request: Request) -> dict[str, Any]:
        """Show one run in full, by default its present attempt."""
        run = self._run(caller, params)
        return {"jobRun": run.detail(self.clock(), whole(request, "attempt", run.attempt))}

    def list_job_runs(self, caller: Caller, params: dict[str, Any], request: Request) -> dict[str, Any]:
        """List runs, newest first."""
        size, begin = whole(request, "maxResults", PAGE), whole(request, "nextToken", 0)
        if not 1 <= size <= PAGE:
            raise invalid(f"maxResults must be between 1 and {PAGE}.")
        runs = self._filtered(list(self._runs(caller, params).values())[::-1], request)
        found, now = page("jobRuns", runs, begin, size), self.clock()
        return found | {"jobRuns": [run.summary(now) for run in found["jobRuns"]]}

    def _filtered(self, runs: list[Run], request: Request) -> list[Run]:
        query, states, now = request.args, request.args.getlist("states"), self.clock()
        if len(states) > 8 or set(states) - set(RUN_STATES):
            raise invalid(f"At most 8 states, among {', '.join(RUN_STATES)}.")
        after, before = timestamp(query.get("createdAtAfter", "1970-01-02")), float("inf")
        if "createdAtBefore" in query:
            before = timestamp(query["createdAtBefore"])
        modes = [query["mode"]] if "mode" in query else ["BATCH", "STREAMING"]
        runs = [run for run in runs if after <= run.life.created_at <= before and run.mode in modes]
        return [run for run in runs if not states or run.life.state(now) in states]

    def cancel_job_run(self, caller: Caller, params: dict[str, Any], request: Request) -> dict[str, Any]:
        """Ask a run to end; a run that has ended can't be asked."""
        text = request.args.get("shutdownGracePeriodInSeconds")
        if text is not None and not (text.isdigit() and (text == "0" or 15 <= int(text) <= 1800)):
            raise invalid("shutdownGracePeriodInSeconds must be 0 or between 15 and 1800.")
        run, now = self._run(caller, params), self.clock()
        self.check_cancel(run)
        run.cancel(int(text) if text else None, now)
        return {"applicationId": run.application_id, "jobRunId": run.id}
