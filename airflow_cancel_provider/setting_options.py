"""The options of the ``[cancel_provider]`` section of Airflow's configuration: type, default, description.

The only place of the defaults. Imports no Airflow, which reads this to know its own configuration.
"""

from __future__ import annotations

from typing import Any

from airflow_cancel_provider.services.registry import SERVICES


def _option(kind: str, default: str, description: str) -> dict[str, Any]:
    return {
        "description": description,
        "version_added": "0.1.0",
        "type": kind,
        "example": None,
        "default": default,
    }


_TAGGED = ", ".join(
    row.title for row in SERVICES.values() if any(getattr(each, "most_tags", 0) for each in row.submissions)
)
OPTIONS: dict[str, dict[str, Any]] = {
    "enabled": _option("boolean", "True", "Guard tasks: cancel what they started unless they succeed."),
    "dags": _option("string", "*", "Ids of Dags to guard, as patterns separated by commas."),
    "except_dags": _option("string", "", "Ids of Dags not to guard, as patterns separated by commas."),
    "operators": _option("string", "*", "Operator classes to guard, short or full names, as patterns."),
    "except_operators": _option("string", "", "Operator classes not to guard, as patterns."),
    "deployment": _option(
        "string", "", "Name of this Airflow in labels on jobs. By default made from [api] base_url."
    ),
    "labels": _option("boolean", "True", "Write the owner on each job as it is submitted."),
    **{
        f"{row.package}_label": _option("string", row.carriers[0], row.carrier_help)
        for row in SERVICES.values()
        if row.carriers
    },
    "tags": _option(
        "boolean",
        "False",
        f"Also tag jobs of {_TAGGED} with their owner; needs the TagResource permission, and goes without "
        "where it is missing.",
    ),
    "raise_on_sigterm": _option(
        "boolean", "True", "End a task that has started jobs when it gets SIGTERM; Airflow 3 goes on with it."
    ),
    "fail_closed": _option("boolean", "False", "Fail a task that can't be guarded, instead of running it."),
    "sentinel": _option("boolean", "True", "Start a small process beside a task that submits jobs."),
    "patience": _option("float", "900", "Seconds for which cancelling is tried when a task is gone."),
    "confirm_seconds": _option(
        "float", "30", "Seconds for which a failing task waits to see its jobs end before it reports."
    ),
    "escalate_after": _option("float", "60", "Seconds after which a job that won't end is forced to."),
    "on_retry": _option(
        "string",
        "cancel",
        "What becomes of the jobs of a failed try that will be retried: cancel, or keep them for the next "
        "one (they are cancelled when the last one fails).",
    ),
    "reaper_places": _option(
        "string", "", "Where a reaper looks: aws://connection@region, mrs://connection, separated by commas."
    ),
    "reaper_scopes": _option(
        "string", "*", "Clusters, queues and applications that a reaper looks at, as patterns."
    ),
    "reaper_except_scopes": _option("string", "", "Those that it leaves out, as patterns."),
}
"""Option name to what Airflow's provider info says of it."""
