"""Console links on every task, and where Airflow's interface shows the page."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.links.console import LINKED, console_url, remote_job_links
from airflow_cancel_provider.plugin import RemoteJobsPlugin, endpoint
from airflow_cancel_provider.plugin.extra_links import LINKS
from tests.page_fixtures import Page, api_server, memory, page, tables

__all__ = ["api_server", "memory", "page", "tables"]

STEP = RemoteJob("emr://aws_default@us-east-1/j-2AXXXXXXGAPLF/s-3BYYYYYYGAPLF")
MRS = RemoteJob("mrs://mrs_default/cluster/job")


def urls(**names: Any) -> list[str]:
    key = {"dag_id": "dag", "run_id": "run", "task_id": "task", "map_index": -1, **names}
    return [link.get_link(None, ti_key=SimpleNamespace(**key)) for link in LINKS]


def test_the_jobs_of_a_task_have_links(page: Page) -> None:
    page.put(STEP, MRS)
    assert urls() == [console_url(STEP), "", ""]
    assert urls(map_index=0) == urls(task_id="another") == ["", "", ""]


def test_a_record_that_is_none_takes_no_link_from_others(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    page.put(RemoteJob.of("unheard-of", "a"))
    assert urls() == ["", "", ""]
    monkeypatch.setattr("airflow.settings.Session", None)
    assert urls() == ["", "", ""]


def test_they_have_the_names_of_our_operators_links() -> None:
    """Airflow shows one of each name, and prefers the operator's."""
    assert [link.name for link in LINKS] == [link.name for link in remote_job_links()]
    assert len(LINKS) == LINKED


def test_airflow_takes_the_views() -> None:
    routes = [view["url_route"] for view in RemoteJobsPlugin.external_views]
    assert len(set(routes)) == len(routes)
    for view in RemoteJobsPlugin.external_views:
        # Relative: Airflow may be served below a path.
        assert f"/{view['href']}".startswith(f"{endpoint.URL_PREFIX}/")
        assert view["destination"] in ("nav", "task_instance")
