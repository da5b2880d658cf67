"""Jobs that could not be cancelled, kept until a person has dealt with them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Any

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.jobs import CancelOutcome, RemoteJob
from airflow_cancel_provider.reaper.backends.base import Airflow
from airflow_cancel_provider.reaper.report import Orphan

VARIABLE = "remote_jobs_dead_letters"
MOST = 1000
"""Letters that are kept; a Variable is no database."""

Letters = dict[str, dict[str, Any]]


class DeadLetters:
    """The letters of an Airflow, in one of its Variables.

    A job with a letter is not asked to end again. An acknowledged one is not shown any more, either.
    """

    def __init__(self, airflow: Airflow) -> None:
        self._airflow = airflow

    def read(self) -> Letters:
        """All of them, by address.

        :raises InvalidInput: somebody has written something else there.
        """
        try:
            found = json.loads(self._airflow.variable(VARIABLE) or "{}")
            return {str(RemoteJob(job)): dict(letter) for job, letter in found.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise InvalidInput(
                f"Airflow Variable {VARIABLE} can't be read ({error}): mend it or delete it. "
                "Nothing is cancelled."
            ) from None

    def write(self, orphans: Iterable[Orphan]) -> Letters:
        """Add what the service refused to cancel; all letters afterwards."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        new = {
            str(orphan.found.job): {
                "why": orphan.result.detail or "refused",
                "code": orphan.result.code,
                "task": orphan.found.owner.task if orphan.found.owner else "",
                "since": now,
            }
            for orphan in orphans
            if orphan.result and orphan.result.outcome is CancelOutcome.REFUSED and not orphan.is_over
        }
        return (
            self._change(lambda letters: dict(list((letters | new).items())[-MOST:])) if new else self.read()
        )

    def acknowledge(self, jobs: Collection[str]) -> Letters:
        """Show these no more, and leave them alone."""
        return self._change(
            lambda letters: {
                job: {**letter, "acknowledged": True} if job in jobs else letter
                for job, letter in letters.items()
            }
        )

    def drop(self, jobs: Collection[str]) -> Letters:
        """Forget these: they have ended, or the next sweep is to ask again."""
        return self._change(lambda letters: {job: letters[job] for job in letters if job not in jobs})

    def _change(self, change: Any) -> Letters:
        before = self.read()
        after: Letters = change(before)
        if after != before:
            self._airflow.set_variable(VARIABLE, json.dumps(after, indent=1) if after else None)
        return after


def unacknowledged(letters: Letters) -> Letters:
    """Those that a person has yet to look at."""
    return {job: letter for job, letter in letters.items() if not letter.get("acknowledged")}
