"""A Redis server that keeps nothing on disk."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.matrix_celery.network import HERE, wait_for_port
from tests.real_airflow.processes import Processes

PORT = 6379


class Broker:
    """The server, which can be killed and started again.

    :param folder: for its output.
    """

    url = f"redis://{HERE}:{PORT}/0"

    def __init__(self, folder: Path) -> None:
        self._processes = Processes(folder, {})

    def start(self) -> None:
        """Start it; return when it can be reached."""
        address = ["--bind", HERE, "--port", str(PORT), "--protected-mode", "no"]
        self._processes.start("redis", ["redis-server", *address, "--save", "", "--appendonly", "no"])
        wait_for_port(PORT)

    def kill(self) -> None:
        """SIGKILL: what it held is gone."""
        self._processes.stop("redis", kill=True)

    def stop(self) -> None:
        """End it, if it runs."""
        self._processes.stop_all()


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[Broker]:
    """A server that runs within the ``with`` block.

    :raises RuntimeError: Redis is not installed.
    """
    if not shutil.which("redis-server"):
        raise RuntimeError("No Redis here: `apt-get install redis-server`.")
    broker = Broker(folder)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()
