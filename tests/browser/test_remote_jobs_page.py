"""The page "Remote jobs" in Airflow: an operator cancels, a viewer looks on; light, dark, on a phone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import PHONE, Visitor
from tests.browser.conftest import Visit
from tests.browser.seed_jobs import EARLIER, WHY
from tests.real_airflow.system import REPOSITORY
from tests.real_airflow.world import Jobs, Run, World, eventually

ROUTE = "plugin/remote-jobs"
WIDE = (1280, 1000)


@pytest.fixture(scope="module")
def seeded(world: World) -> World:
    """Jobs of several services, an orphan, and one that could not be cancelled."""
    world.airflow.processes.run([sys.executable, str(Path(__file__).with_name("seed_jobs.py"))])
    return world


@pytest.fixture(scope="module")
def job(seeded: World) -> tuple[Run, Jobs]:
    """A task that waits for a job, and its job."""
    return seeded.submit("sync", cancel=3)


def opened(visitor: Visitor, path: str = ROUTE) -> Any:
    """What is in Airflow's frame."""
    visitor.open(path)
    frame = visitor.page.frame_locator("iframe[title='Remote jobs']")
    frame.locator("h1").wait_for()
    return frame


def overflow(visitor: Visitor) -> int:
    """Pixels by which the frame's content is wider than the frame."""
    element = visitor.page.locator("iframe[title='Remote jobs']").element_handle()
    inside = element.content_frame()
    assert inside
    return int(inside.evaluate("document.documentElement.scrollWidth - window.innerWidth"))


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_an_admin_sees(visit: Visit, scheme: str) -> None:
    admin = visit("admin", scheme=scheme, size=WIDE)
    frame = opened(admin)
    frame.get_by_text("1 orphan", exact=True).wait_for()
    frame.get_by_text("1 job that could not be cancelled").wait_for()
    assert frame.locator("html").get_attribute("data-theme") == scheme
    assert frame.get_by_role("button", name="Cancel", exact=True).count() >= 5
    earlier = frame.locator(f"tr[data-job='{EARLIER}']")
    assert earlier.get_by_text("try 1").count() == 1
    assert f"{WHY}. Cancelled by the task itself" in earlier.inner_text()
    assert overflow(admin) <= 0
    admin.picture(f"page-{scheme}")


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_viewer_on_a_phone(visit: Visit, scheme: str) -> None:
    viewer = visit("viewer", scheme=scheme, size=PHONE)
    frame = opened(viewer)
    frame.get_by_text("aggregate").first.wait_for()
    assert frame.get_by_role("button", name="Cancel", exact=True).count() == 0
    assert overflow(viewer) <= 0
    viewer.picture(f"page-phone-{scheme}")


@pytest.mark.usefixtures("seeded")
def test_an_orphan_that_was_seen_to_end_is_none(visit: Visit) -> None:
    viewer = visit("viewer", size=WIDE)
    frame = opened(viewer)
    ended = {"state": "FAILED", "asked_by": None, "is_over": True, "line": "", "story": "Ended by itself"}
    job = frame.locator("[data-orphans] tr[data-job]").get_attribute("data-job")
    viewer.page.route("**/states", lambda route: route.fulfill(json={"states": {job: ended}}))
    frame.get_by_role("button", name="Refresh states").click()
    frame.get_by_text("No orphans", exact=True).wait_for()
    assert not frame.get_by_text("An orphan may still run").is_visible()
    rows = frame.locator(f"tr[data-job='{job}']")
    assert rows.count() == 2
    assert all("Ended by itself" in row.inner_text() for row in rows.all())


@pytest.mark.usefixtures("seeded")
def test_what_hides_the_states_of_many_jobs_is_said_once(visit: Visit) -> None:
    viewer = visit("viewer", size=WIDE)
    frame = opened(viewer)
    jobs = [row.get_attribute("data-job") for row in frame.locator("tr[data-job]").all()]
    trouble = {"state": None, "service_state": None, "trouble": "AccessDeniedException: allow the action."}
    viewer.page.route("**/states", lambda route: route.fulfill(json={"states": dict.fromkeys(jobs, trouble)}))
    frame.get_by_role("button", name="Refresh states").click()
    words = f"The states of {len(set(jobs))} jobs could not be read. {trouble['trouble']}"
    frame.get_by_role("status").get_by_text(words, exact=True).wait_for()
    assert frame.get_by_text("AccessDeniedException: allow", exact=False).count() == 1


@pytest.mark.usefixtures("seeded")
def test_filters_stand_in_the_address(visit: Visit) -> None:
    viewer = visit("viewer", size=WIDE)
    frame = opened(viewer)
    frame.get_by_label("Service").select_option("batch")
    frame.get_by_text("2 jobs", exact=True).wait_for()
    assert frame.locator("tr[data-job]").count() == 2
    frame.get_by_role("link", name="Reset").click()
    frame.get_by_text("1 orphan", exact=True).wait_for()


def test_an_operator_cancels_a_job(job: Any, visit: Visit) -> None:
    _, jobs = job
    (address,) = jobs.ids
    op = visit("op", size=WIDE)
    frame = opened(op)
    row = frame.locator(f"tr[data-job$='{address}']")
    row.get_by_role("button", name="Cancel", exact=True).click()
    frame.get_by_text("Cancel this remote job?").wait_for()
    op.picture("page-cancel")
    frame.get_by_role("button", name="Keep it").click()
    row.get_by_role("button", name="Cancel", exact=True).click()
    frame.get_by_role("button", name="Cancel the job").click()
    row.get_by_text("Cancelling").wait_for()
    # For who sees no colours: it is said, and the focus is not lost with the button.
    frame.get_by_role("status").get_by_text(f"{address} is requested.").wait_for()
    assert row.locator("[data-state]").evaluate("each => each === document.activeElement")
    row.locator(".state.cancelled").wait_for(timeout=60_000)
    assert "Cancelled by op" in row.inner_text()
    log = op.open("events")
    log.get_by_text("cancel_remote_job").first.wait_for()


def test_a_tab_of_the_task_and_links_to_it(job: Any, visit: Visit) -> None:
    run, jobs = job
    viewer = visit("viewer", size=WIDE)
    frame = opened(viewer)
    frame.locator(f"tr[data-job$='{jobs.ids[0]}'] a[target=_top]").first.click()
    viewer.page.wait_for_url(f"**/dags/{run.dag_id}/runs/**/tasks/**")
    viewer.page.get_by_role("link", name="Remote jobs").or_(
        viewer.page.get_by_role("tab", name="Remote jobs")
    ).first.click()
    tab = viewer.page.frame_locator("iframe[title='Remote jobs']")
    tab.get_by_text("Remote jobs of this task").wait_for()
    tab.locator("tr[data-job]").first.wait_for()  # rows come after the heading
    assert tab.locator("tr[data-job]").count() == 1
    viewer.picture("page-tab")


@pytest.fixture(scope="module")
def marked_failed(world: World) -> Run:
    """A task of a stock operator that a person has marked as failed, after its job was seen to end."""
    cluster = world.place("emr", cancel=1)
    run = world.run_with("sales_weekly", {"scope": cluster})
    world.wait_for_call("emr", "DescribeStep", cluster)
    run.mark("load", "failed")
    eventually(lambda: any(": cancelled emr://" in line for line in run.remote_job_lines("load")), "the log")
    return run


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_log_of_a_task_that_was_marked_failed(marked_failed: Run, visit: Visit, scheme: str) -> None:
    viewer = visit("viewer", size=(1280, 860), scheme=scheme)
    viewer.page.add_init_script("localStorage.setItem('log_wrap', 'true')")
    page = viewer.open(f"dags/{marked_failed.dag_id}/runs/{marked_failed.run_id}/tasks/load")
    page.get_by_text("it will be cancelled unless this task succeeds").first.wait_for()
    page.get_by_text(": cancelled emr://").first.wait_for()
    # Tracebacks have paths of the machine.
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = false })")
    viewer.picture(f"task-log-{scheme}")


@pytest.mark.usefixtures("seeded")
def test_a_stranger(visit: Visit) -> None:
    stranger = visit(None)
    stranger.open("remote-jobs/")
    stranger.page.get_by_text("You are not logged in").wait_for()
    assert "aggregate" not in stranger.text()


def test_pictures_are_small() -> None:
    for path in [*REPOSITORY.glob("docs/images/page-*.png"), *REPOSITORY.glob("docs/images/task-*.png")]:
        assert path.stat().st_size < 220_000, path
