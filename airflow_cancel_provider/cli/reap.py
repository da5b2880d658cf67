"""``reap``: cancel running jobs whose task is over, once or in a loop."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from threading import Event
from uuid import UUID

from airflow_cancel_provider.cli.answers import ERR
from airflow_cancel_provider.cli.command import INTERRUPTED, TROUBLED, WELL, airflow_of, complain
from airflow_cancel_provider.cli.printer import Printer
from airflow_cancel_provider.cli.reach import CommandAccess
from airflow_cancel_provider.ends_on_record import Ends
from airflow_cancel_provider.exceptions import AirflowUnavailable, CancelProviderError, InvalidInput
from airflow_cancel_provider.metrics import stats_of_process
from airflow_cancel_provider.reaper.backends.base import Airflow, OwnerState
from airflow_cancel_provider.reaper.dead_letters import VARIABLE
from airflow_cancel_provider.reaper.factory import PATIENCE_SECONDS, make_reaper
from airflow_cancel_provider.reaper.judge import NOT_TOLD
from airflow_cancel_provider.reaper.report import Report, send
from airflow_cancel_provider.reaper.rules import Rules, number_from_0
from airflow_cancel_provider.settings import Settings

log = logging.getLogger("airflow_cancel_provider")
NO_NAME = (
    "This Airflow has no name of its own here ([cancel_provider] deployment), so the jobs of every Airflow "
    "are counted as another's. Set it as it is set on the workers."
)

NO_OWNERS = (
    "So it is not known which tasks are over: the dry run lists jobs, and can't tell which are orphans. "
    "Run it where Airflow's database can be reached, or name a connection to its API server with "
    "--airflow-conn-id."
)


STOPPING = (
    b"\nInterrupted: requests under way are finished, then the sweep reports. Ctrl-C again ends it now.\n"
)
IN_A_SWEEP = "Interrupted in a sweep. What it has requested is not undone; the next sweep finds the rest."


class NoAirflow(Airflow):
    """Stands in a dry run for an Airflow that does not answer: it knows nothing."""

    def owners(self, ti_ids: Collection[UUID]) -> Mapping[UUID, OwnerState]:
        """None of them."""
        return {}

    def releases(self, most: int) -> Mapping[str, str | None]:
        """None."""
        return {}

    def variable(self, key: str) -> str | None:
        """None."""
        return None

    def write_ends(self, ends: Mapping[UUID, Ends]) -> None:
        """A dry run writes nothing."""

    def set_variable(self, key: str, value: str | None) -> None:
        """A dry run writes nothing."""


class _ReaperAccess(CommandAccess):
    """Waits as long as a reaper does."""

    give_up_seconds = PATIENCE_SECONDS


def reap(options: argparse.Namespace, printer: Printer) -> int:
    """Sweep once, or again and again."""
    stop = Event()
    rules = Rules(
        grace=options.grace,
        confirm_seconds=_confirm_seconds(options),
        escalate_after=options.escalate_after,
        brake=options.brake,
        is_dry=options.dry_run,
    )
    airflow = airflow_of(options)
    if options.dry_run:
        airflow = _asked(airflow)
        if not Settings.read().has_own_name:
            log.warning(NO_NAME)
    reaper = make_reaper(
        airflow,
        at=options.at,
        scopes=options.scope,
        except_scopes=options.except_scope,
        share=options.share,
        rules=rules,
        stop=stop,
        access=_ReaperAccess(),
    )
    stats = stats_of_process()

    def sweep() -> int:
        report = reaper.sweep()
        if isinstance(airflow, NoAirflow):  # a warning has said so
            report.troubles = [trouble for trouble in report.troubles if trouble != NOT_TOLD]
        send(report, lambda: stats)
        printer.say(report) if printer.is_for_people else printer.value(report.as_json())
        return _code(report, is_about_orphans=options.exit_code)

    cycle = _cycle(options) if options.loop else 0.0
    with _stopped_by_signals(stop) as received:
        code = _loop(sweep, cycle, stop) if options.loop else sweep()
    return INTERRUPTED if signal.SIGINT in received else code


def _asked(airflow: Airflow) -> Airflow:
    """The Airflow, if it answers."""
    try:
        airflow.variable(VARIABLE)
    except AirflowUnavailable as error:
        log.warning("%s %s", error, NO_OWNERS)
        return NoAirflow()
    except InvalidInput:
        pass  # the sweep says so
    return airflow


def _code(report: Report, *, is_about_orphans: bool) -> int:
    return WELL if report.is_clean and not (is_about_orphans and report.orphans) else TROUBLED


def _cycle(options: argparse.Namespace) -> float:
    """Seconds between sweeps: a job that one just missed is found by the next, and cancelled after grace."""
    interval = number_from_0("--interval", options.interval)
    if interval <= options.grace:
        raise InvalidInput(
            f"--interval is {interval:g}; both checks have to fit in, so it must be more than --grace, "
            f"{options.grace:g}."
        )
    return interval - float(options.grace)


def _confirm_seconds(options: argparse.Namespace) -> float:
    # A loop that waits for jobs to end finds the next orphan later.
    usual = 0.0 if options.loop else Rules.confirm_seconds
    return usual if options.confirm_seconds is None else float(options.confirm_seconds)


@contextmanager
def _stopped_by_signals(stop: Event) -> Iterator[list[int]]:
    """Have a sweep end early, and properly, on SIGTERM and SIGINT; on a second SIGINT at once.

    Yields the signals that come.
    """
    received: list[int] = []

    def receive(number: int, _: object) -> None:
        if number == signal.SIGINT:
            if number in received:
                raise KeyboardInterrupt(IN_A_SWEEP)
            if sys.__stderr__ is not None:
                os.write(ERR, STOPPING)  # a stream may be in use here
        received.append(number)
        stop.set()

    before = {number: signal.signal(number, receive) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
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
        except BrokenPipeError:
            return complain(["Nobody reads the reports any more: the loop ends."])
        except Exception:  # a loop goes on whatever one sweep met
            log.exception("A sweep failed (see traceback); the next one starts as planned")
        is_first = False
        stop.wait(max(0.0, cycle - (time.monotonic() - begun)))
    return WELL
