"""Which operators do not succeed before their jobs have ended."""

from __future__ import annotations

from typing import Any

WAITING = {
    "EmrAddStepsOperator": ("wait_for_completion", "deferrable"),
    "BatchOperator": ("wait_for_completion", "deferrable"),
    "EmrServerlessStartJobOperator": ("wait_for_completion", "deferrable"),
    "MrsSubmitJobOperator": ("wait_for_completion",),
}
"""Operator class to the attributes of which one makes it wait. Others may start jobs that are to live on."""


def waits(task: Any) -> bool:
    """Whether a job of this task that lives is proof that the task has not succeeded."""
    switches = [WAITING[cls.__name__] for cls in type(task).__mro__ if cls.__name__ in WAITING]
    return any(getattr(task, name, False) is True for names in switches for name in names)
