"""The harness itself: users sign in, and see what their role allows."""

from __future__ import annotations

import pytest

from tests.browser.chromium import PHONE
from tests.browser.conftest import Visit


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_user_signs_in_and_sees_dags(visit: Visit, scheme: str) -> None:
    someone = visit("viewer", scheme=scheme, size=PHONE)
    someone.open("dags/submit_sync").get_by_text("submit_sync").locator("visible=true").first.wait_for()
    assert someone.page.locator("html").get_attribute("class") == scheme


def test_who_has_not_signed_in_is_asked_to(visit: Visit) -> None:
    stranger = visit(None)
    stranger.open("connections").locator("[name=password]").wait_for()
    assert "/auth/login" in stranger.page.url


def test_a_viewer_sees_no_connections(visit: Visit) -> None:
    viewer = visit("viewer")
    viewer.open("connections")
    viewer.page.get_by_text("403").first.wait_for()
    assert "mrs_default" not in viewer.text()


def test_an_op_sees_connections(visit: Visit) -> None:
    visit("op").open("connections").get_by_text("mrs_default").first.wait_for()
