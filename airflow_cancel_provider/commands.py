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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from threading import Event

from airflow_cancel_provider.cancelling import Cancellation, look, wait
from airflow_cancel_provider.exceptions import CancelProviderError, InvalidInput
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.reaper.airflows.base import Airflow
from airflow_cancel_provider.reaper.airflows.database import Database
from airflow_cancel_provider.reaper.letters import DeadLetters, unacknowledged
from airflow_cancel_provider.reaper.making import make_reaper, rest_airflow
from airflow_cancel_provider.reaper.metrics import gauge_of_process, send
from airflow_cancel_provider.reaper.reaping import Rules

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
    """Cancel jobs by their addresses."""
    patience = _number("--wait", options.wait)
    jobs, reach = [RemoteJob(job) for job in options.jobs], Access().reach()
    reach.check(jobs)
    cancellation = Cancellation(jobs, "Cancelled from the command line")
    results = reach.cancel(jobs, cancellation.reason, force=True) if options.force else None
    if results is None:
        cancellation.request(reach)
    else:
        cancellation.results = {result.job: result for result in results}
    look(cancellation, reach, log)
    wait(cancellation, reach, log, delay=LOOK_SECONDS, max_attempts=math.ceil(patience / LOOK_SECONDS))
    states = cancellation.verdict(ended=patience > 0)
    states = {job: states.get(job, str(cancellation.results[job].outcome)) for job in jobs}
    answer(
        json.dumps(states) if options.json else "\n".join(f"{job}: {state}" for job, state in states.items())
    )
    return WELL


@_answering
def describe(options: argparse.Namespace, answer: Answer) -> int:
    """Show jobs as they are."""
    jobs, reach = [RemoteJob(job) for job in options.jobs], Access().reach()
    reach.check(jobs)
    statuses = reach.describe(jobs)
    known = [status.as_json() for status in statuses]
    answer(json.dumps(known) if options.json else "\n".join(map(str, statuses)))
    return WELL


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
