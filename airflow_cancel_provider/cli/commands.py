"""The commands of ``airflow remote-jobs``."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from threading import Event

from airflow_cancel_provider.cancellation import Cancellation, look, unknown_to_the_service, wait
from airflow_cancel_provider.exceptions import CancelProviderError, InvalidInput
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.metrics import stats_of_process
from airflow_cancel_provider.reaper.backends.base import Airflow
from airflow_cancel_provider.reaper.backends.database import Database
from airflow_cancel_provider.reaper.dead_letters import DeadLetters, unacknowledged
from airflow_cancel_provider.reaper.factory import make_reaper, rest_airflow
from airflow_cancel_provider.reaper.metrics import send
from airflow_cancel_provider.reaper.report import letter_in_words
from airflow_cancel_provider.reaper.rules import Rules, number_from_0
from airflow_cancel_provider.services.pool import ServicePool

log = logging.getLogger("airflow_cancel_provider")
Answer = Callable[[object], None]
Command = Callable[[argparse.Namespace, Answer], int]

WELL, TROUBLED, WRONG_INPUT = 0, 1, 2
OUT, ERR = 1, 2
LOOK_SECONDS = 2.0


def _answering(command: Command) -> Callable[[argparse.Namespace], int]:
    """Write errors of this package as one sentence to standard error, without a traceback."""

    @wraps(command)
    def answering(options: argparse.Namespace) -> int:
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
        try:
            with _answers() as answer:
                return command(options, answer)
        except CancelProviderError as error:
            _complain([error])
            return WRONG_INPUT if isinstance(error, InvalidInput) else TROUBLED

    return answering


@contextmanager
def _answers() -> Iterator[Answer]:
    """Keep standard output for answers: what Airflow logs there goes to standard error meanwhile."""
    sys.stdout.flush()
    with os.fdopen(os.dup(OUT), "w", encoding="utf-8") as output:

        def answer(words: object) -> None:
            output.write(f"{words}\n")
            output.flush()

        # Airflow's loggers keep the stream that they were made with: only its file can be changed.
        os.dup2(ERR, OUT)
        try:
            yield answer
        finally:
            sys.stdout.flush()
            os.dup2(output.fileno(), OUT)


@_answering
def reap(options: argparse.Namespace, answer: Answer) -> int:
    """Sweep once, or again and again."""
    stop = Event()
    reaper = make_reaper(
        _airflow(options),
        at=options.at,
        scopes=options.scope,
        except_scopes=options.except_scope,
        share=options.share,
        rules=Rules(
            grace=options.grace,
            confirm_seconds=_confirm_seconds(options),
            escalate_after=options.escalate_after,
            brake=options.brake,
            is_dry=options.dry_run,
        ),
        stop=stop,
    )
    gauge = stats_of_process().gauge

    def sweep() -> int:
        report = reaper.sweep()
        answer(json.dumps(report.as_json()) if options.json else report)
        send(report, gauge)
        return WELL if report.is_clean else TROUBLED

    cycle = _cycle(options) if options.loop else 0.0
    with _stopped_by_signals(stop):
        return _loop(sweep, cycle, stop) if options.loop else sweep()


def _cycle(options: argparse.Namespace) -> float:
    """Seconds between sweeps: a job that one just missed is found by the next, and cancelled after grace."""
    interval = number_from_0("--interval", options.interval)
    if interval <= options.grace:
        raise InvalidInput(
            f"--interval is {interval:g}; both looks have to fit in, so it must be more than --grace, "
            f"{options.grace:g}."
        )
    return interval - float(options.grace)


def _confirm_seconds(options: argparse.Namespace) -> float:
    # A loop that waits for jobs to end finds the next orphan later.
    usual = 0.0 if options.loop else Rules.confirm_seconds
    return usual if options.confirm_seconds is None else float(options.confirm_seconds)


@contextmanager
def _stopped_by_signals(stop: Event) -> Iterator[None]:
    """Have a sweep end early, and properly, on SIGTERM and SIGINT."""
    before = {
        number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _loop(sweep: Callable[[], int], cycle: float, stop: Event) -> int:
    """Sweep every ``cycle`` seconds until stopped, also when a sweep fails.

    :raises InvalidInput: the first sweep found that it can't begin. Later it is somebody's change in Airflow,
        of a connection or the dead letters, which can be repaired.
    """
    is_first = True
    while not stop.is_set():
        begun = time.monotonic()
        try:
            sweep()
        except CancelProviderError as error:
            if is_first and isinstance(error, InvalidInput):
                raise
            log.error("%s", error)  # noqa: TRY400  the error is a full sentence
        except Exception:  # a loop goes on whatever one sweep met
            log.exception("A sweep failed (see traceback); the next one starts as planned")
        is_first = False
        stop.wait(max(0.0, cycle - (time.monotonic() - begun)))
    return WELL


@_answering
def cancel(options: argparse.Namespace, answer: Answer) -> int:
    """Cancel jobs by their addresses, and write what became of each of them."""
    seconds = number_from_0("--wait", options.wait)
    jobs, pool = _checked(options.jobs)
    cancellation = Cancellation(jobs, "Cancelled from the command line")
    troubles = list(map(str, _cancelled(cancellation, pool, seconds, is_forced=options.force)))
    states = {job: _state(cancellation, job) for job in jobs}
    answer(
        json.dumps(states) if options.json else "\n".join(f"{job}: {state}" for job, state in states.items())
    )
    if not options.ignore_missing:
        troubles += _missing(job for job, state in states.items() if state == JobState.GONE)
    return _complain(troubles)


def _checked(addresses: list[str]) -> tuple[list[RemoteJob], ServicePool]:
    """The jobs of these addresses, each once, and a pool of their services.

    :raises InvalidInput: an address or a connection is unusable. No service was sent anything.
    """
    jobs, access = list(dict.fromkeys(map(RemoteJob, addresses))), Access()
    access.check_connections((job.service, job.conn_id, job.region) for job in jobs)
    pool = access.pool()
    pool.check(jobs)
    return jobs, pool


def _cancelled(
    cancellation: Cancellation, pool: ServicePool, seconds: float, *, is_forced: bool
) -> list[CancelProviderError]:
    """Request the cancel of all jobs, and wait for them to end; what went wrong."""
    try:
        if is_forced:
            results = pool.cancel(cancellation.jobs, cancellation.reason, force=True)
            cancellation.results = {result.job: result for result in results}
        else:
            cancellation.request(pool)
        look(cancellation, pool, log)
        attempts = math.ceil(seconds / LOOK_SECONDS)
        wait(cancellation, pool, log, delay=LOOK_SECONDS, max_attempts=attempts)
        cancellation.verdict(ended=seconds > 0)
    except CancelProviderError as error:
        return [error]
    return []


def _state(cancellation: Cancellation, job: RemoteJob) -> str:
    """The state that was seen, or what became of the request where none was."""
    if job in cancellation.statuses:
        return str(cancellation.statuses[job].state)
    return str(cancellation.results[job].outcome) if job in cancellation.results else "UNKNOWN"


def _missing(jobs: Iterable[RemoteJob]) -> list[str]:
    return [f"{job} is GONE: {unknown_to_the_service(job)}" for job in jobs]


@_answering
def describe(options: argparse.Namespace, answer: Answer) -> int:
    """Show jobs as they are."""
    jobs, pool = _checked(options.jobs)
    statuses, unknown = pool.described(jobs)
    known = {status.job: status for status in statuses}
    if options.json:
        rows = {job: {"job": str(job), "state": "UNKNOWN", "reason": str(unknown[job])} for job in unknown}
        answer(json.dumps([known[job].as_json() if job in known else rows[job] for job in jobs]))
    else:
        answer("\n".join(str(known.get(job) or f"{job} is UNKNOWN: {unknown[job]}") for job in jobs))
    troubles = [*dict.fromkeys(map(str, unknown.values()))]
    return _complain(troubles + _missing(job for job in known if known[job].state is JobState.GONE))


@_answering
def dead_letters(options: argparse.Namespace, answer: Answer) -> int:
    """List the dead letters, after changing those that are to be changed."""
    is_all = options.retry == ["all"]
    acknowledged, retried = (
        [str(RemoteJob(job)) for job in jobs]
        for jobs in (options.acknowledge, [] if is_all else options.retry)
    )
    letters = DeadLetters(_airflow(options))
    known = letters.read()
    retried = list(known) if is_all else retried
    if unknown := [job for job in acknowledged + retried if job not in known]:
        raise InvalidInput(f"There is no dead letter for {', '.join(unknown)}.")
    if acknowledged:
        known = letters.acknowledge(acknowledged)
    if retried:
        known = letters.drop(retried)
    left, now = unacknowledged(known), datetime.now(UTC)
    lines = [letter_in_words(job, letter, now) for job, letter in left.items()]
    answer(json.dumps(known) if options.json else "\n".join(lines or ["No dead letters."]))
    return TROUBLED if left else WELL


def _airflow(options: argparse.Namespace) -> Airflow:
    return rest_airflow(options.airflow_conn_id) if options.airflow_conn_id else Database()


def _complain(troubles: Iterable[object]) -> int:
    """Write troubles to standard error; the exit code that they make."""
    words = [f"{trouble}\n" for trouble in troubles]
    sys.stderr.write("".join(words))
    return TROUBLED if words else WELL
