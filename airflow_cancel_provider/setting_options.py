"""The options of the ``[cancel_provider]`` section of Airflow's configuration: type, default, description.

The only place of the defaults. Imports no Airflow, which reads this to know its own configuration.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from airflow_cancel_provider.services.registry import SERVICES


def _option(description: str, *, default: Any) -> Any:
    return field(default=default, metadata={"description": description})


@dataclass(frozen=True)
class Options:
    """The options and their types; a tuple is written with commas between its parts."""

    enabled: bool = _option("Guard tasks: cancel what they started unless they succeed.", default=True)
    dags: tuple[str, ...] = _option("Ids of Dags to guard, as patterns separated by commas.", default=("*",))
    except_dags: tuple[str, ...] = _option(
        "Ids of Dags not to guard, as patterns separated by commas.", default=()
    )
    operators: tuple[str, ...] = _option(
        "Operator classes to guard, short or full names, as patterns.", default=("*",)
    )
    except_operators: tuple[str, ...] = _option("Operator classes not to guard, as patterns.", default=())
    deployment: str = _option(
        "Name of this Airflow in labels on jobs. By default made from [api] base_url.", default=""
    )
    labels: bool = _option("Write the owner on each job as it is submitted.", default=True)
    fail_closed: bool = _option("Fail a task that can't be guarded, instead of running it.", default=False)
    sentinel: bool = _option("Start a small process beside a task that submits jobs.", default=True)
    patience: float = _option("Seconds for which cancelling is tried after a task has ended.", default=900.0)
    confirm_seconds: float = _option(
        "Seconds for which a failing task waits for the end of its jobs.",
        default=30.0,
    )
    escalate_after: float = _option(
        "Seconds after which a job that has not ended gets a harder cancel, where there is one.", default=60.0
    )
    on_retry: str = _option(
        "What happens to the jobs of a failed try that will be retried: cancel, or keep them for the next "
        "try (they are cancelled when the last try fails).",
        default="cancel",
    )
    quotas: tuple[str, ...] = _option(
        "Quotas of your accounts where they are not the published ones, as emr.ListSteps=20/2 (calls at once "
        "/ calls a second), separated by commas; emr.*: all operations of EMR together.",
        default=(),
    )
    quota_share: float = _option(
        "Share of these quotas that one process uses; below 1 where others use the same accounts.",
        default=1.0,
    )
    reaper_places: tuple[str, ...] = _option(
        "Places that a reaper checks: aws://connection@region, mrs://connection, with commas.",
        default=(),
    )


def _described(default: Any, description: str) -> dict[str, Any]:
    kind = {bool: "boolean", float: "float"}.get(type(default), "string")
    text = f"{default:g}" if kind == "float" else str(default)
    return {
        "description": description,
        "version_added": "0.1.0",
        "type": kind,
        "example": None,
        "default": ",".join(default) if isinstance(default, tuple) else text,
    }


OPTIONS: dict[str, dict[str, Any]] = {
    **{each.name: _described(each.default, each.metadata["description"]) for each in fields(Options)},
    **{
        f"{row.package}_label": _described(row.carriers[0], row.carrier_help)
        for row in SERVICES.values()
        if row.carriers
    },
}
"""Option name to what Airflow's provider info says of it."""
