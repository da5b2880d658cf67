"""What a soak comes to, as text and as JSON."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.soak.disturbances import Trouble
from tests.soak.judge import Fate, Verdict
from tests.soak.plan import Plan
from tests.soak.record import Record

SLOWEST = 5
BAD = (Fate.ORPHAN, Fate.WRONG)


@dataclass
class Outcome:
    """All there is to tell.

    :param who: who asked each job to end, by its id.
    :param failures: what went wrong with the soak itself, a sentence each.
    :param hung: triggerers that hung.
    """

    plan: Plan
    records: Sequence[Record]
    troubles: Sequence[Trouble]
    verdicts: Sequence[Verdict]
    who: dict[str, str]
    failures: list[str] = field(default_factory=list)
    hung: int = 0

    @property
    def bad(self) -> list[Verdict]:
        """Orphans and wrong cancels."""
        return [verdict for verdict in self.verdicts if verdict.fate in BAD]

    @property
    def is_clean(self) -> bool:
        """Whether there is none, and the soak itself went well."""
        return not self.bad and not self.failures

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        fates = Counter(verdict.fate for verdict in self.verdicts)
        whose = Counter(verdict.whose for verdict in self.verdicts)
        started = [record for record in self.records if record.run_id]
        lines = [
            f"Seed {self.plan.seed}, {self.plan.minutes:g} minutes: {len(self.plan.tasks)} tasks planned.",
            f"Task runs: {len(started)}; tries: {sum(len(record.tries) for record in started)}.",
            f"Ended: {_counts(record.state for record in started)}.",
            f"Jobs: {len(self.verdicts)} ({_counts(whose.elements())}).",
            *_table("Faults of tasks", (record.task.kind for record in started)),
            *_table("Bad answers about one task's jobs", self._weather()),
            *_table("Components and services", (trouble.what for trouble in self.troubles)),
            *_table("Cancelled by", (self.who[v.job] for v in self.verdicts if v.fate is Fate.CANCELLED)),
            ", ".join(f"{fate}: {fates[fate]}" for fate in Fate),
            self._times("From the fault to the request to cancel", calm=False),
            self._times("The same, where nothing else was in trouble", calm=True),
        ]
        lines += ["The slowest:", *map(self._slow, self._slowest())]
        if self.hung:
            lines.append(f"Triggerers that hung, and were started anew: {self.hung}")
        lines += [self._line(verdict) for verdict in self.bad]
        return lines + [f"SOAK {failure}" for failure in self.failures]

    def _weather(self) -> Iterable[str]:
        tasks = [record.task for record in self.records if record.run_id and record.task.weather]
        return (f"{task.weather} on {task.calls}" for task in tasks)

    def _times(self, words: str, *, calm: bool) -> str:
        seconds = self.seconds(calm=calm)
        if not seconds:
            return f"{words}: none"
        worst, median = max(seconds), statistics.median(seconds)
        return f"{words}: median {median:.1f} s, worst {worst:.1f} s ({len(seconds)} jobs)"

    def seconds(self, *, calm: bool) -> list[float]:
        """From faults to requests."""
        return [v.seconds for v in self.verdicts if v.seconds is not None and (v.is_calm or not calm)]

    def _slowest(self) -> list[Verdict]:
        timed = [verdict for verdict in self.verdicts if verdict.seconds is not None]
        return sorted(timed, key=lambda verdict: -(verdict.seconds or 0.0))[:SLOWEST]

    def _slow(self, verdict: Verdict) -> str:
        record = next(record for record in self.records if record.task.number == verdict.task)
        calm = "" if verdict.is_calm else ", in troubled times"
        return f"  {verdict.seconds:5.1f} s, {self.who[verdict.job]}{calm}: {record.task}"

    def _line(self, verdict: Verdict) -> str:
        record = next((r for r in self.records if r.task.number == verdict.task), None)
        words = f"{verdict.fate} {verdict.service} {verdict.job}: {verdict.why}"
        if record is None:
            return words
        return f"{words}; {record.dag_id} {record.run_id} in {record.scope}; {record.task} {record.notes}"

    def as_json(self) -> dict[str, Any]:
        """Everything."""
        return {
            "plan": self.plan.as_json(),
            "clean": self.is_clean,
            "runs": sum(bool(record.run_id) for record in self.records),
            "fates": dict(Counter(str(verdict.fate) for verdict in self.verdicts)),
            "troubles": [asdict(trouble) for trouble in self.troubles],
            "records": [asdict(record) for record in self.records],
            "verdicts": [{**asdict(v), "who": self.who.get(v.job)} for v in self.verdicts],
            "hung": self.hung,
            "failures": self.failures,
        }


def _counts(words: Iterable[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in Counter(words).most_common())


def _table(title: str, words: Iterable[str]) -> list[str]:
    counted = Counter(words).most_common()
    return [f"{title}:", *(f"  {count:4} {word}" for word, count in counted)] if counted else []
