"""Job executions of MRS and how its two APIs show them.

Follows mrs_02_0086 and mrs_02_0087 (V2), mrs_02_0046 and mrs_02_0047 (V1.1) of the OTC API reference.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from tests.cloud.lifecycle import Life, Words

WORDS = Words(
    stages=(("New", "submitted"), ("SUBMITTED", "pending"), ("ACCEPTED", "starting"), ("RUNNING", "run")),
    success="SUCCEEDED",
    failure="FAILED",
    cancelled="KILLED",
)
ENDS = {
    "SUCCEEDED": ("FINISHED", "SUCCEEDED"),
    # YARN's way: the application has finished, badly. Who looks at job_state alone takes it for a success.
    "FAILED": ("FINISHED", "FAILED"),
    "KILLED": ("KILLED", "KILLED"),
}
OLD_STATES = {"New": 1, "SUBMITTED": 1, "ACCEPTED": 1, "RUNNING": 2}
OLD_ENDS = {"SUCCEEDED": (3, 2), "FAILED": (3, 1), "KILLED": (-1, 3)}
OLD_TYPES = {1: "MapReduce", 2: "SparkSubmit", 3: "HiveScript", 5: "DistCp", 6: "SparkScript"}


@dataclass(eq=False)
class Job:
    """One job execution: what was asked for, and its life."""

    id: str
    cluster_id: str
    name: str
    type: str
    arguments: list[str]
    properties: dict[str, str]
    life: Life

    def states(self, now: float) -> tuple[str, str]:
        """job_state and job_result of V2."""
        state = self.life.state(now)
        return ENDS.get(state, (state, "UNDEFINED"))

    def v2(self, now: float) -> dict[str, Any]:
        """A job_detail. Lists and maps come as Java prints them."""
        state, result = self.states(now)
        ended = self.life.ended_at(now)
        return {
            "job_id": self.id,
            "user": "demo",
            "job_name": self.name,
            "job_result": result,
            "job_state": state,
            "job_progress": "1.0" if ended else "0.1",
            "job_type": self.type,
            "started_time": milliseconds(self.life.created_at),
            "submitted_time": milliseconds(self.life.created_at),
            "finished_time": milliseconds(ended or 0),
            "elapsed_time": str(milliseconds((ended or now) - self.life.created_at)),
            "queue": "default",
            "arguments": f"[{', '.join(self.arguments)}]",
            "properties": "{" + ", ".join(f"{key}={value}" for key, value in self.properties.items()) + "}",
            "launcher_id": "application_1571217777777_0001",
            "app_id": "application_1571217777777_0002",
            "tracking_url": "https://knox/jobs",
        }

    def v1(self, now: float) -> dict[str, Any]:
        """A job_execution of job-exes."""
        state = self.life.state(now)
        code, final = OLD_ENDS.get(state, (OLD_STATES.get(state, 2), 0))
        return {
            "id": self.id,
            "job_id": "",
            "job_name": self.name,
            "cluster_id": self.cluster_id,
            "create_at": milliseconds(self.life.created_at),
            "update_at": milliseconds(now),
            "job_type": next((number for number, name in OLD_TYPES.items() if name == self.type), 1),
            "arguments": " ".join(self.arguments),
            "job_state": code,
            "job_final_status": final,
            "spend_time": now - self.life.created_at,
            "progress": "1" if self.life.ended(now) else "0",
            "credentials": "",
        }

    def cancelled(self, project: str, now: float) -> dict[str, Any]:
        """A job_execution as V1.1's cancel answers it: without any state."""
        return {
            "created_at": iso(self.life.created_at),
            "updated_at": iso(now),
            "id": self.id,
            "tenant_id": project,
            "job_id": "",
            "start_time": iso(self.life.created_at),
            "end_time": None,
            "cluster_id": self.cluster_id,
            "oozie_job_id": None,
            "return_code": None,
            "input_id": None,
            "output_id": None,
            "is_protected": None,
            "is_public": None,
            "engine_job_id": None,
            "job_configs": {"args": self.arguments, "configs": self.properties},
            "data_source_urls": None,
            "info": None,
        }

    def truth(self, now: float) -> dict[str, Any]:
        """For ``CloudService.jobs()``; ``state`` is V2's job_state, ``result`` its job_result."""
        state, result = self.states(now)
        return {
            **self.life.truth(now),
            "service": "mrs",
            "scope": self.cluster_id,
            "id": self.id,
            "name": self.name,
            "state": state,
            "result": result,
            "labels": dict(self.properties),
        }


def milliseconds(at: float) -> int:
    return int(at * 1000)


def iso(at: float) -> str:
    """Local time without a zone, as V1.1 prints it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))
