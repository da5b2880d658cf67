"""Amazon EMR: clusters, and the steps in them."""

from __future__ import annotations

from bisect import bisect
from typing import Any

from benchmarks.account.ends import Ends
from benchmarks.account.population import Population
from benchmarks.account.quotas import CLUSTERS_PER_PAGE, STEPS_PER_CANCEL, STEPS_PER_LOOKUP, STEPS_PER_PAGE
from benchmarks.account.service import SINCE, Refused, SimulatedService, page, with_token


class Emr(SimulatedService):
    """Steps of long-running clusters; the first of each run, the others wait."""

    name = "emr"

    def __init__(self, population: Population, ends: Ends) -> None:
        super().__init__(population, ends)
        self._clusters = {f"j-{index:013X}": numbers for index, numbers in enumerate(self.scopes)}

    def answer(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        """As the service's own."""
        if operation == "ListClusters":
            return self._list_clusters(params)
        numbers = self._clusters.get(params["ClusterId"])
        if numbers is None:
            raise _invalid(f"Cluster id '{params['ClusterId']}' is not valid.")
        if operation == "DescribeCluster":
            status = {"State": "RUNNING", "StateChangeReason": {}, "Timeline": {}}
            return {"Cluster": {"Id": params["ClusterId"], "ReleaseLabel": "emr-7.9.0", "Status": status}}
        if operation == "DescribeStep":
            return {"Step": self._step(self._number(params["StepId"], numbers), numbers)}
        return self._list(numbers, params) if operation == "ListSteps" else self._cancel(numbers, params)

    def _list_clusters(self, params: dict[str, Any]) -> dict[str, Any]:
        ids = list(self._clusters)
        found, token = page(range(len(ids)), CLUSTERS_PER_PAGE, params.get("Marker"), lambda _: True)
        clusters = [
            {"Id": ids[index], "Name": f"cluster {index}", "Status": {"State": "RUNNING"}} for index in found
        ]
        return with_token({"Clusters": clusters}, "Marker", token)

    def _list(self, numbers: range, params: dict[str, Any]) -> dict[str, Any]:
        asked, states = params.get("StepIds"), params.get("StepStates")
        if asked and len(asked) > STEPS_PER_LOOKUP:
            raise _invalid(f"At most {STEPS_PER_LOOKUP} step ids.")
        if asked:
            steps = [self._step(self._number(step, numbers), numbers) for step in asked]
            return {"Steps": steps}
        found, token = page(
            numbers if states else numbers[::-1],
            STEPS_PER_PAGE,
            params.get("Marker"),
            lambda number: not states or self._state(number, numbers) in states,
        )
        return with_token({"Steps": [self._step(number, numbers) for number in found]}, "Marker", token)

    def _cancel(self, numbers: range, params: dict[str, Any]) -> dict[str, Any]:
        ids = params["StepIds"]
        if len(ids) > STEPS_PER_CANCEL:
            raise _invalid(f"At most {STEPS_PER_CANCEL} step ids.")
        infos = []
        for step in ids:
            number = self._number(step, numbers)
            state = self._state(number, numbers)
            if state in ("PENDING", "RUNNING"):
                self.ends.ask(number)
                infos.append({"StepId": step, "Status": "SUBMITTED"})
            else:
                reason = f"Cannot cancel the step. It is already {state}."
                infos.append({"StepId": step, "Status": "FAILED", "Reason": reason})
        return {"CancelStepsInfoList": infos}

    def _state(self, number: int, cluster: range) -> str:
        if self.ends.has_ended(number):
            return "COMPLETED" if self.ends.has_succeeded(number) else "CANCELLED"
        if self.ends.is_ending(number):
            return "CANCEL_PENDING"
        return "RUNNING" if cluster.index(number) < 10 + self._ended_of(cluster) else "PENDING"

    def _ended_of(self, cluster: range) -> int:
        """How many steps have ended in their order."""
        if not (self.ends.finishing and self.ends.finishing.queues):
            return 0
        return bisect(cluster, False, key=lambda number: not self.ends.has_succeeded(number))

    def _step(self, number: int, cluster: range) -> dict[str, Any]:
        label = self.population.label(number)
        return {
            "Id": step_id(number),
            "Name": f"aggregate {number}" + (f" {label}" if label else ""),
            "Config": {
                "Jar": "command-runner.jar",
                "Properties": {},
                "Args": ["spark-submit", "--deploy-mode", "cluster", "s3://bucket/jobs/aggregate.py"],
            },
            "ActionOnFailure": "CONTINUE",
            "Status": {
                "State": self._state(number, cluster),
                "StateChangeReason": {},
                "Timeline": {"CreationDateTime": SINCE},
            },
        }

    def _number(self, step: str, cluster: range) -> int:
        number = int(step.removeprefix("s-"), 16)
        if number not in cluster:
            raise _invalid(f"Step id '{step}' is not valid.")
        return number


def step_id(number: int) -> str:
    """A step's id, which is its number."""
    return f"s-{number:013X}"


def _invalid(message: str) -> Refused:
    return Refused("InvalidRequestException", message)
