"""What the sentinel loads when it must act."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from airflow_cancel_provider.guard.undertaking import Undertaking
from airflow_cancel_provider.jobs import RemoteJob, released_key
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.submissions import Intent

log = logging.getLogger("airflow_cancel_provider.sentinel")


class Watch(Protocol):
    """What the idle script hands over."""

    channel: int
    notes: list[bytes]
    ends_at: float

    def hear(self) -> bytes | None:
        """Take one message from the task."""
        ...

    def channel_is_open(self) -> bool:
        """Whether there is one to take."""
        ...

    def listen(self, seconds: float) -> None:
        """Pause, but not longer than the task is silent."""
        ...

    def see_to_ghost(self) -> None:
        """Kill a task that should have ended."""
        ...


class Legacy:
    """What the task has said that it started; reads on while it is worked off."""

    def __init__(self, watch: Watch) -> None:
        self.hello: dict[str, Any] = {}
        self._watch = watch
        self._lines: dict[str, ClientSpec] = {}
        self._intents: dict[str, tuple[str, Intent]] = {}
        self._jobs: dict[RemoteJob, tuple[str, float]] = {}
        self._released: set[str] = set()
        self.read()

    def read(self) -> None:
        """Take in what the task has said since."""
        while self._watch.channel_is_open():
            self._watch.hear()
        notes, self._watch.notes = self._watch.notes, []
        for note in notes:
            try:
                self._take(json.loads(note))
            except (KeyError, TypeError, ValueError) as error:
                log.error("A note of the task can't be read: %r", error)  # noqa: TRY400  a traceback says no more

    def jobs(self) -> Iterable[RemoteJob]:
        """Addresses of what was started."""
        self.read()
        return list(self._jobs)

    def intents(self) -> Iterable[Intent]:
        """Submissions without an answer."""
        self.read()
        return [replace(intent, line=self._lines[name]) for name, intent in self._intents.values()]

    def released(self) -> Collection[str]:
        """``released_key`` of what is to live on."""
        return self._released

    def line(self, job: RemoteJob) -> ClientSpec:
        """How to reach a job's service."""
        return self._lines[self._jobs[job][0]]

    def taken_at(self, job: RemoteJob) -> float:
        """When the service took a job, in epoch seconds; 0 for long ago."""
        return self._jobs[job][1]

    def _take(self, note: dict[str, Any]) -> None:
        if "hello" in note:
            self.hello = note["hello"]
        elif "key" in note:
            self._lines[note["key"]] = ClientSpec(**note["line"])
        elif "started" in note:
            self._lines[note["line"]]  # a job that can't be reached must not keep the others from it
            self._intents.pop(note["intent"], None)
            self._jobs |= dict.fromkeys(map(RemoteJob, note["started"]), (note["line"], note["at"]))
        elif "intent" in note:
            known = note["intent"]
            line = self._lines[known["line"]]
            label = Label.find(known["label"])
            self._intents[known["token"]] = (
                known["line"],
                Intent(known["token"], line, known["scope"], label),
            )
        elif "refused" in note:
            self._intents.pop(note["refused"], None)
        elif "released" in note:
            for job in note["released"]:
                self._released.add(released_key(RemoteJob(job)))
                self._jobs.pop(RemoteJob(job), None)


def act(watch: Watch) -> None:
    """Cancel everything the task has started and not released; say how it goes."""
    legacy = Legacy(watch)
    hello = legacy.hello
    os.environ.update(hello["environment"])
    _log_to(hello["log_file"])
    log.info("%s: its task is gone or going", hello["reason"])
    undertaking = Undertaking(
        legacy, hello["reason"], log, patience=hello["patience"], escalate_after=hello["escalate_after"]
    )

    def say(word: str) -> None:
        with suppress(OSError):  # nobody is listening any more
            os.write(watch.channel, word.encode())

    def wait(seconds: float) -> None:
        """Pause, but not longer than the task is silent: it may have started more."""
        watch.listen(min(seconds, 1.0) if watch.ends_at else seconds)
        watch.see_to_ghost()

    undertaking.run(say, wait)
    while watch.ends_at:
        time.sleep(0.2)
        watch.see_to_ghost()


def _log_to(path: str | None) -> None:
    try:
        handler: logging.Handler = logging.FileHandler(path) if path else logging.NullHandler()
    except OSError:
        handler = logging.StreamHandler()  # the file of the start, wherever that is now
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(process)d %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
