"""The reaper as a Dag."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Asset, AssetAlias, Param, task

from airflow_cancel_provider.reaper.rules import SHARE, Rules, as_list

if TYPE_CHECKING:
    from airflow_cancel_provider.reaper.report import Report

ORPHANS = "remote_jobs_orphans"
"""Name of the asset that gets an event whenever a sweep finds orphans."""
PATTERNS: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
"""Schema of a param: one text, whose characters would be taken for patterns, starts no Dag run."""
LISTED = 100
"""Most orphans and scopes that the XCom lists."""


def reaper_dag(
    dag_id: str = "remote_jobs_reaper",
    *,
    airflow_conn_id: str,
    at: Collection[str] = (),
    schedule: Any = timedelta(minutes=5),
    scopes: Collection[str] = (),
    except_scopes: Collection[str] = (),
    share: float = SHARE,
    grace: float = Rules.grace,
    confirm_seconds: float = Rules.confirm_seconds,
    escalate_after: float = Rules.escalate_after,
    brake: int = Rules.brake,
    dry_run: bool = False,
    **dag_options: Any,
) -> DAG:
    """A Dag with a task ``reap``, which sweeps once and returns its report as XCom, and a task ``check``.

    It uses the API server, with a service account. ``check`` fails when something could not be checked or
    cancelled. When a sweep finds orphans, asset ``remote_jobs_orphans`` gets an event with the XCom as its
    extra.

    :param airflow_conn_id: connection with the API server as host and a service account's login.
    :param at: places, as ``aws://connection@region`` or ``mrs://connection``; by default
        ``[cancel_provider] reaper_places``.
    :param schedule: of the Dag; with ``grace`` it bounds how long an orphan runs.
    :param scopes: patterns of cluster ids, queue names and application ids to look at.
    :param except_scopes: patterns of those to leave out.
    :param dry_run: cancel nothing; like ``scopes`` and ``except_scopes`` it is a param of the Dag, so that a
        person can change it for one Dag run.
    :param dag_options: further arguments of ``DAG``.
    :raises InvalidInput: a list is a text, or a number is negative or infinite.
    """
    sweep = {"at": as_list("at", at), "share": share}
    rules = Rules(grace, confirm_seconds, escalate_after, brake)
    # What a person may change for one Dag run.
    params = {
        "dry_run": Param(dry_run, type="boolean"),
        "scopes": Param(as_list("scopes", scopes), **PATTERNS),
        "except_scopes": Param(as_list("except_scopes", except_scopes), **PATTERNS),
    }
    usual = {"catchup": False, "max_active_runs": 1, "tags": ["remote jobs"]}
    options = {**usual, **dag_options, "params": params | (dag_options.get("params") or {})}
    with DAG(dag_id, schedule=schedule, **options) as dag:

        @task(outlets=[AssetAlias(ORPHANS)], retries=0)
        def reap(*, ti: Any = None, params: Any = None, outlet_events: Any = None) -> None:
            """Sweep once."""
            chosen = {name: list(params[name]) for name in ("scopes", "except_scopes")}
            report = _sweep(airflow_conn_id, sweep | chosen, replace(rules, is_dry=params["dry_run"]))
            value = report.as_json(most=LISTED)
            ti.xcom_push(key="return_value", value=value)
            if report.orphans:
                outlet_events[AssetAlias(ORPHANS)].add(Asset(ORPHANS), extra=_extra(value))

        @task(retries=0)
        def check(*, ti: Any = None) -> None:
            """Fail if a person has to act. A task of its own, as a failed task sends no asset events."""
            _fail_if_troubled(ti.xcom_pull(task_ids="reap"))

        reap() >> check()
    return dag


def _sweep(airflow_conn_id: str, sweep: dict[str, Any], rules: Rules) -> Report:
    from airflow_cancel_provider.metrics import stats_of_task
    from airflow_cancel_provider.reaper.factory import make_reaper, rest_airflow
    from airflow_cancel_provider.reaper.reaper import log
    from airflow_cancel_provider.reaper.report import send

    report = make_reaper(rest_airflow(airflow_conn_id), rules=rules, **sweep).sweep()
    log.info("%s", report)
    send(report, stats_of_task)
    return report


def _extra(value: Mapping[str, Any]) -> dict[str, Any]:
    from airflow import __version__

    if not __version__.startswith("3.0."):
        return dict(value)
    # Airflow 3.0 puts extras into a set, and fails the task if one can't be hashed.
    return {
        name: json.dumps(each) if isinstance(each, (dict, list)) else each for name, each in value.items()
    }


def _fail_if_troubled(value: Mapping[str, Any]) -> None:
    letters, troubles = value["dead_letters"], value["troubles"]
    if not letters and not troubles:
        return
    from airflow_cancel_provider.reaper.report import WHAT_TO_DO
    from airflow_cancel_provider.version_compat import AirflowFailException

    refused = [
        f"{job} can't be cancelled: {str(letter.get('why')).rstrip('.')}." for job, letter in letters.items()
    ]
    raise AirflowFailException(" ".join([*troubles, *refused, *([WHAT_TO_DO] if refused else [])]))
