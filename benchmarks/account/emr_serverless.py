"""Amazon EMR Serverless: applications, and the job runs in them."""

from __future__ import annotations

from typing import Any

from benchmarks.account.ends import Ends
from benchmarks.account.population import Population
from benchmarks.account.quotas import APPLICATIONS_PER_PAGE, RUNS_PER_PAGE
from benchmarks.account.service import SINCE, Refused, SimulatedService, page, with_token

ARN = "arn:aws:emr-serverless:us-east-1:123456789012:/applications"
ROLE = "arn:aws:iam::123456789012:role/job"


class EmrServerless(SimulatedService):
    """Job runs, all of them running until they are cancelled."""

    name = "emr-serverless"

    def __init__(self, population: Population, ends: Ends) -> None:
        super().__init__(population, ends)
        self._applications = {f"00f{index:013x}": numbers for index, numbers in enumerate(self.scopes)}

    def answer(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        """As the service's own."""
        if operation == "ListApplications":
            return self._list_applications(params)
        application = params["applicationId"]
        numbers = self._applications.get(application)
        if numbers is None:
            raise Refused("ResourceNotFoundException", f"Application {application} does not exist.", 404)
        if operation == "GetApplication":
            (found,) = [
                one for one in self._list_applications({})["applications"] if one["id"] == application
            ]
            return {"application": {**found, "applicationId": application}}
        if operation == "ListJobRuns":
            return self._list(application, numbers, params)
        number = int(params["jobRunId"], 16)
        if number not in numbers:
            raise Refused("ResourceNotFoundException", f"Job run {params['jobRunId']} does not exist.", 404)
        return self._cancel(number, params) if operation == "CancelJobRun" else self._get(application, number)

    def _list_applications(self, params: dict[str, Any]) -> dict[str, Any]:
        ids = list(self._applications)
        found, token = page(range(len(ids)), APPLICATIONS_PER_PAGE, params.get("nextToken"), lambda _: True)
        applications = [
            {
                "id": ids[index],
                "arn": f"{ARN}/{ids[index]}",
                "name": f"application {index}",
                "releaseLabel": "emr-7.9.0",
                "type": "Spark",
                "state": "STARTED",
                "createdAt": SINCE,
                "updatedAt": SINCE,
            }
            for index in found
        ]
        return with_token({"applications": applications}, "nextToken", token)

    def _list(self, application: str, numbers: range, params: dict[str, Any]) -> dict[str, Any]:
        states = params.get("states")
        found, token = page(
            numbers[::-1],
            min(int(params.get("maxResults", RUNS_PER_PAGE)), RUNS_PER_PAGE),
            params.get("nextToken"),
            lambda number: not states or self._state(number) in states,
        )
        runs = [{"id": run_id(number), **self._run(application, number)} for number in found]
        return with_token({"jobRuns": runs}, "nextToken", token)

    def _get(self, application: str, number: int) -> dict[str, Any]:
        driver = {"sparkSubmit": {"entryPoint": "s3://bucket/jobs/aggregate.py"}}
        return {"jobRun": {"jobRunId": run_id(number), "jobDriver": driver, **self._run(application, number)}}

    def _cancel(self, number: int, params: dict[str, Any]) -> dict[str, Any]:
        if self.ends.has_ended(number):
            raise Refused("ValidationException", "Job run is not in a cancellable state.")
        self.ends.ask(number)
        return {"applicationId": params["applicationId"], "jobRunId": params["jobRunId"]}

    def _state(self, number: int) -> str:
        if self.ends.has_ended(number):
            return "SUCCESS" if self.ends.has_succeeded(number) else "CANCELLED"
        return "CANCELLING" if self.ends.is_ending(number) else "RUNNING"

    def _run(self, application: str, number: int) -> dict[str, Any]:
        label = self.population.label(number)
        return {
            "applicationId": application,
            "name": f"aggregate {number}" + (f" {label}" if label else ""),
            "arn": f"{ARN}/{application}/jobruns/{run_id(number)}",
            "createdBy": ROLE,
            "createdAt": SINCE,
            "updatedAt": SINCE,
            "executionRole": ROLE,
            "state": self._state(number),
            "stateDetails": "",
            "releaseLabel": "emr-7.9.0",
            "type": "Spark",
            "mode": "BATCH",
            "attempt": 1,
        }


def run_id(number: int) -> str:
    """A run's id, which is its number."""
    return f"{number:016x}"
