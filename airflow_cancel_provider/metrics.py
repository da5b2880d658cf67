"""Metrics through Airflow's own, or through plain StatsD in a process without Airflow."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from airflow_cancel_provider.engine.cancel import CancelEngine
from airflow_cancel_provider.task_log import Log

PREFIX = "remote_jobs"


class Stats(Protocol):
    """What Airflow's metrics offer, as far as it is used here."""

    def incr(self, stat: str, count: int = 1) -> Any:
        """Add to a counter."""
        ...

    def timing(self, stat: str, dt: float) -> Any:
        """Send a duration, in milliseconds."""
        ...

    def gauge(self, stat: str, value: float) -> Any:
        """Send a figure."""
        ...


class PlainStatsd:
    """A StatsD server, in a process without Airflow.

    :param target: as :func:`statsd_target` gives it.
    """

    def __init__(self, target: Mapping[str, Any]) -> None:
        self._address, self._prefix = (target["host"], target["port"]), target["prefix"]

    def incr(self, stat: str, count: int = 1) -> None:
        """Add to a counter."""
        self._send(f"{stat}:{count}|c")

    def timing(self, stat: str, dt: float) -> None:
        """Send a duration, in milliseconds."""
        self._send(f"{stat}:{dt:.3f}|ms")

    def gauge(self, stat: str, value: float) -> None:
        """Send a figure."""
        self._send(f"{stat}:{value}|g")

    def _send(self, line: str) -> None:
        text = f"{self._prefix}.{line}" if self._prefix else line
        family, kind, protocol, _, address = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as client:
            client.sendto(text.encode(), address)


def send_cancel(engine: CancelEngine, layer: str, open_stats: Callable[[], Stats], log: Log) -> None:
    """Send the outcomes of a cancel; an error is logged, and changes nothing.

    :param layer: what has cancelled: ``task`` or ``sentinel``.
    """
    try:
        stats = open_stats()
        figures = Counter((job.service, what) for job, what in engine.outcomes())
        for (service, what), count in figures.items():
            stats.incr(f"{PREFIX}.cancel.{what}.{layer}.{service}", count)
            if what == "confirmed":
                milliseconds = engine.seconds * 1000
                stats.timing(f"{PREFIX}.cancel.time_to_confirm.{layer}.{service}", milliseconds)
    except Exception as error:  # noqa: BLE001  a metrics client has errors of its own; the cancel is done
        log.warning("The metrics of this cancel could not be sent: %s", error)


def statsd_target() -> dict[str, Any] | None:
    """Where Airflow sends its metrics over StatsD, in plain values; None where it does not."""
    from airflow_cancel_provider.version_compat import conf

    if not conf.getboolean("metrics", "statsd_on", fallback=False):
        return None
    return {
        "host": conf.get("metrics", "statsd_host", fallback="localhost"),
        "port": conf.getint("metrics", "statsd_port", fallback=8125),
        "prefix": conf.get("metrics", "statsd_prefix", fallback="airflow"),
    }


def stats_of_task() -> Stats:
    """The metrics of a running task."""
    try:
        from airflow.sdk.observability import stats
    except ImportError:  # before Airflow 3.2
        from airflow import stats  # type: ignore[no-redef]
    return _functions(stats)


def stats_of_process() -> Stats:
    """The metrics of a process of our own, which Airflow has not set up."""
    try:
        from airflow.observability import stats
        from airflow.observability.metrics import stats_utils
    except ImportError:  # before Airflow 3.2: they set themselves up
        from airflow import stats  # type: ignore[no-redef]

        return _functions(stats)
    from airflow.configuration import conf

    make: Any = stats_utils.get_stats_factory
    if hasattr(stats, "initialize"):
        legacy = conf.getboolean("metrics", "legacy_names_on")
        stats.initialize(factory=make(), export_legacy_names=legacy)
    else:  # before Airflow 3.3
        older: Any = stats.Stats
        older.initialize(factory=make(older))
    return _functions(stats)


def _functions(stats: Any) -> Stats:
    # Functions of the module from Airflow 3.3 on, of its class before.
    functions: Stats = stats if hasattr(stats, "gauge") else stats.Stats
    return functions
