"""``doctor``: what it finds broken, and what it says is not guaranteed."""

from __future__ import annotations

import os
from threading import Thread

import pytest
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

from airflow_cancel_provider.cli.checks import services as service_checks
from tests.cli_fixtures import JSON, Ended, Line, deployment, line
from tests.mrs_fixtures import define
from tests.reaper_airflow import tables
from tests.reaper_fixtures import CANCELS, ground
from tests.task_fixtures import MRS_KEYS, connections

__all__ = ["connections", "deployment", "ground", "line", "tables"]

PLACES = ("--at", "aws://aws_default", "--at", "mrs://mrs_default")


@pytest.fixture(autouse=True)
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_checks, "GIVE_UP_SECONDS", 0.5)


def results(done: Ended) -> dict[str, str]:
    return {row["check"]: row["result"] for row in done.json}


def details(done: Ended) -> dict[str, str]:
    return {row["check"]: row["detail"] for row in done.json}


@pytest.mark.usefixtures("tables")
def test_everything_is_looked_at(line: Line) -> None:
    done = line("doctor", *JSON)
    found = results(done)
    assert done.code == 0
    assert found["plugin"] == found["listener"] == found["settings"] == found["deployment"] == "ok"
    assert found["triggerer"] == "limit"
    assert found["services"] == "skipped"
    assert "blue" in details(done)["deployment"]
    assert {"kernel", "executor", "labels", "reaper", "remote logging", "API server"} <= found.keys()
    assert found["XCom backend"] == "ok"
    table = line("doctor").out
    assert "triggerer" in table
    assert "None is alive" in table


def test_services_may_be_used(line: Line) -> None:
    jobs = [line.ground.unlabelled(service) for service in CANCELS]
    done = line("doctor", *JSON, *PLACES)
    found = {check: result for check, result in results(done).items() if "://" in check}
    assert done.code == 0, done.out
    assert set(found.values()) <= {"ok", "skipped"}
    for service in CANCELS:
        looks = [
            check for check, result in found.items() if check.startswith(f"{service}://") and result == "ok"
        ]
        assert any(check.endswith("may look") for check in looks)
        assert any(check.endswith("may list") for check in looks)
    assert line.ground.lives(*jobs), "nothing was done to any job"


@pytest.mark.parametrize(
    "operation, what", [("DescribeJobs", "look"), ("TerminateJob", "cancel"), ("ListJobs", "list")]
)
def test_what_is_not_permitted_is_broken(line: Line, operation: str, what: str) -> None:
    line.ground.unlabelled("batch")
    line.ground.cloud.faults.add("batch", operation, "denied")
    done = line("doctor", *JSON, "--at", "batch://aws_default")
    check = f"batch://aws_default may {what}"
    assert (done.code, results(done)[check]) == (1, "broken")
    assert "Allow batch:" in details(done)[check]
    assert ("something that does not exist" in details(done)[check]) == (what != "list")


def test_a_connection_that_is_not_defined_is_broken(line: Line) -> None:
    done = line("doctor", *JSON, "--offline", "--at", "batch://no_such@us-east-1")
    assert (done.code, results(done)["batch://no_such@us-east-1 connection"]) == (1, "broken")
    assert "'no_such' is not defined" in details(done)["batch://no_such@us-east-1 connection"]


def test_a_host_without_the_api_is_broken(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = line.ground.cloud
    define(monkeypatch, cloud, **MRS_KEYS, endpoint=f"{cloud.url}/v2/another/tree")
    done = line("doctor", *JSON, "--at", "mrs://mrs_default")
    check = "mrs://mrs_default may look"
    assert (done.code, results(done)[check]) == (1, "broken")
    assert "no such API" in details(done)[check]


def test_offline_sends_nothing(line: Line) -> None:
    sent = len(line.ground.cloud.journal)
    done = line("doctor", *JSON, "--offline", *PLACES)
    assert results(done)["batch://aws_default connection"] == "ok"
    assert len(line.ground.cloud.journal) == sent


@pytest.mark.parametrize("name", ["patience", "quotas", "quota_share"])
def test_settings_that_can_not_be_read_are_broken(
    line: Line, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"AIRFLOW__CANCEL_PROVIDER__{name.upper()}", "soon")
    done = line("doctor", *JSON)
    assert (done.code, results(done)["settings"]) == (1, "broken")
    assert name in details(done)["settings"]


def test_a_misspelt_setting_is_named(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__EXCEPT_DAG", "sandbox_*")
    done = line("doctor", *JSON)
    assert (done.code, results(done)["settings"]) == (0, "limit")
    assert "except_dag:" in details(done)["settings"]


def test_what_is_not_guaranteed(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pidfd(_: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", no_pidfd)
    monkeypatch.delenv("AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT")
    for name, value in {
        "CANCEL_PROVIDER__LABELS": "False",
        "CANCEL_PROVIDER__ENABLED": "False",
        "CORE__EXECUTOR": "KubernetesExecutor",
        "CORE__XCOM_BACKEND": "airflow.providers.common.io.xcom.backend.XComObjectStorageBackend",
        "LOGGING__REMOTE_LOGGING": "True",
    }.items():
        monkeypatch.setenv(f"AIRFLOW__{name}", value)
    done = line("doctor", *JSON)
    found = results(done)
    assert done.code == 0
    limits = (
        *("kernel", "deployment", "labels", "settings", "executor"),
        *("XCom backend", "remote logging", "reaper"),
    )
    assert [found[name] for name in limits] == ["limit"] * len(limits)


@pytest.mark.parametrize(
    "status, body, result, words",
    [
        (401, '{"detail": "Not authenticated"}', "ok", "asks for a login"),
        (200, '{"version": 1, "deployment": "0a1b2c3d", "owners": {}}', "ok", "asks for no login"),
        (200, "<html>Sign in</html>", "broken", "answers 200 instead of 401: install the package"),
        (404, '{"detail": "Not Found"}', "broken", "answers 404 instead of 401"),
        (503, "no healthy upstream", "broken", "answers 503: see the log of the API server"),
    ],
)
def test_the_endpoint_of_the_api_server(
    line: Line, monkeypatch: pytest.MonkeyPatch, status: int, body: str, result: str, words: str
) -> None:
    with make_server("127.0.0.1", 0, Response(body, status)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("AIRFLOW__API__BASE_URL", f"http://127.0.0.1:{server.server_port}")
        done = line("doctor", *JSON)
        server.shutdown()
        thread.join()
    assert results(done)["API server"] == result
    assert words in details(done)["API server"]


def test_a_service_without_labels_is_named_with_its_setting(line: Line) -> None:
    assert "([cancel_provider] glue_label is none)" in details(line("doctor", *JSON))["labels"]


def test_a_wrong_place_in_the_settings_is_broken_and_said_once(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__REAPER_PLACES", "nonsense")
    done = line("doctor", *JSON, "--offline")
    assert done.code == 1
    told = {check for check, detail in details(done).items() if "nonsense" in detail}
    assert (told, results(done)["reaper"]) == ({"reaper"}, "broken")


def test_a_wrong_place_is_2(line: Line) -> None:
    done = line("doctor", "--at", "nonsense")
    assert (done.code, done.out) == (2, "")
