"""Services as a command reaches them: a person waits for it, so it says for whom, and gives up in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Timer
from typing import Any, ClassVar

from airflow_cancel_provider.cli.command import log
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.registry import ServiceInfo, service_info
from airflow_cancel_provider.services.retry import Patience

CALL_SECONDS = (5.0, 15.0)
"""To connect, and between bytes of a reply, where the connection says nothing else."""
SILENT_SECONDS = 5.0
"""Without an answer, until a command says for whom it waits."""
_AGAIN_SECONDS = 20.0


@dataclass
class Silence:
    """Says on standard error for whom a command waits: after a few seconds, and not again soon.

    :param whom: the service and the connection, for people.
    :param until: when the wait ends.
    :param say: takes the sentence.
    """

    whom: str
    until: str
    say: Callable[[str], Any] = log.warning
    _said_at: float = field(default=float("-inf"), init=False)

    @contextmanager
    def broken(self) -> Iterator[None]:
        """Say so if this takes long."""
        timer = Timer(SILENT_SECONDS, self._speak)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _speak(self) -> None:
        if time.monotonic() - self._said_at >= _AGAIN_SECONDS:
            self._said_at = time.monotonic()
            words = f"Waiting for {self.whom}: no answer for {SILENT_SECONDS:g} s."
            self.say(f"{words} {self.until} Ctrl-C ends this now.")


class CommandAccess(Access):
    """The access of a command."""

    give_up_seconds: ClassVar[float] = 30.0
    """From the last answer of a service, until a command takes it for unreachable."""

    def service(self, name: str, conn_id: str | None, region: str | None) -> JobService:
        """Open a service; that may take long, too: a role is assumed, a token is asked for."""
        with self._silence(name, conn_id, region).broken():
            return super().service(name, conn_id, region)

    def _hook(self, name: str, conn_id: str | None, region: str | None) -> Any:
        hook = super()._hook(name, conn_id, region)
        hook.call_seconds = CALL_SECONDS
        silence = self._silence(name, conn_id, region)
        hook.patience = Patience(self.give_up_seconds, longest_pause=5.0, meanwhile=silence.broken)
        return hook

    def _silence(self, name: str, conn_id: str | None, region: str | None) -> Silence:
        until = f"It counts as unreachable {self.give_up_seconds:g} s after its last answer."
        return Silence(reached(service_info(name), conn_id, region), until)


def reached(info: ServiceInfo, conn_id: str | None, region: str | None) -> str:
    """A service and how it is reached, for people."""
    over = f"over connection {conn_id!r}" if conn_id else "with this process's own credentials"
    return f"{info.title} {over}{f' in region {region}' if region else ''}"
