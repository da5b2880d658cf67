"""What a real Airflow makes of the provider: its commands, its connection type, its parsing of Dag files."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jsonschema
import pytest
import requests
from packaging.version import Version

from airflow_cancel_provider.get_provider_info import get_provider_info
from tests.airflow_versions import AIRFLOW, module, remote_jobs
from tests.cloud.keystone import DOMAIN, PROJECT_ID
from tests.demo.places import REGION
from tests.forks import COMMAND_LINE, Ended, forked
from tests.real_airflow.stories import Stories, Story, Told
from tests.real_airflow.system import REPOSITORY
from tests.real_airflow.world import World

pytest_plugins = ["tests.real_airflow.fixtures"]
PROVIDER = "airflow-cancel-provider"
COMMANDS = {
    "list": (PROVIDER,),
    f"get {PROVIDER} --full --output json": ("conn-fields", "Huawei Cloud / OTC MRS"),
    "hooks": ("huaweicloud_mrs", "airflow_cancel_provider.hooks.mrs.MrsHook"),
    "triggers": ("airflow_cancel_provider.triggers.remote_jobs",),
    "links": ("airflow_cancel_provider.links.console.RemoteJobLink",),
}
LOGINS = {
    "password": ("demo", "demo-password", {"domain": DOMAIN}),
    "aksk": ("DEMOACCESSKEY", "demo-secret-key", {"auth_type": "aksk"}),
}
PARSE = """
import runpy, sys
sys.path.insert(0, "tests/dags")
for name in ("cancel", "sense", "submit", "special"):
    runpy.run_path(f"tests/dags/{name}.py")
print(*sys.modules)
"""
stories = Stories()
ONE_FORM = threading.Lock()


@stories()
def commands_are_clean(world: World) -> None:
    ended = ended_in_processes(world, *(module("airflow", "providers", *each.split()) for each in COMMANDS))
    for done, words in zip(ended, COMMANDS.values(), strict=True):
        output = done.stdout + done.stderr
        assert done.returncode == 0, output
        assert "Traceback" not in output
        complaints = [
            line for line in output.splitlines() if "warn" in line.lower() or "error" in line.lower()
        ]
        assert [line for line in complaints if "cancel" in line] == []
        # Tables break long words.
        for word in words:
            assert word in output or word[:30] in output


def ended_in_processes(world: World, *programs: str) -> list[Ended]:
    """Run programs, each in a process that finds this Airflow."""
    processes = world.airflow.processes
    with TemporaryDirectory() as folder:
        begun: list[tuple[str, dict[str, str]]] = [(program, {}) for program in programs]
        return forked(COMMAND_LINE, begun, Path(folder), processes.environment)


@stories()
def provider_is_not_what_is_loaded_too_early(world: World) -> None:
    # Airflow 3.3.2 by itself, with no other provider but its own, fails this: reading its configuration makes
    # a providers manager. When it no longer does, this belongs to COMMANDS.
    done = world.airflow.complete("providers", "lazy-loaded")
    assert "airflow_cancel_provider" not in done.stdout + done.stderr
    assert done.returncode == 0 or "initialize_config" in done.stderr, done.stderr


def connection(world: World, auth_type: str) -> dict[str, Any]:
    """A connection of our type, as the form holds it."""
    login, password, fields = LOGINS[auth_type]
    url = world.cloud.url
    extra = {"project_id": PROJECT_ID, "endpoint": url, "iam_endpoint": url, **fields}
    return {
        "connection_id": f"mrs_{auth_type}",
        "conn_type": "huaweicloud_mrs",
        "login": login,
        "password": password,
        "extra": json.dumps(extra),
    }


def form(world: World) -> dict[str, Any]:
    """What the form of our connection type shows.

    Airflow 3.1 finds its fields only where it comes before a test of a connection, as it does for a person,
    and where one request for it is answered at a time.
    """
    with ONE_FORM:
        metas = world.airflow.rest.get_ui("connections/hook_meta")
    (meta,) = [meta for meta in metas if meta["connection_type"] == "huaweicloud_mrs"]
    return dict(meta)


@stories(auth_type=LOGINS)
def added_connection_passes_its_test(world: World, auth_type: str) -> None:
    wanted = connection(world, auth_type)
    form(world)
    world.airflow.rest.add_connection(wanted)
    # As the form does, which never gets to know the stored password. Before 3.1.7 Airflow does not put it in.
    password = wanted["password"] if Version("3.1.7") > AIRFLOW else "***"
    answer = world.airflow.rest.call("POST", "connections/test", json=wanted | {"password": password})
    assert answer["status"] is True, answer
    assert PROJECT_ID in answer["message"]


@stories(auth_type=LOGINS)
def wrong_password_fails_the_test_and_is_not_repeated(world: World, auth_type: str) -> None:
    form(world)
    wanted = connection(world, auth_type) | {"connection_id": "mrs_wrong", "password": "not-the-password"}
    answer = world.airflow.rest.call("POST", "connections/test", json=wanted)
    assert answer["status"] is False, answer
    assert "not-the-password" not in answer["message"]
    assert "\n" not in answer["message"]
    assert any(word in answer["message"].lower() for word in ("password", "key", "signature")), answer


@stories()
def form_of_the_connection_type_has_its_fields(world: World) -> None:
    meta = form(world)
    if Version("3.1.3") > AIRFLOW:
        assert meta["extra_fields"] is None  # it reads fields of forms with Flask AppBuilder alone
        assert meta["standard_fields"] is None
    else:
        assert {"region", "auth_type", "project_id", "api_version"} <= set(meta["extra_fields"])
        assert meta["standard_fields"]["host"]["hidden"] is True


@stories()
def page_answers(world: World) -> None:
    headers = {"Authorization": f"Bearer {world.airflow.rest.token}"}
    answer = requests.get(f"{world.airflow.url}/remote-jobs/", headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    # This Airflow gives everybody the rights of an admin; the page's own tests have users.
    assert "Remote jobs" in answer.text


@stories()
def page_is_in_the_menu(world: World) -> None:
    plugins = world.airflow.rest.call("GET", "plugins")["plugins"]
    (ours,) = [plugin for plugin in plugins if plugin["name"] == "airflow_cancel_provider"]
    views = [(view["name"], view["destination"]) for view in ours.get("external_views", [])]
    shown = [("Remote jobs", "nav"), ("Remote jobs", "task_instance")]
    assert views == ([] if Version("3.1") > AIRFLOW else shown)


@stories()
def command_line_runs(world: World) -> None:
    listed = (
        remote_jobs("list", *at, "-o", "json") for at in ([], ["--at", f"batch://aws_default@{REGION}"])
    )
    for done in ended_in_processes(world, *listed):
        assert done.returncode == 0, done.stderr
        assert isinstance(json.loads(done.stdout), list)


def test_provider_info_passes_airflows_schema() -> None:
    schema = json.loads((files("airflow") / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_parsing_dag_files_loads_no_sdk() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARSE], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "airflow_cancel_provider.sensors.mrs" in loaded
    heavy = ("boto3", "botocore", "aiobotocore", "keystoneauth1", "airflow.providers.amazon.aws.hooks")
    assert {name for name in loaded if name.startswith(heavy)} == set()


@pytest.mark.airflow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("story", stories, ids=str)
def test_provider(told: Told, story: Story) -> None:
    told(story)
