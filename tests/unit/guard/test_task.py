"""The guard of a try without Airflow around it: what it keeps on record, and leaves to the next try."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import boto3
import pytest

from airflow_cancel_provider.exceptions import InvalidInput, Killed
from airflow_cancel_provider.guard.task import TaskGuard
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Label, Owner
from airflow_cancel_provider.record import RECORD_KEY, TryRecord, TryState
from airflow_cancel_provider.services.submissions import LABEL_PARAMETER
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.version_compat import AirflowFailException
from tests.cloud.server import LocalCloud
from tests.try_fixtures import (
    CANCEL,
    KEEP,
    Store,
    Try,
    _guarded,
    cancelled,
    fail,
    intent,
    resumed,
    submit,
    submit_and_fail,
    variables,
)

__all__ = ["_guarded", "variables"]


class TestRetry:
    def test_by_default_a_failed_try_ends_its_jobs(self, cloud: LocalCloud) -> None:
        Try(work=submit_and_fail).run(CANCEL)
        assert cancelled(cloud) == [True]

    def test_kept_jobs_live_through_a_retry_and_end_with_the_last_try(self, cloud: LocalCloud) -> None:
        store = Store()
        Try(work=submit_and_fail, store=store, max_tries=2).run(KEEP)
        assert cancelled(cloud) == [False]
        # The second does not start anything, and fails, too.
        Try(work=lambda: 1 / 0, store=store, try_number=2, max_tries=2).run(KEEP)
        assert cancelled(cloud) == [False]
        assert len(TryRecord.from_json(store[RECORD_KEY]).earlier[0].jobs) == 1
        last = Try(work=submit_and_fail, store=store, try_number=3, max_tries=2)
        last.run(KEEP)
        assert cancelled(cloud) == [True, True]
        assert len(last.record.jobs) == 1
        assert len(last.record.earlier[0].jobs) == 1

    def test_a_success_leaves_what_earlier_tries_left(self, cloud: LocalCloud) -> None:
        store = Store()
        Try(work=submit_and_fail, store=store).run(KEEP)
        Try(work=lambda: None, store=store, try_number=2).run(KEEP)
        assert cancelled(cloud) == [False]
        assert store == {}

    def test_without_keep_the_next_try_ends_what_was_left(self, cloud: LocalCloud) -> None:
        store = Store()
        Try(work=submit_and_fail, store=store).run(KEEP)
        Try(work=lambda: None, store=store, try_number=2).run(CANCEL)
        assert cancelled(cloud) == [True]

    def test_an_end_for_good_is_no_retry(self, cloud: LocalCloud) -> None:
        def work() -> None:
            submit()
            raise AirflowFailException("for good")

        Try(work=work, max_tries=5).run(KEEP)
        assert cancelled(cloud) == [True]

    def test_what_airflow_does_not_retry_after_all_is_cancelled(
        self, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        ti = Try(work=submit_and_fail, max_tries=5)
        guard = TaskGuard(ti, KEEP)
        guard.install()
        with pytest.raises(ValueError, match="after"):
            ti.task.execute()
        assert cancelled(cloud) == [False]
        ti.state = "failed"
        guard.failed()
        assert cancelled(cloud) == [True]
        assert "Task failed (ValueError): cancelling" in caplog.text

    def test_a_killed_try_ends_its_jobs(self, cloud: LocalCloud) -> None:
        def work() -> None:
            submit()
            ti.task.on_kill()

        ti = Try(work=work, max_tries=5)
        guard = TaskGuard(ti, KEEP)
        guard.install()
        with pytest.raises(Killed):
            ti.task.execute()
        assert guard.parts.canceller.wait_for("ended", 10)
        assert cancelled(cloud) == [True]

    @pytest.mark.parametrize("settings,reconnects", [(KEEP, True), (CANCEL, False)])
    def test_the_label_says_whether_the_next_try_takes_over(
        self,
        cloud: LocalCloud,
        settings: Settings,
        reconnects: bool,
    ) -> None:
        Try(work=submit).run(settings)
        (job,) = cloud.batch.jobs()
        label = Label.find(job["labels"]["parameters"][LABEL_PARAMETER])
        assert label
        assert label.reconnects is reconnects

    def test_an_unknown_word_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__ON_RETRY", "kepp")
        with pytest.raises(InvalidInput, match="cancel or keep"):
            Settings.read()


class TestForged:
    """What is on record of a try may have been written by others: another try's job is not this one's."""

    @pytest.fixture
    def others(self, cloud: LocalCloud) -> tuple[Label, RemoteJob]:
        """The living job of another try."""
        label = Label(CANCEL.deployment, uuid4())
        batch: Any = boto3.client("batch", region_name="us-east-1", endpoint_url=cloud.url)
        job = batch.submit_job(
            jobName="job",
            jobQueue="queue",
            jobDefinition="definition",
            parameters={LABEL_PARAMETER: str(label)},
        )
        return label, RemoteJob(f"batch://@us-east-1/{job['jobId']}")

    @pytest.mark.parametrize("of_copy", [False, True])
    def test_a_resumed_try_searches_for_its_own_label_only(
        self, cloud: LocalCloud, others: tuple[Label, RemoteJob], caplog: Any, of_copy: bool
    ) -> None:
        ti = resumed(work=fail, max_tries=0, **({"id": others[0].ti_id} if of_copy else {}))
        settings = replace(CANCEL, deployment="copycopy") if of_copy else CANCEL
        ti.pushed[RECORD_KEY] = TryRecord(ti.id, TryState.DEFERRED, intents=(intent(others[0]),)).as_json()
        ti.run(settings)
        assert ti.state == "failed"
        assert cancelled(cloud) == [False]
        assert "another try's" in caplog.text

    def test_a_next_try_searches_for_the_label_of_the_earlier_one_only(
        self, cloud: LocalCloud, others: tuple[Label, RemoteJob], caplog: Any
    ) -> None:
        store = Store()
        store[RECORD_KEY] = TryRecord(uuid4(), intents=(intent(others[0]),)).as_json()
        Try(work=lambda: None, store=store, try_number=2).run(CANCEL)
        assert cancelled(cloud) == [False]
        assert "another try's" in caplog.text

    def test_a_resumed_try_has_taken_over_what_the_state_store_says(self, cloud: LocalCloud) -> None:
        owner = Owner.from_context({"ti": Try()}, CANCEL.deployment)
        job = submit("earlier", str(owner.label))
        ti = resumed(work=fail, max_tries=0)
        earlier = TryRecord(owner.ti_id, TryState.DEFERRED, (RemoteJob(f"batch://@us-east-1/{job}"),))
        record = TryRecord(ti.id, TryState.DEFERRED, earlier=(earlier,)).as_json()
        ti.pushed[RECORD_KEY] = record
        ti.run(CANCEL)
        assert cancelled(cloud) == [False]
        ti.store[RECORD_KEY] = ti.pushed[RECORD_KEY] = record
        ti.run(KEEP)
        assert cancelled(cloud) == [True]
