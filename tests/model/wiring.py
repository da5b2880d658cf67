"""The package's own objects, connected to the world instead of Airflow, processes and a service."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock
from uuid import UUID

from airflow_cancel_provider import cancellation, clock
from airflow_cancel_provider.engine import cancel as engine_cancel
from airflow_cancel_provider.engine import label_search
from airflow_cancel_provider.guard import (
    cancel_loop,
    canceller,
    client_pool,
    inherited,
    label_lookups,
    recorder,
    releases,
)
from airflow_cancel_provider.hooks import variables
from airflow_cancel_provider.jobs import JobStatus, RemoteJob
from airflow_cancel_provider.plugin import api_server, marked_tries
from airflow_cancel_provider.plugin.due_queue import DueQueue
from airflow_cancel_provider.record import TryRecord
from airflow_cancel_provider.release import Release
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.threads import fulfil
from airflow_cancel_provider.triggers import ownership
from airflow_cancel_provider.triggers.ownership import DeferredTry
from airflow_cancel_provider.version_compat import Variable
from tests.model.deciders import answers_of, release_of
from tests.model.open_world import OPEN, QUIET, SERVICE, lose_a_write, reach_airflow, stored
from tests.model.world import CLIENT, CLOCK, TASK, ti_id


def _read_variable(key: str) -> str | None:
    reach_airflow()
    return dict(OPEN[0].variables).get(key)


def _set_variable(key: str, value: Any, **_: Any) -> None:
    lose_a_write()
    text = json.dumps({**value, "at": None})  # the time is all that would differ
    OPEN[0].variables = tuple(sorted({**dict(OPEN[0].variables), key: text}.items()))


def _delete_variable(key: str) -> None:
    reach_airflow()
    OPEN[0].variables = tuple(each for each in OPEN[0].variables if each[0] != key)


def _releases_of(records: Iterable[TryRecord]) -> dict[UUID, Release]:
    ids = {one.ti_id for record in records for one in (record, *record.earlier)}
    return {each: release for each in ids if (release := release_of(each))}


def _states(tries: Sequence[DeferredTry]) -> dict[DeferredTry, str | None]:
    """The state of the latest try, for each that is asked about, as Airflow answers."""
    reach_airflow()
    state = "removed" if OPEN[0].is_deleted else OPEN[0].row.state
    return dict.fromkeys(tries, state)


def _is_there(asked: UUID) -> bool:
    return not OPEN[0].is_deleted and asked == ti_id(OPEN[0].number)


@contextmanager
def wired() -> Iterator[None]:
    """The package's parts in the model instead of in Airflow."""
    clocked = (clock, cancellation, engine_cancel, label_search, cancel_loop, canceller, inherited, recorder)
    with ExitStack() as stack:
        for module in clocked:
            if hasattr(module, "time"):
                stack.enter_context(mock.patch.object(module, "time", CLOCK))
        replaced: list[tuple[Any, str, Any]] = [
            (client_pool, "open_service", lambda *_: SERVICE),
            (label_lookups, "open_service", lambda *_: SERVICE),
            (label_lookups, "in_background", fulfil),
            (client_pool, "client_over", lambda *_: CLIENT),
            (inherited, "client_over", lambda *_: CLIENT),
            (inherited, "client_of", lambda *_: CLIENT),
            (recorder, "client_of", lambda *_: CLIENT),
            (releases, "client_of", lambda *_: CLIENT),
            (variables, "read_variable", _read_variable),
            (Variable, "set", _set_variable),
            (Variable, "delete", _delete_variable),
            (ownership, "_states", _states),
            (ownership, "_is_there", _is_there),
            (ownership, "recorded", lambda _: stored(OPEN[0].xcom)),
            (marked_tries, "record_rows", lambda _: {TASK: stored(OPEN[0].xcom)} if OPEN[0].xcom else {}),
            (marked_tries, "releases", _releases_of),
            (marked_tries, "answers", answers_of),
            (api_server, "log", QUIET),
            (marked_tries, "log", QUIET),
            (api_server, "_queue", mock.Mock(spec=DueQueue)),
            (releases, "Thread", Inline),
            (releases.Releases, "_describe", _describe_at_once),
        ]
        for target, name, value in replaced:
            stack.enter_context(mock.patch.object(target, name, value))
        yield


def _describe_at_once(_: Any, clients: Mapping[RemoteJob, ClientSpec], seen: list[JobStatus]) -> None:
    seen.extend(SERVICE.describe(clients))


class Inline:
    """A thread that has done its work when it is started."""

    def __init__(self, target: Any, args: Any, **_: Any) -> None:
        self._target, self._args = target, args

    def start(self) -> None:
        self._target(*self._args)

    def join(self, _: float) -> None:
        pass
