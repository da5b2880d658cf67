"""The table: every scenario of the matrix, for which services and in which modes.

Celery: a worker killed with its children, and a warm shutdown cut short, belong here too. They need a
broker and are not run yet.
"""

from __future__ import annotations

from importlib.util import find_spec
from signal import SIGKILL, SIGTERM

from packaging.version import Version

from tests.airflow_versions import AIRFLOW
from tests.matrix import faults, setting
from tests.matrix.reaper import with_reaper
from tests.matrix.scenario import SERVICES, Cell, Expected, Scenario

AWS = ("emr", "batch", "emr-serverless", "emr-containers", "glue")
DENIED_MATTERS = tuple(service for service in SERVICES if service != "emr-containers")
"""Services whose operators fail when they may not poll their job; ``EmrContainerOperator`` goes on."""
TIMEOUT_WITHIN = 30.0
"""Seconds: Airflow looks every 15 for deferrals that have timed out, and then starts the task again."""
TASKS = {"sync": SERVICES, "plain": SERVICES}
SYNC = {"sync": SERVICES}
DEFERRED = {"deferred": SERVICES}
ALL = {**TASKS, **DEFERRED}

RUNNING = (
    Scenario("SIGTERM to the task", faults.signalled(SIGTERM), TASKS, kind="signal"),
    Scenario(
        "SIGTERM to its supervisor",
        faults.supervisor_signalled,
        TASKS,
        kind="signal",
        # Before 3.3 the processes of LocalExecutor keep the scheduler's handler, which does nothing in them.
        may_go_on=Version("3.3") > AIRFLOW,
    ),
    Scenario("SIGKILL of the task", faults.signalled(SIGKILL), TASKS, kind="signal"),
    Scenario("SIGKILL of its supervisor", faults.supervisor_killed, TASKS, kind="signal"),
    Scenario("SIGKILL of both", faults.both_killed, TASKS, kind="signal"),
    Scenario(
        "SIGTERM, SIGKILL 10 s later", faults.signalled(SIGTERM, SIGKILL), SYNC, within=25, kind="signal"
    ),
    Scenario(
        "SIGKILL right after the submission",
        faults.signalled(SIGKILL),
        TASKS,
        prepare=setting.hold_the_answer,
        ready=setting.until_job_is_made,
        kind="signal",
    ),
    Scenario("marked failed", faults.marked("failed"), TASKS, kind="mark"),
    Scenario("marked success", faults.marked("success"), TASKS, kind="mark"),
    Scenario("cleared", faults.cleared, TASKS, kind="mark"),
    Scenario("run marked failed", faults.run_failed, TASKS, kind="mark"),
    Scenario("run marked failed and deleted", faults.run_deleted, SYNC, kind="mark"),
    Scenario("run timed out", faults.run_timed_out, TASKS, shape="run_timeout", within=45),
    Scenario("execution_timeout", faults.timed_out, TASKS, shape="timeout"),
    Scenario("poll denied", faults.polls_denied, {"sync": DENIED_MATTERS, "plain": SERVICES}),
    Scenario(
        "poll denied, which the operator ignores",
        faults.polls_denied,
        {"sync": ("emr-containers",)},
        may_go_on=True,
    ),
    # GlueJobOperator has no limit of attempts where it waits itself.
    Scenario(
        "attempts used up",
        faults.attempts_used_up,
        {**TASKS, "sync": tuple(name for name in SERVICES if name != "glue")},
        shape="attempts",
    ),
    Scenario("killed in each of 3 tries", faults.killed_in_each_try, TASKS, shape="retries", kind="signal"),
    Scenario("SIGKILL, service down 40 s", faults.while_down(faults.signalled(SIGKILL)), TASKS, within=60),
    Scenario("marked failed, service down 40 s", faults.while_down(faults.marked("failed")), SYNC, within=60),
    Scenario(
        "marked failed, cancel call hangs",
        faults.while_cancel_hangs(faults.marked("failed")),
        TASKS,
        within=40,
    ),
)

WAITING = (
    Scenario("deferred, marked failed", faults.marked("failed"), DEFERRED, kind="deferred"),
    Scenario("deferred, marked success", faults.marked("success"), DEFERRED, kind="deferred"),
    Scenario("deferred, cleared", faults.cleared, DEFERRED, kind="deferred"),
    Scenario("deferred, run marked failed", faults.run_failed, DEFERRED, kind="deferred"),
    Scenario("deferred, run marked failed and deleted", faults.run_deleted, DEFERRED, kind="deferred"),
    Scenario("deferred, run timed out", faults.run_timed_out, DEFERRED, shape="run_timeout", within=45),
    Scenario(
        "deferral timeout",
        faults.deferral_timed_out,
        {"deferred": ("batch", "mrs")},
        shape="timeout",
        within=TIMEOUT_WITHIN,
        resumes=True,
    ),
    Scenario(
        "execution_timeout while deferred",
        faults.timed_out_while_deferred,
        {"deferred": ("emr", "emr-serverless", "emr-containers", "glue")},
        shape="timeout",
        within=TIMEOUT_WITHIN,
        resumes=True,
    ),
    # Who cancels polls first, and may not for 25 seconds.
    Scenario("poll denied in the trigger", faults.polls_denied, DEFERRED, within=40, resumes=True),
    Scenario(
        "attempts used up in the trigger", faults.attempts_used_up, DEFERRED, shape="attempts", resumes=True
    ),
    Scenario(
        "deferred, marked failed, service down 40 s",
        faults.while_down(faults.marked("failed")),
        DEFERRED,
        within=60,
    ),
    Scenario(
        "marked failed while the trigger starts",
        faults.marked("failed"),
        DEFERRED,
        ready=setting.until_just_deferred,
        kind="deferred",
    ),
    Scenario(
        "ten marked failed at once, cancel slow",
        faults.while_cancel_is_slow(faults.marked("failed")),
        {"deferred": ("emr", "batch")},
        runs=10,
        within=60,
    ),
)

ALONE = (
    Scenario(
        "success after waiting",
        lambda victim: victim.strike(),
        ALL,
        Expected.LEFT_ALONE,
        prepare=setting.short_job,
        ready=setting.until_success,
    ),
    Scenario(
        "fire and forget, then success",
        lambda victim: victim.strike(),
        TASKS,
        Expected.LEFT_ALONE,
        shape="forgets",
        ready=setting.until_success,
    ),
    Scenario(
        "Dag paused", faults.dag_paused, {"sync": AWS, "deferred": AWS}, Expected.LEFT_ALONE, shape="paused"
    ),
    Scenario(
        "sensor killed",
        faults.signalled(SIGKILL),
        SYNC,
        Expected.LEFT_ALONE,
        shape="senses",
        prepare=setting.sensed_job,
        ready=setting.until_sensed,
    ),
    Scenario(
        "sensor marked failed",
        faults.marked("failed"),
        SYNC,
        Expected.LEFT_ALONE,
        shape="senses",
        prepare=setting.sensed_job,
        ready=setting.until_sensed,
    ),
    Scenario(
        "SIGKILL beside a job submitted by hand",
        faults.signalled(SIGKILL),
        TASKS,
        prepare=setting.job_by_hand,
        kind="signal",
    ),
    Scenario(
        "SIGKILL beside a job of another Dag",
        faults.signalled(SIGKILL),
        SYNC,
        prepare=setting.job_of_another_dag,
        kind="signal",
    ),
    Scenario(
        "deferred, marked failed beside another's job",
        faults.marked("failed"),
        DEFERRED,
        prepare=setting.job_of_another_dag,
        kind="deferred",
    ),
)


def _of_phase(phase: str, name: str, expected: Expected, modes: dict[str, tuple[str, ...]]) -> Scenario:
    """A scenario whose fault its phase does."""
    return Scenario(name, lambda victim: victim.strike(), modes, expected, phase=phase, within=30)


PHASES = (
    _of_phase("triggerer", "triggerer restarted", Expected.LEFT_ALONE, DEFERRED),
    _of_phase("triggerer", "triggerer killed and restarted", Expected.LEFT_ALONE, DEFERRED),
    _of_phase("triggerer", "triggerer killed, marked failed, back", Expected.CANCELLED, DEFERRED),
    _of_phase("triggerer", "run deleted while triggerer down", Expected.REAPER, DEFERRED),
    _of_phase("two triggerers", "moved to another triggerer", Expected.LEFT_ALONE, DEFERRED),
    _of_phase("two triggerers", "its triggerer of two stopped", Expected.LEFT_ALONE, DEFERRED),
    _of_phase(
        "two triggerers", "marked failed while its triggerer of two stops", Expected.CANCELLED, DEFERRED
    ),
    _of_phase("two triggerers", "its triggerer of two killed, marked failed", Expected.CANCELLED, DEFERRED),
    _of_phase("others", "Dag processor restarted", Expected.LEFT_ALONE, {"sync": AWS, "deferred": AWS}),
    _of_phase("others", "scheduler restarted", Expected.LEFT_ALONE, DEFERRED),
    _of_phase("gone", "triggerer gone for good, marked failed", Expected.CANCELLED, {"deferred": AWS}),
)

REAPER = (
    Scenario(
        "task, supervisor and sentinel killed",
        faults.all_killed,
        {"sync": AWS},
        Expected.REAPER,
    ),
)

SCENARIOS = (*RUNNING, *WAITING, *ALONE, *PHASES, *REAPER)
SLOW = ("service down", "run timed out", "each of 3", "ten marked", "hangs")

# Stock deferrable operators need aiobotocore, which not every environment for tests has.
_HAS_AIO = find_spec("aiobotocore") is not None
SMOKE = (
    "SIGTERM to the task [emr sync]",
    "SIGKILL of the task [batch plain]",
    "marked failed [emr-serverless sync]",
    "cleared [batch sync]",
    "poll denied [emr sync]",
    "killed in each of 3 tries [emr plain]",
    f"deferred, marked failed [{'batch' if _HAS_AIO else 'mrs'} deferred]",
    f"deferred, cleared [{'emr' if _HAS_AIO else 'mrs'} deferred]",
    "fire and forget, then success [emr-serverless sync]",
    "SIGKILL beside a job submitted by hand [emr sync]",
)

_CORE = (
    "SIGTERM to the task [emr sync]",
    "SIGTERM to its supervisor [batch sync]",
    "SIGKILL of the task [emr-serverless sync]",
    "SIGKILL of its supervisor [glue sync]",
    "SIGKILL of both [mrs sync]",
    "marked failed [emr-containers sync]",
    "cleared [batch sync]",
    "poll denied [emr sync]",
    "SIGKILL beside a job submitted by hand [emr sync]",
    "sensor killed [batch sync]",
    "success after waiting [glue sync]",
    "SIGKILL of the task [batch plain]",
    "marked failed [glue plain]",
    "execution_timeout [emr plain]",
    "killed in each of 3 tries [emr plain]",
    "fire and forget, then success [mrs plain]",
    "deferred, marked failed [batch deferred]",
    "deferred, cleared [emr deferred]",
    "deferral timeout [mrs deferred]",
    "deferred, run marked failed and deleted [mrs deferred]",
    "attempts used up in the trigger [emr-serverless deferred]",
    "triggerer killed and restarted [glue deferred]",
    "task, supervisor and sentinel killed [emr sync]",
    "task, supervisor and sentinel killed [batch sync]",
)
CORE = tuple(name for name in _CORE if _HAS_AIO or "deferred]" not in name or "mrs" in name)
"""What `make versions` runs on each Airflow: each layer, each mode, each service."""


def cells(pattern: str = "", *, reaper: bool = False) -> list[Cell]:
    """The cells whose names hold the pattern, those first that take long; with a reaper more is expected."""
    scenarios = map(with_reaper, SCENARIOS) if reaper else SCENARIOS
    found = [cell for scenario in scenarios for cell in scenario.cells() if pattern in cell.name]
    return sorted(found, key=lambda cell: not any(word in cell.name for word in SLOW))
