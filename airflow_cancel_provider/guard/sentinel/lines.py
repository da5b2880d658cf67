"""What the sentinel knows of the ways to the services, kept up to date for as long as the task lives."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from threading import Event, RLock, Thread
from typing import Any

from airflow_cancel_provider.services.client_spec import ClientSpec, as_json, identity_of
from airflow_cancel_provider.services.credentials import is_renewable, seconds_left

LONGEST_PAUSE = 60.0
SHORTEST_PAUSE = 2.0
"""Seconds between two looks at credentials; between the two: half of what they have left."""


class ToldLines:
    """Lines by name, as the sentinel was told of them.

    The sentinel can't ask a task that died. So the task tells it of renewed credentials while the old ones
    are still good, from a thread that is started with the first credentials that renew themselves.

    :param tell: takes a line's name and its plain values, secrets included.
    """

    def __init__(self, tell: Callable[[str, dict[str, Any]], None], log: Any) -> None:
        self._tell, self._log = tell, log
        self._lock = RLock()
        self._names: dict[Hashable, str] = {}
        self._lines: dict[str, ClientSpec] = {}
        self._told: dict[str, dict[str, Any]] = {}
        self._in_trouble: set[str] = set()
        self._woken = Event()
        self._is_stopped = False
        self._renewing_in: int | None = None

    def name(self, line: ClientSpec) -> str:
        """Name of a line that the sentinel knows; it is told if it, or its credentials, are new."""
        identity = identity_of(line)
        with self._lock:
            # A forked child has names of its own.
            name = self._names.setdefault(identity, f"{os.getpid()}.{len(self._names)}")
            self._lines[name] = line
        if name in self._told:
            self._renew(name, line)
        else:
            self._tell_news(name, line)
        if is_renewable(line.credentials):
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
        else:
            self._woken = Event()
            Thread(target=self._keep_renewing, name="remote-jobs-credentials", daemon=True).start()

    def _keep_renewing(self) -> None:
        while not self._is_stopped:
            self._woken.wait(self._pause())
            self._woken.clear()
            for name, line in self._renewable():
                self._renew(name, line)

    def _pause(self) -> float:
        left = min((seconds_left(line.credentials) for _, line in self._renewable()), default=LONGEST_PAUSE)
        return max(SHORTEST_PAUSE, min(left / 2, LONGEST_PAUSE))

    def _renewable(self) -> list[tuple[str, ClientSpec]]:
        with self._lock:
            return [(name, line) for name, line in self._lines.items() if is_renewable(line.credentials)]

    def _renew(self, name: str, line: ClientSpec) -> None:
        try:
            self._tell_news(name, line)
            self._in_trouble.discard(name)
        except Exception as error:  # noqa: BLE001  whoever gives credentials out has errors of its own
            if name not in self._in_trouble:
                self._in_trouble.add(name)
                self._log.warning(
                    "Credentials to cancel with (%s) can't be renewed, trying again; good for %.0f s: %s",
                    line.conn_id or line.service,
                    seconds_left(line.credentials),
                    error,
                )

    def _tell_news(self, name: str, line: ClientSpec) -> None:
        now = as_json(line)
        if self._told.get(name) != now:
            self._tell(name, now)
            self._told[name] = now
