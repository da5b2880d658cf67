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
"""Dead letters that are kept: Airflow reads a Variable as a whole."""

Letters = dict[str, dict[str, Any]]


class DeadLetters:
    """The dead letters of an Airflow, in one of its Variables.

    A job with a dead letter is not cancelled again. An acknowledged one is not listed any more, either.
    """

    def __init__(self, airflow: Airflow) -> None:
        self._airflow = airflow

    def read(self) -> Letters:
        """All of them, by address.

        :raises InvalidInput: the Variable holds something else.
        """
        try:
            found = json.loads(self._airflow.variable(VARIABLE) or "{}")
            return {str(RemoteJob(job)): dict(letter) for job, letter in found.items()}
        except (AttributeError, RecursionError, TypeError, ValueError) as error:
            raise InvalidInput(
                f"Airflow Variable {VARIABLE} can't be read ({error}): repair it or delete it. "
                "Nothing is cancelled."
            ) from None

    def write(self, orphans: Iterable[Orphan]) -> Letters:
        """Add the jobs that a service refused to cancel; return all letters."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        new = {
            str(orphan.job): {
                "why": orphan.result.detail or "refused",
                "code": orphan.result.code,
                "task": orphan.found.task,
                "since": now,
            }
            for orphan in orphans
            if orphan.result and orphan.result.outcome is CancelOutcome.REFUSED and not orphan.is_over
        }
        return self._change(lambda letters: dict(list((letters | new).items())[-MOST:]) if new else letters)

    def acknowledge(self, jobs: Collection[str]) -> Letters:
        """Stop to list these; they are still not cancelled."""
        return self._change(
            lambda letters: {
                job: {**letter, "acknowledged": True} if job in jobs else letter
                for job, letter in letters.items()
            }
        )

    def drop(self, jobs: Collection[str]) -> Letters:
        """Delete these: they have ended, or the next sweep is to cancel them again."""
        return self._change(lambda letters: {job: letters[job] for job in letters if job not in jobs})

    def _change(self, change: Any) -> Letters:
        before = self.read()
        after: Letters = change(before)
        if after != before:
            self._airflow.set_variable(VARIABLE, json.dumps(after, indent=1) if after else None)
        return after


def unacknowledged(letters: Letters) -> Letters:
    """Those that no person has acknowledged."""
    return {job: letter for job, letter in letters.items() if not letter.get("acknowledged")}
