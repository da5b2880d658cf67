"""How a try of a task ends, and whether the next one takes over its jobs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from airflow_cancel_provider.settings import Settings

# By the names of classes, because not every Airflow version has each of them.
DEFERRED = ("TaskDeferred",)
CONTINUED = ("AirflowRescheduleException", "DagRunTriggerException", "TaskAwaitingInput")
SUCCEEDED = ("DownstreamTasksSkipped",)
"""These three are no failure."""
TIMED_OUT = ("AirflowTaskTimeout",)
FOR_GOOD = (
    "AirflowFailException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTerminated",
)
"""After these there is no retry."""
_PACKAGE = __name__.partition(".")[0] + "."


class Tries:
    """Whether a try takes over the jobs of the one before, as with ``durable`` or ``on_retry = keep``."""

    def __init__(self, ti: Any, settings: Settings) -> None:
        self._ti = ti
        task = getattr(ti, "task", None)
        self.go_on = _reconnects(task) or (settings.on_retry == "keep" and not _cancels_itself(task))
        """Whether each try takes over the jobs of the one before instead of submitting new ones."""

    @property
    def is_first(self) -> bool:
        """Whether this is the first try."""
        return bool(self._ti.try_number <= 1)

    @property
    def is_resumed(self) -> bool:
        """Whether this is the rest of a try that was deferred."""
        return bool(getattr(getattr(self._ti, "_ti_context_from_server", None), "next_method", None))

    @property
    def is_rescheduled(self) -> bool:
        """Whether this is the rest of a try that was rescheduled, as a sensor is in mode ``reschedule``."""
        return bool(getattr(getattr(self._ti, "_ti_context_from_server", None), "task_reschedule_count", 0))

    @property
    def is_rest(self) -> bool:
        """Whether this is the rest of a try, and not the beginning of one."""
        return self.is_resumed or self.is_rescheduled

    @property
    def is_followed(self) -> bool:
        """Whether a next try would take over the jobs of this one."""
        return self.go_on and bool(self._ti.try_number <= self._ti.max_tries)

    @property
    def will_follow(self) -> bool:
        """Whether Airflow has decided that there is a next try, and it takes over."""
        return self.is_followed and getattr(self._ti, "state", None) == "up_for_retry"

    def may_follow(self, end: BaseException) -> bool:
        """Whether a next try takes over after this end, unless Airflow decides otherwise (a retry policy)."""
        return self.is_followed and not is_one_of(end, FOR_GOOD)


def _reconnects(task: Any) -> bool:
    """Whether an operator's next try reconnects to the job of the one before."""
    if isinstance(given := getattr(task, "partial_kwargs", None), Mapping):
        return _may_reconnect(task.operator_class, given)
    if getattr(task, "durable", False) and hasattr(task, "submit_job"):
        return True
    # GlueJobOperator before it had ``durable`` (Amazon provider 9.39). Its first versions read XCom only,
    # which Airflow clears before each try.
    return bool(getattr(task, "resume_glue_job_on_retry", False)) and hasattr(task, "TASK_UUID_ARG")


def _cancels_itself(task: Any) -> bool:
    """Whether its operator cancels its job if it fails, and its next try submits anew.

    A subclass of somebody else may go on with the job of the try before.
    """
    operator = getattr(task, "operator_class", type(task))
    return bool(getattr(operator, "starts_jobs", False)) and operator.__module__.startswith(_PACKAGE)


def _may_reconnect(operator: type[Any], given: Mapping[str, Any]) -> bool:
    """The same of a mapped task, which a Dag processor does not expand; in doubt it does.

    :param given: its parameters that are the same for all of its instances.
    """
    resumes = given.get("resume_glue_job_on_retry")
    # On Airflow before 3.3 the class of this name, of the package common-compat, does nothing.
    names = {cls.__name__ for cls in operator.__mro__ if cls.__module__.startswith("airflow.sdk.")}
    if "ResumableJobMixin" not in names:
        return bool(resumes) and hasattr(operator, "TASK_UUID_ARG")
    wanted = given.get("durable", resumes)
    return wanted is None or bool(wanted)


def is_one_of(end: BaseException | None, names: Collection[str]) -> bool:
    """Whether an exception is of one of these classes, or of a subclass."""
    return any(cls.__name__ in names for cls in type(end).__mro__)


def why_of(end: BaseException | None) -> str:
    """Why the task ended, without the message of its exception, which may hold secrets."""
    if type(end).__name__ == "AirflowSkipException":
        return "Task was skipped"
    return f"Task failed ({type(end).__name__})"
