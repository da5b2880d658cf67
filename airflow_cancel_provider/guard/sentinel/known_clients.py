"""The clients that the sentinel knows: sent to it once under a name, and again with renewed credentials."""

from __future__ import annotations

import _thread
import os
import threading
import time
from collections.abc import Callable, Hashable
from threading import Event
from typing import Any

from airflow_cancel_provider.guard.forks import Locked
from airflow_cancel_provider.services.client_spec import ClientSpec, as_json, identity_of
from airflow_cancel_provider.services.credentials import is_renewable, seconds_left, without_logins

LONGEST_PAUSE = 60.0
SHORTEST_PAUSE = 2.0
"""Seconds between two checks of credentials: half of the time that they have left, within these bounds."""


class KnownClients(Locked):
    """Sends clients to the sentinel, each under a name, and their renewed credentials.

    The sentinel can't ask a task whose process has ended. So the task sends renewed credentials while the old
    ones are still valid, from a thread that starts with the first credentials that renew themselves. It is
    none of those that ``threading`` lists: a task may wait until all of these have ended.

    :param tell: sends a client's name and its plain values, secrets included.
    """

    def __init__(self, tell: Callable[[str, dict[str, Any]], None], log: Any) -> None:
        super().__init__()
        self._tell, self._log = tell, log
        self._names: dict[Hashable, str] = {}
        self._clients: dict[str, ClientSpec] = {}
        self._told: dict[str, dict[str, Any]] = {}
        self._in_trouble: set[str] = set()
        self._woken = Event()
        self._is_stopped = False
        self._renewing_in: int | None = None

    def name(self, client: ClientSpec) -> str:
        """The name of a client; the client is sent if it, or its credentials, are new."""
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
        """Stop to renew."""
        self._is_stopped = True
        self._woken.set()

    def _start(self) -> None:
        with self._lock:
            is_running, self._renewing_in = self._renewing_in == os.getpid(), os.getpid()
        if is_running:
            self._woken.set()  # the new ones may expire before the next check
            return
        self._woken = Event()
        try:
            _thread.start_new_thread(self._keep_renewing, ())
        except RuntimeError as error:  # no more threads
            self._log.warning("Credentials to cancel with are not renewed: %s", error)

    def _keep_renewing(self) -> None:
        while not self._is_stopped:
            if self._woken.wait(self._pause()):
                # Thousands of clients may come one after the other: check them together.
                time.sleep(SHORTEST_PAUSE)
                self._woken.clear()
            for name, client in self._renewable():
                self._renew(name, client)
            _leave_the_list()

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
        except Exception as error:  # noqa: BLE001  reported; credential providers have errors of their own
            if name not in self._in_trouble:
                self._in_trouble.add(name)
                self._log.warning(
                    "Credentials to cancel with (%s) can't be renewed, trying again; %.0f s are left: %s",
                    client.conn_id or client.service,
                    seconds_left(client.credentials),
                    without_logins(str(error)),
                )

    def _tell_news(self, name: str, client: ClientSpec) -> None:
        now = as_json(client)
        if self._told.get(name) != now:
            self._tell(name, now)
            self._told[name] = now


def _leave_the_list() -> None:
    """Take this thread off the list of ``threading``, where a log call has put it."""
    vars(threading).get("_active", {}).pop(threading.get_ident(), None)
