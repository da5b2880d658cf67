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
"""Dead letters that are kept: Airflow reads a Variable as a whole. Acknowledged ones are kept beyond it."""

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
            found = [dict(letter) for letter in json.loads(self._airflow.variable(VARIABLE) or "[]")]
            return {str(RemoteJob(letter.pop("job"))): letter for letter in found}
        except (KeyError, RecursionError, TypeError, ValueError) as error:
            raise InvalidInput(
                f"Airflow Variable {VARIABLE} can't be read ({error!r}): repair it or delete it."
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
        return self._change(lambda letters: _newest(letters | new) if new else letters)

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
            self._airflow.set_variable(VARIABLE, text_of(after) if after else None)
        return after


def text_of(letters: Letters) -> str:
    """The Variable's value.

    A list: Airflow's API masks what stands below a name that sounds like a secret's, as an address may.
    """
    return json.dumps([{"job": job, **letter} for job, letter in letters.items()], indent=1)


def _newest(letters: Letters) -> Letters:
    """As many as are kept. What a person wants left alone is not given up for newer ones."""
    surplus = max(0, len(letters) - MOST)
    old = list(unacknowledged(letters))[:surplus]
    return {job: letter for job, letter in letters.items() if job not in old}


def unacknowledged(letters: Letters) -> Letters:
    """Those that no person has acknowledged."""
    return {job: letter for job, letter in letters.items() if not letter.get("acknowledged")}
