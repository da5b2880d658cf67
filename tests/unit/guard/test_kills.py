"""A task that is told to end: what it waits for, what it may still submit, and what can swallow the kill."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError
from packaging.version import Version

from airflow_cancel_provider.exceptions import Killed
from airflow_cancel_provider.guard import at_end
from airflow_cancel_provider.guard.events import Event, JobsStarted
from airflow_cancel_provider.guard.sentinel.client import Sentinel
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.record import TryState
from airflow_cancel_provider.services.submissions import current_recorder
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.version_compat import Variable
from tests.airflow_versions import AIRFLOW
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import until
from tests.kill_fixtures import _alarm, client, guarded, kill_after, names, submit
from tests.service_fixtures import TERMINATE
from tests.try_fixtures import Task, _guarded, cancelled, variables

__all__ = ["_alarm", "_guarded", "variables"]


class TestWaiting:
    def test_after_a_caught_503_it_waits_for_what_is_known_and_ends_the_task(self, cloud: LocalCloud) -> None:
        def work() -> None:
            submit("known")
            cloud.faults.add("batch", "SubmitJob", kind="server_error", times=1)
            with pytest.raises(ClientError):
                submit("lost")
            kill_after(0.1)
            time.sleep(30)

        ti, guard = guarded(work)
        with pytest.raises(Killed):
            ti.task.execute()
        assert guard.parts.canceller.wait_for("accepted", 20)
        until(lambda: names(cloud) == {"known": True})

    def test_what_was_never_sent_is_not_waited_for_and_not_spoken_of(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        began = time.monotonic()
        ti, guard = guarded(submit)
        with pytest.raises(Exception, match="credentials"):
            ti.task.execute()
        assert time.monotonic() - began < 15
        assert guard.parts.ledger.is_empty
        assert "remote jobs of this try" not in caplog.text
        assert not cloud.journal.count("batch", "SubmitJob")

    def test_an_operator_whose_own_on_kill_fails_does_not_go_on(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As stock ones do that are killed before they know their job; code around may catch the error."""

        def fail(_: Any) -> None:
            raise ValueError("there is no job yet")

        def work() -> None:
            submit("job")
            kill_after(0.1)
            with suppress(Exception):
                time.sleep(30)

        monkeypatch.setattr(Task, "on_kill", fail)
        ti, _ = guarded(work)
        with pytest.raises(Killed):
            ti.task.execute()
        until(lambda: names(cloud) == {"job": True})

    def test_it_tells_how_that_on_kill_has_failed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_: Any) -> None:
            raise ValueError("there is no job yet")

        def work() -> None:
            submit("job")
            kill_after(0.1)
            time.sleep(30)

        monkeypatch.setattr(Task, "on_kill", fail)
        ti, _ = guarded(work)
        with pytest.raises(Killed) as killed:
            ti.task.execute()
        assert isinstance(killed.value.__cause__, ValueError)

    def test_a_call_that_nobody_waits_for_any_more_does_not_keep_the_task(self, cloud: LocalCloud) -> None:
        session = pytest.importorskip("aiobotocore.session")

        async def give_up() -> None:
            made = session.get_session().create_client("batch", region_name="us-east-1")
            async with made as batch:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(
                        batch.submit_job(jobName="slow", jobQueue="queue", jobDefinition="definition"), 0.5
                    )

        def work() -> None:
            cloud.faults.add("batch", "SubmitJob", "latency", delay=2)
            asyncio.run(give_up())
            kill_after(0.1)
            time.sleep(5)
            raise AssertionError("the task went on")

        ti, _ = guarded(work)
        with pytest.raises(Killed):
            ti.task.execute()
        until(lambda: names(cloud) == {"slow": True})

    def test_with_a_call_under_way_its_answer_is_waited_for(self, cloud: LocalCloud) -> None:
        def work() -> None:
            cloud.faults.add("batch", "SubmitJob", "latency", delay=1.5)
            batch = client()
            kill_after(0.7)
            batch.submit_job(jobName="slow", jobQueue="queue", jobDefinition="definition")
            raise AssertionError("the task went on")

        ti, _ = guarded(work)
        with pytest.raises(Killed):
            ti.task.execute()
        assert names(cloud) == {"slow": True}

    def test_a_task_whose_jobs_are_being_ended_does_not_succeed(self, cloud: LocalCloud) -> None:
        """The kill comes while a submission is under way, its answer is lost, and the task goes on."""

        def work() -> str:
            submit("before")
            cloud.faults.add("batch", "SubmitJob", "latency", delay=1.5)
            config = Config(retries={"total_max_attempts": 1}, read_timeout=1)
            batch: Any = boto3.session.Session().client("batch", region_name="us-east-1", config=config)
            kill_after(0.4)
            with pytest.raises(ReadTimeoutError):
                batch.submit_job(jobName="lost", jobQueue="queue", jobDefinition="definition")
            return "as if nothing had happened"

        ti, guard = guarded(work)
        with pytest.raises(Killed):
            ti.task.execute()
        assert guard.parts.canceller.wait_for("accepted", 10)
        until(lambda: names(cloud) == {"before": True, "lost": True})

    @pytest.mark.parametrize("end", [None, "DownstreamTasksSkipped", "TaskDeferred"])
    def test_a_task_that_catches_the_kill_and_goes_on_does_not_succeed(
        self, cloud: LocalCloud, variables: dict[str, Any], end: str | None
    ) -> None:
        def work() -> str:
            submit()
            kill_after(0.1)
            with suppress(BaseException):  # as a bare ``except:`` does
                time.sleep(30)
            if end:
                raise type(end, (BaseException,), {})  # as Airflow's
            return "as if nothing had happened"

        ti, _ = guarded(work)
        with pytest.raises(Killed):
            ti.task.execute()
        assert names(cloud) == {"job": True}
        assert not variables

    def test_a_second_kill_cancels_nothing_twice(self, cloud: LocalCloud) -> None:
        def work() -> None:
            submit()
            for _ in range(3):
                with pytest.raises(Killed):
                    ti.task.on_kill()
            raise ValueError("after all of them")

        ti, guard = guarded(work)
        with pytest.raises(ValueError, match="after all"):
            ti.task.execute()
        assert guard.parts.canceller.wait_for("ended", 20)
        assert cancelled(cloud) == [True]
        assert cloud.journal.count("batch", TERMINATE) == 1


class TestInterrupts:
    """A kill that comes while an event is passed on: whoever hears of it may wait for a network."""

    def test_the_sentinel_hears_of_a_job_that_was_just_started(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hear = Sentinel.hear
        killed: list[Event] = []

        def interrupted(sentinel: Sentinel, event: Event) -> None:
            if isinstance(event, JobsStarted) and not killed:
                killed.append(event)
                signal.raise_signal(signal.SIGALRM)
            hear(sentinel, event)

        monkeypatch.setattr(Sentinel, "hear", interrupted)
        monkeypatch.setattr(at_end, "KILL_GRACE", 0.5)
        ti, _ = guarded(submit, Settings(labels=False, confirm_seconds=20, patience=30))
        with pytest.raises(Killed):
            ti.task.execute()
        until(lambda: names(cloud) == {"job": True})

    def test_a_release_is_on_record_where_it_outlives_the_run(
        self, cloud: LocalCloud, variables: dict[str, Any]
    ) -> None:
        killed: list[str] = []

        def kill(key: str, _: Any) -> None:
            if guard.parts.ledger.released and not killed:
                killed.append(key)
                signal.raise_signal(signal.SIGALRM)

        def work() -> None:
            submit("work")
            guard.parts.recorder.release(RemoteJob(f"batch://@us-east-1/{submit('released')}"))

        ti, guard = guarded(work)
        ti.on_push = kill
        with pytest.raises(Killed):
            ti.task.execute()
        until(lambda: names(cloud) == {"work": True, "released": False})
        assert [each["jobs"] for each in variables.values()] == [[*map(str, guard.parts.ledger.released)]]

    def test_the_record_does_not_say_that_the_task_has_succeeded(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        killed: list[str] = []

        def kill(key: str, value: Any) -> None:
            if value["state"] == TryState.RETURNED:
                killed.append(key)
                signal.raise_signal(signal.SIGALRM)

        monkeypatch.setattr(at_end, "KILL_GRACE", 0.0)  # the end of the job is not waited for
        ti, _ = guarded(submit)
        ti.on_push = kill
        with pytest.raises(Killed):
            ti.task.execute()
        assert killed
        assert ti.record.state is TryState.RUNNING
        until(lambda: names(cloud) == {"job": True})

    def test_the_release_of_a_success_is_withdrawn(
        self, cloud: LocalCloud, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = Variable.set
        killed: list[str] = []

        def slow(key: str, value: Any, **rest: Any) -> None:
            write(key, value, **rest)
            if not killed:
                killed.append(key)
                signal.raise_signal(signal.SIGALRM)

        monkeypatch.setattr(Variable, "set", slow)
        ti, _ = guarded(submit)
        with pytest.raises(Killed):
            ti.task.execute()
        until(lambda: names(cloud) == {"job": True})
        assert not variables


class TestKilledIsNoException:
    def test_a_loop_that_catches_exceptions_does_not_go_on(self, cloud: LocalCloud) -> None:
        rounds: list[int] = []

        def work() -> None:
            submit()
            kill_after(0.1)
            for number in range(100):
                try:
                    rounds.append(number)
                    time.sleep(0.3)
                except Exception:  # noqa: BLE001  as users write it
                    continue

        ti, _ = guarded(work)
        with pytest.raises(Killed):
            ti.task.execute()
        assert len(rounds) < 50
        assert cancelled(cloud) == [True]

    @pytest.mark.skipif(Version("3.3") > AIRFLOW, reason="its task runner has no such function of its own")
    @pytest.mark.parametrize(
        "should_retry,state", [(True, "up_for_retry"), (False, "failed")], ids=["retries", "no retries"]
    )
    def test_airflows_task_runner_takes_it_for_a_failure_that_may_be_retried(
        self, monkeypatch: pytest.MonkeyPatch, should_retry: bool, state: str
    ) -> None:
        from airflow.sdk.execution_time import task_runner

        def killed(**_: Any) -> None:
            raise Killed("The task was killed")

        monkeypatch.setattr(task_runner, "_prepare", lambda *_: None)
        monkeypatch.setattr(task_runner, "_execute_task", killed)
        before = signal.getsignal(signal.SIGTERM)
        told = SimpleNamespace(should_retry=should_retry, xcom_keys_to_clear=[], max_tries=1)
        ti: Any = SimpleNamespace(
            task=Task(lambda: None), _ti_context_from_server=told, stats_tags={}, end_date=None
        )
        ti.rendered_map_index, ti._failure_metrics_emitted = None, False
        try:
            outcome, _, error = task_runner._run_task_and_map_outcome(ti, {}, logging.getLogger("task"))
        finally:
            signal.signal(signal.SIGTERM, before)
        assert outcome.value == state
        assert isinstance(error, Killed)


def test_nothing_is_left_to_do_when_a_task_that_started_nothing_is_killed() -> None:
    ti, guard = guarded(lambda: ti.task.on_kill())  # noqa: PLW0108  it is not there yet
    ti.task.execute()
    assert guard.parts.ledger.is_empty
    assert guard.parts.recorder is current_recorder()
