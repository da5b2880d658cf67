"""How ``execute`` of a task ends, told by its exception.

By the names of classes, because not every Airflow version has each of them.
"""

from __future__ import annotations

from collections.abc import Collection

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


def is_one_of(end: BaseException | None, names: Collection[str]) -> bool:
    """Whether an exception is of one of these classes, or of a subclass."""
    return any(cls.__name__ in names for cls in type(end).__mro__)


def why_of(end: BaseException | None) -> str:
    """Why the task ended, without the message of its exception, which may hold secrets."""
    if type(end).__name__ == "AirflowSkipException":
        return "Task was skipped"
    return f"Task failed ({type(end).__name__})"
