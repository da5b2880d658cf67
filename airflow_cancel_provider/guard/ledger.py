"""What one try of a task has started so far: intent before the call, address after it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count
from threading import RLock
from typing import Any

from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.submissions import Intent


class Ledger:
    """Intents and addresses, in memory, and told to whoever else keeps them.

    Safe to use from any thread; a reader that can't take an entry must not keep the others from it.
    """

    def __init__(self) -> None:
        # Re-entrant: a signal handler may read while the code that it interrupted writes.
        self._lock = RLock()
        self._tokens = count(1)
        self._intents: dict[str, Intent] = {}
        self._places: dict[str, Intent] = {}
        self._jobs: dict[RemoteJob, ClientSpec | None] = {}
        self.readers: list[Callable[[str, Any], None]] = []

    @property
    def jobs(self) -> list[RemoteJob]:
        """Addresses of what was started and not released."""
        with self._lock:
            return list(self._jobs)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was started, and nothing is about to be."""
        with self._lock:
            return not self._jobs and not self._intents and not self._places

    @property
    def is_submitting(self) -> bool:
        """Whether a call is under way, or its answer was lost."""
        with self._lock:
            return bool(self._intents)

    @property
    def places(self) -> list[Intent]:
        """Submissions whose jobs are known by their label and place alone."""
        with self._lock:
            return list(self._places.values())

    def intend(
        self, line: ClientSpec, scope: str | None, label: Label | None, unlabelled: tuple[str, ...] = ()
    ) -> Intent:
        """Write down a submission before it is sent."""
        with self._lock:
            token = f"{os.getpid()}.{next(self._tokens)}"
            intent = Intent(token, line, scope, label, unlabelled, time.time())
            self._intents[intent.token] = intent
        self._tell("intent", intent)
        return intent

    def started(self, intent: Intent, jobs: Iterable[RemoteJob]) -> None:
        """Write down what a submission started."""
        self._taken(replace(intent, at=time.time()), list(jobs))

    def placed(self, intent: Intent, scope: str) -> None:
        """Write down where the jobs of a submission are to be found by their label."""
        place = replace(intent, scope=scope)
        with self._lock:
            self._intents.pop(intent.token, None)
            self._places[intent.token] = place
        self._tell("placed", place)

    def refused(self, intent: Intent) -> None:
        """Write down that the service took nothing."""
        with self._lock:
            self._intents.pop(intent.token, None)
        self._tell("refused", intent)

    def track(self, line: ClientSpec, jobs: Iterable[RemoteJob]) -> None:
        """Write down jobs that were started in some other way."""
        self.started(Intent("", line, None, None), jobs)

    def inherit(self, jobs: Iterable[RemoteJob]) -> None:
        """Take over jobs from before this process; nobody is told yet."""
        with self._lock:
            self._jobs |= dict.fromkeys(jobs)

    def retell(self, line: ClientSpec, jobs: Iterable[RemoteJob]) -> None:
        """Tell of jobs that were inherited, now that they are to be reached."""
        self._taken(Intent("", line, None, None), list(jobs))

    @property
    def untold(self) -> list[RemoteJob]:
        """What was inherited, and nobody was told of."""
        with self._lock:
            return [job for job, line in self._jobs.items() if line is None]

    def release(self, jobs: Iterable[RemoteJob]) -> None:
        """Forget jobs: they are meant to live on."""
        jobs = list(jobs)
        with self._lock:
            for job in jobs:
                self._jobs.pop(job, None)
        self._tell("released", jobs)

    def _taken(self, intent: Intent, jobs: list[RemoteJob]) -> None:
        with self._lock:
            self._intents.pop(intent.token, None)
            self._places.pop(intent.token, None)
            self._jobs |= dict.fromkeys(jobs, intent.line)
        self._tell("started", (intent, jobs))

    def _tell(self, what: str, whom: Any) -> None:
        troubles = []
        for reader in self.readers:
            try:
                reader(what, whom)
            except Exception as trouble:  # noqa: BLE001  raised below, when the others have heard, too
                troubles.append(trouble)
        if troubles:
            raise troubles[0]
