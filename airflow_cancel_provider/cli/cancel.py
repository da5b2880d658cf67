"""``cancel``: request the end of jobs, see them end, and write what became of each."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_cancel_provider.cancellation import FIRST_POLL_SECONDS, Cancellation
from airflow_cancel_provider.cli.addresses import NamedJobs, errors_by_service, named_jobs
from airflow_cancel_provider.cli.command import INTERRUPTED, complain, log
from airflow_cancel_provider.cli.on_record import foreign, names_task, recorded, to_cancel, write_ends
from airflow_cancel_provider.cli.printer import Printer, progress
from airflow_cancel_provider.cli.watched_jobs import WatchedJobs, described, follow, gone, row
from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.inventory import RemoteJobEntry
from airflow_cancel_provider.jobs import CancelOutcome, JobState, JobStatus, RemoteJob, by_service_key
from airflow_cancel_provider.metrics import Layer, send_cancel, stats_of_process
from airflow_cancel_provider.reaper.rules import number_from_0
from airflow_cancel_provider.services.base import LONGEST_REASON
from airflow_cancel_provider.services.pool import ServicePool
from airflow_cancel_provider.services.progress import shown
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.watch import MANY

COLUMNS = ("job", "state", "outcome", "detail")
POLL_SECONDS = 2.0
SERVICE_OPTIONS = ("pending_only", "cancellation_option", "shutdown_grace_period")
FAILED = (CancelOutcome.REFUSED, CancelOutcome.UNANSWERED)
INTERRUPTED_WORDS = "Interrupted. What was requested is not undone: the table shows what was seen until now."
IN_THE_MIDDLE = (
    "Interrupted while cancels were requested: the requests of {done} of {total} jobs are done, others may "
    "have arrived. Nothing of it is undone; run the command again for the rest."
)
WOULD, LEFT_ALONE = "WOULD_BE_CANCELLED", "LEFT_ALONE"


def cancel(options: argparse.Namespace, printer: Printer) -> int:
    """Cancel jobs by their addresses or their task, and write what became of each of them."""
    seconds = number_from_0("--wait", options.wait)
    if len(options.reason) > LONGEST_REASON:
        raise InvalidInput(
            f"--reason has {len(options.reason)} characters; at most {LONGEST_REASON} are kept."
        )
    entries = _entries(options)
    named = named_jobs(options.jobs) if entries is None else NamedJobs(list(entries))
    if not named.jobs:
        printer.rows([], COLUMNS, _why_none(options))
        return 0
    pool = named.pool(_service_options(options))
    jobs, troubles = named.jobs, named.troubles
    rows: dict[str, dict[str, Any]] = {}
    interrupted = None
    if entries is not None or options.dry_run:
        jobs = _checked(pool, jobs, entries, rows, troubles, is_quiet=options.quiet)
    if entries is not None and not options.dry_run:
        _confirm(jobs, entries, options)
        jobs = _still_to_cancel(jobs, options, rows)
    if options.dry_run:
        for job in jobs:
            rows[str(job)]["outcome"] = WOULD
    else:
        groups, interrupted = _cancelled(pool, jobs, options)
        interrupted = interrupted or _watched(groups, pool, seconds, is_quiet=options.quiet)
        seconds = 0.0 if interrupted else seconds
        rows |= {each["job"]: each for group in groups for each in group.rows()}
        troubles += [error for each in groups for error in each.errors]
        troubles += _troubles(rows, jobs, seconds, leaves_running=options.pending_only)
        _write_down(groups, entries or {}, is_watched=seconds > 0)
    printer.rows(list(rows.values()), COLUMNS, "No jobs.")
    if interrupted:
        complain([interrupted, *troubles])
        return INTERRUPTED
    if not options.ignore_missing:
        troubles += [gone(RemoteJob(job)) for job, each in rows.items() if each["state"] == JobState.GONE]
    return complain(dict.fromkeys(troubles))


def _entries(options: argparse.Namespace) -> dict[RemoteJob, RemoteJobEntry] | None:
    """Jobs that are chosen by their task; None where addresses are given."""
    if names_task(options) is bool(options.jobs):
        found = "both are given" if options.jobs else "neither is given"
        raise InvalidInput(
            f"Name jobs by their addresses, or by --dag-id, --run-id, --task-id, --map-index; {found}."
        )
    return None if options.jobs else {entry.job: entry for entry in to_cancel(options)}


def _why_none(options: argparse.Namespace) -> str:
    """Why there is nothing to cancel of a Dag, run or task."""
    total = recorded(options).total
    if not total:
        return "Nothing to cancel: no remote job is on record for this Dag, run or task."
    jobs = "job" if total == 1 else "jobs"
    which = "that has not ended" if options.released else "that has not ended and was not released"
    return f"Nothing to cancel: of {total} {jobs} on record none is left {which}."


def _service_options(options: argparse.Namespace) -> dict[str, Any]:
    """The options of services that were given.

    :raises InvalidInput: one of them has another value than it may have.
    """
    given = {
        name: value for name in SERVICE_OPTIONS if (value := getattr(options, name)) not in (None, False)
    }
    if options.force and "pending_only" in given:
        raise InvalidInput("--force ends what runs, --pending-only leaves it alone: give one of them.")
    return given


def _checked(
    pool: ServicePool,
    jobs: Sequence[RemoteJob],
    entries: Mapping[RemoteJob, RemoteJobEntry] | None,
    rows: dict[str, dict[str, Any]],
    troubles: list[str],
    *,
    is_quiet: bool,
) -> list[RemoteJob]:
    """Describe jobs before anything is cancelled: those that are to be. The others have rows then."""
    seen, errors = described(pool, jobs, is_quiet=is_quiet)
    not_theirs = foreign(entries, seen, Settings.read().deployment) if entries else {}
    for job in jobs:
        rows[str(job)] = row(job, seen.get(job), error=errors.get(job))
        if job in not_theirs:
            rows[str(job)] |= {"outcome": LEFT_ALONE, "detail": not_theirs[job]}
            troubles.append(f"{job} is on record of that task, but it is left alone: {not_theirs[job]}.")
    troubles += errors_by_service(jobs, errors)
    return [job for job in jobs if _is_living(seen.get(job)) and job not in not_theirs]


def _is_living(status: JobStatus | None) -> bool:
    return status is not None and not status.state.is_terminal


def _confirm(
    jobs: Sequence[RemoteJob], entries: Mapping[RemoteJob, RemoteJobEntry], options: argparse.Namespace
) -> None:
    """Ask a person, if there is one.

    :raises InvalidInput: nobody can be asked, or the answer is no.
    """
    if options.yes or not jobs:
        return
    if not sys.stdin.isatty():
        raise InvalidInput("To cancel the jobs of a task without being asked, add --yes.")
    lines = [f"  {job}  ({entries[job].task.with_try(entries[job].try_number)})" for job in jobs]
    these = f"these {len(jobs)} jobs" if len(jobs) > 1 else "this job"
    sys.stderr.write("\n".join([*lines, f"Cancel {these}? [y/N] "]))
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InvalidInput("Nothing is cancelled.")


def _still_to_cancel(
    jobs: Sequence[RemoteJob], options: argparse.Namespace, rows: dict[str, dict[str, Any]]
) -> list[RemoteJob]:
    """The jobs without those that have ended or were released while a person was asked."""
    still = {entry.job for entry in to_cancel(options)}
    for job in jobs:
        if job not in still:
            rows[str(job)] |= {"outcome": LEFT_ALONE, "detail": "It has ended or was released meanwhile."}
    return [job for job in jobs if job in still]


def _cancelled(
    pool: ServicePool, jobs: Sequence[RemoteJob], options: argparse.Namespace
) -> tuple[list[WatchedJobs], str | None]:
    """Request the end of all jobs. Whatever happens with those of one service, the others are requested.

    With it, what is to be said if somebody has interrupted that.
    """
    after = None if options.force else Settings.read().escalate_after
    cancellations = [
        Cancellation(some, options.reason, escalate_after=after, leave_running=options.pending_only)
        for some in by_service_key(jobs)
    ]
    groups = [WatchedJobs(each) for each in cancellations]
    done: list[int] = []

    def count(jobs: int) -> None:
        done.append(jobs)
        advance(jobs)

    with progress("Requesting cancels", len(jobs), is_quiet=options.quiet) as advance:
        try:
            with shown(count):
                for group, cancellation in zip(groups, cancellations, strict=True):
                    with group.troubles():
                        for result in cancellation.request(pool, force=options.force):
                            # The answer and the errors at its end say it to people.
                            log.info("%s", result)
                    group.stop_if_unreachable()
        except KeyboardInterrupt:
            return groups, IN_THE_MIDDLE.format(done=sum(done), total=len(jobs))
    return groups, None


def _watched(
    groups: Sequence[WatchedJobs], pool: ServicePool, seconds: float, *, is_quiet: bool
) -> str | None:
    """See jobs end; what is to be said if somebody has interrupted that."""
    total = sum(len(each.watch.jobs) for each in groups)
    with progress("Cancelling jobs", total, is_quiet=is_quiet) as advance:
        try:
            if seconds > FIRST_POLL_SECONDS and total > MANY:
                time.sleep(FIRST_POLL_SECONDS)
            follow(groups, pool, seconds=seconds, every=POLL_SECONDS, advance=advance)
        except KeyboardInterrupt:
            return INTERRUPTED_WORDS
    return None


def _write_down(
    groups: Sequence[WatchedJobs], entries: Mapping[RemoteJob, RemoteJobEntry], *, is_watched: bool
) -> None:
    """Put on record how jobs have ended, and send the metrics."""
    tasks = {job: entry.task for job, entry in entries.items()}
    cancellations = [each.watch for each in groups if isinstance(each.watch, Cancellation)]
    write_ends(cancellations, tasks)
    for each in cancellations:
        outcomes = each.outcomes(is_watched=is_watched)
        send_cancel(outcomes, Layer.CLI, stats_of_process, log, requested_at=each.requested_at)


def _troubles(
    rows: Mapping[str, Mapping[str, Any]], jobs: Iterable[RemoteJob], seconds: float, *, leaves_running: bool
) -> list[str]:
    """What is wrong with jobs whose cancel was requested."""
    troubles = []
    for job in jobs:
        each = rows[str(job)]
        is_over = each["state"] in [str(state) for state in JobState if state.is_terminal]
        if each["outcome"] in FAILED and not is_over:
            code = f" [{each['code']}]" if each["code"] else ""
            troubles.append(f"{job}: {each['outcome']}{code}: {each['detail']}")
        elif (
            seconds > 0
            and not is_over
            and not (leaves_running and each["outcome"] == CancelOutcome.LEFT_RUNNING)
        ):
            troubles.append(f"{job} is {each['state']} after {seconds:g} s.")
    return troubles
