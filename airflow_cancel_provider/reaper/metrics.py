"""A sweep's figures, through Airflow's own metrics."""

from __future__ import annotations

from collections.abc import Callable

from airflow_cancel_provider.metrics import PREFIX
from airflow_cancel_provider.reaper.report import Report

Gauge = Callable[[str, float], None]


def send(report: Report, gauge: Gauge) -> None:
    """Gauges ``remote_jobs.living``, ``.orphans``, ``.cancelled``, ``.confirmed``, ``.refused`` and so on."""
    for name, value in report.gauges.items():
        gauge(f"{PREFIX}.{name}", value)
