"""A record of a deferred try, and the cancellation of what it names."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from uuid import uuid4

from airflow_cancel_provider.engine.cancel import CancelEngine
from airflow_cancel_provider.engine.recorded import cancel_over_connections, cancel_requests
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Label, TaskKey
from airflow_cancel_provider.record import StoredIntent, TryRecord, TryState
from tests.trigger_fixtures import DEPLOYMENT

LOG = logging.getLogger("task")
TASK = TaskKey("nightly", "manual__2026", "stop", 2)
TI = uuid4()
OURS = Label(DEPLOYMENT, TI)
ANOTHER_TRY = Label(DEPLOYMENT, uuid4())
ANOTHER_AIRFLOW = Label("another0", TI)


def cancellation(
    jobs: Sequence[RemoteJob], intents: Sequence[StoredIntent] = (), released: Sequence[RemoteJob] = ()
) -> CancelEngine:
    record = TryRecord(TI, TryState.DEFERRED, tuple(jobs), tuple(intents))
    requests = [
        request.without(frozenset(released), is_followed=False)
        for request in cancel_requests(record, "why", LOG, TASK)
    ]
    return cancel_over_connections(Access().service, requests, DEPLOYMENT, call_seconds=2)
