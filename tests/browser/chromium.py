"""Chromium without a window, and how a user signs in to Airflow in it."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""It runs as root in a container, and asks nobody outside for anything."""
DESKTOP = (1280, 900)
PHONE = (390, 844)
"""Width and height of a screen, in CSS pixels."""
PATIENCE = 30_000
"""Milliseconds in which an element has to appear."""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, with a user data folder that is thrown away."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or "/usr/bin/chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """One user of one Airflow, in a browser session of their own.

    :param pictures: folder for screenshots.
    """

    def __init__(self, page: Page, url: str, pictures: Path) -> None:
        self.page = page
        self.url = url
        self._pictures = pictures

    def sign_in(self, name: str, password: str) -> None:
        """Sign in through the form."""
        self.page.goto(f"{self.url}/auth/login")
        self.page.get_by_label("Username").or_(self.page.locator("[name=username]")).first.fill(name)
        self.page.locator("[name=password]").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        # Airflow's navigation: the page redirects more than once, which a wait for its URL may not survive.
        self.page.get_by_role("link", name="Home").first.wait_for()

    def open(self, path: str) -> Page:
        """Go to a page, as ``connections``; the page."""
        self.page.goto(f"{self.url}/{path.lstrip('/')}")
        return self.page

    def picture(self, name: str, *, of: str | None = None) -> Path:
        """Take a screenshot, of the window or of the element with this selector."""
        self._pictures.mkdir(parents=True, exist_ok=True)
        path = self._pictures / f"{name}.png"
        if of:
            self.page.locator(of).first.screenshot(path=path, animations="disabled")
        else:
            self.page.screenshot(path=path, animations="disabled")
        return path

    def text(self) -> str:
        """All text of the page, on one line."""
        return re.sub(r"\s+", " ", self.page.locator("body").inner_text())


@contextlib.contextmanager
def visitor(
    browser: Browser,
    url: str,
    pictures: Path,
    *,
    scheme: str = "light",
    size: tuple[int, int] = DESKTOP,
) -> Iterator[Visitor]:
    """A browser session of its own: no cookie of another, ``light`` or ``dark``, on a screen of this size.

    Airflow keeps its colour in the browser's storage and follows that alone.
    """
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        locale="en-GB",
    )
    context.add_init_script(f"localStorage.setItem('theme', '{scheme}')")
    context.set_default_timeout(PATIENCE)
    try:
        yield Visitor(context.new_page(), url, pictures)
    finally:
        context.close()
