"""Follow jobs to their ends: one service that can't be asked takes nothing from the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from airflow_cancel_provider.cli.command import log
from airflow_cancel_provider.cli.printer import progress
from airflow_cancel_provider.exceptions import CancelProviderError
from airflow_cancel_provider.jobs import (
    CancelOutcome,
    CancelResult,
    JobState,
    JobStatus,
    RemoteJob,
)
from airflow_cancel_provider.services.credentials import without_logins
from airflow_cancel_provider.services.pool import UNEXPECTED, ServicePool
from airflow_cancel_provider.services.progress import shown
from airflow_cancel_provider.watch import Watch, poll, unknown_to_the_service


@dataclass
class WatchedJobs:
    """Jobs of one service over one connection, and why they can't be followed any more.

    :param is_unreachable: no request was answered; its results say why.
    """

    watch: Watch
    error: CancelProviderError | None = None
    is_unreachable: bool = False

    @property
    def is_open(self) -> bool:
        """Whether another poll may show something."""
        return self.error is None and not self.is_unreachable and bool(self.watch.open)

    def stop_if_unreachable(self) -> None:
        """Poll no more where nothing came back from the service: polls would wait as long in vain."""
        results = self.watch.results.values()
        self.is_unreachable = bool(results) and all(map(_is_without_answer, results))

    def poll(self, pool: ServicePool) -> None:
        """Poll once, and do what is due."""
        with self.troubles():
            poll(self.watch, pool, log)
            self._stop_if_unexpected()

    def _stop_if_unexpected(self) -> None:
        """Ask no more where something failed in a way that will not pass by itself."""
        for job in self.watch.open:
            if (result := self.watch.results.get(job)) and result.code == UNEXPECTED:
                raise _unexpected(self.watch.jobs, result.detail or "")

    @contextmanager
    def troubles(self) -> Iterator[None]:
        """Keep an error of these jobs from the jobs of other services."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  connections and SDKs have errors of their own
            self.error = in_words(error, self.watch.jobs)

    @property
    def ended(self) -> int:
        """How many have ended, or are left alone."""
        return len(self.watch.jobs) - len(self.watch.open)

    def rows(self) -> Iterator[dict[str, Any]]:
        """What is known of each job, as plain values."""
        for job in self.watch.jobs:
            status, result = self.watch.statuses.get(job), self.watch.results.get(job)
            error = self.error if job in self.watch.open else self.watch.denied.get(job)
            yield row(job, status, result, error)

    @property
    def errors(self) -> Iterator[str]:
        """What is wrong with whole groups of jobs, each once."""
        yield from dict.fromkeys(map(str, filter(None, [self.error, *self.watch.denied.values()])))


def _is_without_answer(result: CancelResult) -> bool:
    """Whether nothing came back: an error that the service has answered with has a code."""
    return result.outcome is CancelOutcome.UNANSWERED and result.code is None


def in_words(error: Exception, jobs: Sequence[RemoteJob]) -> CancelProviderError:
    """An error that this package did not expect, as one of its own; its traceback is logged with ``-v``."""
    if isinstance(error, CancelProviderError):
        return error
    log.info("Unexpected error", exc_info=error)
    return _unexpected(jobs, without_logins(f"{type(error).__name__}: {error}"))


def _unexpected(jobs: Sequence[RemoteJob], words: str) -> CancelProviderError:
    others = f" and {len(jobs) - 1} others" if len(jobs) > 1 else ""
    return CancelProviderError(f"{jobs[0]}{others}: {words}. Run the command again with -v for the details.")


def row(
    job: RemoteJob,
    status: JobStatus | None,
    result: CancelResult | None = None,
    error: CancelProviderError | None = None,
) -> dict[str, Any]:
    """What is known of a job, as plain values: the same names in every command."""
    detail = (result.detail if result else None) or (status.reason if status else None)
    return {
        "job": str(job),
        "state": str(_state(status, result)),
        "service_state": status.service_state if status else None,
        "name": status.name if status else None,
        "outcome": str(result.outcome) if result else None,
        "code": result.code if result else getattr(error, "code", None),
        "detail": str(error) if error else detail,
    }


def _state(status: JobStatus | None, result: CancelResult | None) -> str:
    if status is not None:
        return status.state
    return JobState.GONE if result and result.outcome is CancelOutcome.GONE else "UNKNOWN"


def described(
    pool: ServicePool, jobs: Sequence[RemoteJob], *, is_quiet: bool
) -> tuple[dict[RemoteJob, JobStatus], dict[RemoteJob, CancelProviderError]]:
    """States of jobs, and why those of others can't be seen."""
    errors: dict[RemoteJob, CancelProviderError] = {}
    with progress("Looking at jobs", len(jobs), is_quiet=is_quiet) as advance, shown(advance):
        found, troubles = pool.seen(jobs)
    seen = {status.job: status for status in found}
    for trouble in {id(each): each for each in troubles.values()}.values():
        some = [job for job, other in troubles.items() if other is trouble]
        errors |= dict.fromkeys(some, in_words(trouble, some))
    return seen, errors


def follow(
    groups: Sequence[WatchedJobs],
    pool: ServicePool,
    *,
    seconds: float,
    every: float,
    advance: Callable[[int], None],
) -> None:
    """Poll jobs until all have ended or the time is over; at least once.

    :param seconds: how long; infinite for ever.
    :param every: seconds between two polls.
    :param advance: called with how many more have ended.
    """
    given_up_at, ended = time.monotonic() + seconds, 0
    while True:
        for each in groups:
            if each.is_open:
                each.poll(pool)
        before, ended = ended, sum(each.ended for each in groups)
        advance(ended - before)
        left = given_up_at - time.monotonic()
        if left <= 0 or not any(each.is_open for each in groups):
            return
        time.sleep(min(every, left))


def gone(job: RemoteJob) -> str:
    """What to do about a job that its service does not know."""
    return f"{job} is GONE: {unknown_to_the_service(job)}"
