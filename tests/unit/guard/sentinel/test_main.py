"""What the sentinel takes in from a task."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import boto3
import pytest

from airflow_cancel_provider.guard.events import JobsReleased
from airflow_cancel_provider.guard.sentinel.cancel import NoteReader
from airflow_cancel_provider.guard.sentinel.channel import Channel
from airflow_cancel_provider.guard.sentinel.main import NOTE, PATHS, TaskWatch
from airflow_cancel_provider.guard.sentinel.notes import notes_of
from airflow_cancel_provider.guard.sentinel.relay import messages_of, send
from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.record import Actor, JobEnd
from airflow_cancel_provider.services.client_spec import ClientSpec
from tests.cloud.server import LocalCloud
from tests.try_fixtures import Try, variables  # noqa: F401  a fixture


@pytest.fixture
def batch(cloud: LocalCloud) -> Any:
    return boto3.client("batch", endpoint_url=cloud.url, region_name="us-east-1")


def task_watch() -> tuple[TaskWatch, socket.socket]:
    """One that listens to this process, and this process's end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return TaskWatch(theirs.detach(), os.getpid(), os.getpid()), ours


def heard(watch: TaskWatch) -> list[bytes]:
    watch.receive_all()
    return watch.notes


def test_what_a_task_said_is_heard_although_it_died_without_listening() -> None:
    watch, task = task_watch()
    os.write(watch.channel, b"accepted")
    task.send(NOTE + b"first")
    task.send(NOTE + b"second")
    task.close()
    assert heard(watch) == [b"first", b"second"]


def test_a_note_that_makes_no_sense_does_not_hide_the_others() -> None:
    watch, task = task_watch()
    good, bad = RemoteJob("batch://@us-east-1/good"), RemoteJob("batch://@us-east-1/bad")
    client = {"service": "batch", "conn_id": None, "region": "us-east-1", "endpoint": None}
    started = {"event": "started", "token": "1", "at": 0, "not_before": 0, "ti_id": None}
    task.send(PATHS + b"/one\0/no/utf-8/\xe9")
    for note in (
        {**started, "jobs": [str(bad)], "client": "never told"},
        {"key": "told", "client": client},
        {"key": "of tomorrow", "client": {**client, "unknown": 1}},
        {"event": "of tomorrow"},
        [1],
        {**started, "jobs": [str(good)], "client": "told"},
    ):
        task.send(NOTE + json.dumps(note).encode())
    task.send(NOTE + b"{")
    ledger = NoteReader(watch).ledger
    assert ledger.jobs == [good]
    assert ledger.started[good].client == ClientSpec(**client)
    task.close()


def test_messages_about_jobs_with_the_longest_addresses_are_received_whole() -> None:
    """A name of 255 characters beyond the basic plane takes 12 bytes for each."""
    jobs = tuple(
        RemoteJob.of(
            "glue", f"jr_{number:064}", scope=255 * "\U0001d6c2", conn_id=250 * "連", region="us-east-1"
        )
        for number in range(200)
    )
    ends = {job: JobEnd(JobState.CANCELLED, Actor.SENTINEL, "Task failed (ValueError)", 0.0) for job in jobs}
    ours, theirs = Channel.pair()
    watch = TaskWatch(theirs.detach(), os.getpid(), os.getpid())
    told: list[str] = []
    for note in notes_of(JobsReleased(jobs), lambda _: ""):
        assert ours.send(NOTE + json.dumps(note).encode())
        told += json.loads(heard(watch)[-1])["jobs"]
    heard_of: dict[str, Any] = {}
    for message in messages_of(ends):
        assert send(watch.channel, message)
        heard_of |= json.loads(ours.receive(1))["ends"]
    assert told == [*jobs]
    assert heard_of == {str(job): end.as_json() for job, end in ends.items()}
    ours.close()
    os.close(watch.channel)
