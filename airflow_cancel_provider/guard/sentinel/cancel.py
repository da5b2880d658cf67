"""Cancel the jobs of a task: what the sentinel loads when there is something to cancel."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_cancel_provider.cancel_log import CancelLog
from airflow_cancel_provider.clock import Clock
from airflow_cancel_provider.guard.cancel_loop import CancelLoop
from airflow_cancel_provider.guard.end_reports import EndReports
from airflow_cancel_provider.guard.events import JobsStarted, SubmissionIntended
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.guard.sentinel.log_file import LogFile, SharedFileHandler
from airflow_cancel_provider.guard.sentinel.notes import UNREADABLE, event_of
from airflow_cancel_provider.guard.sentinel.relay import STORY, TaskLogHandler, messages_of, send
from airflow_cancel_provider.metrics import Layer, PlainStatsd, send_cancel
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.record import Actor
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.ratelimit import PACES
from airflow_cancel_provider.task_log import TryLogFile

if TYPE_CHECKING:
    from airflow_cancel_provider.guard.sentinel.main import TaskWatch

log = logging.getLogger("airflow_cancel_provider.sentinel")
story = logging.getLogger(STORY)


class NoteReader:
    """Reads the notes of the task on its jobs, also while they are cancelled.

    ``has_news`` is set by each note on a job that may have to be cancelled.
    """

    def __init__(self, watch: TaskWatch) -> None:
        self.hello: dict[str, Any] = {}
        self.ledger = TryLedger()
        self.has_news = False
        self._watch = watch
        self._clients: dict[str, ClientSpec] = {}
        self.read()

    def read(self) -> None:
        """Read the notes that the task has sent since."""
        self._watch.receive_all()
        notes, self._watch.notes = self._watch.notes, []
        for note in notes:
            try:
                self._take(json.loads(note))
            except UNREADABLE as error:
                log.error("A note of the task can't be read: %r", error)  # noqa: TRY400  a traceback says no more

    def _take(self, note: dict[str, Any]) -> None:
        if "hello" in note:
            self.hello = {**note["hello"], "label": Label.find(note["hello"]["label"])}
            self.ledger.clock = Clock(note["hello"]["clock"])
        elif "key" in note:
            self._renew(note["key"], ClientSpec(**note["client"]))
        else:
            self.ledger.apply(event := event_of(note, self._clients))
            self.has_news |= isinstance(event, JobsStarted | SubmissionIntended)

    def _renew(self, name: str, client: ClientSpec) -> None:
        """Keep a client; a known one may have new credentials."""
        if known := self._clients.get(name):
            known.secrets.clear()
            known.secrets.update(client.secrets)
        else:
            self._clients[name] = client


def act(watch: TaskWatch) -> None:
    """Cancel the jobs that the task has started and not released, and report the progress to the task."""
    reader = NoteReader(watch)
    hello = reader.hello
    os.environ.update(hello["environment"])
    PACES.configure(*hello["quotas"])
    _log_to(hello["log_file"])
    task_log = TaskLogHandler(watch, TryLogFile(hello["task_log"]) if hello["task_log"] else None)
    log.addHandler(task_log)
    log.info("For %s", hello["reason"])
    cancel_log = CancelLog(story, Actor.SENTINEL, lambda: watch.why, reader.ledger.clock)

    def report(word: str) -> None:
        if word != "accepted":
            for message in messages_of(cancel_log.ends):
                send(watch.channel, message)
        send(watch.channel, word)

    def listen(seconds: float) -> None:
        """Pause until the next message."""
        watch.pause(min(seconds, 1.0) if watch.ends_at else seconds)
        watch.receive_all()
        watch.kill_if_late()
        task_log.settle()

    reader.has_news, is_heard = True, True
    while reader.has_news:
        loop = CancelLoop(
            reader.ledger,
            log,
            own=hello["label"],
            reason=hello["reason"],
            patience=hello["patience"],
            escalate_after=hello["escalate_after"],
            refresh=reader.read,
            cancel_log=cancel_log,
        )
        loop.run(report, partial(_listen_for_notes, watch, listen))
        reader.has_news = False
        is_heard = task_log.finish(listen)
        # The task may have started more since the last round. What it sends from now on fails there.
        _stop_listening(watch.channel)
        reader.read()
        if hello["statsd"]:
            send_cancel(
                loop.engine.outcomes(),
                Layer.SENTINEL,
                lambda: PlainStatsd(hello["statsd"]),
                log,
                since=reader.ledger.clock.offset + watch.since,
                requested_at=loop.engine.cancellation.requested_at,
                now=reader.ledger.clock.now(),
            )
    while watch.ends_at:
        time.sleep(0.2)
        watch.kill_if_late()
    # A task that has heard of them puts them on record itself. One that waits for Airflow may be killed.
    if not is_heard and cancel_log.ends and hello["reports"]:
        EndReports(**hello["reports"]).send(cancel_log.ends, log)


def _listen_for_notes(watch: TaskWatch, listen: Callable[[float], None], seconds: float) -> None:
    """Pause until there is a note, as the task may have started more jobs. What confirms a line is none."""
    until = time.monotonic() + seconds
    while not watch.notes and (left := until - time.monotonic()) > 0:
        listen(left)


def _stop_listening(channel: int) -> None:
    with suppress(OSError), socket.socket(fileno=os.dup(channel)) as duplicate:
        duplicate.shutdown(socket.SHUT_RD)


def _log_to(path: str | None) -> None:
    try:
        handler: logging.Handler = SharedFileHandler(LogFile(path)) if path else logging.NullHandler()
    except OSError:
        handler = logging.StreamHandler()  # to the log file of the start
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(process)d %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
