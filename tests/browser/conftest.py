"""One Airflow with people who have to sign in, one local cloud, one browser."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.chromium import Visitor, chromium, visitor
from tests.cloud import LocalCloud
from tests.demo.places import connections, plain_boto3
from tests.real_airflow.system import REPOSITORY, airflow_system
from tests.real_airflow.world import DEPLOYMENT, World

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HERE = Path(__file__).parent
USERS = {"admin": "admin-password", "op": "op-password", "viewer": "viewer-password"}
"""Users by name, with their passwords; each has the role of the same name."""

Visit = Callable[..., Visitor]
"""``visit("admin", scheme="dark", size=PHONE)``: a browser session of a user who has signed in; a user
None has not."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.airflow)
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An Airflow with the Dags in tests/dags and tests/browser/dags, and a connection to each service.

    The variable ``BROWSER_DATABASE`` takes the URL of an empty database instead of SQLite.
    """
    home = tmp_path_factory.mktemp("airflow")
    dags = home / "dags"
    for folder in ("tests/dags", "tests/browser/dags"):
        shutil.copytree(
            REPOSITORY / folder, dags, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    with LocalCloud() as cloud:
        environment = {
            **plain_boto3(cloud.url),
            **_users(home),
            "AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT": DEPLOYMENT,
            "AIRFLOW__CORE__PARALLELISM": "16",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        }
        with airflow_system(
            home,
            dags,
            environment,
            connections=connections(cloud.url),
            database=os.environ.get("BROWSER_DATABASE"),
            user=("admin", USERS["admin"]),
        ) as airflow:
            there = World(cloud, airflow)
            airflow.rest.wait_for_dags("submit_sync", "submit_deferrable", "submit_form", "sales_weekly")
            yield there
            there.close()


def _users(home: Path) -> dict[str, str]:
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps(USERS))
    return {
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{name}" for name in USERS),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
    }


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder for screenshots: that of the variable PICTURES, or one that is thrown away."""
    named = os.environ.get("PICTURES")
    return REPOSITORY / named if named else tmp_path_factory.mktemp("pictures")


@pytest.fixture
def visit(world: World, browser: Browser, pictures: Path) -> Iterator[Visit]:
    with contextlib.ExitStack() as sessions:

        def begin(user: str | None, *, scheme: str = "light", size: tuple[int, int] = (1280, 900)) -> Visitor:
            one = sessions.enter_context(
                visitor(browser, world.airflow.url, pictures, scheme=scheme, size=size)
            )
            if user:
                one.sign_in(user, USERS[user])
            return one

        yield begin
