"""Every address of the API server with right, wrong and missing input: ``docs/page-statuses.txt``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from tests.memory_service import Memory
from tests.page_fixtures import Page, api_server, memory, page, tables

__all__ = ["api_server", "memory", "page", "tables"]

TABLE = Path(__file__).parents[4] / "docs" / "page-statuses.txt"
HEAD = ("address", "request", "status", "answer")
FAR = {"Sec-Fetch-Site": "cross-site"}


def rows_of_the_page(page: Page) -> list[tuple[str, str, int, str]]:
    tab = "/task-instance?dag_id=dag&run_id=run&task_id=task"
    asked: list[tuple[str, str, requests.Response]] = [
        ("GET /", "of a user", page.get("viewer").response),
        ("GET /", "without a login", page.get(None).response),
        ("GET /", "a filter that is none", page.get("viewer", "/?state=x&page=x").response),
        ("GET /task-instance", "of a user", page.get("viewer", tab).response),
        ("GET /task-instance", "without a login", page.get(None, tab).response),
    ]
    return [(where, what, answer.status_code, "a page") for where, what, answer in asked]


def rows_of_posts(page: Page, memory: Memory, path: str) -> list[tuple[str, str, int, str]]:
    job, far = memory.job("job"), memory.job("unknown")
    op = page.token("op", "op")

    def post(*jobs: Any, **more: Any) -> requests.Response:
        return page.post(more.pop("user", "op"), path, *jobs, role=more.pop("role", "op"), **more)

    asked = [
        ("a job", post(job)),
        ("a job that is not on record", post(far)),
        ("by who may only read the Dag", post(job, user="viewer", role="viewer")),
        ("without a login", post(job, user=None, role=None, token=op)),
        ("without the page's token", post(job, token="nonsense")),
        ("from another web site", post(job, site=FAR)),
        ("no job", post(body={"jobs": []})),
        ("no JSON", post(body="jobs")),
        ("a body that is too long", post(body=" " * 100_001)),
        ("with GET", requests.get(page.url + path, headers=page._cookie("op", "op"), timeout=60)),
    ]
    return [(f"POST {path}", what, answer.status_code, words(answer)) for what, answer in asked]


def rows_of_owners(page: Page) -> list[tuple[str, str, int, str]]:
    def post(body: Any, *, user: str | None = "viewer", **headers: str) -> requests.Response:
        data = body if isinstance(body, str) else json.dumps(body)
        headers |= page._cookie(user, "viewer")
        return requests.post(f"{page.url}/v1/owners", data=data, headers=headers, timeout=60)

    one = {"ti_ids": [str(uuid4())]}
    asked = [
        ("a uuid", post(one)),
        ("without a login", post(one, user=None)),
        ("from another web site", post(one, **FAR)),
        ("no list of uuids", post({"ti_ids": "x"})),
        ("no JSON", post("x")),
        ("more than 1,000 uuids", post({"ti_ids": [str(uuid4()) for _ in range(1001)]})),
    ]
    return [("POST /v1/owners", what, answer.status_code, words(answer)) for what, answer in asked]


def rows_of_ends(page: Page) -> list[tuple[str, str, int, str]]:
    def post(body: Any, **headers: str) -> requests.Response:
        data = body if isinstance(body, str) else json.dumps(body)
        return requests.post(f"{page.url}/v1/try-ends", data=data, headers=headers, timeout=60)

    report = {"ti_id": str(uuid4()), "key": "key", "ends": {}}
    asked = [
        ("of a try that is not on record", post(report)),
        ("from another web site", post(report, **FAR)),
        ("no report", post({"ti_id": 1})),
        ("no JSON", post("x")),
        ("a body that is too long", post(" " * 1_000_001)),
    ]
    return [("POST /v1/try-ends", what, answer.status_code, words(answer)) for what, answer in asked]


def words(answer: requests.Response) -> str:
    """What a program reads of an answer."""
    return str(answer.json().get("detail", "JSON")).replace("memory:///place/unknown", "JOB")


@pytest.mark.slow
def test_table(page: Page, memory: Memory) -> None:
    page.put(memory.job("job"))
    found = rows_of_the_page(page)
    for path in ("/states", "/cancel"):
        found += rows_of_posts(page, memory, path)
    found += rows_of_owners(page)
    found += rows_of_ends(page)
    assert {status for _, _, status, _ in found} >= {200, 202, 401, 403, 404, 405, 413, 422}
    assert all(status < 500 for _, _, status, _ in found)
    lines = [HEAD, *((where, what, str(status), answer) for where, what, status, answer in found)]
    widths = [max(len(line[i]) for line in lines) for i in range(3)]
    text = [
        "  ".join([*(each.ljust(width) for each, width in zip(line[:3], widths, strict=True)), line[3]])
        for line in lines
    ]
    TABLE.write_text("".join(f"{line}\n" for line in text), encoding="utf-8")
