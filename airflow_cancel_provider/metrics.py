"""Metrics through Airflow's own, or through plain StatsD in a process without Airflow."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from airflow_cancel_provider.jobs import RemoteJob

if TYPE_CHECKING:
    from airflow_cancel_provider.task_log import Log

PREFIX = "remote_jobs"


class Layer(StrEnum):
    """Who has cancelled, in the names of metrics."""

    TASK = "task"
    SENTINEL = "sentinel"
    TRIGGER = "trigger"
    API_SERVER = "api_server"
    REAPER = "reaper"
    OPERATOR = "operator"
    CALLBACK = "callback"
    PAGE = "page"
    CLI = "cli"


class Stats(Protocol):
    """What Airflow's metrics offer, as far as it is used here."""

    def incr(self, stat: str, count: int = 1, *, tags: dict[str, str] | None = None) -> Any:
        """Add to a counter."""
        ...

    def timing(self, stat: str, dt: float, *, tags: dict[str, str] | None = None) -> Any:
        """Send a duration, in milliseconds."""
        ...

    def gauge(self, stat: str, value: float) -> Any:
        """Send a figure."""
        ...


class PlainStatsd:
    """A StatsD server, in a process without Airflow. Plain StatsD has no tags: they are left out.

    :param target: as :func:`statsd_target` gives it.
    """

    def __init__(self, target: Mapping[str, Any]) -> None:
        self._address, self._prefix = (target["host"], target["port"]), target["prefix"]

    def incr(self, stat: str, count: int = 1, *, tags: dict[str, str] | None = None) -> None:
        """Add to a counter."""
        self._send(f"{stat}:{count}|c")

    def timing(self, stat: str, dt: float, *, tags: dict[str, str] | None = None) -> None:
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


def send_cancel(
    outcomes: Iterable[tuple[RemoteJob, str]],
    layer: Layer,
    open_stats: Callable[[], Stats],
    log: Log,
    *,
    since: float | None = None,
    requested_at: float | None = None,
    now: float | None = None,
) -> None:
    """Send what a cancel came to; an error is logged, and changes nothing.

    :param outcomes: as :meth:`Cancellation.outcomes` gives them.
    :param layer: who has cancelled.
    :param since: when it was known that the jobs are to be cancelled, in epoch seconds.
    :param requested_at: when the first request was sent, in epoch seconds.
    :param now: the time by the clock of these.
    """
    try:
        figures = Counter((job.service, what) for job, what in outcomes)
        if not figures:
            return
        stats, now = open_stats(), time.time() if now is None else now
        for (service, what), count in figures.items():
            tags = {"layer": str(layer), "service": service}
            stats.incr(f"{PREFIX}.cancel.{what}.{layer}.{service}", count, tags=tags)
            if what == "requested" and since is not None and requested_at is not None:
                seconds = max(requested_at - since, 0.0)
                stats.timing(f"{PREFIX}.cancel.time_to_request.{layer}.{service}", seconds * 1000, tags=tags)
            if what == "confirmed" and (begun := since or requested_at) is not None:
                seconds = max(now - begun, 0.0)
                stats.timing(f"{PREFIX}.cancel.time_to_confirm.{layer}.{service}", seconds * 1000, tags=tags)
    except Exception as error:  # noqa: BLE001  a metrics client has errors of its own; the cancel is done
        log.warning("The metrics of this cancel could not be sent: %s", error)


def send_started(jobs: Iterable[RemoteJob], open_stats: Callable[[], Stats], log: Log) -> None:
    """Count jobs that a task has started; an error is logged, and changes nothing."""
    try:
        for service, count in Counter(job.service for job in jobs).items():
            open_stats().incr(f"{PREFIX}.started.{service}", count, tags={"service": service})
    except Exception as error:  # noqa: BLE001  a metrics client has errors of its own; the task goes on
        log.warning("The metrics of started jobs could not be sent: %s", error)


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


def stats_of_server() -> Stats:
    """The metrics of a triggerer, an API server or a Dag processor."""
    try:
        from airflow.observability import stats
    except ImportError:  # before Airflow 3.2
        from airflow import stats  # type: ignore[no-redef]
    return _functions(stats)


def stats_of_callback() -> Stats:
    """The metrics of a callback, which runs in a task's process, a triggerer or a Dag processor."""
    from airflow_cancel_provider.version_compat import is_answered

    return stats_of_task() if is_answered("SucceedTask") else stats_of_server()


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
