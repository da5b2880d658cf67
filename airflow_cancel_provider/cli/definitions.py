"""Our own commands: names, options, words. Every ``airflow`` command reads them: they import no SDK."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from typing import Any

from airflow.cli import cli_config
from airflow.cli.cli_config import ARG_OUTPUT, ARG_VERBOSE, ActionCommand

from airflow_cancel_provider import __version__
from airflow_cancel_provider.reaper.rules import SHARE, Rules
from airflow_cancel_provider.services.registry import PLACES, SERVICES

_new: Any = cli_config.Arg  # which has no types
GROUP = "remote-jobs"
_SERVICES = ", ".join(PLACES)
_JOB = "emr://aws_default@us-east-1/j-2AXXXXXXGAPLF/s-3BYXXXXXXXXXX"


def _arg(*flags: str, help: str, **options: Any) -> Any:
    """As argparse calls it, with the default in the help."""
    default = options.get("default")
    is_told = default in (None, [], "") or "default" in help
    shown = f"{default:g}" if isinstance(default, float) else default
    return _new(flags, help=help if is_told else f"{help} (default: {shown})", **options)


def _list(flag: str, help: str, metavar: str, **options: Any) -> Any:
    return _arg(
        flag, help=f"{help}; may be repeated", action="append", default=[], metavar=metavar, **options
    )


def _flag(*flags: str, help: str) -> Any:
    return _arg(*flags, help=help, action="store_true")


def _seconds(flag: str, help: str, default: float | None) -> Any:
    return _arg(flag, help=help, type=float, default=default, metavar="SECONDS")


class _Version(argparse.Action):
    """Airflow's options take no text for argparse's own action."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        parser.exit(message=f"airflow-cancel-provider {__version__}\n")


VERSION = _new(
    ("--version",), help="Show the version, and end", action=_Version, nargs=0, default=argparse.SUPPRESS
)
_COMMON = (
    ARG_OUTPUT,
    ARG_VERBOSE,
    _flag("-q", "--quiet", help="Write nothing but the answer and errors: no progress, no warnings"),
    VERSION,
)
_ADDRESSES = f"Addresses, as {_JOB}; - reads them from standard input"
_JOBS = _arg("jobs", help=_ADDRESSES, nargs="+", metavar="JOB")
_AIRFLOW = _arg(
    "--airflow-conn-id",
    help="Ask Airflow's API server, with the service account of this connection, instead of its database",
    metavar="CONN_ID",
)
_TASK = (
    _arg("--dag-id", help="Jobs of this Dag", metavar="DAG_ID"),
    _arg("--run-id", help="Jobs of this Dag run", metavar="RUN_ID"),
    _arg("--task-id", help="Jobs of this task", metavar="TASK_ID"),
    _arg("--map-index", help="Jobs of this mapped task instance", type=int, metavar="INDEX"),
)
_IGNORE_MISSING = _flag("--ignore-missing", help="Jobs that their service does not know are no failure")
_LIST = (
    *_TASK,
    _arg("--service", help=f"Jobs of this service: {', '.join(SERVICES)}", metavar="SERVICE"),
    _list(
        "--state",
        "Jobs in this state: living, ended, released, unknown, foreign",
        "STATE",
        choices=("living", "ended", "released", "unknown", "foreign"),
    ),
    _flag("--orphans", help="Jobs whose task has ended without success, and whose own end is not on record"),
    _arg(
        "--since",
        help="Jobs submitted since then: a time, as 2026-11-20T12:00 (UTC), or an age, as 30m, 12h, 7d",
        metavar="TIME",
    ),
    _arg("--limit", help="Most jobs to list; 0: all of them", type=int, default=100, metavar="NUMBER"),
    _list(
        "--at",
        f"Ask services for jobs that live now: service://connection@region, with a service of {_SERVICES}",
        "PLACE",
    ),
    _arg(
        "--airflow-conn-id",
        help="With --at: ask Airflow's API server for the tasks of these jobs, with the service account of "
        "this connection, instead of its database",
        metavar="CONN_ID",
    ),
)
_WAIT = (
    _JOBS,
    _seconds("--timeout", "How long to wait at most; default: for ever", None),
    _seconds("--interval", "Seconds between two polls", 10.0),
    _list(
        "--expect",
        "States in which jobs have to end; default: any",
        "STATE",
        choices=("SUCCEEDED", "FAILED", "CANCELLED"),
    ),
    _IGNORE_MISSING,
)
_CANCEL = (
    _arg(
        "jobs",
        help=f"{_ADDRESSES}. Or choose jobs by their task: --dag-id, --run-id, --task-id, --map-index",
        nargs="*",
        metavar="JOB",
    ),
    *_TASK,
    _flag("--released", help="Of a task: also jobs that are meant to live on"),
    _arg(
        "--reason",
        help="Words that the service keeps with the job, where it can",
        default="Cancelled from the command line",
    ),
    _flag("--pending-only", help="Batch: leave alone what has started"),
    _arg(
        "--cancellation-option",
        help="EMR: SEND_INTERRUPT or TERMINATE_PROCESS; default: SEND_INTERRUPT",
        choices=("SEND_INTERRUPT", "TERMINATE_PROCESS"),
        metavar="OPTION",
    ),
    _arg(
        "--shutdown-grace-period",
        help="EMR Serverless: seconds that a run has to shut down, 0 or 15 to 1800",
        type=int,
        metavar="SECONDS",
    ),
    _flag("--force", help="Use the strongest cancel that the service has, at once"),
    _seconds("--wait", "How long to wait for the jobs to end; 0: only request the cancel", 120.0),
    _IGNORE_MISSING,
    _flag("-n", "--dry-run", help="Show what would be cancelled; cancel nothing"),
    _flag("-y", "--yes", help="Don't ask before jobs that are chosen by their task are cancelled"),
)
_REAP = (
    _list(
        "--at",
        f"A place to look at, as service://connection@region, with a service of {_SERVICES}; "
        "default: reaper_places of section cancel_provider",
        "PLACE",
    ),
    _list("--scope", "A pattern of cluster ids, queue names and application ids to look at", "PATTERN"),
    _list("--except-scope", "A pattern of those to leave out", "PATTERN"),
    _AIRFLOW,
    _flag("--loop", help="Sweep again and again, until SIGTERM or SIGINT"),
    _seconds(
        "--interval",
        "Seconds within which an orphan is found and its cancel requested, both checks included: more than "
        "--grace",
        300.0,
    ),
    _flag("-n", "--dry-run", help="List what would be cancelled; cancel nothing"),
    _flag("--exit-code", help="End with 1 if there are orphans, also if all of them were cancelled"),
    _seconds("--grace", "Seconds between the two checks that have to agree", Rules.grace),
    _seconds(
        "--confirm-seconds",
        f"How long to wait for cancelled jobs to end; default: {Rules.confirm_seconds:g}, and 0 in a loop, "
        "whose next sweep looks at them",
        None,
    ),
    _seconds(
        "--escalate-after", "Seconds after which a job that won't end is forced to", Rules.escalate_after
    ),
    _arg(
        "--brake",
        help="Most orphans that one sweep may cancel; if there are more, none of them is cancelled",
        type=int,
        default=Rules.brake,
        metavar="NUMBER",
    ),
    _arg(
        "--share",
        help="Share of the API quotas to keep to: above 0, at most 1",
        type=float,
        default=SHARE,
        metavar="SHARE",
    ),
)
_CHOSEN: dict[str, Any] = {"nargs": "+", "default": [], "metavar": "JOB"}
_DEAD_LETTERS = (
    _arg("--acknowledge", help="Don't list these any more, and don't cancel them", **_CHOSEN),
    _arg("--retry", help="Have the next sweep cancel these again; 'all': all of them", **_CHOSEN),
    _AIRFLOW,
)
_DOCTOR = (
    _list(
        "--at",
        "A place to check, as service://connection@region; default: reaper_places of section "
        "cancel_provider; without one: no service",
        "PLACE",
    ),
    _flag("--offline", help="Send nothing to services and to the API server"),
)


def load(command: str, module: str) -> Any:
    """Import a module of a command that is called; say in one line why it can't start."""
    try:
        return import_module(f"{__package__}.{module}")
    except ImportError as error:
        sys.exit(f"{GROUP} {command} can't start, because a package is missing or too old: {error}")


def _run(name: str) -> Any:
    module = name.replace("-", "_")
    function = "list_jobs" if name == "list" else module

    def run(options: argparse.Namespace) -> None:
        command = getattr(load(name, module), function)
        sys.exit(load(name, "command").run(command, options))

    return run


def _command(name: str, help: str, args: tuple[Any, ...], exit_codes: str, *examples: str) -> Any:
    lines = [f"  airflow {GROUP} {name} {example}".rstrip() for example in examples]
    epilog = "\n".join(
        [f"Exit codes: {exit_codes} 2: wrong input, nothing was sent.", "", "Examples:", *lines]
    )
    return ActionCommand(name=name, help=help, func=_run(name), args=(*args, *_COMMON), epilog=epilog)


COMMANDS = (
    _command(
        "list",
        "List living and recent jobs",
        _LIST,
        "0: all well. 1: Airflow or a service did not answer.",
        "--dag-id sales --since 12h",
        "--orphans -o json",
        "--at aws://aws_default@us-east-1",
    ),
    _command(
        "describe",
        "Show the state of jobs",
        (_JOBS,),
        "0: all are known. 1: some are unknown to their service, or it did not answer.",
        _JOB,
        f"-o json {_JOB} | jq '.[].state'",
    ),
    _command(
        "wait",
        "Wait until jobs have ended",
        _WAIT,
        "0: all have ended, as expected. 1: some ended otherwise, are unknown to their service, or can't be "
        "looked at. 124: some have not ended in time.",
        f"--timeout 3600 --expect SUCCEEDED {_JOB}",
    ),
    _command(
        "cancel",
        "Cancel jobs, and wait for them to end",
        _CANCEL,
        "0: all have ended. 1: some could not be cancelled, have not ended or are unknown to their service.",
        _JOB,
        "--dag-id sales --run-id manual__2026-11-20 --dry-run",
        "- --force --yes < addresses.txt",
    ),
    _command(
        "reap",
        "Cancel running jobs whose task is over",
        _REAP,
        "0: all well. 1: something could not be checked or cancelled; with --exit-code also: orphans.",
        "--at aws://aws_default@us-east-1 --dry-run",
        "--loop --interval 300",
    ),
    _command(
        "dead-letters",
        "List the jobs that a reaper could not cancel",
        _DEAD_LETTERS,
        "0: there are none. 1: there are some.",
        "",
        f"--acknowledge {_JOB}",
        "--retry all",
    ),
    _command(
        "doctor",
        "Check what the protection of remote jobs needs here",
        _DOCTOR,
        "0: nothing is broken. 1: something is.",
        "",
        "--at aws://aws_default@us-east-1 -o json",
    ),
)
