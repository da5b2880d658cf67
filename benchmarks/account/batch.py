"""AWS Batch: queues, and the jobs in them."""

from __future__ import annotations

from typing import Any

from benchmarks.account.ends import Ends
from benchmarks.account.population import Population
from benchmarks.account.quotas import JOBS_PER_CANCEL, JOBS_PER_LOOKUP, JOBS_PER_PAGE, QUEUES_PER_PAGE
from benchmarks.account.service import SINCE, Refused, SimulatedService, page, place, with_token

ARN = "arn:aws:batch:us-east-1:123456789012"
STATES = {"SUBMITTED": 0.01, "PENDING": 0.02, "RUNNABLE": 0.27, "STARTING": 0.05, "RUNNING": 0.65}
"""Share of the jobs of a queue in each state."""
CONTAINER = {
    "image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/etl:2026.11",
    "command": ["python", "-m", "etl.load", "--table", "events", "--day", "2026-11-20"],
    "jobRoleArn": "arn:aws:iam::123456789012:role/etl-job",
    "executionRoleArn": "arn:aws:iam::123456789012:role/etl-execution",
    "volumes": [],
    "environment": [
        {"name": name, "value": "a value of ordinary length"} for name in ("STAGE", "SOURCE", "TARGET")
    ],
    "mountPoints": [],
    "ulimits": [],
    "networkInterfaces": [],
    "resourceRequirements": [{"value": "2", "type": "VCPU"}, {"value": "4096", "type": "MEMORY"}],
    "logConfiguration": {"logDriver": "awslogs", "options": {}, "secretOptions": []},
    "secrets": [],
    "fargatePlatformConfiguration": {"platformVersion": "LATEST"},
}


class Batch(SimulatedService):
    """Jobs in their queues; all that were cancelled were terminated."""

    name = "batch"
    throttling = Refused("TooManyRequestsException", "Too Many Requests", 429)

    def __init__(self, population: Population, ends: Ends) -> None:
        super().__init__(population, ends)
        self._queues = {f"queue-{index}": numbers for index, numbers in enumerate(self.scopes)}

    def answer(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        """As the service's own."""
        if operation == "DescribeJobQueues":
            return self._describe_queues(params)
        if operation == "ListJobs":
            return self._list(params)
        if operation == "TerminateJob":
            self.ends.ask(int(params["jobId"].partition("-")[0], 16))
            return {}
        ids = params["jobs"]
        if len(ids) > (JOBS_PER_LOOKUP if operation == "DescribeJobs" else JOBS_PER_CANCEL):
            raise Refused("ClientException", f"{len(ids)} jobs are too many for {operation}.")
        numbers = [number for job in ids if (number := self._number(job)) is not None]
        if operation == "DescribeJobs":
            return {"jobs": [self._detail(number) for number in numbers]}
        for number in numbers:
            self.ends.ask(number)
        return {"successful": ids, "errors": []}

    def _describe_queues(self, params: dict[str, Any]) -> dict[str, Any]:
        names = list(self._queues)
        found, token = page(range(len(names)), QUEUES_PER_PAGE, params.get("nextToken"), lambda _: True)
        queues = [
            {"jobQueueName": names[index], "status": "VALID", "state": "ENABLED", "priority": 1}
            for index in found
        ]
        return with_token({"jobQueues": queues}, "nextToken", token)

    def _list(self, params: dict[str, Any]) -> dict[str, Any]:
        numbers = self._queues[params["jobQueue"]]
        low = 0.0
        for state, share in STATES.items():
            if state == params["jobStatus"]:
                break
            low += share
        else:
            raise Refused("ClientException", f"jobStatus {params['jobStatus']} is not simulated.")
        size = len(numbers)
        inside = numbers[round(low * size) : round((low + share) * size)]
        found, token = page(
            inside, JOBS_PER_PAGE, params.get("nextToken"), lambda n: not self.ends.has_ended(n)
        )
        return with_token({"jobSummaryList": [self._summary(n, state) for n in found]}, "nextToken", token)

    def _summary(self, number: int, state: str) -> dict[str, Any]:
        return {
            "jobArn": f"{ARN}:job/{job_id(number)}",
            "jobId": job_id(number),
            "jobName": f"load-{number}",
            "createdAt": SINCE * 1000 + number,
            "status": state,
            "startedAt": SINCE * 1000 + number,
            "container": {},
            "jobDefinition": f"{ARN}:job-definition/etl:3",
            **self._cancel(number),
        }

    def _detail(self, number: int) -> dict[str, Any]:
        label, index = self.population.label(number), place(number, self.scopes)
        state = self._state(number, self.scopes[index])
        return {
            **self._summary(number, state),
            "jobQueue": f"{ARN}:job-queue/queue-{index}",
            "dependsOn": [],
            "parameters": {"day": "2026-11-20"} | ({"airflow_owner": label} if label else {}),
            "container": CONTAINER,
            "timeout": {"attemptDurationSeconds": 36000},
            "tags": {"team": "data"},
            "propagateTags": False,
            "platformCapabilities": ["FARGATE"],
            "attempts": [],
        }

    def _state(self, number: int, queue: range) -> str:
        if self.ends.has_ended(number):
            return "SUCCEEDED" if self.ends.has_succeeded(number) else "FAILED"
        high = 0.0
        for state, share in STATES.items():
            high += share
            if queue.index(number) < round(high * len(queue)):
                return state
        return "RUNNING"

    def _cancel(self, number: int) -> dict[str, Any]:
        cancelled = number in self.ends.requests
        return {"isTerminated": True, "statusReason": "Terminated on request"} if cancelled else {}

    def _number(self, job: str) -> int | None:
        """The number of a job; None for an id that the account does not know."""
        number = int(job.partition("-")[0], 16)
        return number if number < self.population.jobs and job_id(number) == job else None


def job_id(number: int) -> str:
    """A job's id, in which its number can be read."""
    return f"{number:08x}-5ca1-4e00-8000-{number * 2654435761 % 2**48:012x}"
