"""What the command line does."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from threading import Event

from airflow_cancel_provider.cancellation import Cancellation, look, unknown_to_the_service, wait
from airflow_cancel_provider.exceptions import CancelProviderError, InvalidInput, UnknownScope
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.reaper.backends.base import Airflow
from airflow_cancel_provider.reaper.backends.database import Database
from airflow_cancel_provider.reaper.dead_letters import DeadLetters, unacknowledged
from airflow_cancel_provider.reaper.factory import make_reaper, rest_airflow
from airflow_cancel_provider.reaper.metrics import gauge_of_process, send
from airflow_cancel_provider.reaper.reaper import Rules
from airflow_cancel_provider.services.pool import ServicePool

log = logging.getLogger("airflow_cancel_provider")
Answer = Callable[[object], None]
Command = Callable[[argparse.Namespace, Answer], int]

WELL, TROUBLED, WRONG_INPUT = 0, 1, 2
OUT, ERR = 1, 2
LOOK_SECONDS = 2.0


def _answering(command: Command) -> Callable[[argparse.Namespace], int]:
    """Errors of ours are one sentence on standard error, not a traceback."""

    @wraps(command)
    def answering(options: argparse.Namespace) -> int:
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
        try:
            with _answers() as answer:
                return command(options, answer)
        except InvalidInput as error:
            _complain(error)
            return WRONG_INPUT
        except CancelProviderError as error:
            _complain(error)
            return TROUBLED

    return answering


@contextmanager
def _answers() -> Iterator[Answer]:
    """Standard output for answers alone: what Airflow logs there goes to standard error meanwhile."""
    sys.stdout.flush()
    with os.fdopen(os.dup(OUT), "w", encoding="utf-8") as output:

        def answer(words: object) -> None:
            output.write(f"{words}\n")
            output.flush()

        # Airflow's loggers hold on to the stream that they were made with: only its file can be changed.
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
    gauge = gauge_of_process()

    def sweep() -> int:
        report = reaper.sweep()
        answer(json.dumps(report.as_json()) if options.json else report)
        send(report, gauge)
        return WELL if report.is_clean else TROUBLED

    cycle = _cycle(options) if options.loop else 0.0
    with _stopped_by_signals(stop):
        return _loop(sweep, cycle, stop) if options.loop else sweep()


def _cycle(options: argparse.Namespace) -> float:
    """Seconds from sweep to sweep: what one has just missed the next one finds, and cancels a grace later."""
    interval = _number("--interval", options.interval)
    if interval <= options.grace:
        raise InvalidInput(
            f"--interval is {interval:g}; both looks have to fit in, so it must be more than --grace, "
            f"{options.grace:g}."
        )
    return interval - float(options.grace)


def _confirm_seconds(options: argparse.Namespace) -> float:
    if options.confirm_seconds is not None:
        return float(options.confirm_seconds)
    # A loop that waits for jobs to end finds the next orphan later.
    return 0.0 if options.loop else Rules.confirm_seconds


@contextmanager
def _stopped_by_signals(stop: Event) -> Iterator[None]:
    """Have a sweep end early, and in order, on SIGTERM and SIGINT."""
    before = {
        number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _loop(sweep: Callable[[], int], cycle: float, stop: Event) -> int:
    """Sweep every ``cycle`` seconds until told to stop; a sweep that fails is no reason to.

    :raises InvalidInput: the first sweep found that it can't begin. Later somebody has changed something in
        Airflow, a connection or the dead letters, and may mend it.
    """
    is_first = True
    while not stop.is_set():
        begun = time.monotonic()
        try:
            sweep()
        except CancelProviderError as error:
            if is_first and isinstance(error, InvalidInput):
                raise
            log.error("%s", error)  # noqa: TRY400  the words say it all
        except Exception:
            log.exception("A sweep failed; the next one comes all the same")
        is_first = False
        stop.wait(max(0.0, cycle - (time.monotonic() - begun)))
    return WELL


@_answering
def cancel(options: argparse.Namespace, answer: Answer) -> int:
    """Cancel jobs by their addresses, and say what became of each of them, whatever it is."""
    patience = _number("--wait", options.wait)
    jobs, pool = _reached(options.jobs)
    cancellation = Cancellation(jobs, "Cancelled from the command line")
    troubles = list(map(str, _cancelled(cancellation, pool, patience, is_forced=options.force)))
    states = {job: _state(cancellation, job) for job in jobs}
    answer(
        json.dumps(states) if options.json else "\n".join(f"{job}: {state}" for job, state in states.items())
    )
    if not options.ignore_missing:
        troubles += _missing([job for job, state in states.items() if state == JobState.GONE])
    for trouble in troubles:
        _complain(trouble)
    return TROUBLED if troubles else WELL


def _reached(uris: list[str]) -> tuple[list[RemoteJob], ServicePool]:
    """The jobs of these addresses, each once, and a way to them.

    :raises InvalidInput: an address or a connection is unusable. No service was sent anything.
    """
    jobs, access = list(dict.fromkeys(map(RemoteJob, uris))), Access()
    access.check_connections((job.service, job.conn_id, job.region) for job in jobs)
    pool = access.pool()
    pool.check(jobs)
    return jobs, pool


def _cancelled(
    cancellation: Cancellation, pool: ServicePool, patience: float, *, is_forced: bool
) -> list[CancelProviderError]:
    """Request the end of all jobs, and wait for it; what is not as it should be."""
    try:
        if is_forced:
            results = pool.cancel(cancellation.jobs, cancellation.reason, force=True)
            cancellation.results = {result.job: result for result in results}
        else:
            cancellation.request(pool)
        look(cancellation, pool, log)
        attempts = math.ceil(patience / LOOK_SECONDS)
        wait(cancellation, pool, log, delay=LOOK_SECONDS, max_attempts=attempts)
        cancellation.verdict(ended=patience > 0)
    except CancelProviderError as error:
        return [error]
    return []


def _state(cancellation: Cancellation, job: RemoteJob) -> str:
    """The state that was seen, or what became of the request where none was."""
    if job in cancellation.statuses:
        return str(cancellation.statuses[job].state)
    return str(cancellation.results[job].outcome) if job in cancellation.results else "UNKNOWN"


def _missing(jobs: Sequence[RemoteJob]) -> list[str]:
    return [f"{job} is GONE: {unknown_to_the_service(job)}" for job in jobs]


@_answering
def describe(options: argparse.Namespace, answer: Answer) -> int:
    """Show jobs as they are."""
    jobs, pool = _reached(options.jobs)
    statuses, unknown = pool.described(jobs)
    known: dict[RemoteJob, JobStatus] = {status.job: status for status in statuses}
    if options.json:
        answer(json.dumps([_described(job, known, unknown) for job in jobs]))
    else:
        answer("\n".join(str(known.get(job) or f"{job} is UNKNOWN: {unknown[job]}") for job in jobs))
    troubles = [*dict.fromkeys(map(str, unknown.values()))]
    troubles += _missing([status.job for status in statuses if status.state is JobState.GONE])
    for trouble in troubles:
        _complain(trouble)
    return TROUBLED if troubles else WELL


def _described(
    job: RemoteJob, known: Mapping[RemoteJob, JobStatus], unknown: Mapping[RemoteJob, UnknownScope]
) -> Mapping[str, object]:
    if job in known:
        return known[job].as_json()
    return {"job": str(job), "state": "UNKNOWN", "reason": str(unknown[job])}


@_answering
def dead_letters(options: argparse.Namespace, answer: Answer) -> int:
    """List them, after having changed what is to be changed."""
    letters = DeadLetters(_airflow(options))
    known = letters.read()
    acknowledged = [str(RemoteJob(job)) for job in options.acknowledge]
    retried = list(known) if options.retry == ["all"] else [str(RemoteJob(job)) for job in options.retry]
    if unknown := [job for job in acknowledged + retried if job not in known]:
        raise InvalidInput(f"There is no dead letter for {', '.join(unknown)}.")
    if acknowledged:
        known = letters.acknowledge(acknowledged)
    if retried:
        known = letters.drop(retried)
    left = unacknowledged(known)
    lines = [
        f"{job}: {letter.get('why')} (since {letter.get('since')}; {letter.get('task') or 'task unknown'})"
        for job, letter in left.items()
    ]
    answer(json.dumps(known) if options.json else "\n".join(lines or ["No dead letters."]))
    return TROUBLED if left else WELL


def _number(name: str, value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise InvalidInput(f"{name} is {value!r}; expected a number from 0 on.")
    return value


def _airflow(options: argparse.Namespace) -> Airflow:
    return rest_airflow(options.airflow_conn_id) if options.airflow_conn_id else Database()


def _complain(words: object) -> None:
    sys.stderr.write(f"{words}\n")
