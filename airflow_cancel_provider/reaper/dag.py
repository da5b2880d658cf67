"""The reaper as a Dag."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, AssetAlias, Param, task

from airflow_cancel_provider.reaper.lists import several

if TYPE_CHECKING:
    from airflow_cancel_provider.reaper.report import Report

ORPHANS = "remote_jobs_orphans"
"""Name of the asset that gets an event whenever a sweep finds orphans."""
PATTERNS: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
"""Schema of a param: a text alone, whose letters would be taken for patterns, starts no run."""
SPELLED_OUT = 100
"""Most orphans and scopes that the XCom spells out."""


def reaper_dag(
    dag_id: str = "remote_jobs_reaper",
    *,
    airflow_conn_id: str,
    at: Collection[str] = (),
    schedule: Any = timedelta(minutes=5),
    scopes: Collection[str] = (),
    except_scopes: Collection[str] = (),
    share: float = 0.5,
    grace: float = 30.0,
    confirm_seconds: float = 120.0,
    escalate_after: float = 60.0,
    brake: int = 100,
    dry_run: bool = False,
    on_orphans: Callable[[Mapping[str, Any]], None] | None = None,
    **dag_options: Any,
) -> DAG:
    """A Dag with a task ``reap``, which sweeps once and returns what it saw as XCom, and a task ``check``.

    It asks the API server, with a service account. ``check`` fails when something could not be looked at or
    cancelled. When a sweep finds orphans, asset ``remote_jobs_orphans`` gets an event with the XCom as its
    extra.

    :param airflow_conn_id: connection with the API server as host and a service account's login.
    :param at: places, as ``aws://connection@region`` or ``mrs://connection``; by default
        ``[cancel_provider] reaper_places``.
    :param schedule: the Dag's; with ``grace`` it bounds how long an orphan lives.
    :param scopes: patterns of cluster ids, queue names and application ids to look at.
    :param except_scopes: patterns of those to leave out.
    :param dry_run: cancel nothing; like ``scopes`` and ``except_scopes`` it is a param of the Dag, so that a
        person can start one run otherwise.
    :param on_orphans: called with the XCom's value when a sweep finds orphans.
    :param dag_options: further arguments of ``DAG``.
    :raises InvalidInput: a list is a text.
    """
    sweep = {"at": several("at", at), "share": share}
    rules = {
        "grace": grace,
        "confirm_seconds": confirm_seconds,
        "escalate_after": escalate_after,
        "brake": brake,
    }
    # What a person may want otherwise for one run.
    params = {
        "dry_run": Param(dry_run, type="boolean"),
        "scopes": Param(several("scopes", scopes), **PATTERNS),
        "except_scopes": Param(several("except_scopes", except_scopes), **PATTERNS),
    }
    usual = {"catchup": False, "max_active_runs": 1, "tags": ["remote jobs"]}
    options = {**usual, **dag_options, "params": params | (dag_options.get("params") or {})}
    with DAG(dag_id, schedule=schedule, **options) as dag:

        @task(outlets=[AssetAlias(ORPHANS)], retries=0)
        def reap(*, ti: Any = None, params: Any = None, outlet_events: Any = None) -> None:
            """Sweep once."""
            chosen = {name: list(params[name]) for name in ("scopes", "except_scopes")}
            report = _sweep(airflow_conn_id, sweep | chosen, rules | {"is_dry": params["dry_run"]})
            value = report.as_json(most=SPELLED_OUT)
            ti.xcom_push(key="return_value", value=value)
            if report.orphans:
                _tell(outlet_events, value, on_orphans)

        @task(retries=0)
        def check(*, ti: Any = None) -> None:
            """Fail where a person should look; apart, because a task that fails has no asset events."""
            _fail_if_troubled(ti.xcom_pull(task_ids="reap"))

        reap() >> check()
    return dag


def _sweep(airflow_conn_id: str, sweep: dict[str, Any], rules: dict[str, Any]) -> Report:
    from airflow_cancel_provider.reaper.factory import make_reaper, rest_airflow
    from airflow_cancel_provider.reaper.metrics import gauge_of_task, send
    from airflow_cancel_provider.reaper.reaper import Rules, log

    report = make_reaper(rest_airflow(airflow_conn_id), rules=Rules(**rules), **sweep).sweep()
    log.info("%s", report)
    send(report, gauge_of_task())
    return report


def _tell(
    outlet_events: Any, value: Mapping[str, Any], on_orphans: Callable[[Mapping[str, Any]], None] | None
) -> None:
    from airflow.sdk import Asset

    outlet_events[AssetAlias(ORPHANS)].add(Asset(ORPHANS), extra=_extra(value))
    if on_orphans is not None:
        on_orphans(value)


def _extra(value: Mapping[str, Any]) -> dict[str, Any]:
    from airflow import __version__

    if not __version__.startswith("3.0."):
        return dict(value)
    # Airflow 3.0 puts extras into a set, and fails the task over what can't be hashed.
    return {
        name: json.dumps(each) if isinstance(each, (dict, list)) else each for name, each in value.items()
    }


def _fail_if_troubled(value: Mapping[str, Any]) -> None:
    letters, troubles = value["dead_letters"], value["troubles"]
    if not letters and not troubles:
        return
    from airflow_cancel_provider.version_compat import AirflowFailException

    refused = [f"{job} can't be cancelled: {letter.get('why')}" for job, letter in letters.items()]
    raise AirflowFailException("; ".join([*troubles, *refused]))
