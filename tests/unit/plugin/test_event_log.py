"""Entries in Airflow's event log."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from airflow_cancel_provider.owner import TaskKey
from airflow_cancel_provider.plugin import event_log
from airflow_cancel_provider.version_compat import mask_secret


def test_a_secret_of_a_connection_is_in_no_entry() -> None:
    mask_secret("k3y-that-nobody-sees")
    entries: list[Any] = []
    lines = ("https://user:k3y-that-nobody-sees@127.0.0.1 does not answer", "REQUESTED")
    session, task = SimpleNamespace(add=entries.append), TaskKey("d", "r", "t", -1)
    event_log.write(session, event_log.FINISHED, "ann", task, lines=lines)
    (entry,) = entries
    assert json.loads(entry.extra)["lines"] == ["https://user:***@127.0.0.1 does not answer", "REQUESTED"]
    assert (entry.event, entry.owner, entry.dag_id) == ("cancel_remote_job_finished", "ann", "d")
