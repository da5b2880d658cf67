"""A sweep's figures, through Airflow's own metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable

from airflow_cancel_provider.metrics import PREFIX, Layer, Stats, send_cancel
from airflow_cancel_provider.reaper.report import Report

log = logging.getLogger(__name__)


def send(report: Report, open_stats: Callable[[], Stats]) -> None:
    """Send the figures of a sweep and the outcomes of its cancels. An error is logged, and changes nothing.

    Gauges ``remote_jobs.living``, ``.orphans``, ``.cancelled``, ``.confirmed``, ``.refused`` and so on;
    counters as every other layer has them.
    """
    outcomes = [(orphan.job, what) for orphan in report.orphans for what in orphan.outcomes()]
    send_cancel(outcomes, Layer.REAPER, open_stats, log)
    try:
        stats = open_stats()
        for name, value in report.gauges.items():
            stats.gauge(f"{PREFIX}.{name}", value)
    except Exception as error:  # noqa: BLE001  a metrics client has errors of its own; the sweep is done
        log.warning("The metrics of this sweep could not be sent: %s", error)
