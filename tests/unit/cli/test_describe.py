"""``describe``."""

from __future__ import annotations

import os

import pytest

from tests.cli_fixtures import JSON, NOWHERE, TYPO, Line, deployment, line
from tests.reaper_fixtures import SERVICES, ground
from tests.task_fixtures import connections

__all__ = ["connections", "deployment", "ground", "line"]


class TestDescribe:
    def test_states(self, line: Line) -> None:
        jobs = [line.ground.unlabelled(service) for service in SERVICES]
        done = line("describe", *JSON, *jobs, NOWHERE)
        assert done.code == 1
        assert [each["job"] for each in done.json] == [*jobs, NOWHERE]
        assert [each["state"] for each in done.json] == [*["RUNNING"] * len(jobs), "GONE"]
        assert "does not know this job over connection 'aws_default'" in done.err.splitlines()[-1]
        assert line("describe", *jobs).code == 0
        assert f"{NOWHERE} | GONE" in line("describe", NOWHERE).out

    def test_an_unknown_cluster(self, line: Line) -> None:
        job = line.ground.unlabelled("emr")
        done = line("describe", *JSON, TYPO, str(job))
        assert done.code == 1
        assert [(each["job"], each["state"]) for each in done.json] == [(TYPO, "UNKNOWN"), (job, "RUNNING")]
        assert "Cluster id 'j-TYPO' is not valid" in done.json[0]["detail"]
        assert f"{TYPO} | UNKNOWN" in line("describe", TYPO).out

    def test_denied_is_1(self, line: Line) -> None:
        line.ground.cloud.faults.add("batch", "DescribeJobs", "denied")
        done = line("describe", NOWHERE)
        assert done.code == 1
        assert "Allow batch:DescribeJobs" in done.err.splitlines()[-1]

    def test_a_cluster_that_is_denied_hides_no_other(self, line: Line) -> None:
        scopes = [line.ground.benches["emr"].new_scope() for _ in range(2)]
        denied, seen = (line.ground.start("emr", None, scope=scope) for scope in scopes)
        line.ground.cloud.faults.add("emr", "ListSteps", "denied", scope=scopes[0] or "")
        done = line("describe", *JSON, str(denied), str(seen))
        assert done.code == 1
        assert [each["state"] for each in done.json] == ["UNKNOWN", "RUNNING"]
        assert "Allow elasticmapreduce:ListSteps" in done.err.splitlines()[-1]

    @pytest.mark.parametrize(
        "arguments, words",
        [
            (["describe", "nonsense"], "The command 'list' shows addresses."),
            (["describe", "gcp://a/b"], "There is no service 'gcp'; there are emr, "),
            (["describe", "emr://aws_default@us-east-1"], "not the address of a remote job"),
            (["describe", "emr://aws_default@us-east-1/s-1"], "ends with /<cluster_id>/<step id>."),
            (["cancel", "batch://aws_default@us-east-1/%ff"], "its escapes are not UTF-8"),
            (["cancel", "batch://aws_default@us-east-1/a/b"], "Expected batch://connection@region/<job id>."),
            (["cancel", "Batch://aws_default/a"], "not the address of a remote job"),
            (["reap", "--at", "awz://a"], "There is no service 'awz'; there are aws, emr, "),
            (["reap", "--at", "emr://a@b@c"], "not a place to look for jobs"),
            (["reap", "--at", "aws//a"], "not a place to look for jobs"),
            (["dead-letters", "--retry", "emr:/a"], "not the address of a remote job"),
        ],
    )
    def test_bad_input_is_2(self, line: Line, arguments: list[str], words: str) -> None:
        """One sentence, before Airflow or a service is asked anything."""
        line.ground.airflow.is_down = True
        sent = len(line.ground.cloud.journal)
        done = line(*arguments)
        assert done.code == 2
        assert words in done.err.splitlines()[-1]
        assert len(line.ground.cloud.journal) == sent


@pytest.fixture
def there(connections: None) -> dict[str, str]:  # noqa: ARG001  they are set
    """What a process needs to reach the local cloud."""
    return {name: value for name, value in os.environ.items() if name.startswith("AIRFLOW_CONN_")}
