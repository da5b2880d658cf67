"""An operator that begins in the triggerer; what it starts, it starts after that."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import BaseOperator
from airflow.triggers.base import StartTriggerArgs


class StartsFromTrigger(BaseOperator):
    """Waits a second in the triggerer before it has a process of its own."""

    start_from_trigger = True
    start_trigger_args = StartTriggerArgs(
        trigger_cls="airflow.providers.standard.triggers.temporal.TimeDeltaTrigger",
        trigger_kwargs={"delta": timedelta(seconds=1)},
        next_method="go_on",
        next_kwargs=None,
        timeout=None,
    )

    def execute(self, context: Any) -> None:
        """Never called: the scheduler begins with the trigger."""
        raise NotImplementedError

    def go_on(self, context: Any, event: Any) -> None:
        """Start a job, and fail."""
        from guarded import submit

        submit(context["params"]["scope"])
        raise ValueError("after submitting")
