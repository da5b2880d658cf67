"""The API server's endpoint: who is let in, what is a question, and what nobody is told."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
from airflow.models.log import Log
from sqlalchemy import event, select

from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.guard import end_reports
from airflow_cancel_provider.guard.end_reports import EndReports
from airflow_cancel_provider.inventory import inventory
from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.owner import release_key
from airflow_cancel_provider.plugin import endpoint
from airflow_cancel_provider.plugin.event_log import FINISHED
from airflow_cancel_provider.reaper.backends import rest
from airflow_cancel_provider.reaper.backends.base import NOT_THERE, OwnerState, TryPhase
from airflow_cancel_provider.reaper.backends.database import session_of_airflow
from airflow_cancel_provider.reaper.backends.rest import Rest
from airflow_cancel_provider.reaper.judge import NOT_PERMITTED, DecisionKind
from airflow_cancel_provider.record import EARLIER_KEY, RECORD_KEY, Actor, JobEnd, TryRecord, proof_of
from airflow_cancel_provider.settings import Settings
from tests.reaper_airflow import ApiServer, Tables, api_server, tables
from tests.reaper_fixtures import Ground, fates, ground
from tests.record_fixtures import Records, records
from tests.task_fixtures import connections

__all__ = ["api_server", "connections", "ground", "records", "tables"]

log = logging.getLogger(__name__)
S = TryPhase
TI, LATER, OTHER = uuid4(), uuid4(), uuid4()
JOB = RemoteJob("batch://aws_default@us-east-1/5b1f0000-0000-0000-0000-000000000001")


def question(*ti_ids: UUID) -> dict[str, list[str]]:
    return {"ti_ids": [str(ti_id) for ti_id in ti_ids]}


class TestAnswers:
    def test_what_a_reaper_is_told(self, tables: Tables, api_server: ApiServer) -> None:
        tables.current(LATER, "running", try_number=2)
        tables.history(TI, "failed")
        tables.release(TI, JOB)
        answer = api_server.ask(question(TI, LATER, OTHER), api_server.token("reaper"))
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
        assert answer.json() == {
            "version": 1,
            "deployment": Settings.read().deployment,
            "owners": {
                str(TI): {
                    "phase": "FAILED",
                    "later": "ALIVE",
                    "task": "dag / run / task try 1",
                    "state": "failed",
                    "release": {"all": False, "jobs": [str(JOB)], "readable": True},
                    "ended": None,
                },
                str(LATER): {
                    "phase": "ALIVE",
                    "later": None,
                    "task": "dag / run / task try 2",
                    "state": "running",
                    "release": None,
                    "ended": None,
                },
                str(OTHER): {
                    "phase": "DELETED",
                    "later": None,
                    "task": "",
                    "state": NOT_THERE,
                    "release": None,
                    "ended": None,
                },
            },
        }

    def test_nothing_is_told_but_what_is_asked(self, tables: Tables, api_server: ApiServer) -> None:
        """A release is a Variable, in which anything can be written; only what a reaper needs leaves."""
        tables.variable(
            release_key(TI), json.dumps({"all": False, "jobs": [JOB], "task": "hunter2", "key": "hunter2"})
        )
        answer = api_server.ask(question(TI), api_server.token("reaper"))
        assert str(JOB) in answer.text
        assert "hunter2" not in answer.text

    def test_it_writes_nothing(self, tables: Tables, api_server: ApiServer) -> None:
        tables.release(TI, JOB)
        before = _dump(tables)
        assert api_server.ask(question(TI, OTHER), api_server.token("reaper")).ok
        assert _dump(tables) == before
        for method in ("GET", "PUT", "PATCH", "DELETE"):
            url = f"{api_server.url}/remote-jobs/v1/owners"
            assert requests.request(method, url, timeout=30).status_code == 405

    def test_many_tries_at_once_and_more(self, tables: Tables, api_server: ApiServer) -> None:
        known = [uuid4() for _ in range(1001)]
        for index, ti_id in enumerate(known):
            tables.current(ti_id, "success", map_index=index)
        token = api_server.token("reaper")
        whole = api_server.ask(question(*known[:1000]), token)
        assert (whole.status_code, len(whole.json()["owners"])) == (200, 1000)
        assert api_server.ask(question(*known), token).status_code == 413
        owners = api_server.airflow().owners(known)
        assert {owner.phase for owner in owners.values()} == {S.SUCCEEDED}
        assert len(owners) == 1001

    def test_none_at_all(self, api_server: ApiServer) -> None:
        answer = api_server.ask(question(), api_server.token("reaper"))
        assert answer.json() == {"version": 1, "deployment": Settings.read().deployment, "owners": {}}


class TestEnds:
    """How jobs have ended that a reaper has cancelled."""

    END = JobEnd(JobState.CANCELLED, Actor.REAPER, "Its task was over", 1795000000.0)

    def test_they_are_put_on_record(self, records: Records, api_server: ApiServer) -> None:
        records.put(TryRecord(TI, jobs=(JOB,)), "failed")
        api_server.airflow("op", "op").write_ends({TI: {JOB: self.END}, OTHER: {JOB: self.END}})
        with session_of_airflow() as session:
            (entry,) = inventory(session).entries
        assert (entry.state, entry.end, entry.is_orphan) == ("ended", self.END, False)

    def test_of_an_earlier_try(self, records: Records, api_server: ApiServer) -> None:
        records.put(TryRecord(LATER, earlier=(TryRecord(TI, jobs=(JOB,)),)), "running")
        records.tables.history(TI, "failed")
        api_server.airflow("op", "op").write_ends({TI: {JOB: self.END}})
        with session_of_airflow() as session:
            assert [entry.end for entry in inventory(session).entries] == [self.END]

    def test_an_account_that_may_only_read_writes_nothing(
        self, records: Records, api_server: ApiServer
    ) -> None:
        records.put(TryRecord(TI, jobs=(JOB,)), "failed")
        before = _dump(records.tables)
        api_server.airflow("viewer").write_ends({TI: {JOB: self.END}})
        assert _dump(records.tables) == before

    @pytest.mark.parametrize(
        "body", ["", "[]", "{}", '{"ends": []}', '{"ends": {"x": {}}}', "[" * 90_000, b"\xff"]
    )
    def test_what_is_none(self, api_server: ApiServer, body: Any) -> None:
        headers = {"Authorization": f"Bearer {api_server.token('reaper', 'op')}"}
        url = f"{api_server.url}/remote-jobs/v1/ends"
        assert requests.post(url, data=body, headers=headers, timeout=30).status_code == 422
        headers["Sec-Fetch-Site"] = "cross-site"
        assert requests.post(url, data=body, headers=headers, timeout=30).status_code == 403
        assert requests.post(url, data=body, timeout=30).status_code == 401


NO_KEY = '{"ti_id": "0196a2b4-0000-7000-8000-000000000001", "key": "\\ud800", "ends": {}}'


class TestEndsOfATry:
    """What its sentinel reports when its task can't any more."""

    END = JobEnd(JobState.CANCELLED, Actor.SENTINEL, "The task's process ended", 1795000000.0)

    def reports(self, api_server: ApiServer, ti_id: UUID = TI, key: str = "key") -> EndReports:
        return EndReports(str(ti_id), [api_server.url], key=key)

    def test_they_are_on_record_and_in_the_event_log(self, records: Records, api_server: ApiServer) -> None:
        records.put(TryRecord(TI, jobs=(JOB,), proof=proof_of("key")), "failed")
        assert self.reports(api_server).send({JOB: self.END}, log)
        with session_of_airflow() as session:
            (entry,) = inventory(session).entries
            (logged,) = session.execute(
                select(Log.owner, Log.task_id, Log.extra).where(Log.event == FINISHED)
            ).all()
        assert (entry.state, entry.end, entry.is_orphan) == ("ended", self.END, False)
        assert (logged.owner, logged.task_id, json.loads(logged.extra)["end"]) == (
            "airflow",
            "task",
            "CANCELLED",
        )

    def test_of_a_try_that_another_has_followed(self, records: Records, api_server: ApiServer) -> None:
        records.tables.current(LATER, "running", try_number=2)
        records.tables.history(TI, "failed")
        records.xcom([TryRecord(TI, jobs=(JOB,), proof=proof_of("key")).as_json()], key=EARLIER_KEY)
        assert self.reports(api_server).send({JOB: self.END}, log)
        with session_of_airflow() as session:
            assert [(entry.try_number, entry.end) for entry in inventory(session).entries] == [(1, self.END)]

    def test_the_next_try_starts_while_they_are_put_on_record(
        self, records: Records, api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Airflow deletes the record, which the next try has read and keeps elsewhere a second later."""
        monkeypatch.setattr(end_reports, "PAUSES", (0.0, 0.0))
        record = TryRecord(TI, jobs=(JOB,), proof=proof_of("key"))
        records.put(record, "failed")
        waiting, kept = [None], [None]

        def start_the_next_try(_: Any, __: Any, statement: str, *___: Any) -> None:
            if waiting and "dag_run_id" in statement:
                waiting.pop()
                records.delete(RECORD_KEY)

        def keep_the_record(*_: Any) -> None:
            if kept and not waiting:
                kept.pop()
                records.xcom([record.as_json()], key=EARLIER_KEY)

        event.listen(records.tables.engine, "before_cursor_execute", start_the_next_try)
        event.listen(records.tables.engine, "rollback", keep_the_record)
        assert self.reports(api_server).send({JOB: self.END}, log)
        with session_of_airflow() as session:
            assert [entry.end for entry in inventory(session).entries] == [self.END]
            assert len(session.execute(select(Log.id).where(Log.event == FINISHED)).all()) == 1

    @pytest.mark.parametrize("proof", ["", "key", "ключ", proof_of("another"), proof_of("")])
    def test_not_without_the_key(
        self, records: Records, api_server: ApiServer, proof: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(end_reports, "PAUSES", (0.0,))
        records.put(TryRecord(TI, jobs=(JOB,), proof=proof), "failed")
        before = _dump(records.tables)
        for ti_id in (TI, OTHER):
            assert not self.reports(api_server, ti_id).send({JOB: self.END}, log)
        assert _dump(records.tables) == before

    def test_not_of_a_job_that_is_not_on_this_record(self, records: Records, api_server: ApiServer) -> None:
        other = RemoteJob("batch://aws_default@us-east-1/5b1f0000-0000-0000-0000-000000000002")
        records.put(TryRecord(TI, jobs=(JOB,), proof=proof_of("key")), "failed")
        before = _dump(records.tables)
        assert self.reports(api_server).send({other: self.END}, log)
        assert _dump(records.tables) == before

    @pytest.mark.parametrize(
        "body", ["", "[]", "{}", '{"ti_id": 1, "key": "", "ends": {}}', "[" * 90_000, b"\xff", NO_KEY]
    )
    def test_what_is_none(self, api_server: ApiServer, body: Any) -> None:
        url = f"{api_server.url}{end_reports.PATH}"
        assert requests.post(url, data=body, timeout=30).status_code == 422


def _dump(tables: Tables) -> list[str]:
    with tables.engine.connect() as connection:
        return list(connection.connection.iterdump())


class TestQuestions:
    @pytest.mark.parametrize(
        "body",
        [
            *("", "no JSON", "null", "[]", "7", '"ti_ids"', "{}", '{"ti_ids": null}', '{"ti_ids": {}}'),
            *('{"ti_ids": "abc"}', '{"ti_ids": [7]}', '{"ti_ids": ["not a uuid"]}', '{"ti_ids": [[]]}'),
            *('{"ti_ids": [null]}', "[" * 90_000, b"\xff\xfe", '{"ti_ids": ["' + "0" * 33 + '"]}'),
        ],
    )
    def test_what_is_none(self, api_server: ApiServer, body: Any) -> None:
        answer = api_server.ask(body, api_server.token("reaper"))
        assert answer.status_code == 422
        assert answer.json() == {
            "detail": 'Expected {"ti_ids": [...]} with task-instance ids, which are uuids.'
        }

    def test_one_that_never_ends(self, api_server: ApiServer) -> None:
        for body in ("x" * 1_000_000, iter([b"x" * 10_000] * 100)):
            url = f"{api_server.url}/remote-jobs/v1/owners"
            headers = {"Authorization": f"Bearer {api_server.token('reaper')}"}
            answer = requests.post(url, data=body, headers=headers, timeout=30)
            assert answer.status_code == 413

    def test_another_version(self, api_server: ApiServer) -> None:
        url = f"{api_server.url}/remote-jobs/v2/owners"
        assert requests.post(url, json=question(TI), timeout=30).status_code == 404


class TestWhoIsLetIn:
    @pytest.mark.parametrize("body", [question(TI), "nonsense", "x" * 1_000_000])
    def test_nobody_without_a_token(self, api_server: ApiServer, body: Any) -> None:
        assert api_server.ask(body).status_code == 401

    def test_a_token_that_is_no_good(self, api_server: ApiServer) -> None:
        expired = api_server.token("reaper", expiration_time_in_seconds=-3600)
        assert api_server.ask(question(TI), expired).status_code == 401
        assert api_server.ask(question(TI), "no token").status_code in (401, 403)
        with pytest.raises(AirflowUnavailable, match="check the account"):
            Rest(api_server.url, deployment="", token=expired).owners([TI])

    def test_a_token_that_airflows_login_gives(self, tables: Tables, api_server: ApiServer) -> None:
        tables.current(TI, "running")
        password = api_server.passwords["reaper"]
        deployment = Settings.read().deployment
        airflow = Rest(api_server.url, deployment=deployment, login="reaper", password=password)
        assert airflow.owners([TI])[TI].phase is S.ALIVE
        airflow._token = api_server.token("reaper", expiration_time_in_seconds=-3600)
        assert airflow.owners([TI])[TI].phase is S.ALIVE

    def test_who_may_read_some_dags(self, tables: Tables, api_server: ApiServer) -> None:
        """Of the tries of other Dags, and of those without a row, nothing is told."""
        for dag_id in ("dag", "other"):
            tables.dag(dag_id)
        hidden_too = uuid4()
        tables.current(TI, "running")
        tables.current(OTHER, "running", dag_id="other")
        tables.history(hidden_too, "failed", dag_id="other")
        tables.release(LATER, JOB)
        answer = api_server.ask(question(TI, OTHER, hidden_too, LATER), api_server.token("limited"))
        hidden = {"phase": "UNKNOWN", "later": None, "task": "", "state": "not permitted"}
        hidden |= {"release": None, "ended": None}
        owners = answer.json()["owners"]
        assert owners.pop(str(TI))["state"] == "running"
        assert owners == {str(ti_id): hidden for ti_id in (OTHER, hidden_too, LATER)}
        told = api_server.airflow("limited").owners([TI, OTHER])
        assert told[OTHER] == OwnerState(S.UNKNOWN, state="not permitted")

    def test_who_may_read_some_dags_where_airflow_has_none(self, api_server: ApiServer) -> None:
        answer = api_server.ask(question(LATER), api_server.token("limited"))
        assert answer.json()["owners"][str(LATER)]["phase"] == "UNKNOWN"

    def test_who_may_read_nothing(self, tables: Tables, api_server: ApiServer) -> None:
        tables.current(TI, "running")
        answer = api_server.ask(question(TI, OTHER), api_server.token("nobody", role=None))
        assert {each["phase"] for each in answer.json()["owners"].values()} == {"UNKNOWN"}

    def test_a_reaper_that_may_not_read_all_keeps_the_jobs_and_says_so(
        self, ground: Ground, tables: Tables, api_server: ApiServer
    ) -> None:
        absent, others = ground.start("batch", None), ground.start("batch", None)
        orphan = ground.start("batch", None)
        tables.current(ground.owners[others], "failed", dag_id="other")
        tables.current(ground.owners[orphan], "failed")
        reaper = ground.reaper()
        reaper.airflow = api_server.airflow("limited")
        report = reaper.sweep()
        assert fates(report) == {orphan: "ended"}
        assert report.kinds[DecisionKind.UNKNOWN] == 2
        assert report.troubles == [NOT_PERMITTED]
        assert ground.lives(absent, others)


def test_both_sides_agree_on_the_path() -> None:
    assert f"/{rest.OWNERS}" == endpoint.URL_PREFIX + endpoint.OWNERS_PATH
    assert end_reports.PATH == endpoint.URL_PREFIX + endpoint.TRY_ENDS_PATH
    assert (rest.VERSION, rest.IDS_PER_CALL) == (endpoint.VERSION, endpoint.MOST_IDS)


def test_no_process_pays_for_it_that_is_not_asked() -> None:
    """Every process of Airflow loads the plugin, also each task's."""
    code = (
        "import sys; from airflow.plugins_manager import AirflowPlugin; before = set(sys.modules); "
        "import airflow_cancel_provider.plugin; "
        "print([name for name in ('fastapi', 'requests', 'sqlalchemy', 'boto3', "
        "'airflow_cancel_provider.reaper') if name in set(sys.modules) - before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
