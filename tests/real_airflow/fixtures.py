"""One Airflow and one cloud for all tests that need them, as a pytest plugin."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud import LocalCloud
from tests.demo.places import aws_connection, connections, plain_boto3
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
            **elsewhere(cloud.url, home),
            **plain_boto3(cloud.url),
            "AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT": DEPLOYMENT,
            "AIRFLOW__CANCEL_PROVIDER__OWNER_VARIABLES": "True",
            "AIRFLOW__CORE__PARALLELISM": "32",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__SCHEDULER__ALLOWED_RUN_ID_PATTERN": r"^[\w .~:+-]+$",
        }
        # Of another identity, without a region.
        other = aws_connection(cloud.url, "other_aws", "OTHERKEY", region_name="")
        kept = [*connections(cloud.url), other]
        with airflow_system(home, dags, environment, connections=kept) as airflow:
            there = World(cloud, airflow)
            there.statsd = statsd
            airflow.rest.wait_for_dags("mapped", "submit_deferrable", "guard_mrs_deferrable")
            yield there
            there.close()


def elsewhere(url: str, home: Path) -> dict[str, str]:
    """Settings with a connection that only the environment has, and one that only a secrets backend has."""
    env, file = aws_connection(url, "env_aws", "ENVKEY"), aws_connection(url, "file_aws", "FILEKEY")
    path = home / "connections.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps({file.pop("connection_id"): file}))
    return {
        f"AIRFLOW_CONN_{env.pop('connection_id').upper()}": json.dumps(env),
        "AIRFLOW__SECRETS__BACKEND": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({"connections_file_path": str(path)}),
    }


@pytest.fixture(scope="session")
def told(world: World, request: pytest.FixtureRequest) -> Iterator[Told]:
    """All stories that were chosen, begun."""
    params = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    stories = [each["story"] for each in params if isinstance(each.get("story"), Story)]
    begun = Told(world, stories)
    yield begun
    begun.close()
