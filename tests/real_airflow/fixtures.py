"""One Airflow and one cloud for all tests that need them, as a pytest plugin."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from tests.cloud import LocalCloud
from tests.demo.places import connections
from tests.real_airflow.statsd import Statsd
from tests.real_airflow.stories import Story, Told
from tests.real_airflow.system import REPOSITORY, airflow_system
from tests.real_airflow.world import DEPLOYMENT, World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An Airflow with the example Dags and those in tests/dags."""
    home = tmp_path_factory.mktemp("airflow")
    dags = home / "dags"
    for folder in ("example_dags", "tests/dags"):
        shutil.copytree(
            REPOSITORY / folder, dags, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    with LocalCloud() as cloud, Statsd() as statsd:
        environment = {
            **statsd.settings,
            **connections(cloud.url),
            "AIRFLOW_CONN_OTHER_AWS": other_connection(cloud.url),
            **plain_boto3(cloud.url),
            "AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT": DEPLOYMENT,
            "AIRFLOW__CANCEL_PROVIDER__OWNER_VARIABLES": "True",
            "AIRFLOW__CORE__PARALLELISM": "32",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        }
        with airflow_system(home, dags, environment) as airflow:
            there = World(cloud, airflow)
            there.statsd = statsd
            airflow.rest.wait_for_dags("mapped", "submit_deferrable", "guard_mrs_deferrable")
            yield there
            there.close()


def plain_boto3(url: str) -> dict[str, str]:
    """What boto3 finds by itself."""
    keys = {"AWS_ACCESS_KEY_ID": "PLAINKEY", "AWS_SECRET_ACCESS_KEY": "secret"}
    return {"AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": "us-east-1", **keys}


def other_connection(url: str) -> str:
    """A connection of another identity, without a region."""
    return json.dumps(
        {"conn_type": "aws", "login": "OTHERKEY", "password": "secret", "extra": {"endpoint_url": url}}
    )


@pytest.fixture(scope="session")
def told(world: World, request: pytest.FixtureRequest) -> Iterator[Told]:
    """All stories that were chosen, begun."""
    params = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    stories = [each["story"] for each in params if isinstance(each.get("story"), Story)]
    begun = Told(world, stories)
    yield begun
    begun.close()
