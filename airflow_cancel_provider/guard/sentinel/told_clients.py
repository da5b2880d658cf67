"""How the sentinel reaches the services: the task's clients, told by name and kept up to date."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable
from threading import Event, RLock, Thread
from typing import Any

from airflow_cancel_provider.services.client_spec import ClientSpec, as_json, identity_of
from airflow_cancel_provider.services.credentials import is_renewable, seconds_left

LONGEST_PAUSE = 60.0
SHORTEST_PAUSE = 2.0
"""Seconds between two looks at credentials; between the two: half of what they have left."""


class ToldClients:
    """Clients by name, as the sentinel was told of them.

    The sentinel can't ask a task that died. So the task tells it of renewed credentials while the old ones
    are still good, from a thread that is started with the first credentials that renew themselves.

    :param tell: takes a client's name and its plain values, secrets included.
    """

    def __init__(self, tell: Callable[[str, dict[str, Any]], None], log: Any) -> None:
        self._tell, self._log = tell, log
        self._lock = RLock()
        self._names: dict[Hashable, str] = {}
        self._clients: dict[str, ClientSpec] = {}
        self._told: dict[str, dict[str, Any]] = {}
        self._in_trouble: set[str] = set()
        self._woken = Event()
        self._is_stopped = False
        self._renewing_in: int | None = None

    def name(self, client: ClientSpec) -> str:
        """Name of a client that the sentinel knows; it is told if it, or its credentials, are new."""
        identity = identity_of(client)
        with self._lock:
            # A forked child has names of its own.
            name = self._names.setdefault(identity, f"{os.getpid()}.{len(self._names)}")
            is_new = name not in self._clients
            self._clients[name] = client
        if name in self._told:
            if is_renewable(client.credentials):
                self._renew(name, client)
        else:
            self._tell_news(name, client)
        if is_new and is_renewable(client.credentials):
            self._start()
        return name

    def stop(self) -> None:
        """Renew no more."""
        self._is_stopped = True
        self._woken.set()

    def _start(self) -> None:
        with self._lock:
            is_running, self._renewing_in = self._renewing_in == os.getpid(), os.getpid()
        if is_running:
            self._woken.set()  # what is new may expire before the next look
            return
        self._woken = Event()
        try:
            Thread(target=self._keep_renewing, name="remote-jobs-credentials", daemon=True).start()
        except RuntimeError as error:  # no more threads
            self._log.warning("Credentials to cancel with are not renewed: %s", error)

    def _keep_renewing(self) -> None:
        while not self._is_stopped:
            if self._woken.wait(self._pause()):
                # Thousands of clients may come one after the other: together they are one look.
                time.sleep(SHORTEST_PAUSE)
                self._woken.clear()
            for name, client in self._renewable():
                self._renew(name, client)

    def _pause(self) -> float:
        left = min(
            (seconds_left(client.credentials) for _, client in self._renewable()), default=LONGEST_PAUSE
        )
        return max(SHORTEST_PAUSE, min(left / 2, LONGEST_PAUSE))

    def _renewable(self) -> list[tuple[str, ClientSpec]]:
        with self._lock:
            return [
                (name, client) for name, client in self._clients.items() if is_renewable(client.credentials)
            ]

    def _renew(self, name: str, client: ClientSpec) -> None:
        try:
            self._tell_news(name, client)
            self._in_trouble.discard(name)
        except Exception as error:  # noqa: BLE001  whoever gives credentials out has errors of its own
            if name not in self._in_trouble:
                self._in_trouble.add(name)
                self._log.warning(
                    "Credentials to cancel with (%s) can't be renewed, trying again; good for %.0f s: %s",
                    client.conn_id or client.service,
                    seconds_left(client.credentials),
                    error,
                )

    def _tell_news(self, name: str, client: ClientSpec) -> None:
        now = as_json(client)
        if self._told.get(name) != now:
            self._tell(name, now)
            self._told[name] = now
