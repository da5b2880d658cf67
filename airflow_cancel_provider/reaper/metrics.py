"""A sweep's figures, through Airflow's own metrics."""

from __future__ import annotations

from collections.abc import Callable

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
    except ImportError:  # before Airflow 3.3
        return _older()
    return stats.gauge


def gauge_of_process() -> Gauge:
    """The metrics of a process of our own, which Airflow has not set up."""
    try:
        from airflow.observability import stats
        from airflow.observability.metrics import stats_utils
    except ImportError:  # before Airflow 3.3
        return _older()
    from airflow.configuration import conf

    stats.initialize(
        factory=stats_utils.get_stats_factory(),
        export_legacy_names=conf.getboolean("metrics", "legacy_names_on"),
    )
    return stats.gauge


def _older() -> Gauge:
    from airflow.stats import Stats

    gauge: Gauge = Stats.gauge
    return gauge
