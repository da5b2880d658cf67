"""Mistakes that Amazon EMR refuses, and the two errors that it words them with.

Follows the pages of AddJobFlowSteps and StepConfig in the Amazon EMR API Reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.cloud.aws import AwsError
from tests.cloud.emr_cluster import TERMINATING_ACTIONS

MAX_STEPS = 256


def invalid(message: str) -> AwsError:
    """InvalidRequestException, the modelled error of the newer EMR operations."""
    return AwsError("InvalidRequestException", message)


def not_valid(message: str) -> AwsError:
    """ValidationException, which the older operations answer without modelling it."""
    return AwsError("ValidationException", message)


def check_steps(steps: Sequence[dict[str, Any]], concurrency: int, active: int) -> None:
    """Refuse what AddJobFlowSteps and RunJobFlow refuse, given the steps that are active already."""
    if len(steps) > MAX_STEPS:
        raise not_valid(
            "1 validation error detected: Value at 'steps' failed to satisfy constraint: "
            f"Member must have length less than or equal to {MAX_STEPS}"
        )
    if active + len(steps) > MAX_STEPS:
        raise not_valid(
            "Maximum number of active steps(State = 'Running', 'Pending' or 'Cancel_Pending') "
            "for cluster exceeded."
        )
    for step in steps:
        _check_step(step, concurrency)


def _check_step(step: dict[str, Any], concurrency: int) -> None:
    if not 0 < len(step.get("Name", "")) <= 256:
        raise not_valid("The name of a step must have between 1 and 256 characters.")
    config = step.get("HadoopJarStep") or {}
    texts = [*config.get("Args", []), *(p.get("Key", "") for p in config.get("Properties", []))]
    texts += [p.get("Value", "") for p in config.get("Properties", [])]
    if not config.get("Jar") or sum(map(len, texts)) > 10_240:
        raise not_valid("A step needs a Jar, and its strings must not exceed 10240 characters.")
    action = step.get("ActionOnFailure", "CONTINUE")
    if action not in ("CONTINUE", "CANCEL_AND_WAIT", *TERMINATING_ACTIONS):
        raise not_valid(f"ActionOnFailure '{action}' is not valid.")
    if action != "CONTINUE" and concurrency > 1:
        raise not_valid(f"ActionOnFailure '{action}' needs a StepConcurrencyLevel of 1.")
