"""Job runs of EMR Serverless and how the service shows them.

Follows "Job states" and "Job cancellation with grace period" of the EMR Serverless User Guide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.cloud.aws import Place
from tests.cloud.lifecycle import Life, Words

RUN_STATES = (
    "SUBMITTED",
    "QUEUED",
    "PENDING",
    "SCHEDULED",
    "RUNNING",
    "SUCCESS",
    "FAILED",
    "CANCELLING",
    "CANCELLED",
)
FINAL_STATES = ("SUCCESS", "FAILED", "CANCELLED")
STREAMING_GRACE = 120

WORDS = Words(
    stages=(
        ("SUBMITTED", "submitted"),
        ("PENDING", "pending"),
        ("SCHEDULED", "starting"),
        ("RUNNING", "run"),
    ),
    success="SUCCESS",
    failure="FAILED",
    cancelled="CANCELLED",
    cancelling="CANCELLING",
    cancel_wins=True,
)


@dataclass(eq=False)
class Run:
    """One job run: what was asked for, and its life."""

    id: str
    application_id: str
    release: str
    engine: str
    request: dict[str, Any]
    place: Place
    created_by: str
    life: Life
    attempt: int = 1

    @property
    def scope(self) -> str:
        return self.application_id

    @property
    def name(self) -> str:
        return str(self.request.get("name") or "")

    @property
    def mode(self) -> str:
        return str(self.request.get("mode") or "BATCH")

    @property
    def arn(self) -> str:
        where = f"arn:aws:emr-serverless:{self.place.region}:{self.place.account}"
        return f"{where}:/applications/{self.application_id}/jobruns/{self.id}"

    def cancel(self, grace: int | None, now: float) -> None:
        """Ask the run to end; one that is already on the way out is left alone."""
        if self.life.cancel_requested_at is not None:
            return
        timings = self.life.timings
        if grace is None:
            grace = STREAMING_GRACE if self.mode == "STREAMING" else 0
        # A well-behaved job shuts down in its own time, a stubborn one is killed when its grace is over.
        seconds = max(grace, timings.cancel) if timings.stubborn else timings.cancel
        self.life.request_cancel(now, now + seconds, "JobRun cancelled by request.")

    def _updated_at(self, now: float) -> float:
        times = [self.life.ended_at(now), self.life.cancel_requested_at]
        times += [self.life.entered(state, now) for state, _ in WORDS.stages]
        return max(at for at in times if at is not None)

    def _common(self, now: float) -> dict[str, Any]:
        end, ended = self.life.end(), self.life.ended(now)
        updated = self._updated_at(now)
        shown = {
            "applicationId": self.application_id,
            "arn": self.arn,
            "createdBy": self.created_by,
            "createdAt": self.life.created_at,
            "updatedAt": updated,
            "executionRole": self.request["executionRoleArn"],
            "state": self.life.state(now),
            "stateDetails": end.reason if ended else "",
            "releaseLabel": self.release,
            "mode": self.mode,
            "attempt": self.attempt,
            "attemptCreatedAt": self.life.created_at,
            "attemptUpdatedAt": updated,
        }
        return {**shown, "name": self.name} if self.name else shown

    def summary(self, now: float) -> dict[str, Any]:
        """A JobRunSummary: neither tags nor client token."""
        return {**self._common(now), "id": self.id, "type": self.engine}

    def detail(self, now: float, attempt: int) -> dict[str, Any]:
        """A JobRun as of one of its attempts: those before the present one have failed."""
        times = {"startedAt": self.life.entered("RUNNING", now), "endedAt": self.life.ended_at(now)}
        echoed = ("configurationOverrides", "executionTimeoutMinutes", "retryPolicy")
        failed = {"attempt": attempt, "state": "FAILED"} if attempt < self.attempt else {}
        return {
            **self._common(now),
            **failed,
            "jobRunId": self.id,
            "jobDriver": self.request.get("jobDriver") or {},
            "tags": self.request.get("tags") or {},
            "executionTimeoutMinutes": 720,
            **{key: self.request[key] for key in echoed if self.request.get(key) is not None},
            **{key: at for key, at in times.items() if at is not None},
        }
