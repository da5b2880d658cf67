"""``wait``: until jobs have ended."""

from __future__ import annotations

import argparse
from math import inf

from airflow_cancel_provider.cli.addresses import errors_by_service, named_jobs
from airflow_cancel_provider.cli.command import TIMED_OUT, TROUBLED, WELL, complain, log
from airflow_cancel_provider.cli.printer import Printer, progress
from airflow_cancel_provider.cli.watched_jobs import WatchedJobs, described, follow, gone, row
from airflow_cancel_provider.jobs import JobState, by_service_key
from airflow_cancel_provider.reaper.rules import number_from_0
from airflow_cancel_provider.watch import NOT_SHOWN, Watch, unknown_to_the_service

COLUMNS = ("job", "state", "service_state", "detail")


def wait(options: argparse.Namespace, printer: Printer) -> int:
    """Wait until jobs have ended, and write how."""
    seconds = inf if options.timeout is None else number_from_0("--timeout", options.timeout)
    every = number_from_0("--interval", options.interval)
    named = named_jobs(options.jobs)
    pool, jobs = named.pool(), named.jobs
    seen, errors = described(pool, jobs, is_quiet=options.quiet)
    groups = [WatchedJobs(Watch(some)) for some in by_service_key(job for job in jobs if job not in errors)]
    for each in groups:
        each.watch.observe(seen[job] for job in each.watch.jobs)
        for job in filter(each.watch.may_appear, each.watch.jobs):
            log.warning("%s", f"{job} is {NOT_SHOWN}: {unknown_to_the_service(job)}")
    with progress("Waiting for jobs to end", len(jobs), is_quiet=options.quiet) as advance:
        follow(groups, pool, seconds=seconds, every=every, advance=advance)
    rows = {each["job"]: each for group in groups for each in group.rows()}
    rows |= {str(job): row(job, None, error=error) for job, error in errors.items()}
    printer.rows([rows[job] for job in jobs], COLUMNS, "No jobs.")
    troubles = [*named.troubles, *errors_by_service(jobs, errors)]
    troubles += [error for each in groups for error in each.errors]
    for job in jobs:
        state = rows[job]["state"]
        if state == JobState.GONE and not options.ignore_missing:
            troubles.append(gone(job))
        elif options.expect and state in _ENDS and state not in options.expect:
            troubles.append(f"{job} is {state}; expected {' or '.join(options.expect)}.")
    code = complain(troubles)
    late = [str(job) for each in groups if each.error is None for job in each.watch.open]
    complain(f"{job} is {rows[job]['state']} after {seconds:g} s." for job in late)
    return TIMED_OUT if late and code == WELL else max(code, TROUBLED if late else WELL)


_ENDS = frozenset(str(state) for state in JobState if state.is_terminal) - {str(JobState.GONE)}
