"""The report of one sweep: for people, as JSON, and as metrics."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobStatus, RemoteJob
from airflow_cancel_provider.metrics import PREFIX, Layer, Stats, send_cancel
from airflow_cancel_provider.reaper.judge import DecisionKind, Found

log = logging.getLogger(__name__)

WHAT_TO_DO = (
    "Jobs with a dead letter are not asked again. When you have seen to them: "
    "airflow remote-jobs dead-letters --retry JOB, or --acknowledge JOB."
)
DONE = (CancelOutcome.GONE, CancelOutcome.ALREADY_ENDED)
TAKEN = (CancelOutcome.REQUESTED, CancelOutcome.ALREADY_CANCELLING)
FAILED = (CancelOutcome.REFUSED.lower(), CancelOutcome.UNANSWERED.lower())


@dataclass
class Orphan:
    """A job that is an orphan by two checks, and the outcome of its cancel."""

    found: Found
    is_braked: bool = False
    """Whether it is not cancelled because there are too many."""
    result: CancelResult | None = None
    status: JobStatus | None = None
    is_on_record: bool = False
    """Whether its end is on record of its task."""
    counted: set[str] = field(default_factory=set)
    """What was counted of it in metrics: one whose end takes long is in the reports of several sweeps."""

    @property
    def job(self) -> RemoteJob:
        """Its address."""
        return self.found.job

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or had ended before the cancel."""
        ended = self.status is not None and self.status.state.is_terminal
        return ended or (self.result is not None and self.result.outcome in DONE)

    @property
    def is_taken(self) -> bool:
        """Whether the service has accepted a request to cancel it."""
        return self.result is not None and self.result.outcome in TAKEN

    @property
    def is_unanswered(self) -> bool:
        """Whether the service did not answer the request to cancel it."""
        return self.fate == CancelOutcome.UNANSWERED.lower()

    @property
    def fate(self) -> str:
        """What happened to it, in one word."""
        if self.is_over:
            return "ended"
        if self.is_braked:
            return "braked"
        return self.result.outcome.lower() if self.result else "found"

    def outcomes(self) -> Iterator[str]:
        """As :meth:`Cancellation.outcomes`, each word once."""
        words = {
            "requested": self.is_taken,
            "confirmed": self.is_taken and self.is_over,
            "failed": self.fate in FAILED,
        }
        for word, is_so in words.items():
            if is_so and word not in self.counted:
                self.counted.add(word)
                yield word

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        claim = self.found.claim
        return {
            "job": str(self.job),
            "name": claim.name,
            "task": self.found.task,
            "because": self.found.decision.because,
            "submitted_at": claim.submitted_at.isoformat() if claim.submitted_at else None,
            "state": str((self.status or claim).state),
            "fate": self.fate,
            "detail": self.result.detail if self.result else None,
        }

    def in_words(self, now: datetime, *, is_dry: bool) -> str:
        """A line for people, with its age."""
        claim = self.found.claim
        name = f" {claim.name!r}" if claim.name else ""
        submitted = f", submitted {_time_and_age(claim.submitted_at, now)}" if claim.submitted_at else ""
        fate = "would be cancelled" if is_dry and not self.is_braked else self.fate
        detail = f" [{self.result.detail}]" if self.result and self.result.detail else ""
        return f"{self.job}{name}{submitted}: {self.found.decision.because}: {fate}{detail}"


@dataclass
class Report:
    """One sweep.

    ``deployment_name`` is what ``deployment`` stands for in labels.
    ``scopes`` counts by cluster, queue or application the jobs of each kind; ``foreign`` those of other
    Airflows by their labels; ``letters`` are the dead letters; ``troubles`` has a sentence for
    everything that could not be checked or done.
    """

    deployment: str
    is_dry: bool = False
    deployment_name: str = ""
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: float = 0.0
    scopes: dict[str, Counter[DecisionKind]] = field(default_factory=lambda: defaultdict(Counter))
    foreign: Counter[str] = field(default_factory=Counter)
    orphans: list[Orphan] = field(default_factory=list)
    letters: dict[str, dict[str, Any]] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    _suspects: dict[RemoteJob, str] = field(default_factory=dict, repr=False)
    """The scopes of jobs that are orphans by the first check."""

    def count(self, place: str, scope: str, found: Found) -> None:
        """Count one job that was checked."""
        self.scopes[f"{place}/{scope}"][found.decision.kind] += 1
        if found.decision.kind is DecisionKind.SUSPECT:
            self._suspects[found.job] = f"{place}/{scope}"
        if found.decision.kind is DecisionKind.FOREIGN and found.claim.label:
            self.foreign[found.claim.label.deployment] += 1

    def confirm(self, orphans: Iterable[Orphan]) -> None:
        """Count suspects as orphans that are confirmed by the second check."""
        for orphan in orphans:
            if (where := self._suspects.pop(orphan.job, None)) is not None:
                self.scopes[where].subtract([DecisionKind.SUSPECT])
                self.scopes[where][DecisionKind.ORPHAN] += 1
                self.scopes[where] += Counter()  # drops counts of 0

    @property
    def kinds(self) -> Counter[DecisionKind]:
        """Jobs of each kind, everywhere."""
        return sum(self.scopes.values(), Counter())

    @property
    def fates(self) -> Counter[str]:
        """Number of orphans by their fate."""
        return Counter(orphan.fate for orphan in self.orphans)

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing for a person to deal with."""
        return not self.troubles and not self.letters

    @property
    def gauges(self) -> dict[str, float]:
        """The metrics, by name."""
        fates, kinds = self.fates, self.kinds
        counts = {
            "living": kinds.total(),
            "orphans": len(self.orphans),
            "cancelled": sum(orphan.is_taken for orphan in self.orphans),
            "confirmed": fates["ended"],
            **{fate: fates[fate] for fate in ("braked", "refused", "unanswered")},
            "unknown": kinds[DecisionKind.UNKNOWN],
            "dead_letters": len(self.letters),
            "troubles": len(self.troubles),
            "calls": self.calls.total(),
            "sweep_seconds": self.seconds,
        }
        return {name: float(count) for name, count in counts.items()}

    def as_json(self, *, most: int | None = None) -> dict[str, Any]:
        """Plain values; at most so many orphans, scopes, dead letters and troubles are listed."""
        return {
            "started": self.started.isoformat(),
            "seconds": round(self.seconds, 3),
            "deployment": self.deployment,
            "deployment_name": self.deployment_name,
            "dry_run": self.is_dry,
            "jobs": _by_name(self.kinds),
            "scopes": {scope: _by_name(kinds) for scope, kinds in list(self.scopes.items())[:most]},
            "foreign": dict(self.foreign),
            "fates": dict(self.fates),
            "orphans": [orphan.as_json() for orphan in self.orphans[:most]],
            "dead_letters": dict(list(self.letters.items())[:most]),
            "troubles": self.troubles[:most],
            "calls": dict(self.calls),
        }

    def __str__(self) -> str:
        dry = "Dry run: nothing is cancelled. " if self.is_dry else ""
        now = self.started + timedelta(seconds=self.seconds)
        cost = f"{len(self.scopes)} scopes, {self.calls.total()} calls, {self.seconds:.1f} s"
        name = f"{self.deployment_name} ({self.deployment})" if self.deployment_name else self.deployment
        lines = [f"{dry}Deployment {name}: {_counted(self.kinds) or 'no jobs seen'}; {cost}."]
        lines += [f"  {scope}: {_counted(kinds)}" for scope, kinds in sorted(self.scopes.items()) if kinds]
        lines += [f"  of another Airflow, {name}: {number}" for name, number in sorted(self.foreign.items())]
        lines += [f"  ORPHAN {each.in_words(now, is_dry=self.is_dry)}" for each in self.orphans]
        lines += [f"  DEAD LETTER {letter_in_words(*each, now)}" for each in self.letters.items()]
        lines += [f"  {WHAT_TO_DO}"] if self.letters else []
        return "\n".join(lines + [f"  TROUBLE {trouble}" for trouble in self.troubles])


def send(report: Report, open_stats: Callable[[], Stats]) -> None:
    """Send the figures of a sweep and the outcomes of its cancels. An error is logged, and changes nothing.

    Gauges ``remote_jobs.living``, ``.orphans``, ``.cancelled``, ``.confirmed``, ``.refused`` and so on;
    counters as every other layer has them.
    """
    outcomes = [(orphan.job, what) for orphan in report.orphans for what in orphan.outcomes()]
    send_cancel(outcomes, Layer.REAPER, open_stats, log)
    try:
        stats = open_stats()
        for name, value in report.gauges.items():
            stats.gauge(f"{PREFIX}.{name}", value)
    except Exception as error:  # noqa: BLE001  a metrics client has errors of its own; the sweep is done
        log.warning("The metrics of this sweep could not be sent: %s", error)


def letter_in_words(job: str, letter: Mapping[str, Any], now: datetime) -> str:
    """A dead letter for people, with its age. People may have edited it, so every field may be missing."""
    try:
        since = _time_and_age(datetime.fromisoformat(letter["since"]), now)
    except (KeyError, OverflowError, TypeError, ValueError):
        since = "an unknown time"
    return f"{job}: {letter.get('why')} (since {since}; {letter.get('task') or 'task unknown'})"


def _time_and_age(moment: datetime, now: datetime) -> str:
    """A time in UTC and how long ago it was: ``2026-11-20 12:30:00 UTC, 2 hours ago``.

    :param moment: with a zone, or in UTC.
    """
    # Slow to import, and not needed for every report.
    import pendulum

    moment = pendulum.instance(moment).in_timezone("UTC")
    age = moment.diff_for_humans(pendulum.instance(now), absolute=True, locale="en")
    direction = "ago" if moment <= now else "ahead"
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC, {age} {direction}"


def _by_name(kinds: Counter[DecisionKind]) -> dict[str, int]:
    return {str(kind): number for kind, number in sorted(kinds.items())}


def _counted(kinds: Counter[DecisionKind]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
