"""The services' own operations on the command line. ``tests/aws_cli`` compares them with the AWS CLI."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_cancel_provider import cli
from airflow_cancel_provider.cli.service_commands import run as commands
from airflow_cancel_provider.services.registry import SERVICES
from tests.airflow_versions import REMOTE_JOBS, TAKES_COMMANDS
from tests.cloud.server import LocalCloud
from tests.service_command_fixtures import NOWHERE, Run, ends, run
from tests.service_fixtures import BENCHES, Bench
from tests.task_fixtures import connect_aws, connections

__all__ = ["connections", "run"]

pytestmark = pytest.mark.usefixtures("connections")


@pytest.fixture
def emr(cloud: LocalCloud) -> Iterator[Bench]:
    bench = next(bench for bench in BENCHES if bench.name == "emr")(cloud)
    yield bench
    bench.close()


class TestEmr:
    def test_cancel(self, run: Run, emr: Bench) -> None:
        job = emr.running()[0]
        done = run("emr", "cancel-steps", "--cluster-id", str(job.scope), "--step-ids", job.id)
        assert (done.code, done.err) == (0, "")
        assert done.json == {"CancelStepsInfoList": [{"StepId": job.id, "Status": "SUBMITTED"}]}
        assert ends(emr, job)

    def test_input_as_json_and_the_command_line_over_it(self, run: Run, emr: Bench, tmp_path: Path) -> None:
        first, second = emr.running(2)
        path = tmp_path / "input.json"
        path.write_text(json.dumps({"ClusterId": first.scope, "StepIds": [first.id]}))
        done = run("emr", "cancel-steps", "--cli-input-json", f"file://{path}", "--step-ids", second.id)
        assert (done.code, done.json["CancelStepsInfoList"][0]["StepId"]) == (0, second.id)
        assert ends(emr, second)
        assert not ends(emr, first)

    @pytest.mark.parametrize("body", [b"<html>Sign in</html>", b'{"CancelStepsInfoList": [', b""])
    def test_a_page_is_no_answer(self, run: Run, emr: Bench, cloud: LocalCloud, body: bytes) -> None:
        cloud.faults.add("emr", "CancelSteps", "hostile_reply", body=body, acts=False)
        done = run("emr", "cancel-steps", "--cluster-id", "j-1", "--step-ids", "s-1")
        assert (done.code, done.out) == (255, "")
        assert "CancelSteps was not answered by the service: HTTP 200 with" in done.err

    @pytest.mark.parametrize("query", [[], ["--query", "CancelStepsInfoList"]])
    def test_what_was_done_is_no_error_whatever_is_shown_of_it(
        self, run: Run, emr: Bench, query: list[str]
    ) -> None:
        job = emr.running()[0]
        command = ["emr", "cancel-steps", "--cluster-id", str(job.scope), "--step-ids", job.id]
        assert run(*command, "--output", "text", *query).code == 0
        assert ends(emr, job)

    def test_a_reply_without_a_body_is_no_text(self, run: Run, cloud: LocalCloud) -> None:
        (job,) = BENCHES[1](cloud).running()
        done = run("batch", "terminate-job", "--job-id", job.id, "--reason", "why", "--output", "text")
        assert (done.code, done.out) == (0, "")

    @pytest.mark.parametrize("command", ["cancel-steps", "list-steps"])
    def test_denied(self, run: Run, emr: Bench, cloud: LocalCloud, command: str) -> None:
        job = emr.running()[0]
        cloud.faults.add("emr", "*", "denied")
        steps = ["--step-ids", job.id]
        done = run("emr", command, "--cluster-id", str(job.scope), *steps)
        assert (done.code, done.out) == (255, "")
        assert done.err.startswith("\nAn error occurred (AccessDeniedException) when calling the ")

    def test_outputs(self, run: Run, emr: Bench) -> None:
        job = emr.running()[0]
        command = ["emr", "list-steps", "--cluster-id", str(job.scope), "--query", "Steps[].[Id,Name]"]
        assert run(*command).json == [[job.id, "running"]]
        assert run(*command, "--output", "text").out == f"{job.id}\trunning\n"


class TestWrongUse:
    @pytest.mark.parametrize(
        "arguments, code, words",
        [
            ("emr", 2, "the following arguments are required: operation"),
            ("emr cancel-step", 2, "Invalid choice: 'cancel-step', maybe you meant:\n\n  * cancel-steps"),
            ("emr cancel-steps", 2, "the following arguments are required: --cluster-id, --step-ids"),
            ("emr cancel-steps --cluster-id -x --step-ids a", 2, "--cluster-id: expected one argument"),
            (
                "emr cancel-steps --cluster-id j --step-ids s --profile x",
                255,
                "Unknown options: --profile, x",
            ),
            ("emr cancel-steps --cli-input-json {}", 255, 'Missing required parameter in input: "ClusterId"'),
            ("emr cancel-steps --cli-input-json []", 255, "Expected an object with parameters, received: []"),
            ("emr cancel-steps --cli-input-json {", 255, "'--cli-input-json': Invalid JSON"),
            ("emr cancel-steps --cli-input-json file:///no", 255, "Unable to load paramfile file:///no"),
            ("emr list-steps --cluster-id j --region=", 255, "Bad value for --region ''"),
            ("emr list-steps --cluster-id j --query [", 255, "Bad value for --query ["),
            ("emr list-steps --cluster-id j --endpoint-url x", 255, 'Bad value for --endpoint-url "x"'),
            (
                "emr list-steps --cluster-id j --no-paginate --max-items 1",
                255,
                "Cannot specify --no-paginate",
            ),
            ("batch list-jobs --filters name=A,values=b", 255, "'--filters': Invalid JSON"),
            ("batch list-jobs --max-results x", 255, "'--max-results': invalid literal for int()"),
            ("mrs cancel-job-execution --cluster-id c", 2, "are required: --job-execution-id"),
            ("mrs list-job-executions --cluster-id a/b", 255, "'a/b' is not an id of MRS"),
            (
                "mrs list-job-executions --cluster-id a --offset 0",
                255,
                "offset, value: 0, valid min value: 1",
            ),
        ],
    )
    def test_words_and_exit_code(
        self, run: Run, cloud: LocalCloud, arguments: str, code: int, words: str
    ) -> None:
        done = run(*arguments.split())
        assert (done.code, done.out) == (code, "")
        assert words in done.err
        assert len(cloud.journal) == 0

    @pytest.mark.parametrize("service", SERVICES)
    def test_help(self, run: Run, service: str) -> None:
        listed = run(service, "--help")
        assert listed.code == 0
        for words in (["help"], ["-h"]):
            assert run(service, *words).out == listed.out
        listed_names = re.search(r"\{([a-z,\s-]+),help\}", listed.out)
        assert listed_names
        names = listed_names[1].split(",")
        assert len(names) >= 3
        for name in names:
            page = run(service, name, "help").out
            assert page.startswith(f"usage: airflow-remote-jobs {service} <operation> [parameters]\n")
            assert "Required. " in page or name == "list-jobs"
            assert "<p>" not in page

    def test_options_may_stand_before_the_operation(self, run: Run, emr: Bench) -> None:
        scope = str(emr.running()[0].scope)
        done = run(
            "emr", "--region", "us-east-1", "--query", "length(Steps)", "list-steps", "--cluster-id", scope
        )
        assert (done.code, done.out) == (0, "1\n")


class TestConnections:
    LIST = ("emr", "list-steps", "--cluster-id", "j-1")

    def test_unknown(self, run: Run) -> None:
        done = run(*self.LIST, "--conn-id", "no_such")
        assert done.code == 255
        assert done.err == (
            "\nConnection 'no_such' is not defined in Airflow. Define it with type 'aws', or correct the "
            "name (aws_conn_id, or the part of an address before the region). For the process's own "
            "credentials name none (aws_conn_id=None, batch://@us-east-1/…).\n"
        )

    def test_another_type(self, run: Run) -> None:
        done = run(*self.LIST, "--conn-id", "mrs_default")
        assert (done.code, "needs type 'aws'" in done.err) == (255, True)

    def test_no_region(self, run: Run, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
        connect_aws(monkeypatch, cloud, region_name=None)
        monkeypatch.delenv("AWS_DEFAULT_REGION")
        done = run(*self.LIST)
        assert (done.code, done.out) == (255, "")
        assert done.err == (
            "\nYou must specify a region. Use --region, or set the region of connection 'aws_default'.\n"
        )
        assert "Use --region, or set AWS_DEFAULT_REGION." in run(*self.LIST, "--conn-id", "").err
        assert "is not valid" in run(*self.LIST, "--region", "eu-west-1").err
        assert [entry.region for entry in cloud.journal.entries()] == ["eu-west-1"]

    def test_endpoint(self, run: Run, cloud: LocalCloud) -> None:
        done = run(*self.LIST, "--endpoint-url", NOWHERE)
        assert (done.code, done.err) == (255, f'\nCould not connect to the endpoint URL: "{NOWHERE}/"\n')
        assert len(cloud.journal) == 0

    def test_endpoint_over_one_of_the_service(
        self, run: Run, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connect_aws(monkeypatch, cloud, service_config={"emr": {"endpoint_url": NOWHERE}})
        assert "Could not connect" in run(*self.LIST).err
        assert "is not valid" in run(*self.LIST, "--endpoint-url", cloud.url).err

    def test_own_identity(self, run: Run, cloud: LocalCloud) -> None:
        run(*self.LIST, "--conn-id", "", "--endpoint-url", cloud.url)
        assert [entry.access_key for entry in cloud.journal.entries()] == ["testing"]


HARD = ["emr", "--region", "x", "cancel-steps", "--step-ids", "-x", "--", "--help", "-o", "--output=json"]


@pytest.mark.skipif(not TAKES_COMMANDS, reason="before 3.2, Airflow takes no commands")
def test_airflow_hands_on_everything() -> None:
    from airflow.cli.cli_parser import get_parser

    options = get_parser().parse_args(["remote-jobs", *HARD])
    assert (options.program, options.arguments) == ("airflow remote-jobs emr", HARD[1:])
    assert not hasattr(options, "output")


def test_our_own_command_hands_on_everything() -> None:
    options = cli.get_parser().parse_args(HARD)
    assert (options.program, options.arguments) == ("airflow-remote-jobs emr", HARD[1:])


def test_nobody_reads_any_more(cloud: LocalCloud, capfd: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    saved = os.dup(1)
    os.dup2(writer, 1)
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main(["batch", "list-jobs", "--job-queue", "queue"])
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(writer)
    assert ended.value.code == 0
    assert capfd.readouterr().err == ""
    assert cloud.journal.count("batch", "ListJobs") == 1


def test_a_service_whose_connection_breaks_is_no_success(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(commands, "client_of", broken)
    done = run("batch", "cancel-job", "--job-id", "j", "--reason", "r")
    assert (done.code, done.err) == (255, "\nConnectionError: [Errno 32] Broken pipe\n")


PAGE = Path(__file__).parents[4] / "docs" / "cli-aws.rst"
BLOCKS = re.findall(r"^   \$ airflow remote-jobs (\S+ \S+ --.*)$", PAGE.read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("line", BLOCKS)
def test_commands_of_the_documents(
    run: Run, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("input.json").write_text('{"ClusterId": "j-1", "StepIds": ["s-1"]}')
    words = shlex.split(line.partition(" > ")[0])
    check = [] if "--generate-cli-skeleton" in words else ["--generate-cli-skeleton", "output"]
    assert run(*words, *check).code == 0


def test_there_are_commands_in_the_documents() -> None:
    assert len(BLOCKS) >= 5


@pytest.mark.slow
def test_a_process_writes_its_answer_alone(cloud: LocalCloud) -> None:
    command = [*REMOTE_JOBS, "batch", "list-jobs", "--job-queue", "queue"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"jobSummaryList": []})
    # Airflow warns of its own, and Airflow 3.1.6 lets alembic tell what it loads.
    lines = [line for line in done.stderr.splitlines() if "alembic" not in line]
    assert not [line for line in lines if "info" in line.lower()]
    assert cloud.journal.count("batch", "ListJobs") == 1
