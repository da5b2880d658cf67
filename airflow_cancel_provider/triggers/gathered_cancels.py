"""Kills that come together are cancelled together, and take part in the polls of those who wait."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from airflow_cancel_provider.cancel_log import CancelLog
from airflow_cancel_provider.cancellation import Cancellation
from airflow_cancel_provider.ends_on_record import write_over_supervisor
from airflow_cancel_provider.engine.cancel import CancelEngine
from airflow_cancel_provider.engine.recorded import CancelRequest, by_service, cancel_over_connections
from airflow_cancel_provider.exceptions import CancelProviderError, ServiceUnavailable, UnknownScope
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.metrics import Layer, send_cancel, stats_of_server
from airflow_cancel_provider.owner import TaskKey
from airflow_cancel_provider.services.pool import ServiceKey
from airflow_cancel_provider.triggers.event_loop import PerLoop, ask_airflow, in_thread
from airflow_cancel_provider.triggers.poller import Board, Seen, SharedWaits

log = logging.getLogger(__name__)
TOGETHER = 0.2
"""Seconds in which kills are gathered: hundreds of tasks may be marked with one click."""
LONGEST_TURN = 2.0
"""Seconds after which kills go out beside those that were gathered before, if a call of these is slow. Where
they wait for the quota, more calls would only make the queue longer."""
CALL_SECONDS = 8.0
"""Patience of one round of calls: Airflow gives ``on_kill`` 30 seconds."""
ESCALATE_AFTER = 60.0
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 30.0
PATIENCE = 900.0
"""Seconds for the rest: repeat what was not answered, escalate, see the end."""


@dataclass(frozen=True, eq=False)
class GatheredRequests:
    """What one kill leaves to be cancelled.

    :param since: when it was known, in epoch seconds.
    :param log: of how the jobs have ended.
    :param shown: jobs as polls have shown them, with their labels: these are not described again.
    """

    requests: tuple[CancelRequest, ...]
    task: TaskKey
    since: float
    log: CancelLog
    shown: Mapping[RemoteJob, JobStatus]
    sent: asyncio.Future[None] | None = None
    """Done after the first request."""
    seen: asyncio.Future[None] | None = None
    """Done when the jobs have ended, or nobody polls them any more."""

    @property
    def jobs(self) -> set[RemoteJob]:
        """The jobs."""
        return {job for request in self.requests for job in request.jobs}

    def note(self, cancellation: Cancellation, *, is_last: bool = False) -> None:
        """Log which of the jobs have ended since.

        :param is_last: whether nobody polls them any more.
        """
        self.log.ended(cancellation, self.jobs)
        if is_last:
            self.log.close()
        if self.seen and not self.seen.done() and (is_last or self.jobs <= self.log.ends.keys()):
            self.seen.set_result(None)


class GatheredCancels(PerLoop):
    """What a triggerer still has to cancel: kills that come together go out together.

    Of each service, one batch is requested at a time, while its calls are answered promptly. What comes
    meanwhile makes the next batch, so that a storm of kills takes few calls, in the order in which they came.
    """

    def __init__(self) -> None:
        super().__init__()
        self._gathered: dict[tuple[str | None, ...], list[GatheredRequests]] = {}
        self._requesting: dict[tuple[str | None, ...], asyncio.Future[None]] = {}

    async def request(
        self, killed: GatheredRequests, access: Access, deployment: str
    ) -> list[asyncio.Future[None]]:
        """Have the end of jobs requested, and seen to in the background; returns after the first request.

        :return: done when the jobs have ended, or nobody polls them any more.
        """
        loop = asyncio.get_running_loop()
        sent: list[asyncio.Future[None]] = []
        seen: list[asyncio.Future[None]] = []
        for service, parts in by_service(killed.requests).items():
            key = (access.key, deployment, *service)
            if key not in self._gathered:
                self._gathered[key] = []
                self.begin(self._go_out(key, access, service, deployment))
            sent.append(loop.create_future())
            seen.append(loop.create_future())
            self._gathered[key].append(replace(killed, requests=tuple(parts), sent=sent[-1], seen=seen[-1]))
        self.begin(self._write_down(killed, seen))
        await asyncio.gather(*sent)
        return seen

    async def _go_out(
        self, key: tuple[str | None, ...], access: Access, service: ServiceKey, deployment: str
    ) -> None:
        await asyncio.sleep(TOGETHER)
        held_until = time.monotonic() + LONGEST_TURN
        here = (access.key, *service)
        while (before := self._requesting.get(key)) and (
            time.monotonic() < held_until or Board.here().holds_back(here)
        ):
            await asyncio.wait([before], timeout=LONGEST_TURN / 4)
        gathered = self._gathered.pop(key)
        with Board.here().attended(access, [service]) as waits:
            engine = cancel_over_connections(
                Board.here().opener(access),
                [request for each in gathered for request in each.requests],
                deployment,
                call_seconds=CALL_SECONDS,
                escalate_after=ESCALATE_AFTER,
            )
            await self._request(key, gathered, engine)
            try:
                await self._see_to_the_end(gathered, engine, waits)
            finally:
                _leave(gathered, engine)
        await in_thread(_send_metrics, gathered, engine)

    async def _request(
        self, key: tuple[str | None, ...], gathered: Sequence[GatheredRequests], engine: CancelEngine
    ) -> None:
        shown = {job: status for each in gathered for job, status in each.shown.items()}
        self._requesting[key] = step = asyncio.ensure_future(in_thread(engine.step, shown))
        try:
            await step
        except BaseException:
            _leave(gathered, engine)
            raise
        finally:
            if self._requesting.get(key) is step:
                del self._requesting[key]
            for each in gathered:
                if each.sent and not each.sent.done():
                    each.sent.set_result(None)

    async def _see_to_the_end(
        self, gathered: Sequence[GatheredRequests], engine: CancelEngine, waits: SharedWaits
    ) -> None:
        given_up_at, pause, polls = time.monotonic() + PATIENCE, FIRST_PAUSE, _Polls(engine, waits)
        try:
            while not engine.is_done and time.monotonic() < given_up_at:
                for each in gathered:
                    each.note(engine.cancellation)
                shown = await polls.shown(pause)
                pause = min(pause * 1.5, LONGEST_PAUSE)
                await in_thread(engine.step, shown)
        finally:
            polls.end()
        engine.close()

    async def _write_down(self, killed: GatheredRequests, seen: Collection[asyncio.Future[None]]) -> None:
        """Put on record how the jobs of a kill have ended, as soon as those over one connection have."""
        written: set[RemoteJob] = set()
        for each in asyncio.as_completed(seen):
            await each
            # An XCom holds all of a service, over whatever connection, and is written anew.
            services = {job.service for job in killed.log.ends.keys() - written}
            ends = {job: end for job, end in killed.log.ends.items() if job.service in services}
            written |= ends.keys()
            await ask_airflow(write_over_supervisor, killed.task, ends)


class _Polls:
    """The polls in which the jobs of a batch take part, once their end is requested.

    The quota may stretch the time between two to minutes. Then one is waited for while requests are repeated
    and escalated; to ask beside it would make it later still.
    """

    def __init__(self, engine: CancelEngine, waits: SharedWaits) -> None:
        self._engine, self._waits = engine, waits
        self._next: asyncio.Future[Seen] | None = None
        self._has_failed = False

    async def shown(self, pause: float) -> dict[RemoteJob, JobStatus]:
        """What the next poll shows, in about ``pause`` seconds; where it takes longer, the last states.

        Empty where two polls in a row have failed. The engine then polls by itself, and tells the troubles of
        one job from those of all.
        """
        if not (jobs := self._engine.watched):
            await asyncio.sleep(pause)
            return {}
        if self._next is None:
            self._next = asyncio.ensure_future(self._waits.poll(jobs, pause, is_fresh=True))
        await asyncio.wait([self._next], timeout=ESCALATE_AFTER if self._engine.is_requested else pause)
        seen = self._engine.cancellation.statuses
        if self._next.done():
            poll, self._next = self._next, None
            seen = self._read(poll)
        return {job: seen[job] for job in jobs if job in seen}

    def _read(self, poll: asyncio.Future[Seen]) -> dict[RemoteJob, JobStatus]:
        had_failed, self._has_failed = self._has_failed, False
        try:
            seen, errors = poll.result()
        except CancelProviderError as error:
            self._has_failed = not had_failed and isinstance(error, ServiceUnavailable)
            return self._engine.cancellation.statuses if self._has_failed else {}
        unknown = {job: error for job, error in errors.items() if isinstance(error, UnknownScope)}
        gone = {job: JobStatus(job, JobState.GONE, reason=str(error)) for job, error in unknown.items()}
        return {status.job: status for status in seen} | gone

    def end(self) -> None:
        """Take part in no more polls."""
        if self._next is not None:
            self._next.cancel()


def _leave(gathered: Iterable[GatheredRequests], engine: CancelEngine) -> None:
    for each in gathered:
        each.note(engine.cancellation, is_last=True)


def _send_metrics(gathered: Sequence[GatheredRequests], engine: CancelEngine) -> None:
    send_cancel(
        engine.outcomes(),
        Layer.TRIGGER,
        stats_of_server,
        log,
        since=min(each.since for each in gathered),
        requested_at=engine.cancellation.requested_at,
    )
