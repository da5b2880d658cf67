"""What Airflow sends as metrics, received as StatsD would."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter, defaultdict
from typing import Self

from airflow_cancel_provider.metrics import PlainStatsd


class Statsd:
    """Keeps what is sent to it.

    :param names: how the names of metrics begin that Airflow is to send, comma-separated.
    """

    def __init__(self, names: str = "remote_jobs") -> None:
        self._names = names
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self._gauges: list[tuple[str, float]] = []
        self.counters: Counter[str] = Counter()
        self.timings: defaultdict[str, list[float]] = defaultdict(list)
        """Milliseconds, by name."""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._receive, name="statsd", daemon=True)

    @property
    def settings(self) -> dict[str, str]:
        """What an Airflow needs to send its metrics here."""
        host, port = self._socket.getsockname()
        return {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": host,
            "AIRFLOW__METRICS__STATSD_PORT": str(port),
            "AIRFLOW__METRICS__METRICS_ALLOW_LIST": self._names,
        }

    def client(self) -> PlainStatsd:
        """What sends its metrics here, where no Airflow has set its own up."""
        host, port = self._socket.getsockname()
        return PlainStatsd({"host": host, "port": port, "prefix": "airflow"})

    def wait_for(self, name: str, value: float, *, within: float = 5) -> bool:
        """Whether a gauge of this name got this value, to the third decimal."""
        deadline = time.monotonic() + within
        while not (is_there := self._has(name, value)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return is_there

    def _has(self, name: str, value: float) -> bool:
        return any(each == name and abs(sent - value) < 0.001 for each, sent in tuple(self._gauges))

    def _receive(self) -> None:
        while not self._closed.is_set():
            try:
                lines = self._socket.recv(65536).decode().splitlines()
            except TimeoutError:
                continue
            for line in lines:
                name, _, rest = line.partition(":")
                value, _, kind = rest.partition("|")
                if kind.startswith("g"):
                    self._gauges.append((name, float(value)))
                elif kind.startswith("c"):
                    self.counters[name] += int(value)
                elif kind.startswith("ms"):
                    self.timings[name].append(float(value))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()
        self._socket.close()
