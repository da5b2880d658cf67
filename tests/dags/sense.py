"""A sensor for each service, and for EMR in every way in which one can wait."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG
from kinds import KINDS, PARAMS, SYNC_OR_DEFERRABLE

# A task that is due again before the scheduler has heard of its last poke's end is failed by it:
# https://github.com/apache/airflow/issues/67287
MODES: dict[str, dict[str, Any]] = {
    **SYNC_OR_DEFERRABLE,
    "reschedule": {"mode": "reschedule", "poke_interval": 8},
}
VARIATIONS: dict[str, dict[str, Any]] = {
    "sense": {},
    "sense_success": {"target_states": ["SUCCEEDED"]},
    "guard": {"cancel_on_kill": True},
    "sense_timeout": {"timeout": 8},
    "soft_timeout": {"timeout": 8, "soft_fail": True},
    "guard_timeout": {"timeout": 8, "cancel_on_kill": True},
}

for service, kind in KINDS.items():
    for mode, options in MODES.items():
        for variation, more in VARIATIONS.items():
            with DAG(f"{variation}_{service}_{mode}", schedule=None, params=PARAMS):
                kind.sensor(
                    task_id="sense",
                    **{"poke_interval": 1, "timeout": 300, **kind.targets(), **options, **more},
                )
