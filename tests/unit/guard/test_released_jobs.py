"""Jobs that a try has released live on: whoever reads its record or finds them by their label later."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

from airflow_cancel_provider.guard.api import release
from airflow_cancel_provider.guard.attach import detach
from airflow_cancel_provider.guard.events import JobsReleased
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.guard.releases import Releases
from airflow_cancel_provider.guard.store import RecordStore
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Owner, release_key
from airflow_cancel_provider.record import RECORD_KEY, StoredIntent, TryRecord, TryState
from airflow_cancel_provider.release import MOST_JOBS, Release
from airflow_cancel_provider.version_compat import TaskDeferred, Variable
from tests.cloud.server import LocalCloud
from tests.task_fixtures import connections
from tests.try_fixtures import (
    CANCEL,
    Store,
    Try,
    _guarded,
    cancelled,
    fail,
    resumed,
    submit,
    submit_and_fail,
    variables,
)

__all__ = ["_guarded", "connections", "variables"]


def addresses(count: int) -> list[RemoteJob]:
    return [RemoteJob(f"batch://@us-east-1/j{number}") for number in range(count)]


def releases_of(ledger: TryLedger) -> tuple[Releases, Try]:
    ti, log = Try(), logging.getLogger("task")
    owner = Owner.from_context({"ti": ti}, CANCEL.deployment)
    return Releases(owner, ledger, RecordStore(ti, log, owner, ledger), Access(), log), ti


class TestInAnEventLoop:
    """There the channel to Airflow can't be used: what is released is written when the task ends."""

    @pytest.mark.parametrize("is_started_before", [True, False])
    def test_the_only_job_outlives_the_success_the_run_and_a_clear(
        self, cloud: LocalCloud, variables: dict[str, Any], is_started_before: bool
    ) -> None:
        def work() -> None:
            before = submit() if is_started_before else None

            async def let_go() -> None:
                release(f"batch://@us-east-1/{before or submit()}")

            asyncio.run(let_go())

        store = Store()
        ti = Try(work=work, store=store)
        ti.run(CANCEL)
        (job,) = cloud.batch.jobs()
        if is_started_before:
            assert ti.record.state is TryState.RETURNED
        assert Release.from_json(variables[release_key(ti.id)]).covers(
            RemoteJob(f"batch://@us-east-1/{job['id']}")
        )
        del variables[release_key(ti.id)]  # the record alone says enough
        Try(store=store, try_number=2).run(replace(CANCEL, confirm_seconds=5))
        assert cancelled(cloud) == [False]


class TestVariable:
    def test_it_covers_more_jobs_than_it_spells_out(self, variables: dict[str, Any]) -> None:
        jobs = addresses(MOST_JOBS + 1)
        releases, ti = releases_of(TryLedger())
        releases.hear(JobsReleased(tuple(jobs)))
        written = Release.parse(json.dumps(variables[release_key(ti.id)]))
        assert all(map(written.covers, jobs))
        assert all(map(Release.from_json(written.as_json()).covers, jobs))

    def test_one_that_could_not_be_written_is_written_at_the_next_occasion(
        self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put, calls = Variable.set, []

        def at_first_refused(*args: Any, **kwargs: Any) -> None:
            calls.append(args)
            if len(calls) == 1:
                raise ConnectionError("Airflow did not answer")
            put(*args, **kwargs)

        monkeypatch.setattr(Variable, "set", at_first_refused)

        def work() -> None:
            release(f"batch://@us-east-1/{submit()}")
            fail()

        ti = Try(work=work)
        ti.run(CANCEL)
        assert len(variables[release_key(ti.id)]["jobs"]) == 1

    def test_two_threads_that_release_at_once_lose_nothing(
        self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one, two = addresses(2)
        releases, ti = releases_of(TryLedger())
        monkeypatch.setattr(releases._store, "may_write", lambda: True)
        write, is_late, goes_on = releases._write, threading.Event(), threading.Event()

        def late(ti_id: Any, jobs: Any, *, is_all: bool) -> bool:
            if len(jobs) == 1:  # between its look at the ledger and its write
                is_late.set()
                goes_on.wait(1)
            return write(ti_id, jobs, is_all=is_all)

        monkeypatch.setattr(releases, "_write", late)
        first = threading.Thread(target=releases.hear, args=(JobsReleased((one,)),))
        first.start()
        assert is_late.wait(20)
        second = threading.Thread(target=releases.hear, args=(JobsReleased((two,)),))
        second.start()
        second.join(2)
        goes_on.set()
        first.join(20)
        second.join(20)
        assert variables[release_key(ti.id)]["jobs"] == [str(one), str(two)]


def lost(ti: Any, job: RemoteJob) -> StoredIntent:
    """A submission of a try that was not answered, to the queue where a job of it is."""
    owner = Owner.from_context({"ti": ti}, CANCEL.deployment)
    return StoredIntent("batch", job.conn_id, job.region, "queue", owner.label, 1.0)


class TestFoundByItsLabel:
    """A submission whose answer was lost is looked for by the try's label, which released jobs carry, too."""

    def labelled(self, ti: Any) -> RemoteJob:
        owner = Owner.from_context({"ti": ti}, CANCEL.deployment)
        return RemoteJob(f"batch://aws_default@us-east-1/{submit(label=str(owner.label))}")

    def test_by_the_resumed_try_that_has_released_it_before_it_was_deferred(
        self, cloud: LocalCloud, variables: dict[str, Any]
    ) -> None:
        ti = resumed(work=fail)
        let_go, other = self.labelled(ti), self.labelled(ti)
        ti.pushed[RECORD_KEY] = TryRecord(ti.id, TryState.DEFERRED, intents=(lost(ti, let_go),)).as_json()
        variables[release_key(ti.id)] = {"all": False, "jobs": [str(let_go)], "at": "", "task": ""}
        ti.run(CANCEL)
        assert cancelled(cloud) == [False, True], other

    @pytest.mark.parametrize("is_readable", [True, False])
    def test_by_the_resumed_try_whose_next_submission_is_not_answered(
        self, cloud: LocalCloud, variables: dict[str, Any], is_readable: bool
    ) -> None:
        def let_go_and_defer() -> None:
            release(f"batch://aws_default@us-east-1/{submit()}")
            raise TaskDeferred(trigger=TimeDeltaTrigger(timedelta(hours=1)), method_name="execute_complete")

        first = Try(work=let_go_and_defer)
        first.guarded(CANCEL)
        with pytest.raises(TaskDeferred):
            first.task.execute()
        detach()
        if not is_readable:
            variables[release_key(first.id)] = "what no guard writes"
        cloud.faults.add("batch", "SubmitJob", kind="lost_reply", times=1)
        again = resumed(work=submit_and_fail, id=first.id)
        again.pushed[RECORD_KEY] = first.pushed[RECORD_KEY]
        again.run(CANCEL)
        # In doubt the job of the lost attempt lives, too.
        assert cancelled(cloud) == [False, is_readable, True]
