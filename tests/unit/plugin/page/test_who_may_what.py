"""Who is let in, what they see, what they may do, and what another web site can't make them do."""

from __future__ import annotations

import pytest
import requests

from airflow_cancel_provider.record import TryState
from tests.guard_fixtures import until
from tests.memory_service import Memory
from tests.page_fixtures import Page, api_server, memory, page, tables

__all__ = ["api_server", "memory", "page", "tables"]

OTHER = {"dag_id": "other"}


class TestAnonymous:
    @pytest.mark.parametrize("path", ["/", "/task-instance?dag_id=dag&run_id=run&task_id=task"])
    def test_sees_nothing(self, page: Page, memory: Memory, path: str) -> None:
        page.put(memory.job("secret"))
        shown = page.get(None, path)
        assert shown.status == 401
        assert "You are not logged in" in shown.words
        assert 'href="/api/v2/auth/login"' in shown.text
        assert "secret" not in shown.text

    def test_a_program_gets_json(self, page: Page) -> None:
        answer = requests.get(page.url + "/", timeout=30)
        assert (answer.status_code, answer.json()) == (401, {"detail": "Not authenticated"})

    @pytest.mark.parametrize("path", ["/cancel", "/states"])
    def test_does_nothing(self, page: Page, memory: Memory, path: str) -> None:
        job = memory.job("a")
        page.put(job)
        token = page.token("someone", "admin")
        assert page.post(None, path, job, token=token).status_code == 401
        assert not memory.polls
        assert page.events() == []

    def test_a_token_that_is_no_good(self, page: Page) -> None:
        answer = page.get(None, headers={"Cookie": "_token=nonsense"})
        assert answer.status == 403
        assert "can't be shown" in answer.words


class TestViewer:
    def test_sees_jobs_without_buttons(self, page: Page, memory: Memory) -> None:
        job = memory.job("a")
        page.put(job)
        assert page.get("viewer").jobs == [job]
        assert page.get("viewer").buttons == 0
        assert page.get("op", role="op").buttons == 1

    def test_may_not_cancel(self, page: Page, memory: Memory) -> None:
        job = memory.job("a")
        page.put(job)
        answer = page.cancel("viewer", job, role="viewer")
        assert answer.status_code == 403
        assert (
            answer.json()["detail"] == "You may not edit the runs of Dag dag, so you can't cancel its jobs."
        )
        assert (memory.polls, memory.sent, page.events()) == ([], [], [])

    def test_who_may_read_nothing_sees_nothing(self, page: Page, memory: Memory) -> None:
        job = memory.job("a")
        page.put(job)
        shown = page.get("nobody", role=None)
        assert (shown.status, shown.jobs) == (200, [])
        assert page.post("nobody", "/states", job, role=None).json() == {"states": {}}
        assert page.cancel("nobody", job, role=None).status_code == 404
        assert not memory.polls


class TestOneDagOnly:
    """The user "limited" may read the Dag "dag"."""

    def test_sees_no_others_not_even_their_number(self, page: Page, memory: Memory) -> None:
        own, others = memory.job("own"), memory.job("others")
        page.put(own)
        page.put(others, **OTHER)
        shown = page.get("limited")
        assert shown.jobs == [own]
        assert "1 job " in shown.words
        assert "other" not in shown.words.replace("Another Airflow", "")
        for path in ("/?dag_id=other", "/task-instance?dag_id=other&run_id=run&task_id=task"):
            assert page.get("limited", path).jobs == []

    def test_reads_no_states_and_cancels_nothing_of_others(self, page: Page, memory: Memory) -> None:
        others = memory.job("others")
        page.put(others, **OTHER)
        assert page.post("limited", "/states", others, **OTHER).json() == {"states": {}}
        answer = page.cancel("limited", others, role="op", **OTHER)
        assert (answer.status_code, answer.json()) == (404, {"detail": "No such job is on record."})
        assert not memory.polls

    def test_does_not_reach_others_by_a_task_of_its_own(self, page: Page, memory: Memory) -> None:
        """The Dag that is named must be the one whose record has the job."""
        others = memory.job("others")
        page.put(others, **OTHER)
        page.put(memory.job("own"))
        assert page.post("limited", "/states", others).json() == {"states": {}}
        assert page.cancel("op", others).status_code == 404
        assert not memory.polls

    def test_sees_dead_letters_of_its_own_dags_only(self, page: Page) -> None:
        page.tables.dag("dag")
        page.tables.dag("other")
        page.tables.variable(
            "remote_jobs_dead_letters",
            '[{"job": "batch://@us-east-1/own", "why": "denied", "code": "Denied",'
            ' "task": "dag / run / task"},'
            ' {"job": "batch://@us-east-1/others", "why": "denied", "task": "other / run / task try 1"},'
            ' {"job": "batch://@us-east-1/whose", "why": "denied", "task": ""},'
            ' {"job": "batch://@us-east-1/seen", "why": "denied", "task": "dag / run / t",'
            ' "acknowledged": true}]',
        )
        shown = page.get("limited").words
        assert "1 job that could not be cancelled" in shown
        assert "airflow remote-jobs dead-letters --retry all" in shown
        assert "batch://@us-east-1/own Denied: denied dag / run / task" in shown
        everything = page.get("viewer").words
        assert "3 jobs that could not be cancelled" in everything
        assert "us-east-1/whose" in everything
        assert "us-east-1/seen" not in everything


class TestOtherSites:
    @pytest.mark.parametrize(
        "site",
        [
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "none"},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": ""},
            {},
        ],
    )
    @pytest.mark.parametrize("path", ["/cancel", "/states"])
    def test_are_refused(self, page: Page, memory: Memory, path: str, site: dict[str, str]) -> None:
        job = memory.job("a")
        page.put(job)
        answer = page.post("op", path, job, role="op", site=site)
        assert answer.status_code == 403
        assert "another web site" in answer.json()["detail"]
        assert (memory.polls, page.events()) == ([], [])

    @pytest.mark.parametrize("token", ["", "nonsense", "b3A.aaaa.bbbb"])
    def test_a_token_is_needed(self, page: Page, memory: Memory, token: str) -> None:
        job = memory.job("a")
        page.put(job)
        assert page.cancel("op", job, token=token or "x").status_code == 403
        assert page.cancel("op", job, token=page.token("another", "op")).status_code == 403
        assert not memory.polls

    def test_an_old_token(self, page: Page, memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
        from airflow_cancel_provider.plugin.page import cross_site

        job = memory.job("a")
        page.put(job)
        token = page.token("op", "op")
        monkeypatch.setattr(cross_site, "TOKEN_SECONDS", -1)
        answer = page.cancel("op", job, token=token)
        assert (answer.status_code, answer.json()["detail"][:16]) == (403, "The page is too ")

    def test_the_origin_counts_where_the_browser_says_no_more(
        self, page: Page, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Over plain HTTP, browsers send no Sec-Fetch-Site."""
        job = memory.job("a")
        page.put(job)
        assert page.post("op", "/states", job, site={"Origin": page.server.url}).ok
        proxy = {"Origin": "http://airflow.example:8080"}
        assert page.post("op", "/states", job, site=proxy).status_code == 403
        monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow.example:8080/airflow")
        assert page.post("op", "/states", job, site=proxy).ok

    @pytest.mark.parametrize("path", ["/cancel", "/states"])
    def test_only_post(self, page: Page, path: str) -> None:
        for method in ("GET", "PUT", "DELETE", "PATCH"):
            headers = page._cookie("op", "op")
            answer = requests.request(method, page.url + path, headers=headers, timeout=30)
            assert answer.status_code == 405

    def test_none_may_put_the_page_into_a_frame_or_script_into_the_page(self, page: Page) -> None:
        headers = page.get("viewer").response.headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'self'" in policy
        assert "unsafe" not in policy
        assert headers["X-Frame-Options"] == "SAMEORIGIN"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"


def test_a_cancel_by_one_who_may(page: Page, memory: Memory) -> None:
    released = memory.job("released")
    page.put(released, ti_state="success", state=TryState.RETURNED)
    assert page.cancel("op", released).status_code == 202
    until(lambda: memory.sent == [("released", False)])
