"""Cancel requests side by side, and those that are not sent because they would fail like the ones before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future

from airflow_cancel_provider.exceptions import ServiceError
from airflow_cancel_provider.jobs import CancelResult, RemoteJob
from airflow_cancel_provider.services.progress import advance
from airflow_cancel_provider.services.results import undone, unsent
from airflow_cancel_provider.services.threads import fulfil, in_background

REQUESTS_AT_ONCE = 8
"""Most requests under way at a time: each takes longer than the 20 ms after which Batch takes the next, and
MRS may take ten seconds."""
Failures = Sequence[tuple[str | None, ServiceError]]
"""Scopes and errors of the requests that have failed since the last one that was answered."""


def send_in_turn(
    requests: Iterable[Sequence[RemoteJob]],
    ask: Callable[[Sequence[RemoteJob]], list[CancelResult]],
    is_pointless: Callable[[Failures, str | None], bool],
) -> list[CancelResult]:
    """Send cancel requests: the first one alone, then side by side as long as they are answered.

    After a failure they go one by one, and one that is bound to fail like those before is not sent.

    :param requests: the jobs of each request, all of one scope.
    :param ask: sends a request; a :class:`ServiceError` stands for all of its jobs.
    :param is_pointless: whether a request for a scope is bound to fail.
    """
    series, todo = _Requests(ask, is_pointless), iter(requests)
    while jobs := next(todo, None):
        series.send(jobs)
    series.settle(0)
    return series.results


class _Requests:
    """Cancel requests under way, and what became of those before."""

    def __init__(
        self,
        ask: Callable[[Sequence[RemoteJob]], list[CancelResult]],
        is_pointless: Callable[[Failures, str | None], bool],
    ) -> None:
        self.results: list[CancelResult] = []
        self._ask, self._is_pointless = ask, is_pointless
        self._at_once = 1
        self._failures: list[tuple[str | None, ServiceError]] = []
        self._under_way: deque[tuple[Sequence[RemoteJob], Future[list[CancelResult]]]] = deque()

    def send(self, jobs: Sequence[RemoteJob]) -> None:
        """Send a request, and wait until the next one may be sent."""
        if self._failures and self._is_pointless(self._failures, jobs[0].scope):
            self.results += [unsent(job, self._failures[-1][1]) for job in jobs]
            advance(len(jobs))
            return
        future: Future[list[CancelResult]] = Future()
        self._under_way.append((jobs, future))
        if self._at_once == 1:
            fulfil(future, self._ask, jobs)
        else:
            in_background(future, self._ask, jobs)
        self.settle(self._at_once - 1)

    def settle(self, most: int) -> None:
        """Wait until so many are under way at most."""
        while len(self._under_way) > most:
            jobs, future = self._under_way.popleft()
            try:
                self.results += future.result()
            except ServiceError as error:
                self._at_once = 1
                self._failures.append((jobs[0].scope, error))
                self.results += undone(jobs, error)
            else:
                self._at_once = REQUESTS_AT_ONCE
                self._failures.clear()
            advance(len(jobs))
