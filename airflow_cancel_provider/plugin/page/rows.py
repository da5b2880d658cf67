"""The rows of the page: an entry of the inventory in the words and addresses that a person sees."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.links.console import console_url
from airflow_cancel_provider.plugin.event_log import AskedCancel
from airflow_cancel_provider.plugin.page.filters import STATES
from airflow_cancel_provider.record import Actor, JobEnd
from airflow_cancel_provider.services.registry import SERVICES

if TYPE_CHECKING:
    from airflow_cancel_provider.inventory import RemoteJobEntry

CANCELLABLE = {"living", "unknown", "released"}
_BY = {
    "task": "the task itself",
    "sentinel": "the sentinel, a process beside the task",
    "trigger": "the triggerer",
    "api-server": "the API server",
    "reaper": "the reaper",
    "operator": "an operator",
}
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


@dataclass(frozen=True, slots=True)
class Row:
    """One job on the page.

    :param state: what is known without asking the service; also the name of a colour.
    :param story: who cancelled it and why, where somebody has.
    """

    entry: RemoteJobEntry
    service: str
    state: str
    colour: str
    age: str
    submitted: str
    story: str
    task_url: str
    console_url: str
    may_cancel: bool
    is_being_cancelled: bool
    is_orphan: bool

    @property
    def job(self) -> RemoteJob:
        """The address."""
        return self.entry.job


def rows(
    entries: Iterable[RemoteJobEntry],
    editable: Collection[str],
    asked: Mapping[RemoteJob, AskedCancel],
    base: str,
) -> list[Row]:
    """Make rows.

    :param editable: Dags whose runs the user may edit.
    :param asked: cancels that users have asked for.
    :param base: path at which Airflow is served, without a slash at its end.
    """
    return [
        _row(each, asked.get(each.job), base, is_editable=each.task.dag_id in editable) for each in entries
    ]


def _row(entry: RemoteJobEntry, asked: AskedCancel | None, base: str, *, is_editable: bool) -> Row:
    state, colour = _state(entry, asked)
    info = SERVICES.get(entry.job.service)
    is_over = entry.state not in CANCELLABLE or is_ended(asked)
    is_being_cancelled = asked is not None and not asked.is_over and not is_over
    return Row(
        entry=entry,
        service=info.title if info else entry.job.service,
        state="Cancelling" if is_being_cancelled else state,
        colour="cancelling" if is_being_cancelled else colour,
        age=age_of(entry.submitted_at),
        submitted=time_of(entry.submitted_at),
        story=_story(entry, asked),
        task_url=task_url(base, entry),
        console_url=console_url(entry.job) if info else "",
        may_cancel=is_editable and not is_over and not is_being_cancelled,
        is_being_cancelled=is_being_cancelled,
        is_orphan=entry.is_orphan and not is_over,
    )


def is_ended(asked: AskedCancel | None) -> bool:
    """Whether a job was seen to end after a user had cancelled it on the page."""
    return asked is not None and bool(asked.end)


def _state(entry: RemoteJobEntry, asked: AskedCancel | None) -> tuple[str, str]:
    end = str(entry.end.state) if entry.end is not None else asked.end if asked else ""
    if end:
        return end.capitalize(), end.lower()
    return STATES.get(entry.state, entry.state), entry.state


def _story(entry: RemoteJobEntry, asked: AskedCancel | None) -> str:
    if entry.end is not None:
        return end_in_words(entry.end)
    if asked is None:
        return ""
    if asked.end == JobState.CANCELLED:
        return f"Cancelled by {asked.user} in the page Remote jobs"
    what = f"{asked.user} asked for its cancel {age_of(asked.at)} ago"
    return f"{what}: {asked.lines[-1]}" if asked.lines else f"{what}."


def end_in_words(end: JobEnd) -> str:
    """Who cancelled a job and why, or that nobody has."""
    if end.by == Actor.SERVICE and end.state is JobState.CANCELLED:
        return "By whom is not on record; the log of the task may tell"
    by = _BY.get(end.by, "")
    if not by:
        return end.reason or "Ended by itself"
    what = "Cancelled" if end.state is JobState.CANCELLED else "Its end was seen"
    why = f"{end.reason.rstrip('.')}. " if end.reason else ""
    return f"{why}{what} by {by}"


def task_url(base: str, entry: RemoteJobEntry) -> str:
    """The page of a task instance in Airflow."""
    task = entry.task
    names = [quote(name, safe="") for name in (task.dag_id, task.run_id, task.task_id)]
    url = f"{base}/dags/{names[0]}/runs/{names[1]}/tasks/{names[2]}"
    mapped = f"/mapped/{task.map_index}" if task.map_index >= 0 else ""
    query = "" if entry.is_current_try else "?" + urlencode({"try_number": entry.try_number})
    return url + mapped + query


def age_of(at: datetime | None) -> str:
    """How long ago that was, in one unit; empty where it is not known."""
    if at is None:
        return ""
    seconds = max(0, int((datetime.now(UTC) - at).total_seconds()))
    return next((f"{seconds // size} {unit}" for size, unit in _UNITS if seconds >= size), f"{seconds} s")


def time_of(at: datetime | None) -> str:
    """The time for a machine, to be shown in the browser's time zone."""
    return at.astimezone(UTC).isoformat(timespec="seconds") if at else ""
