"""The operations of MRS on the command line."""

from __future__ import annotations

import pytest

from airflow_cancel_provider.cli.service_commands import mrs as operations
from airflow_cancel_provider.services.retry import Patience
from tests.cloud.server import LocalCloud
from tests.mrs_fixtures import define
from tests.service_command_fixtures import NOWHERE, Run, ends, run
from tests.task_fixtures import MRS_KEYS, MrsBench, connections

__all__ = ["connections", "run"]

pytestmark = pytest.mark.usefixtures("connections")


@pytest.fixture
def mrs(cloud: LocalCloud) -> MrsBench:
    return MrsBench(cloud)


@pytest.mark.parametrize("version", ["v2", "v1.1"])
def test_cancel(
    run: Run, mrs: MrsBench, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    define(monkeypatch, cloud, api_version=version, **MRS_KEYS)
    job = mrs.running()[0]
    ids = ["--cluster-id", str(job.scope), "--job-execution-id", job.id]
    done = run("mrs", "cancel-job-execution", *ids)
    # Airflow's own line, at the first short word that it is to hide in a process.
    said = [line for line in done.err.splitlines() if "Skipping masking" not in line]
    assert (done.code, said) == (0, [])
    assert ends(mrs, job)
    if version == "v2":
        assert done.out == ""
    else:
        assert done.json["job_execution"]["id"] == job.id
        assert "job_configs" not in done.json["job_execution"]


def test_describe_and_list(run: Run, mrs: MrsBench) -> None:
    first, second = mrs.running(2, mrs.new_scope())
    ids = ["--cluster-id", str(first.scope)]
    shown = run("mrs", "describe-job-execution", *ids, "--job-execution-id", first.id).json["job_detail"]
    assert (shown["job_id"], shown["job_state"]) == (first.id, "RUNNING")
    assert "arguments" not in shown
    listed = run("mrs", "list-job-executions", *ids, "--query", "job_list[].job_id").json
    assert set(listed) == {first.id, second.id}
    assert len(run("mrs", "list-job-executions", *ids, "--max-items", "1").json["job_list"]) == 1


def test_a_listing_has_all_pages(run: Run, mrs: MrsBench) -> None:
    cluster = str(mrs.running(101, mrs.new_scope())[0].scope)
    command = ["mrs", "list-job-executions", "--cluster-id", cluster, "--query", "length(job_list)"]
    assert run(*command).out == "101\n"
    assert run(*command, "--no-paginate").out == "100\n"
    assert run(*command, "--offset", "2").out == "1\n"


def test_living_only(run: Run, mrs: MrsBench) -> None:
    done, living = mrs.running(2, mrs.new_scope())
    mrs.finish(done)
    command = ["mrs", "list-job-executions", "--cluster-id", str(living.scope), "--live-only"]
    assert run(*command, "--query", "job_list[].job_id").json == [living.id]


def test_unknown(run: Run, mrs: MrsBench) -> None:
    job = mrs.unknown()
    ids = ["--cluster-id", str(job.scope), "--job-execution-id", job.id]
    done = run("mrs", "describe-job-execution", *ids)
    assert (done.code, done.out) == (255, "")
    words = "\nAn error occurred (0176) when calling the DescribeJobExecution operation: ShowSingleJobExe on"
    assert done.err.startswith(words)


def test_denied(run: Run, mrs: MrsBench, cloud: LocalCloud) -> None:
    job = mrs.running()[0]
    cloud.faults.add("mrs", "*", "denied")
    done = run("mrs", "cancel-job-execution", "--cluster-id", str(job.scope), "--job-execution-id", job.id)
    assert (done.code, "when calling the CancelJobExecution operation" in done.err) == (255, True)
    assert not ends(mrs, job)


def test_a_throttled_cancel_is_sent_again(run: Run, mrs: MrsBench, cloud: LocalCloud) -> None:
    job = mrs.running()[0]
    cloud.faults.add("mrs", "StopJob", "throttle", times=1)
    ids = ["--cluster-id", str(job.scope), "--job-execution-id", job.id]
    assert run("mrs", "cancel-job-execution", *ids).code == 0
    assert ends(mrs, job)


def test_nobody_listens(run: Run, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "PATIENCE", Patience(seconds=0.1))
    define(monkeypatch, cloud, endpoint=NOWHERE, **MRS_KEYS)
    done = run("mrs", "cancel-job-execution", "--cluster-id", "c", "--job-execution-id", "j")
    assert (done.code, done.out) == (255, "")
    assert done.err.startswith("\nStopJob on c/j failed: ConnectionError: ")


def test_skeletons(run: Run) -> None:
    command = ["mrs", "cancel-job-execution", "--generate-cli-skeleton"]
    assert run(*command).json == {"cluster_id": "", "job_execution_id": ""}
    full = run(*command, "output", "--cluster-id", "c", "--job-execution-id", "j").json
    assert full["job_execution"]["id"] == "id"


def test_endpoint(run: Run, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, mrs: MrsBench) -> None:
    define(monkeypatch, cloud, endpoint=NOWHERE, **MRS_KEYS)
    job = mrs.running()[0]
    ids = ["--cluster-id", str(job.scope), "--endpoint-url", cloud.url]
    assert run("mrs", "list-job-executions", *ids).code == 0
