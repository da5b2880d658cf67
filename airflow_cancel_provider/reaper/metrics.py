"""A sweep's figures, through Airflow's own metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_cancel_provider.reaper.report import Report

PREFIX = "remote_jobs"
Gauge = Callable[[str, float], None]


def send(report: Report, gauge: Gauge) -> None:
    """Gauges ``remote_jobs.living``, ``.orphans``, ``.cancelled``, ``.confirmed``, ``.refused`` and so on."""
    for name, value in report.gauges.items():
        gauge(f"{PREFIX}.{name}", value)


def gauge_of_task() -> Gauge:
    """The metrics of a running task."""
    try:
        from airflow.sdk.observability import stats
    except ImportError:  # before Airflow 3.2
        from airflow import stats  # type: ignore[no-redef]
    return _gauge(stats)


def gauge_of_process() -> Gauge:
    """The metrics of a process of our own, which Airflow has not set up."""
    try:
        from airflow.observability import stats
        from airflow.observability.metrics import stats_utils
    except ImportError:  # before Airflow 3.2: they set themselves up
        from airflow import stats  # type: ignore[no-redef]

        return _gauge(stats)
    from airflow.configuration import conf

    make: Any = stats_utils.get_stats_factory
    if hasattr(stats, "initialize"):
        legacy = conf.getboolean("metrics", "legacy_names_on")
        stats.initialize(factory=make(), export_legacy_names=legacy)
    else:  # before Airflow 3.3
        older: Any = stats.Stats
        older.initialize(factory=make(older))
    return _gauge(stats)


def _gauge(stats: Any) -> Gauge:
    # A function of the module from Airflow 3.3 on, of its class before.
    gauge: Gauge = getattr(stats, "gauge", None) or stats.Stats.gauge
    return gauge
