"""Time and states. A job's state is computed from the clock when somebody looks: nothing runs behind it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any


class Clock:
    """Wall clock in epoch seconds that tests may move ahead. Call it, or use ``now()``."""

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self._offset = 0.0

    def __call__(self) -> float:
        return self._source() + self._offset

    now = __call__

    def advance(self, seconds: float) -> None:
        """Let the given number of seconds pass at once for every job."""
        self._offset += seconds

    def reset(self) -> None:
        """Go back to the time of the source."""
        self._offset = 0.0


@dataclass(frozen=True)
class Timings:
    """How a job lives. Times in seconds; each service maps them on its own states.

    outcome: "success" or "failure", the end of a job that nobody cancels.
    stubborn: ignores a polite request to stop (SIGTERM), ends only when killed.
    refuse: error code with which the service refuses to cancel this job, "" for none.
    unseen: for so long after its submission, requests by its id don't find it (eventual consistency).
    """

    submitted: float = 0.05
    pending: float = 0.3
    starting: float = 0.1
    run: float = 3600.0
    cancel: float = 0.5
    outcome: str = "success"
    stubborn: bool = False
    refuse: str = ""
    unseen: float = 0.0

    def __post_init__(self) -> None:
        if self.outcome not in ("success", "failure"):
            raise ValueError(f"outcome must be success or failure: {self.outcome}")


TIMING_NAMES = frozenset(f.name for f in fields(Timings))


class Settings:
    """Timings and options of one service, with overrides for jobs by id, name or scope (shell patterns)."""

    def __init__(self, timings: Timings | None = None, **options: Any) -> None:
        self._initial = (timings or Timings(), dict(options))
        self.reset()

    def reset(self) -> None:
        """Go back to the values at construction."""
        self.defaults, options = self._initial
        self.options = dict(options)
        self.overrides: dict[str, dict[str, Any]] = {}

    def set(self, **values: Any) -> None:
        """Change defaults: names of ``Timings`` or of this service's options."""
        unknown = set(values) - TIMING_NAMES - set(self.options)
        if unknown:
            raise ValueError(f"unknown settings: {sorted(unknown)}")
        self.defaults = replace(self.defaults, **{k: v for k, v in values.items() if k in TIMING_NAMES})
        self.options.update({k: v for k, v in values.items() if k in self.options})

    def override(self, pattern: str, **values: Any) -> None:
        """Give other timings to the jobs whose id, name or scope matches the pattern."""
        unknown = set(values) - TIMING_NAMES
        if unknown:
            raise ValueError(f"unknown settings: {sorted(unknown)}")
        self.overrides.setdefault(pattern, {}).update(values)

    def timings(self, *names: str) -> Timings:
        """Timings of the job that goes by these names; a later override wins over an earlier one."""
        chosen = self.defaults
        for pattern, values in self.overrides.items():
            if any(fnmatchcase(name, pattern) for name in names):
                chosen = replace(chosen, **values)
        return chosen

    def update(self, values: dict[str, Any]) -> None:
        """Apply what ``PUT /_cloud/settings`` carries for one service."""
        values = dict(values)
        overrides: dict[str, dict[str, Any]] = values.pop("overrides", {})
        self.set(**values)
        for pattern, changes in overrides.items():
            self.override(pattern, **changes)

    def as_dict(self) -> dict[str, Any]:
        """All settings, JSON-ready."""
        return {**asdict(self.defaults), **self.options, "overrides": dict(self.overrides)}


@dataclass(frozen=True)
class End:
    """How and when a job ends; ``at`` is infinite while nothing ends it."""

    at: float
    state: str
    reason: str = ""
    cancelled: bool = False


@dataclass(frozen=True)
class Words:
    """The state names that a service gives to the turns of a life.

    stages: (state, name of the field of Timings) in order. hold: the state in which a job waits, after
    the first stage, for something other than time. cancelling: shown from the request until the end,
    None where the service goes on showing the ordinary state.
    """

    stages: Sequence[tuple[str, str]]
    success: str
    failure: str
    cancelled: str
    hold: str = ""
    cancelling: str | None = None
    cancel_wins: bool = False


@dataclass
class Life:
    """The life of one job from creation to end, as a function of time."""

    words: Words
    timings: Timings
    created_at: float
    held: bool = False
    attempts: int = 1
    released_at: float | None = None
    cancel_requested_at: float | None = None
    cancel_ends_at: float = math.inf
    cancel_reason: str = ""
    pinned: End | None = None

    def release(self, at: float) -> None:
        """End the wait in the hold state."""
        self.released_at = at

    def request_cancel(self, now: float, ends_at: float, reason: str) -> None:
        """Note a cancel request; a further one can only bring the end closer."""
        if self.cancel_requested_at is None:
            self.cancel_requested_at, self.cancel_reason = now, reason
        self.cancel_ends_at = min(self.cancel_ends_at, ends_at)

    def finish(self, at: float, state: str, reason: str = "", *, cancelled: bool = False) -> None:
        """End the job at once, whatever its plan says; a job that has ended stays as it is."""
        told = state == self.words.cancelled != self.words.failure
        if self.end().at > at:
            self.pinned = End(at, state, reason, cancelled or told)

    def _spans(self) -> list[tuple[str, float, float]]:
        """Stages as (state, begin, end)."""
        stages = list(self.words.stages)
        if self.timings.outcome == "failure":
            stages += stages[1:] * (self.attempts - 1)
        spans: list[tuple[str, float, float]] = []
        at = self.created_at
        for index, (state, name) in enumerate(stages):
            if index == 1 and self.held:
                until = math.inf if self.released_at is None else max(at, self.released_at)
                spans.append((self.words.hold, at, until))
                at = until
            until = at + float(getattr(self.timings, name))
            spans.append((state, at, until))
            at = until
        return spans

    def end(self) -> End:
        """The end as things stand now; it may still move with later requests."""
        if self.pinned:
            return self.pinned
        cancelled = End(self.cancel_ends_at, self.words.cancelled, self.cancel_reason, cancelled=True)
        natural = self._spans()[-1][2]
        if cancelled.at < natural or (self.words.cancel_wins and cancelled.at < math.inf):
            return cancelled
        failed = self.timings.outcome == "failure"
        return End(natural, self.words.failure if failed else self.words.success)

    def state(self, now: float) -> str:
        """The service's state at the given time."""
        end = self.end()
        if now >= end.at:
            return end.state
        if self.cancel_requested_at is not None and self.words.cancelling:
            return self.words.cancelling
        return self.stage(now)

    def stage(self, now: float) -> str:
        """The stage of the plan at the given time, cancel requests left aside."""
        spans = self._spans()
        return next((state for state, _, until in spans if now < until), spans[-1][0])

    def entered(self, state: str, now: float) -> float | None:
        """When the job came into a stage, None when it never did or has not yet."""
        limit = min(now, self.end().at)
        return next((begin for name, begin, _ in self._spans() if name == state and begin <= limit), None)

    def is_seen(self, now: float) -> bool:
        """Whether the service knows already what it has taken."""
        return now >= self.created_at + self.timings.unseen

    def ended(self, now: float) -> bool:
        """Whether the job has reached its end."""
        return now >= self.end().at

    def ended_at(self, now: float) -> float | None:
        """When the job ended, None while it lives."""
        end = self.end()
        return end.at if now >= end.at else None

    def truth(self, now: float) -> dict[str, Any]:
        """The time-dependent part of ``CloudService.jobs()``."""
        end = self.end()
        over = now >= end.at
        return {
            "state": self.state(now),
            "cancelled": over and end.cancelled,
            "reason": end.reason if over else self.cancel_reason,
            "created_at": self.created_at,
            "cancel_requested_at": self.cancel_requested_at,
            "ended_at": end.at if over else None,
        }
