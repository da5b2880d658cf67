"""The faults that concern one task, each a small function; those of components are in ``phases``."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from tests.matrix.dags.timings import EXECUTION_TIMEOUT, RUN_TIMEOUT
from tests.matrix.victim import ALIVE, TASK, Victim, moment
from tests.real_airflow.processes import MARK, children, parent
from tests.real_airflow.world import eventually

Act = Callable[[Victim], None]
CANCELS = {
    "emr": ("CancelSteps",),
    "batch": ("TerminateJob", "CancelJob", "TerminateJobs", "CancelJobs"),
    "emr-serverless": ("CancelJobRun",),
    "emr-containers": ("CancelJobRun",),
    "mrs": ("StopJob",),
    "glue": ("BatchStopJobRun",),
}
POLLS = {
    "emr": ("DescribeStep", "ListSteps"),
    "batch": ("DescribeJobs",),
    "emr-serverless": ("GetJobRun",),
    "emr-containers": ("DescribeJobRun",),
    "mrs": ("ShowSingleJobExe", "ShowJobExeListNew"),
    "glue": ("GetJobRun",),
}
DOWN_SECONDS = 40.0


# Signals.


def process_of(victim: Victim) -> int:
    """The process of its task.

    :raises ProcessLookupError: it is gone, and its number may be somebody else's by now.
    """
    return _started_here(victim.task()["pid"])


def supervisor_of(victim: Victim) -> int:
    """The process that looks after its task.

    :raises ProcessLookupError: it is gone; its child's parent is then process 1.
    """
    return _started_here(parent(process_of(victim)))


def _started_here(pid: int | None) -> int:
    with suppress(OSError):
        if pid and f"{MARK}=".encode() in Path(f"/proc/{pid}/environ").read_bytes():
            return pid
    raise ProcessLookupError(f"process {pid} is no task or supervisor")


def signalled(*numbers: signal.Signals, pause: float = 10.0) -> Act:
    """The task gets these, one after the other."""

    def strike(victim: Victim) -> None:
        pid = process_of(victim)
        victim.strike()
        for count, number in enumerate(numbers):
            time.sleep(pause if count else 0)
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    return strike


def supervisor_signalled(victim: Victim) -> None:
    """Its supervisor gets SIGTERM."""
    supervisor = supervisor_of(victim)
    victim.strike()
    os.kill(supervisor, signal.SIGTERM)


def supervisor_killed(victim: Victim) -> None:
    """Its supervisor gets SIGKILL."""
    supervisor = supervisor_of(victim)
    victim.strike()
    os.kill(supervisor, signal.SIGKILL)


def both_killed(victim: Victim) -> None:
    """The task and its supervisor get SIGKILL."""
    pid, supervisor = process_of(victim), supervisor_of(victim)
    victim.strike()
    os.kill(supervisor, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)


def all_killed(victim: Victim) -> None:
    """As when the host dies: the task, its supervisor, and what the task has started."""
    pid = process_of(victim)
    doomed = [supervisor_of(victim), *children(pid), pid]
    victim.strike()
    for each in doomed:
        os.kill(each, signal.SIGKILL)


def killed_in_each_try(victim: Victim) -> None:
    """SIGKILL to the first try, SIGTERM to the second, SIGKILL to the last."""
    for number, count in ((signal.SIGKILL, 1), (signal.SIGTERM, 2), (signal.SIGKILL, 3)):
        try:
            victim.wait_for_jobs(count, seconds=60)
        except AssertionError:
            if count == 1:
                raise
            return  # the task ignored the signal, or was not tried again: the verdict is on what there is
        victim.wait_for_task(victim.runs[0], lambda state: state == "running")
        pid = process_of(victim)
        victim.strike()
        os.kill(pid, number)


# What people do.


def marked(state: str) -> Act:
    """Every run's task is marked, all at once."""

    def strike(victim: Victim) -> None:
        victim.strike()
        with ThreadPoolExecutor(len(victim.runs)) as pool:
            list(pool.map(lambda run: victim.ground.rest.mark(victim.dag_id, run, TASK, state), victim.runs))

    return strike


def cleared(victim: Victim) -> None:
    """The task is cleared."""
    victim.strike()
    victim.ground.rest.clear(victim.dag_id, victim.runs[0], TASK)


def run_failed(victim: Victim) -> None:
    """The run is marked failed."""
    victim.strike()
    for run in victim.runs:
        victim.ground.rest.call("PATCH", f"dags/{victim.dag_id}/dagRuns/{run}", json={"state": "failed"})


def run_deleted(victim: Victim) -> None:
    """The run is marked failed and deleted: Airflow deletes no run whose tasks run."""
    run_failed(victim)
    for run in victim.runs:
        victim.ground.rest.call("DELETE", f"dags/{victim.dag_id}/dagRuns/{run}")


def dag_paused(victim: Victim) -> None:
    """The Dag is paused."""
    victim.strike()
    victim.ground.rest.call("PATCH", f"dags/{victim.dag_id}", json={"is_paused": True})


# What happens by itself.


def timed_out(victim: Victim) -> None:
    """``execution_timeout`` passes; Airflow counts it from the call of ``execute``, not from the start date.

    Between the two, the task's process reads the Dag's file, which takes many seconds on a busy machine.
    """
    logged_at = partial(
        victim.ground.rest.logged_at, victim.dag_id, victim.runs[0], TASK, "Process timed out"
    )
    deadline = time.monotonic() + EXECUTION_TIMEOUT + 5
    while (at := logged_at()) is None and time.monotonic() < deadline:
        time.sleep(0.5)
    _strike_in_time(victim, at or time.time())


def timed_out_while_deferred(victim: Victim) -> None:
    """``execution_timeout`` passes: the guard counts it from the task's start."""
    _strike_in_time(victim, moment(victim.tasks[0]["start_date"]) + EXECUTION_TIMEOUT)


def deferral_timed_out(victim: Victim) -> None:
    """The timeout that the operator deferred with passes."""
    _strike_in_time(victim, victim.own_jobs()[0]["created_at"] + EXECUTION_TIMEOUT)


def run_timed_out(victim: Victim) -> None:
    """``dagrun_timeout`` passes."""
    run = victim.ground.rest.call("GET", f"dags/{victim.dag_id}/dagRuns/{victim.runs[0]}")
    _strike_in_time(victim, moment(run["start_date"]) + RUN_TIMEOUT)


def _strike_in_time(victim: Victim, at: float) -> None:
    """A timeout that came before the job did (on a busy machine) strikes as soon as the job is there."""
    victim.strike(max(at, victim.own_jobs()[0]["created_at"] + 0.001))


def attempts_used_up(victim: Victim) -> None:
    """The operator has polled as often as it may."""
    victim.strike()
    run = victim.runs[0]

    def is_over() -> bool:
        return any(job["cancel_requested_at"] for job in victim.own_jobs())

    with suppress(AssertionError):
        eventually(lambda: is_over() or victim.task(run)["state"] not in ALIVE, "the end", seconds=40)
    asked = victim.own_jobs()[0]["cancel_requested_at"] or time.time()
    polls = [call.time for call in victim.calls() if call.operation in POLLS[victim.cell.service]]
    victim.strikes = [max((at for at in polls if at <= asked), default=asked)]


def polls_denied(victim: Victim) -> None:
    """The operator may not poll any more."""
    spoil(victim, "denied", POLLS, seconds=25.0)

    def was_denied() -> bool:
        return bool(victim.calls(fault="denied"))

    eventually(was_denied, "a poll", seconds=30)
    victim.strike(victim.calls(fault="denied")[0].time)


# What the cloud does.


def spoil(
    victim: Victim, kind: str, operations: dict[str, tuple[str, ...]] | None = None, **when: Any
) -> None:
    """Let calls about this victim's jobs, and only those, go wrong."""
    service = victim.cell.service
    named = operations[service] if operations else ("*",)
    for operation in named:
        victim.ground.cloud.faults.add(service, operation, kind, scope=victim.scope, **when)
        if service == "batch":  # most of its calls name jobs, but no queue
            for job in victim.jobs():
                victim.ground.cloud.faults.add(service, operation, kind, id=job["id"], **when)


def while_down(strike: Act) -> Act:
    """The service is not to be reached for a while, from the fault on."""

    def both(victim: Victim) -> None:
        spoil(victim, "reset", seconds=DOWN_SECONDS)
        strike(victim)

    return both


def while_cancel_hangs(strike: Act) -> Act:
    """The first call that cancels gets no answer."""

    def both(victim: Victim) -> None:
        spoil(victim, "hang", CANCELS, times=1)
        strike(victim)

    return both


def while_cancel_is_slow(strike: Act) -> Act:
    """Each call that cancels takes three seconds."""

    def both(victim: Victim) -> None:
        spoil(victim, "latency", CANCELS, delay=3.0)
        strike(victim)

    return both
