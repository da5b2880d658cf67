"""What the Airflow at hand has and others have not."""

from __future__ import annotations

import sys

import airflow
import pytest
from packaging.version import Version

try:
    from airflow.sdk.exceptions import (
        AirflowRescheduleException,
        DownstreamTasksSkipped,
        ParamValidationError,
        TaskDeferralError,
        TaskDeferralTimeout,
    )
except ImportError:  # before Airflow 3.2
    from airflow.exceptions import (  # type: ignore[no-redef]
        AirflowRescheduleException,
        DownstreamTasksSkipped,
        ParamValidationError,
        TaskDeferralError,
        TaskDeferralTimeout,
    )

__all__ = [
    "AIRFLOW",
    "BEGINS_IN_TRIGGERER",
    "KEEPS_RECORDS",
    "REMOTE_JOBS",
    "TAKES_COMMANDS",
    "TRIGGERS_HAVE_ON_KILL",
    "AirflowRescheduleException",
    "DownstreamTasksSkipped",
    "ParamValidationError",
    "TaskDeferralError",
    "TaskDeferralTimeout",
    "forget_metrics",
    "module",
    "needs_a_retry_after_sigkill",
    "remote_jobs",
]

AIRFLOW = Version(airflow.__version__)
TAKES_COMMANDS = Version("3.2") <= AIRFLOW
"""Whether a provider's commands are commands of ``airflow``."""
TRIGGERS_HAVE_ON_KILL = Version("3.3") <= AIRFLOW
"""Whether Airflow calls ``on_kill`` of triggers. Where not, the guard calls no operator's own either."""
KEEPS_RECORDS = Version("3.3") <= AIRFLOW
"""Whether what an earlier poke or try has on record is kept: XComs are deleted before each."""
BEGINS_IN_TRIGGERER = Version("3.1") > AIRFLOW or Version("3.3") <= AIRFLOW
"""Whether Airflow heeds ``start_from_trigger``; 3.1 and 3.2 run such a task in a worker."""
_MODULE = ["airflow", "remote-jobs"] if TAKES_COMMANDS else ["airflow_cancel_provider.cli"]
REMOTE_JOBS = [sys.executable, "-m", *_MODULE]
"""Our command line, the way that this Airflow's users have it."""


def remote_jobs(*arguments: str) -> str:
    """The same as a program of Python."""
    return module(*_MODULE, *arguments)


def module(name: str, *arguments: str) -> str:
    """The program that ``python -m`` runs."""
    return (
        f"import runpy, sys\nsys.argv[:] = {[name, *arguments]!r}\n"
        f"runpy.run_module({name!r}, run_name='__main__', alter_sys=True)\n"
    )


def needs_a_retry_after_sigkill() -> None:
    """Skip the test where Airflow does not retry a task whose process was killed: it fails it at once."""
    if Version("3.1") > AIRFLOW:
        pytest.skip("this Airflow retries no task after SIGKILL")


def forget_metrics(patch: pytest.MonkeyPatch) -> None:
    """Have Airflow read the settings of its metrics again, which it does but once before 3.2."""
    if Version("3.2") <= AIRFLOW:
        return
    from airflow.metrics.statsd_logger import get_statsd_logger  # type: ignore[import-not-found]
    from airflow.stats import Stats

    patch.setattr(type(Stats), "factory", get_statsd_logger)
    patch.setattr(Stats, "instance", None)
