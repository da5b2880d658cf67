"""What Airflow's tables say of tries, by both ways to ask: the database, and the API server's endpoint."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import release_key
from airflow_cancel_provider.reaper.backends.base import NOT_THERE, Airflow, OwnerState, TryPhase
from airflow_cancel_provider.reaper.backends.database import Database
from airflow_cancel_provider.reaper.reaper import Reaper
from tests.reaper_airflow import ApiServer, Tables, api_server, exact, tables
from tests.reaper_fixtures import Ground, fates, ground
from tests.task_fixtures import connections

__all__ = ["api_server", "connections", "exact", "ground", "tables"]

S = TryPhase
TI, LATER = uuid4(), uuid4()


def said(airflow: Airflow, ti_id: UUID = TI) -> OwnerState:
    return airflow.owners([ti_id])[ti_id]


def test_what_a_state_means(tables: Tables, exact: Airflow) -> None:
    tries = {
        uuid4(): (state, phase)
        for state, phase in [
            (None, S.ALIVE),
            ("running", S.ALIVE),
            ("up_for_retry", S.RETRYING),
            ("success", S.SUCCEEDED),
            ("failed", S.FAILED),
            ("removed", S.REMOVED),
        ]
    }
    for index, (ti_id, (state, _)) in enumerate(tries.items()):
        tables.current(ti_id, state, map_index=index)
    owners = exact.owners([*tries, TI])
    assert {ti_id: owner.phase for ti_id, owner in owners.items()} == {
        **{ti_id: phase for ti_id, (_, phase) in tries.items()},
        TI: S.DELETED,
    }
    first = next(iter(tries))
    assert owners[first] == OwnerState(S.ALIVE, task="dag / run / task[0] try 1", state="not started")
    assert owners[TI] == OwnerState(S.DELETED, state=NOT_THERE)


def test_tries_that_were_replaced(tables: Tables, exact: Airflow) -> None:
    cleared = uuid4()
    tables.history(cleared, "success")
    tables.history(TI, "failed", try_number=2)
    tables.current(LATER, "up_for_retry", try_number=3)
    assert said(exact, cleared).phase is S.SUCCEEDED
    assert said(exact) == OwnerState(S.FAILED, S.RETRYING, "dag / run / task try 2", "failed")


def test_when_a_try_has_ended(tables: Tables, exact: Airflow) -> None:
    ended = datetime(2026, 11, 20, 12, tzinfo=UTC)
    tables.history(TI, "failed", end_date=ended)
    tables.current(LATER, "failed", try_number=2, end_date=ended + timedelta(hours=1))
    assert (said(exact).ended, said(exact, LATER).ended) == (ended, ended + timedelta(hours=1))


def test_a_run_that_was_deleted_and_triggered_again_with_its_id(tables: Tables, exact: Airflow) -> None:
    """Same Dag, run, task, map index and try number: another try all the same, in whatever state it is."""
    tables.current(TI, "success")
    tables.delete_run()
    for state in ("running", "success", "failed"):
        tables.current(LATER, state)
        assert said(exact).phase is S.DELETED
        assert said(exact, LATER).state == state
        tables.delete_run()


def test_a_task_that_was_mapped_since(tables: Tables, exact: Airflow) -> None:
    """Its only instance became the one with index 0, and kept its id."""
    tables.current(TI, "running", map_index=0)
    tables.current(LATER, "failed", map_index=1)
    assert said(exact) == OwnerState(S.ALIVE, task="dag / run / task[0] try 1", state="running")


class TestReleases:
    JOB = RemoteJob("batch://aws_default@us-east-1/5b1f0000-0000-0000-0000-000000000001")

    @pytest.mark.parametrize("state", ["failed", "removed", "up_for_retry", "archived", "absent"])
    def test_what_a_try_that_is_over_has_released(self, tables: Tables, exact: Airflow, state: str) -> None:
        tables.release(TI, self.JOB)
        if state == "archived":
            tables.history(TI, "failed")
            tables.current(LATER, "running", try_number=2)
        elif state != "absent":
            tables.current(TI, state)
        release = said(exact).release
        assert release is not None
        assert release.covers(self.JOB)
        assert not release.covers(RemoteJob("batch://aws_default@us-east-1/other"))
        assert said(exact, uuid4()).release is None

    def test_all(self, tables: Tables, exact: Airflow) -> None:
        tables.release(TI, is_all=True)
        release = said(exact).release
        assert release is not None
        assert (release.all, release.is_readable) == (True, True)

    def test_what_can_not_be_read_covers_everything(self, tables: Tables, exact: Airflow) -> None:
        tables.variable(release_key(TI), "no release")
        release = said(exact).release
        assert release is not None
        assert (release.covers(self.JOB), release.is_readable) == (True, False)

    def test_what_can_not_be_decrypted_covers_everything(self, tables: Tables, exact: Airflow) -> None:
        values = {"key": release_key(TI), "val": "with another fernet_key", "is_encrypted": True}
        tables._insert(tables._variables, **values)
        release = said(exact).release
        assert release is not None
        assert release.covers(self.JOB)

    def test_listed_from_the_oldest_try_on(self, tables: Tables) -> None:
        for number in (3, 1, 2):
            tables.release(UUID(int=number), is_all=True)
        tables.variable("remote_jobsXreleased_1", "another's")
        keys = [release_key(UUID(int=number)) for number in (1, 2)]
        assert list(Database().releases(2)) == keys


def reap(ground: Ground, airflow: Airflow) -> Reaper:
    """A reaper that asks this Airflow; dead letters and the like stay in memory."""
    reaper = ground.reaper()
    reaper.airflow = airflow
    return reaper


class TestSweep:
    """A deleted or removed owner: its release says what was meant to live on."""

    def test_fire_and_forget_and_killed(self, ground: Ground, tables: Tables, exact: Airflow) -> None:
        """Both runs are deleted: the job that was released lives, that of the killed try is cancelled."""
        kept, killed = ground.start("emr-serverless", None), ground.start("emr-serverless", None)
        tables.release(ground.owners[kept], kept)
        tables.release(ground.owners[killed], ground.start("emr-serverless", None))
        report = reap(ground, exact).sweep()
        assert report.troubles == []
        assert fates(report)[killed] == "ended"
        assert ground.lives(kept)

    def test_a_task_that_was_removed_over_success(
        self, ground: Ground, tables: Tables, exact: Airflow
    ) -> None:
        """Airflow writes "removed" over success, too, when a task is expanded to fewer."""
        kept, unfinished, before = (ground.start("batch", None) for _ in range(3))
        for index, job in enumerate((kept, unfinished)):
            tables.current(ground.owners[job], "removed", map_index=index)
        tables.history(ground.owners[before], "removed", map_index=2)
        tables.current(uuid4(), "running", map_index=2)
        tables.release(ground.owners[kept], is_all=True)
        tables.release(ground.owners[before], before)
        report = reap(ground, exact).sweep()
        assert report.troubles == []
        assert fates(report) == {unfinished: "ended"}
        assert ground.lives(kept, before)

    def test_the_old_job_of_a_run_that_was_triggered_again(
        self, ground: Ground, tables: Tables, exact: Airflow
    ) -> None:
        old, new = ground.start("batch", None), ground.start("batch", None)
        tables.current(ground.owners[new], "running")
        assert fates(reap(ground, exact).sweep()) == {old: "ended"}
        assert ground.lives(new)

    def test_history_that_was_cleaned(self, ground: Ground, tables: Tables, exact: Airflow) -> None:
        """`airflow db clean` removes an earlier try; one that reconnects may have handed its job on."""
        handed_on = ground.start("batch", None, reconnects=True)
        succeeded, failed = ground.start("batch", None), ground.start("batch", None)
        for number, job in enumerate((handed_on, succeeded, failed)):
            tables.history(ground.owners[job], "failed" if job != succeeded else "success", map_index=number)
            tables.current(uuid4(), "running", map_index=number, try_number=2)
        tables.release(ground.owners[succeeded], succeeded)
        tables.clean_history()
        assert fates(reap(ground, exact).sweep()) == {failed: "ended"}
        assert ground.lives(handed_on, succeeded)


def test_a_database_that_does_not_answer(tables: Tables, ground: Ground) -> None:
    job = ground.start("batch", None)
    tables.engine.dispose()
    tables._current.drop(tables.engine)
    with pytest.raises(AirflowUnavailable, match="did not answer"):
        said(Database())
    report = reap(ground, Database()).sweep()
    assert report.orphans == []
    assert ground.lives(job)
    assert "did not answer" in report.troubles[0]


def test_the_endpoint_when_the_database_does_not_answer(tables: Tables, api_server: ApiServer) -> None:
    tables._current.drop(tables.engine)
    answer = api_server.ask({"ti_ids": [str(TI)]}, api_server.token("reaper"))
    assert (answer.status_code, "Traceback" in answer.text) == (503, False)
    with pytest.raises(AirflowUnavailable, match="HTTP 503"):
        said(api_server.airflow())
