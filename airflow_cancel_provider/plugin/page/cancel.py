"""The Cancel button: who may press it, and what it has done in the background."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from airflow_cancel_provider.engine.recorded import CancelRequest
from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.inventory import RemoteJobEntry
from airflow_cancel_provider.plugin.bodies import Refusal
from airflow_cancel_provider.plugin.event_log import MOST_LINES, REQUESTED, write
from airflow_cancel_provider.plugin.page.on_record import Named, recorded
from airflow_cancel_provider.plugin.permissions import editable, readable
from airflow_cancel_provider.record import Actor
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.task_log import PrefixedLog

log = logging.getLogger(__name__)
MOST_JOBS = 50
"""Jobs that are cancelled with one request."""


class Story(PrefixedLog):
    """A log that also keeps what was said last of one cancel."""

    def __init__(self) -> None:
        super().__init__(log)
        self._lines: list[str] = []

    def lines(self) -> list[str]:
        """What was said, the last lines of it."""
        return self._lines

    def _write(self, write: Callable[..., Any], message: str, args: tuple[Any, ...]) -> None:
        super()._write(write, message, args)
        self._lines = [*self._lines, message % args if args else message][-MOST_LINES:]


def cancel(user: Any, named: Sequence[Named]) -> None:
    """Have jobs cancelled in the background, if this user may do that.

    Nothing is begun before each was looked up: if one of them can't be cancelled, none is. From then on each
    is cancelled by itself; :func:`~airflow_cancel_provider.plugin.page.states.states` and the event log tell
    what became of each.

    :raises Refusal: a job is not on record, has ended, or the user may not edit the runs of its Dag; or the
        settings can't be read.
    """
    from airflow_cancel_provider.plugin.api_server import CancelFor, cancel_now
    from airflow_cancel_provider.reaper.backends.database import session_of_airflow

    name = str(user.get_name())
    _check_permission(user, named)
    _check_settings()
    with session_of_airflow() as session:
        found = recorded(session, named)
        for each in named:
            _check_state(each, found.get(each))
            write(session, REQUESTED, name, each.task, job=each.job, reason=reason_of(name))
    for entry in found.values():
        story, reason = Story(), reason_of(name)
        record = entry.record.of([entry.job])
        request = CancelRequest((entry.job,), reason, story, record, task=entry.digest, only_of=entry.only_of)
        cancel_now(request, CancelFor(entry.task, Actor.USER, name, reason, story.lines))


def reason_of(user: str) -> str:
    """Words for the service."""
    return f"Cancelled by {user} in the page Remote jobs"


def _check_permission(user: Any, named: Sequence[Named]) -> None:
    dag_ids = {each.task.dag_id for each in named}
    # Of a Dag that a user may not read, they are not told that it is there.
    if dag_ids - readable(user, dag_ids):
        raise Refusal(404, "No such job is on record.")
    if forbidden := dag_ids - editable(user, dag_ids):
        raise Refusal(
            403, f"You may not edit the runs of Dag {min(forbidden)}, so you can't cancel its jobs."
        )


def _check_settings() -> None:
    try:
        Settings.read()
    except InvalidInput as error:
        raise Refusal(
            503, f"Nothing was cancelled; the API server can't read its settings: {error}"
        ) from None


def _check_state(named: Named, found: RemoteJobEntry | None) -> None:
    if found is None:
        raise Refusal(404, f"{named.job} is not on record any more. Load the page again.")
    if found.end is not None:
        raise Refusal(409, f"{named.job} has already ended: {found.end.state}.")
