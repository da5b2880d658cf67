"""What a task may do to its threads, descriptors, children and sentinel, without harm to its jobs."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from airflow_cancel_provider.exceptions import Killed
from airflow_cancel_provider.guard import canceller as canceller_module
from airflow_cancel_provider.guard.attached import attached_guard
from airflow_cancel_provider.guard.canceller import START_SECONDS, Canceller
from airflow_cancel_provider.guard.events import JobsEnded, SubmissionIntended
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.guard.sentinel import channel as sentinel_channel
from airflow_cancel_provider.guard.sentinel import client as sentinel_client
from airflow_cancel_provider.guard.sentinel import process as sentinel_process
from airflow_cancel_provider.guard.sentinel.client import Sentinel
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.version_compat import TaskDeferred
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import canceller, tracked, until
from tests.try_fixtures import Try, _guarded, cancelled, submit, variables  # noqa: F401  fixtures

LOG = logging.getLogger("task")
CANCEL = Settings(confirm_seconds=20, patience=30, labels=False)


@pytest.fixture
def client(cloud: LocalCloud) -> ClientSpec:
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_session_token": None}
    return ClientSpec("batch", None, "us-east-1", cloud.url, secrets={"credentials": keys})


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Canceller]:
    """A canceller with a sentinel of its own."""
    worker = canceller(TryLedger(), CANCEL, LOG, str(tmp_path / "sentinel.log"))
    yield worker
    if (sentinel := worker._sentinel) and sentinel._process:
        sentinel._process.kill()
        sentinel._process.wait()


def sentinel_of(worker: Canceller) -> Any:
    """The sentinel's side in the task: its process and socket."""
    assert worker._sentinel
    return worker._sentinel


def in_time(work: Callable[[], object], seconds: float) -> bool:
    """Whether work is done in so many seconds; it may hang."""
    thread = Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def test_threads_that_start_the_first_jobs_together_do_not_wait_for_each_other(
    client: ClientSpec, tmp_path: Path
) -> None:
    """Each waits for the sentinel's first word, of which there is one."""
    for number in range(6):
        worker = canceller(TryLedger(), CANCEL, LOG, str(tmp_path / "sentinel.log"))
        together = Barrier(8)

        def start(worker: Canceller, together: Barrier, name: str) -> None:
            event = tracked(client, [client.address(None, name)])
            together.wait()
            worker.hear(event)

        threads = [
            Thread(target=start, args=(worker, together, f"{number}-{each}"), daemon=True)
            for each in range(8)
        ]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert not [thread for thread in threads if thread.is_alive()]
        assert time.monotonic() - began < START_SECONDS  # nobody has waited for a word that another has taken
        sentinel_of(worker)._process.kill()
        sentinel_of(worker)._process.wait()


@pytest.mark.parametrize("seconds", [0.0, 30.0])
def test_a_timeout_that_a_task_gives_all_new_sockets_holds_nobody_up(
    cloud: LocalCloud, worker: Canceller, client: ClientSpec, seconds: float
) -> None:
    """With it each glance at the sentinel's messages would wait so long, and take it for gone then."""
    job = client.address(None, submit())
    event = tracked(client, [job], time.time())
    worker._thread._ledger.apply(event)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        worker.hear(event)
    finally:
        socket.setdefaulttimeout(before)
    assert in_time(lambda: worker.cancel("Task failed (ValueError)"), 5)
    assert worker.wait_for("ended", 20)
    assert sentinel_of(worker).last_word == "ended"
    assert cancelled(cloud) == [True]


def test_the_channel_takes_no_descriptor_of_standard_input_or_output() -> None:
    """A task may have closed these. What it prints then would be a message, and end the jobs of a success."""
    kept = os.dup(0)
    os.close(0)
    try:
        channel, theirs = sentinel_channel.Channel.pair()
        assert min(channel._end.fileno(), theirs.fileno()) > 2
        assert channel.send(b"word")
        assert theirs.recv(10) == b"word"
        assert not any(map(os.get_inheritable, (channel._end.fileno(), theirs.fileno())))
    finally:
        os.dup2(kept, 0)
        os.close(kept)
    channel.close()
    theirs.close()


def test_what_is_no_message_of_the_task_is_no_order(
    cloud: LocalCloud, worker: Canceller, client: ClientSpec
) -> None:
    event = tracked(client, [client.address(None, submit())])
    worker._thread._ledger.apply(event)
    worker.hear(event)
    assert sentinel_of(worker)._send(b"2026-11-30 a line of a log")
    worker.returned()
    worker.done()
    assert sentinel_of(worker)._process.wait(5) == 0
    assert cancelled(cloud) == [False]


class TestDoesNotRead:
    """A sentinel that is frozen: by a debugger, by SIGSTOP."""

    @pytest.fixture(autouse=True)
    def _hurry(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sentinel_channel, "SEND_SECONDS", 0.2)

    def fill(self, worker: Canceller, client: ClientSpec, count: int = 2000) -> None:
        for number in range(count):
            worker.hear(tracked(client, [client.address(None, f"{number}")]))

    def test_a_task_goes_on(
        self, worker: Canceller, client: ClientSpec, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.fill(worker, client, 1)
        sentinel_of(worker)._process.send_signal(signal.SIGSTOP)
        assert in_time(lambda: self.fill(worker, client), 10)
        assert "Not guarded: a sudden end of this task's process" in caplog.text

    def test_it_is_ended_so_that_it_cancels_nothing_of_a_task_that_succeeds(
        self, worker: Canceller, client: ClientSpec
    ) -> None:
        self.fill(worker, client, 1)
        sentinel_of(worker)._process.send_signal(signal.SIGSTOP)
        self.fill(worker, client)
        worker.returned()
        assert sentinel_of(worker)._process.wait(5) == -signal.SIGKILL

    def test_the_task_cancels_itself(self, cloud: LocalCloud, worker: Canceller, client: ClientSpec) -> None:
        job = client.address(None, submit())
        event = tracked(client, [job], time.time())
        worker._thread._ledger.apply(event)
        worker.hear(event)
        sentinel_of(worker)._process.send_signal(signal.SIGSTOP)
        self.fill(worker, client)
        worker.cancel("Task failed (ValueError)")
        assert worker.wait_for("ended", 20)
        assert cancelled(cloud) == [True]


def test_where_the_sentinel_does_not_answer_the_task_cancels_itself(
    cloud: LocalCloud,
    worker: Canceller,
    client: ClientSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It waits for a disk, or for its turn to run."""
    (silent := tmp_path / "silent.py").write_text("import os, time; os.write(0, b'watching'); time.sleep(60)")
    monkeypatch.setattr(sentinel_process, "MAIN", silent)
    monkeypatch.setattr(sentinel_client, "ANSWER_SECONDS", 0.2)
    event = tracked(client, [client.address(None, submit())], time.time())
    worker._thread._ledger.apply(event)
    worker.hear(event)
    worker.cancel("Task received SIGTERM")
    assert worker.wait_for("accepted", 20)
    until(lambda: cancelled(cloud) == [True])
    assert "does not answer" in caplog.text


class TestClosesDescriptors:
    """As a program that makes itself a daemon does; the number may be another file's afterwards."""

    def close(self, worker: Canceller) -> socket.socket:
        """The other end of what has the descriptor now."""
        taken, other = socket.socketpair()
        os.dup2(taken.fileno(), sentinel_of(worker)._channel._end.fileno())
        taken.close()
        other.setblocking(False)
        return other

    def test_nothing_is_written_into_the_tasks_own_files(
        self, worker: Canceller, client: ClientSpec, caplog: pytest.LogCaptureFixture
    ) -> None:
        worker.hear(tracked(client, [client.address(None, "first")]))
        with self.close(worker) as other:
            worker.hear(tracked(client, [client.address(None, "second")]))
            worker.cancel("Task failed (ValueError)")
            with pytest.raises(BlockingIOError):
                other.recv(1)
        assert "Not guarded: a sudden end of this task's process" in caplog.text

    @pytest.mark.parametrize("say", ["returned", "done"])
    def test_what_has_succeeded_is_not_cancelled(
        self, worker: Canceller, client: ClientSpec, say: str
    ) -> None:
        worker.hear(tracked(client, [client.address(None, "first")]))
        process = sentinel_of(worker)._process
        self.close(worker).close()
        getattr(worker, say)()
        assert process.wait(5) == -signal.SIGKILL


class TestForkedChildren:
    """Their jobs are known to the sentinel alone."""

    def run(self, cloud: LocalCloud, end: Callable[[], None]) -> bool:
        """Whether the job of the child was cancelled; the task's own has ended before."""
        of_child = submit()

        def work() -> None:
            submit()
            (own,) = guard.parts.ledger.jobs
            spec = guard.parts.ledger.started[own].client
            assert spec
            guard.parts.recorder.tell(JobsEnded((own,)))
            if (child := os.fork()) == 0:
                guard.parts.recorder.tell(tracked(spec, [spec.address(None, of_child)], time.time()))
                os._exit(0)
            os.waitpid(child, 0)
            end()

        guard = (ti := Try(work=work, max_tries=0)).guarded(CANCEL)
        with pytest.raises((ValueError, Killed, TaskDeferred)):
            ti.task.execute()
        guard.failed()
        return any(job["cancelled"] for job in cloud.batch.jobs() if job["id"] == of_child)

    def test_a_task_that_fails_has_them_cancelled(self, cloud: LocalCloud) -> None:
        def fail() -> None:
            raise ValueError("after its own job has ended")

        assert self.run(cloud, fail)

    def test_a_task_that_is_killed_has_them_cancelled(self, cloud: LocalCloud) -> None:
        def kill() -> None:
            guard: Any = attached_guard()
            guard.task.on_kill()

        assert self.run(cloud, kill)

    def test_a_child_starts_no_sentinel_in_the_place_of_one_that_has_ended(
        self, cloud: LocalCloud, worker: Canceller, client: ClientSpec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It would take the child's end for that of the task, and cancel what runs."""
        monkeypatch.setattr(canceller_module, "START_AGAIN_SECONDS", 0.0)
        event = tracked(client, [client.address(None, submit())], time.time())
        worker._thread._ledger.apply(event)
        worker.hear(event)
        sentinel_of(worker)._process.kill()
        sentinel_of(worker)._process.wait()
        worker.hear(event)  # and so knows that it has ended
        intended = SubmissionIntended("child", client, None, None)
        if (child := os.fork()) == 0:
            said: list[str] = []
            worker._unguarded = said.append
            worker.hear(intended)
            is_still_that_one = sentinel_of(worker)._process.returncode == -signal.SIGKILL
            os._exit(0 if said and is_still_that_one else 1)
        assert os.waitpid(child, 0)[1] == 0
        time.sleep(1.5)
        assert cancelled(cloud) == [False]

    def test_threads_start_one_sentinel_in_the_place_of_one_that_has_ended(
        self, worker: Canceller, client: ClientSpec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A second one would not be told of a success, and cancel after it."""
        monkeypatch.setattr(canceller_module, "START_AGAIN_SECONDS", 0.0)
        worker.hear(tracked(client, [client.address(None, "first")]))
        sentinel_of(worker)._process.kill()
        sentinel_of(worker)._process.wait()
        worker.hear(tracked(client, [client.address(None, "first")]))
        make, made, together = worker._new_sentinel, list[Sentinel](), Barrier(4)

        def slow() -> Sentinel:
            time.sleep(0.05)
            made.append(make())
            return made[-1]

        def start(name: str) -> None:
            together.wait()
            worker.hear(SubmissionIntended(name, client, None, None))

        monkeypatch.setattr(worker, "_new_sentinel", slow)
        threads = [Thread(target=start, args=(f"{number}",), daemon=True) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len(made) == 1

    def test_a_deferral_says_that_they_are_not_guarded(
        self, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
    ) -> None:
        def defer() -> None:
            raise TaskDeferred(trigger=None, method_name="execute_complete")

        self.run(cloud, defer)
        assert "Not guarded: from now on, jobs of forked children" in caplog.text


def test_what_is_tracked_after_a_kill_that_is_through_is_cancelled_too(
    cloud: LocalCloud, worker: Canceller, client: ClientSpec
) -> None:
    """By a thread: the sentinel has ended the first job, and said its last word."""

    def start() -> None:
        event = tracked(client, [client.address(None, submit())], time.time())
        worker._thread._ledger.apply(event)
        worker.hear(event)

    start()
    worker.cancel("Task was told to end")
    until(lambda: cancelled(cloud) == [True])
    time.sleep(0.5)
    start()
    worker.cancel("Task failed (ValueError)")
    assert worker.wait_for("ended", 20)
    until(lambda: cancelled(cloud) == [True, True], 10)
