"""A task forks while one of its threads, or one of ours, is in the middle of something: the child goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import pytest

from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.guard.sentinel.known_clients import KnownClients
from airflow_cancel_provider.services.client_spec import ClientSpec

CLIENT = ClientSpec("batch", None, "us-east-1", None)


def ends_in_a_child(work: Callable[[], Any]) -> bool:
    """Whether a forked child gets to the end of this."""
    if (child := os.fork()) == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(5)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    "make, use",
    [
        (TryLedger, lambda ledger: ledger.jobs),
        (lambda: KnownClients(lambda *_: None, None), lambda clients: clients.name(CLIENT)),
    ],
    ids=["ledger", "clients"],
)
def test_a_lock_that_a_thread_of_the_parent_holds(make: Callable[[], Any], use: Callable[[Any], Any]) -> None:
    one, is_held, is_over = make(), Event(), Event()

    def hold() -> None:
        with one._lock:
            is_held.set()
            is_over.wait(60)

    holder = Thread(target=hold)
    holder.start()
    assert is_held.wait(60)
    try:
        assert ends_in_a_child(lambda: use(one))
    finally:
        is_over.set()
        holder.join()
