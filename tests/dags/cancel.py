"""A cancel operator for each service, waiting in the task and in the triggerer."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG
from kinds import KINDS, PARAMS, SYNC_OR_DEFERRABLE

for service, kind in KINDS.items():
    # A stubborn step must stay so for as long as a test looks.
    extra: dict[str, Any] = {"escalate_after": None} if service == "emr" else {}
    for mode, options in SYNC_OR_DEFERRABLE.items():
        with DAG(f"cancel_{service}_{mode}", schedule=None, params=PARAMS):
            kind.cancel(
                task_id="cancel",
                waiter_delay=0.5,
                waiter_max_attempts="{{ params.attempts }}",
                **kind.targets(),
                **options,
                **extra,
            )
