"""The events of a try as JSON, for the sentinel. Clients are referred to by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from airflow_cancel_provider.guard.events import (
    AttemptLost,
    Event,
    JobsEnded,
    JobsPlaced,
    JobsReleased,
    JobsStarted,
    SubmissionClosed,
    SubmissionIntended,
)
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.client_spec import ClientSpec

LONGEST_LIST = 50_000
"""Bytes that the jobs of one message take: a message has a largest size, and an address may be long."""
_AROUND = 4
"""Bytes around a text."""

UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What :func:`event_of` raises for something that is no note."""

Note = dict[str, Any]


def notes_of(event: Event, name: Callable[[ClientSpec], str]) -> Iterator[Note]:
    """An event as one or more notes; none for an event that is of no use to the sentinel."""
    match event:
        case SubmissionIntended():
            label = str(event.label) if event.label else None
            rest = {"scope": event.scope, "label": label, "at": event.at, "ti_id": _text(event.ti_id)}
            yield {"event": "intended", "token": event.token, "client": name(event.client), **rest}
        case JobsStarted():
            common = {
                "event": "started",
                "token": event.token,
                "client": name(event.client),
                "at": event.at,
                "not_before": event.not_before,
                "ti_id": _text(event.ti_id),
            }
            yield from ({**common, "jobs": jobs} for jobs in _texts(event.jobs))
        case AttemptLost():
            yield {"event": "lost", "token": event.token, "at": event.at}
        case JobsPlaced():
            yield {"event": "placed", "token": event.token, "scope": event.scope, "at": event.at}
        case SubmissionClosed():
            yield {"event": "closed", "token": event.token}
        case JobsEnded():
            yield from ({"event": "ended", "jobs": jobs} for jobs in _texts(event.jobs))
        case JobsReleased():
            common = {"event": "released", "has_more": event.has_more}
            yield from ({**common, "jobs": jobs} for jobs in [*_texts(event.jobs)] or [[]])


def event_of(note: Mapping[str, Any], clients: Mapping[str, ClientSpec]) -> Event:
    """The inverse of :func:`notes_of`.

    Raises one of :data:`UNREADABLE` for what is no such note.
    """
    return _READERS[note["event"]](note, clients)


def _intended(note: Mapping[str, Any], clients: Mapping[str, ClientSpec]) -> Event:
    label = Label.find(note["label"])
    return SubmissionIntended(
        note["token"],
        clients[note["client"]],
        note["scope"],
        label,
        at=float(note["at"]),
        ti_id=_uuid(note["ti_id"]),
    )


def _started(note: Mapping[str, Any], clients: Mapping[str, ClientSpec]) -> Event:
    at, not_before = float(note["at"]), float(note["not_before"])
    return JobsStarted(
        note["token"], _jobs(note), clients[note["client"]], at, not_before, _uuid(note["ti_id"])
    )


_READERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, ClientSpec]], Event]] = {
    "intended": _intended,
    "started": _started,
    "lost": lambda note, _: AttemptLost(note["token"], float(note["at"])),
    "placed": lambda note, _: JobsPlaced(note["token"], note["scope"], float(note["at"])),
    "closed": lambda note, _: SubmissionClosed(note["token"]),
    "ended": lambda note, _: JobsEnded(_jobs(note)),
    "released": lambda note, _: JobsReleased(_jobs(note), bool(note["has_more"])),
}


def _text(ti_id: UUID | None) -> str | None:
    return str(ti_id) if ti_id else None


def _uuid(text: str | None) -> UUID | None:
    return UUID(text) if text else None


def _jobs(note: Mapping[str, Any]) -> tuple[RemoteJob, ...]:
    return tuple(map(RemoteJob, note["jobs"]))


def _texts(jobs: Sequence[RemoteJob]) -> Iterator[list[str]]:
    return lists_of(map(str, jobs))


def lists_of(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts (ASCII) in lists that a message can hold."""
    some: list[str] = []
    size = 0
    for text in texts:
        size += len(text) + _AROUND
        if some and size > LONGEST_LIST:
            yield some
            some, size = [], len(text) + _AROUND
        some.append(text)
    if some:
        yield some
