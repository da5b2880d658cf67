"""What one sweep saw and did, for people, for machines and for metrics."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobStatus, RemoteJob
from airflow_cancel_provider.reaper.judge import Decision, DecisionKind, OwnerState

DONE = (CancelOutcome.GONE, CancelOutcome.ALREADY_ENDED)
TAKEN = (CancelOutcome.REQUESTED, CancelOutcome.ALREADY_CANCELLING)


@dataclass
class Found:
    """One job that was looked at, and what was decided."""

    claim: JobStatus
    owner: OwnerState | None
    decision: Decision
    suspected_since: datetime

    @property
    def job(self) -> RemoteJob:
        """Its address."""
        return self.claim.job


@dataclass
class Orphan:
    """A job that two looks found to be an orphan, and what became of it."""

    found: Found
    is_braked: bool = False
    """Whether it is left alone because there are too many."""
    result: CancelResult | None = None
    status: JobStatus | None = None

    @property
    def is_over(self) -> bool:
        """Whether it was seen to end, or had ended before it could be cancelled."""
        ended = self.status is not None and self.status.state.is_terminal
        return ended or (self.result is not None and self.result.outcome in DONE)

    @property
    def is_taken(self) -> bool:
        """Whether the service has taken a request to cancel it."""
        return self.result is not None and self.result.outcome in TAKEN

    @property
    def fate(self) -> str:
        """What became of it, in a word."""
        if self.is_over:
            return "ended"
        if self.is_braked:
            return "braked"
        return self.result.outcome.lower() if self.result else "found"

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        claim = self.found.claim
        return {
            "job": str(self.found.job),
            "name": claim.name,
            "task": self.found.owner.task if self.found.owner else "",
            "because": self.found.decision.because,
            "submitted_at": claim.submitted_at.isoformat() if claim.submitted_at else None,
            "state": str((self.status or claim).state),
            "fate": self.fate,
            "detail": self.result.detail if self.result else None,
        }


@dataclass
class Report:
    """One sweep.

    ``scopes`` counts by cluster, queue or application the jobs of each kind; ``foreign`` those of other
    Airflows by their labels; ``troubles`` is what could not be looked at or done, a sentence each.
    """

    deployment: str
    is_dry: bool = False
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: float = 0.0
    scopes: dict[str, Counter[DecisionKind]] = field(default_factory=lambda: defaultdict(Counter))
    foreign: Counter[str] = field(default_factory=Counter)
    orphans: list[Orphan] = field(default_factory=list)
    letters: dict[str, dict[str, Any]] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)

    def count(self, place: str, scope: str, found: Found) -> None:
        """Count one job that was looked at."""
        self.scopes[f"{place}/{scope}"][found.decision.kind] += 1
        if found.decision.kind is DecisionKind.FOREIGN and found.claim.label:
            self.foreign[found.claim.label.deployment] += 1

    @property
    def kinds(self) -> Counter[DecisionKind]:
        """Jobs of each kind, everywhere."""
        return sum(self.scopes.values(), Counter())

    @property
    def fates(self) -> Counter[str]:
        """Orphans by what became of them."""
        return Counter(orphan.fate for orphan in self.orphans)

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing that a person should look at."""
        return not self.troubles and not self.letters

    @property
    def gauges(self) -> dict[str, float]:
        """What is sent as metrics, by name."""
        fates = self.fates
        return {
            "living": float(self.kinds.total()),
            "orphans": float(len(self.orphans)),
            "cancelled": float(sum(orphan.is_taken for orphan in self.orphans)),
            "confirmed": float(fates["ended"]),
            "braked": float(fates["braked"]),
            "refused": float(fates["refused"]),
            "unanswered": float(fates["unanswered"]),
            "unknown": float(self.kinds[DecisionKind.UNKNOWN]),
            "dead_letters": float(len(self.letters)),
            "troubles": float(len(self.troubles)),
            "calls": float(self.calls.total()),
            "sweep_seconds": self.seconds,
        }

    def as_json(self, *, most: int | None = None) -> dict[str, Any]:
        """Plain values; at most so many orphans, scopes and letters are spelled out."""
        return {
            "started": self.started.isoformat(),
            "seconds": round(self.seconds, 3),
            "deployment": self.deployment,
            "dry_run": self.is_dry,
            "jobs": {str(kind): number for kind, number in sorted(self.kinds.items())},
            "scopes": {
                scope: {str(kind): number for kind, number in sorted(kinds.items())}
                for scope, kinds in list(self.scopes.items())[:most]
            },
            "foreign": dict(self.foreign),
            "fates": dict(self.fates),
            "orphans": [orphan.as_json() for orphan in self.orphans[:most]],
            "dead_letters": dict(list(self.letters.items())[:most]),
            "troubles": self.troubles[:most],
            "calls": dict(self.calls),
        }

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(self.kinds.items())) or "no jobs"
        dry = "Dry run: nothing is cancelled. " if self.is_dry else ""
        cost = f"{len(self.scopes)} scopes, {self.calls.total()} calls, {self.seconds:.1f} s"
        lines = [f"{dry}Deployment {self.deployment}: {kinds}; {cost}."]
        lines += [f"  {scope}: {_counted(kinds)}" for scope, kinds in sorted(self.scopes.items()) if kinds]
        lines += [f"  of another Airflow, {name}: {number}" for name, number in sorted(self.foreign.items())]
        lines += [self._line(orphan) for orphan in self.orphans]
        lines += [f"  DEAD LETTER {job}: {letter.get('why')}" for job, letter in self.letters.items()]
        return lines + [f"  TROUBLE {trouble}" for trouble in self.troubles]

    def _line(self, orphan: Orphan) -> str:
        fate = "would be cancelled" if self.is_dry and not orphan.is_braked else orphan.fate
        detail = f" [{orphan.result.detail}]" if orphan.result and orphan.result.detail else ""
        since = orphan.found.claim.submitted_at
        submitted = f", submitted {since:%Y-%m-%d %H:%M:%S} UTC" if since else ""
        name = orphan.found.claim.name
        named = f" {name!r}" if name else ""
        because = orphan.found.decision.because
        return f"  ORPHAN {orphan.found.job}{named}{submitted}: {because}: {fate}{detail}"


def _counted(kinds: Counter[DecisionKind]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
