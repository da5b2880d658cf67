"""What the page shows: rows, what needs attention, filters, pages; nothing of it is taken for HTML."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.plugin import endpoint
from airflow_cancel_provider.plugin.page import routes
from airflow_cancel_provider.record import JobEnd, TryRecord
from tests.memory_service import Memory
from tests.page_fixtures import Page, api_server, memory, page, tables

__all__ = ["api_server", "memory", "page", "tables"]

STEP = RemoteJob("emr://aws_default@us-east-1/j-2AXXXXXXGAPLF/s-3BYYYYYYGAPLF")
BATCH = RemoteJob("batch://@eu-west-1/5b1f0000-0000-0000-0000-000000000001")


def ended(job: RemoteJob, state: JobState, by: str, reason: str = "") -> TryRecord:
    now = time.time()
    end = JobEnd(state, by, reason, now)
    return TryRecord(uuid4(), jobs=(job,), submitted={job: now - 7300}, ends={job: end})


def test_nothing_at_all(page: Page) -> None:
    assert "No task has a remote job on record." in page.get("viewer").words


def test_a_row(page: Page) -> None:
    page.put(STEP, task_id="spark", map_index=3, run_id="manual__2026-11-20T12:00:00+00:00", age=7300)
    shown = page.get("op", role="op")
    for words in ("Amazon EMR", "s-3BYYYYYYGAPLF", "j-2AXXXXXXGAPLF", "aws_default · us-east-1"):
        assert words in shown.words
    for words in ("spark [3]", "try 1", "Active", "task: running", "2 h", "Cancel"):
        assert words in shown.words
    assert (
        'href="/dags/dag/runs/manual__2026-11-20T12%3A00%3A00%2B00%3A00/tasks/spark/mapped/3"' in shown.text
    )
    console = (
        "https://us-east-1.console.aws.amazon.com/emr/home?region=us-east-1#/clusterDetails/j-2AXXXXXXGAPLF"
    )
    assert f'href="{console}"' in shown.text


def test_how_jobs_ended(page: Page) -> None:
    reason = "Task was marked failed"
    page.put(record=ended(STEP, JobState.CANCELLED, "sentinel", reason), ti_state="failed", task_id="one")
    page.put(record=ended(BATCH, JobState.SUCCEEDED, "service"), ti_state="success", task_id="two")
    shown = page.get("op", role="op")
    assert "Cancelled" in shown.words
    assert "Task was marked failed. Cancelled by the sentinel" in shown.words
    assert "Ended by itself" in shown.words
    assert 'class="state succeeded"' in shown.text
    assert shown.buttons == 0


def test_orphans_stand_on_top(page: Page, memory: Memory) -> None:
    orphans = memory.jobs(*(f"o{number}" for number in range(7)))
    for number, job in enumerate(orphans):
        page.put(job, ti_state="failed", task_id=f"failed{number}", age=3600 + number)
    living = memory.job("living")
    page.put(living, task_id="living", age=1)
    shown = page.get("viewer")
    assert "7 orphans" in shown.words
    assert "Show all 7" in shown.words
    assert shown.jobs == [*orphans[:5], living, *orphans]
    assert page.get("viewer", "/?orphans=1").jobs == orphans


@pytest.mark.parametrize(
    "query, expected",
    [
        ("dag_id=dag", ["a", "b", "c"]),
        ("dag_id=other", ["d"]),
        ("dag_id=none", []),
        ("task_id=two", ["b"]),
        ("run_id=run", ["a", "b", "c", "d"]),
        ("run_id=another", []),
        ("map_index=5", ["c"]),
        ("map_index={MAP_INDEX}", ["a", "b", "c", "d"]),
        ("service=memory", ["a", "b", "c", "d"]),
        ("service=batch", []),
        ("state=living", ["a", "b", "d"]),
        ("state=ended", ["c"]),
        ("state=nonsense", ["a", "b", "c", "d"]),
        ("age=1h", ["a"]),
        ("age=nonsense", ["a", "b", "c", "d"]),
        ("dag_id=dag&state=ended", ["c"]),
        ("page=2", []),
        ("page=nonsense", ["a", "b", "c", "d"]),
        ("page=-3", ["a", "b", "c", "d"]),
        ("page=99999999999999999999999", []),
        ("map_index=99999999999999999999999", ["a", "b", "c", "d"]),
        ("dag_id=%00&task_id=a%00b", ["a", "b", "c", "d"]),
    ],
)
def test_filters(page: Page, memory: Memory, query: str, expected: list[str]) -> None:
    a, b, c, d = memory.jobs("a", "b", "c", "d")
    page.put(a, task_id="one", age=60)
    page.put(b, task_id="two", age=7200)
    page.put(record=ended(c, JobState.FAILED, "task"), task_id="three", map_index=5)
    page.put(d, dag_id="other", age=90_000)
    shown = page.get("viewer", f"/?{query}")
    assert shown.status == 200
    assert sorted(RemoteJob(job).id for job in shown.jobs) == expected


def test_pages(page: Page, memory: Memory) -> None:
    jobs = memory.jobs(*(f"j{number:03}" for number in range(120)))
    for number, job in enumerate(jobs):
        page.put(job, map_index=number, age=number + 1.0)
    seen = []
    for number, words, following in (
        (1, "1-50 of 120", 2),
        (2, "51-100 of 120", 3),
        (3, "101-120 of 120", 0),
    ):
        shown = page.get("viewer", f"/?dag_id=dag&page={number}")
        assert words in shown.words
        assert ('rel="next"' in shown.text) == bool(following)
        assert ('rel="prev"' in shown.text) == (number > 1)
        if following:
            assert f'href="?dag_id=dag&amp;page={following}"' in shown.text
        seen += shown.jobs
    assert sorted(seen) == sorted(jobs)
    assert "There is no page 4" in page.get("viewer", "/?dag_id=dag&page=4").words


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}"


@pytest.mark.usefixtures("memory")
def test_nothing_is_taken_for_html(page: Page) -> None:
    job = RemoteJob.of("memory", HOSTILE, scope=HOSTILE, conn_id=HOSTILE)
    page.put(job, dag_id=HOSTILE, task_id=HOSTILE, run_id=HOSTILE, ti_state=HOSTILE[:20])
    over = RemoteJob.of("memory", "b", scope="place")
    page.put(record=ended(over, JobState.CANCELLED, "operator", HOSTILE), task_id="b")
    unheard = RemoteJob.of("unheard-of", HOSTILE)
    page.put(unheard, task_id="javascript:alert(1)", ti_state="failed")
    page.tables.variable(
        "remote_jobs_dead_letters",
        '[{"job": "batch://@us-east-1/x", "why": "<script>alert(3)</script>", "task": "<b>", "since": "<"}]',
    )
    query = "&".join(f"{name}=%22%3E%3Cscript%3E" for name in ("dag_id", "run_id", "task_id", "service"))
    for path in ("/", f"/?{query}", f"/task-instance?{query}"):
        shown = page.get("admin", path, role="admin")
        assert shown.status == 200
        assert shown.text.count("<script") == 2  # our own two
        assert "<img" not in shown.text
        assert "49" not in shown.words.replace("{{7*7}}", "")
        assert 'href="javascript:' not in shown.text
    shown = page.get("admin", role="admin")
    assert sorted(shown.jobs) == sorted([job, over, unheard, unheard])
    assert HOSTILE in shown.words.replace("&#10;", " ") or "<script>alert(1)</script>" in shown.words


def test_a_dead_letters_variable_that_cannot_be_read(page: Page) -> None:
    page.tables.variable("remote_jobs_dead_letters", "no JSON")
    assert "remote_jobs_dead_letters can't be read" in page.get("viewer").words


class TestTab:
    def test_one_task_instance_only(self, page: Page, memory: Memory) -> None:
        own, *others = memory.jobs("own", "mapped", "failed", "elsewhere")
        page.put(own)
        page.put(others[0], map_index=0)
        page.put(others[1], task_id="failed", ti_state="failed")
        page.put(others[2], dag_id="other")
        query = "?dag_id=dag&run_id=run&task_id=task"
        # Airflow leaves the placeholder in place for a task that is not mapped.
        shown = page.get("op", f"/task-instance{query}&map_index={{MAP_INDEX}}", role="op")
        assert shown.jobs == [own]
        assert shown.buttons == 1
        assert "orphan" not in shown.words
        assert "<form" not in shown.text
        assert page.get("op", f"/task-instance{query}&map_index=0", role="op").jobs == [others[0]]

    @pytest.mark.parametrize("plus", ["+", "%2B"])
    def test_a_run_id_with_its_time_zone(self, page: Page, plus: str, memory: Memory) -> None:
        """Airflow 3.1 puts it into the address as it is; later ones quote it."""
        run, own = "manual__2026-11-20T12:00:00+00:00", memory.job("own")
        page.put(own, run_id=run)
        query = f"?dag_id=dag&run_id={run.replace('+', plus)}&task_id=task&map_index={{MAP_INDEX}}"
        assert page.get("op", f"/task-instance{query}", role="op").jobs == [own]

    def test_no_jobs(self, page: Page) -> None:
        shown = page.get("viewer", "/task-instance?dag_id=dag&run_id=run&task_id=task&map_index={MAP_INDEX}")
        assert "has no remote job on record" in shown.words


def test_below_a_path(page: Page, memory: Memory) -> None:
    """``[api] base_url`` may have a path."""
    page.put(memory.job("a"))
    inner = FastAPI()
    inner.mount(endpoint.URL_PREFIX, endpoint.app)
    outer = FastAPI()
    outer.mount("/team/airflow", inner)

    async def get(path: str) -> httpx.Response:
        headers = {"Accept": "text/html", "Cookie": f"_token={page.server.token('op', 'op')}"}
        transport = httpx.ASGITransport(outer)
        async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
            return await client.get(path)

    shown = asyncio.run(get("/team/airflow/remote-jobs/")).text
    assert 'href="/team/airflow/dags/dag/runs/run/tasks/task"' in shown
    assert 'data-cancel-url="/team/airflow/remote-jobs/cancel"' in shown
    style = shown.partition('rel="stylesheet" href="')[2].partition('"')[0]
    assert style.startswith("/team/airflow/remote-jobs/static/page.css")
    assert asyncio.run(get(style)).headers["content-type"].startswith("text/css")


def test_static_files_only(page: Page) -> None:
    assert page.get(None, "/static/page.js").status == 200
    for path in (
        "/static/",
        "/static/../views.py",
        "/static/..%2fviews.py",
        "/static/%2e%2e/templates/page.html",
    ):
        assert page.get(None, path).status in (401, 404)


def test_no_database(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise AirflowUnavailable("the password is hunter2")

    monkeypatch.setattr(routes, "view", fails)
    shown = page.get("viewer")
    assert shown.status == 503
    assert "did not answer" in shown.words
    assert "hunter2" not in shown.text


@pytest.mark.usefixtures("memory")
def test_ten_thousand_jobs(page: Page) -> None:
    """A page of fifty takes at most three seconds of a processor, also the last one."""
    rows = []
    for number in range(10_000):
        job = RemoteJob.of("memory", f"j{number}", scope="place")
        record = TryRecord(uuid4(), jobs=(job,), submitted={job: 1e9 + number})
        names = {"dag_id": f"dag{number % 20}", "run_id": f"run{number // 200}", "map_index": number}
        rows.append((record.ti_id, "running" if number % 3 else "failed", record, names))
    page.put_many(rows)
    assert len(page.get("op", role="op").jobs) == 55  # imports and caches are warm
    for path, count in (("/", 55), ("/?page=200", 50), ("/?dag_id=dag7&state=living", 50)):
        began = time.process_time()
        shown = page.get("op", path, role="op")
        took = time.process_time() - began
        print(f"{path}: {took:.2f} s, {len(shown.text)} bytes")
        assert (shown.status, len(shown.jobs)) == (200, count)
        assert took < 3


def test_a_service_that_hangs_does_not_keep_the_others_for_long(
    page: Page, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        extra = {"endpoint_url": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        values = {"conn_type": "aws", "login": "a", "password": "b", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_SILENT", json.dumps(values))
        seen = memory.job("a")
        hanging = RemoteJob("batch://silent@us-east-1/5b1f0000-0000-0000-0000-000000000001")
        page.put(seen, hanging)
        began = time.monotonic()
        found = page.post("viewer", "/states", seen, hanging).json()["states"]
    assert time.monotonic() - began < 25
    assert found[seen]["state"] == "RUNNING"
    assert "Read timeout" in found[hanging]["trouble"]
