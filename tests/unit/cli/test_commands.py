"""The command line: what it prints, where, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Timer
from typing import ClassVar
from uuid import UUID, uuid4

import pytest

from airflow_cancel_provider import cli
from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.reaper.backends.base import TryPhase
from airflow_cancel_provider.reaper.backends.database import Database
from airflow_cancel_provider.reaper.dead_letters import VARIABLE
from airflow_cancel_provider.services import registry
from tests.airflow_versions import REMOTE_JOBS, TAKES_COMMANDS
from tests.cli_fixtures import JSON, NAME, NOWHERE, TYPO, Line, deployment, line
from tests.reaper_fixtures import SERVICES, ground
from tests.task_fixtures import connections, know_no_cluster

__all__ = ["connections", "deployment", "ground", "line"]

S = TryPhase
ROOT = Path(__file__).parents[3]
HASTE = ["--grace", "0.05", "--share", "1", "--at", "aws://aws_default", "--at", "mrs://mrs_default"]


class TestReap:
    def test_for_machines(self, line: Line, deployment: str) -> None:
        jobs = [line.ground.start(service, S.FAILED, deployment=deployment) for service in SERVICES]
        living = [line.ground.start(service, S.ALIVE, deployment=deployment) for service in SERVICES]
        done = line("reap", *JSON, *HASTE)
        assert done.code == 0
        assert {orphan["job"] for orphan in done.json["orphans"]} == set(jobs)
        assert done.json["fates"] == {"ended": len(SERVICES)}
        assert all(line.ground.truth(job)["cancelled"] for job in jobs)
        assert line.ground.lives(*living)

    def test_dry(self, line: Line, deployment: str) -> None:
        job = line.ground.start("batch", S.FAILED, deployment=deployment)
        done = line("reap", "--dry-run", *JSON, *HASTE)
        assert (done.code, done.json["dry_run"], done.json["fates"]) == (0, True, {"found": 1})
        assert line.ground.lives(job)
        assert line.ground.cancels() == 0
        assert line.ground.airflow.writes == []
        words = line("reap", "-n", *HASTE).out
        assert "Dry run: nothing is cancelled." in words
        assert f"ORPHAN {job}" in words

    def test_scopes(self, line: Line, deployment: str) -> None:
        job = line.ground.start("batch", S.FAILED, deployment=deployment)
        assert line("reap", *JSON, "--except-scope", "que*", *HASTE).json["orphans"] == []
        assert line("reap", *JSON, "--scope", "other", *HASTE).json["orphans"] == []
        assert line.ground.lives(job)
        assert line("reap", *JSON, "--scope", "que*", *HASTE).json["fates"] == {"ended": 1}

    def test_trouble_is_1(self, line: Line, deployment: str) -> None:
        job = line.ground.start("batch", S.FAILED, deployment=deployment)
        line.ground.airflow.before_look = lambda _: setattr(line.ground.airflow, "is_down", True)
        done = line("reap", *JSON, *HASTE)
        assert (done.code, done.json["troubles"]) == (1, ["Airflow is down. Nothing is cancelled."])
        assert line.ground.lives(job)

    @pytest.mark.parametrize(
        "arguments, words",
        [
            (["--at", "gcp://a"], "no service 'gcp'"),
            (["--at", "nonsense"], "not a place"),
            ([], "reaper_places"),
            (["--at", "emr://no_such@us-east-1"], "'no_such' is not defined"),
            ([*HASTE, "--grace", "-1"], "grace is -1.0"),
            ([*HASTE, "--grace", "nan"], "grace is nan"),
            ([*HASTE, "--share", "0"], "share"),
            ([*HASTE, "--loop", "--interval", "nan"], "--interval is nan"),
            ([*HASTE, "--loop", "--interval", "30", "--grace", "30"], "must be more than --grace, 30"),
            ([*HASTE, "--airflow-conn-id", "no_such"], "'no_such' to Airflow's API server is not defined"),
        ],
    )
    def test_bad_input_is_2_and_one_sentence(self, line: Line, arguments: list[str], words: str) -> None:
        done = line("reap", *arguments)
        assert done.code == 2
        assert words in done.err.splitlines()[-1]
        assert line.ground.cancels() == 0

    def test_a_broken_variable_is_2(self, line: Line) -> None:
        line.ground.airflow.variables[VARIABLE] = "no JSON"
        done = line("reap", *HASTE)
        assert done.code == 2
        assert VARIABLE in done.err.splitlines()[-1]

    def test_without_a_name_of_its_own(self, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT")
        done = line("reap", *HASTE)
        assert done.code == 2
        assert "deployment" in done.err

    def test_loop(self, line: Line, deployment: str) -> None:
        """It sweeps until a signal comes, whatever happens to a sweep."""
        job = line.ground.start("batch", S.FAILED, deployment=deployment)

        def at(look: int) -> None:
            if look == 1:
                line.ground.airflow.is_down = True
                Timer(0.3, setattr, (line.ground.airflow, "is_down", False)).start()
            if look == 3:
                line.ground.start("batch", S.ALIVE, deployment=deployment)
            if look > 3:
                os.kill(os.getpid(), signal.SIGTERM)

        line.ground.airflow.before_look = at
        done = line("reap", "--loop", "--interval", "0.1", *HASTE)
        assert done.code == 0
        assert line.ground.truth(job)["cancel_requested_at"]
        assert "Airflow is down" in done.out

    def test_a_loop_outlives_what_somebody_breaks_and_mends(self, line: Line, deployment: str) -> None:
        job = line.ground.start("batch", S.ALIVE, deployment=deployment)
        variables = line.ground.airflow.variables

        def mend() -> None:
            del variables[VARIABLE]
            line.ground.owner(job, S.FAILED)

        def at(look: int) -> None:
            if look == 2:
                variables[VARIABLE] = "no JSON"
                Timer(0.5, mend).start()
            if line.ground.truth(job)["cancel_requested_at"]:
                os.kill(os.getpid(), signal.SIGTERM)

        line.ground.start("batch", S.ALIVE, deployment=deployment)
        line.ground.airflow.before_look = at
        done = line("reap", "--loop", "--interval", "0.1", *HASTE)
        assert done.code == 0
        assert line.ground.truth(job)["cancel_requested_at"]

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_a_single_sweep(self, line: Line, deployment: str, number: signal.Signals) -> None:
        job = line.ground.start("batch", S.FAILED, deployment=deployment)
        before = signal.getsignal(number)
        line.ground.airflow.before_look = lambda _: os.kill(os.getpid(), number)
        done = line("reap", *JSON, *HASTE, "--grace", "60")
        assert done.code == 1
        assert "stopped" in done.json["troubles"][0]
        assert line.ground.lives(job)
        assert signal.getsignal(number) is before


class TestCancel:
    def test_seen_to_end(self, line: Line) -> None:
        jobs = [line.ground.unlabelled(service) for service in SERVICES]
        done = line("cancel", *JSON, *jobs)
        assert (done.code, done.states) == (0, dict.fromkeys(jobs, "CANCELLED"))
        assert "Cancelled from the command line" in line.ground.truth(jobs[1])["reason"]

    def test_in_words(self, line: Line) -> None:
        job = line.ground.unlabelled("batch")
        told = line("cancel", str(job)).out
        assert told.split()[:4] == ["job", "|", "state", "|"]
        assert f"{job} | CANCELLED | REQUESTED" in told
        plain = line("cancel", "-o", "plain", str(job)).out.splitlines()[-1]
        assert plain.split()[:3] == [str(job), "CANCELLED", "ALREADY_ENDED"]

    def test_forced(self, line: Line) -> None:
        line.ground.cloud.emr.override("stubborn*", stubborn=True)
        job = line.ground.start("emr", None, name="stubborn")
        line.ground.cloud.clock.advance(1)
        assert line("cancel", "--force", *JSON, str(job)).states == {job: "CANCELLED"}

    def test_without_waiting(self, line: Line) -> None:
        line.ground.benches["batch"].local.configure({"cancel": 1000})
        job = line.ground.unlabelled("batch")
        done = line("cancel", "--wait", "0", *JSON, str(job))
        assert (done.code, done.states) == (0, {job: "CANCELLING"})

    def test_not_seen_to_end_is_1(self, line: Line) -> None:
        line.ground.benches["batch"].local.configure({"cancel": 1000})
        job = line.ground.unlabelled("batch")
        done = line("cancel", "--wait", "0.1", str(job))
        assert done.code == 1
        assert f"{job} is CANCELLING" in done.err

    def test_refused_is_1(self, line: Line) -> None:
        job = line.ground.unlabelled("emr-serverless")
        line.ground.cloud.faults.add("emr-serverless", "CancelJobRun", "denied")
        done = line("cancel", str(job))
        assert done.code == 1
        assert "Allow emr-serverless:CancelJobRun" in done.err
        assert line.ground.lives(job)

    def test_a_job_that_has_ended_is_fine(self, line: Line) -> None:
        job = line.ground.unlabelled("batch")
        line.ground.benches["batch"].finish(job)
        done = line("cancel", *JSON, str(job))
        assert (done.code, done.states) == (0, {job: "SUCCEEDED"})

    def test_a_job_that_the_service_does_not_know_is_1(self, line: Line) -> None:
        job = line.ground.unlabelled("batch")
        done = line("cancel", *JSON, str(job), NOWHERE)
        assert (done.code, done.states) == (1, {job: "CANCELLED", NOWHERE: "GONE"})
        assert (
            f"{NOWHERE} is GONE: the service does not know this job over connection 'aws_default' in region"
            in (done.err.splitlines()[-1])
        )

    def test_a_job_that_the_service_does_not_know_may_be_ignored(self, line: Line) -> None:
        done = line("cancel", *JSON, "--ignore-missing", NOWHERE)
        assert (done.code, done.states) == (0, {NOWHERE: "GONE"})

    def test_every_job_has_its_state_also_when_one_fails(self, line: Line) -> None:
        jobs = {service: line.ground.unlabelled(service) for service in SERVICES}
        line.ground.cloud.faults.add("emr-serverless", "CancelJobRun", "denied")
        done = line("cancel", *JSON, *jobs.values())
        assert done.code == 1
        states = dict.fromkeys(jobs.values(), "CANCELLED") | {jobs["emr-serverless"]: "REFUSED"}
        assert done.states == states
        assert "Allow emr-serverless:CancelJobRun" in done.err

    @pytest.mark.parametrize("force", [[], ["--force"]])
    @pytest.mark.parametrize("way", ["raised", "told"])
    def test_an_unknown_cluster_is_1_and_the_other_jobs_go_on(
        self, line: Line, monkeypatch: pytest.MonkeyPatch, force: list[str], way: str
    ) -> None:
        know_no_cluster(monkeypatch, "j-TYPO", is_raised=way == "raised")
        job = line.ground.unlabelled("emr")
        done = line("cancel", *JSON, *force, "--ignore-missing", TYPO, str(job))
        assert (done.code, done.states) == (1, {TYPO: "REFUSED", job: "CANCELLED"})
        assert "does not know cluster j-TYPO" in done.err.splitlines()[-1]

    @pytest.mark.parametrize(
        "arguments, words",
        [
            (["nonsense"], "not the address of a remote job"),
            (["batch://aws_default@us-east-1/abc"], "not a job id"),
            (["gcp://a/b"], "no service 'gcp'"),
            (["batch://no_such@us-east-1/00000000-0000-0000-0000-000000000000"], "'no_such' is not defined"),
            ([NOWHERE, "--wait", "-1"], "--wait is -1.0"),
            ([NOWHERE, "--wait", "inf"], "--wait is inf"),
        ],
    )
    def test_bad_input_is_2_and_sends_nothing(self, line: Line, arguments: list[str], words: str) -> None:
        job = line.ground.unlabelled("batch")
        sent = len(line.ground.cloud.journal)
        done = line("cancel", str(job), *arguments)
        assert done.code == 2
        assert words in done.err.splitlines()[-1]
        assert len(line.ground.cloud.journal) == sent

    def test_an_unknown_mrs_cluster_is_1_and_the_other_jobs_go_on(self, line: Line) -> None:
        """As the service itself says it."""
        job, typo = line.ground.unlabelled("mrs"), f"mrs://mrs_default/{uuid4()}/{uuid4()}"
        done = line("cancel", *JSON, "--ignore-missing", typo, str(job))
        assert (done.code, done.states) == (1, {typo: "REFUSED", job: "CANCELLED"})
        assert typo.split("/")[3] in done.err.splitlines()[-1]
        seen = line("describe", *JSON, typo, str(job))
        assert (seen.code, [each["state"] for each in seen.json]) == (1, ["UNKNOWN", "CANCELLED"])


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

    def test_an_unknown_cluster(self, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
        know_no_cluster(monkeypatch, "j-TYPO", is_raised=True)
        job = line.ground.unlabelled("emr")
        done = line("describe", *JSON, TYPO, str(job))
        assert done.code == 1
        assert [(each["job"], each["state"]) for each in done.json] == [(TYPO, "UNKNOWN"), (job, "RUNNING")]
        assert "does not know cluster j-TYPO" in done.json[0]["detail"]
        assert f"{TYPO} | UNKNOWN" in line("describe", TYPO).out

    def test_denied_is_1(self, line: Line) -> None:
        line.ground.cloud.faults.add("batch", "DescribeJobs", "denied")
        done = line("describe", NOWHERE)
        assert done.code == 1
        assert "Allow batch:DescribeJobs" in done.err.splitlines()[-1]

    @pytest.mark.parametrize(
        "arguments, words",
        [
            (["describe", "nonsense"], "'nonsense' is not the address of a remote job"),
            (["describe", "gcp://a/b"], "There is no service 'gcp'; there are emr, "),
            (["describe", "emr://aws_default@us-east-1"], "not the address of a remote job"),
            (["describe", "emr://aws_default@us-east-1/s-1"], "None is not a cluster_id of emr"),
            (["cancel", "batch://aws_default@us-east-1/%ff"], "its escapes are not UTF-8"),
            (["cancel", "batch://aws_default@us-east-1/a/b"], "Jobs of batch are not part of anything"),
            (["cancel", "Batch://aws_default/a"], "not the address of a remote job"),
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


class TestDeadLetters:
    JOB, OTHER = NOWHERE, NOWHERE[:-1] + "1"
    LETTER: ClassVar = {
        "why": "denied",
        "since": "2026-11-20T00:00:00+00:00",
        "task": "dag / run / task",
        "code": "No",
    }

    @pytest.fixture
    def lettered(self, line: Line) -> Line:
        line.ground.airflow.variables[VARIABLE] = json.dumps({self.JOB: self.LETTER, self.OTHER: {}})
        return line

    def test_none(self, line: Line) -> None:
        done = line("dead-letters")
        assert (done.code, done.out) == (0, "No dead letters.\n")
        assert line("dead-letters", *JSON).json == []

    def test_listed(self, lettered: Line) -> None:
        done = lettered("dead-letters")
        assert done.code == 1
        first, second = lettered("dead-letters", *JSON).json
        assert first == {"job": self.JOB, **self.LETTER, "acknowledged": False, "change": None}
        assert (second["job"], second["why"], second["task"]) == (self.OTHER, None, None)
        assert f"{self.JOB} | denied | 2026-11-20T00:00:00+00:00 | dag / run / task" in done.out
        assert lettered.ground.airflow.writes == []

    def test_acknowledged(self, lettered: Line) -> None:
        done = lettered("dead-letters", "--acknowledge", self.JOB)
        first, second = done.out.splitlines()[2:4]
        assert (done.code, self.JOB in first, "acknowledged" in first) == (1, True, True)
        assert (self.OTHER in second, "acknowledged" in second) == (True, False)
        assert self.JOB not in lettered("dead-letters").out
        done = lettered("dead-letters", *JSON, "--acknowledge", self.OTHER)
        assert done.code == 0
        assert [(row["job"], row["acknowledged"], row["change"]) for row in done.json] == [
            (self.JOB, True, None),
            (self.OTHER, True, "acknowledged"),
        ]

    def test_retried(self, lettered: Line) -> None:
        done = lettered("dead-letters", *JSON, "--retry", self.JOB)
        assert [(row["job"], row["change"]) for row in done.json] == [
            (self.JOB, "to be cancelled again"),
            (self.OTHER, None),
        ]
        assert [row["job"] for row in lettered("dead-letters", *JSON).json] == [self.OTHER]
        assert lettered("dead-letters", "--retry", "all").code == 0
        assert VARIABLE not in lettered.ground.airflow.variables

    @pytest.mark.parametrize("arguments", [["--retry", NOWHERE[:-1] + "2"], ["--acknowledge", "nonsense"]])
    def test_no_such_letter_is_2(self, lettered: Line, arguments: list[str]) -> None:
        assert lettered("dead-letters", *arguments).code == 2
        assert lettered.ground.airflow.writes == []


class TestAirflowsThatDoNotAnswer:
    """What Airflow itself would take for "there is no such Variable"."""

    def test_a_database(self) -> None:
        with pytest.raises(AirflowUnavailable, match="Nothing is cancelled"):
            Database().variable("any")
        with pytest.raises(AirflowUnavailable, match="Nothing is cancelled"):
            Database().owners([UUID(int=0)])


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def there(connections: None) -> dict[str, str]:  # noqa: ARG001  they are set
    """What a process needs to reach the local cloud."""
    return {name: value for name, value in os.environ.items() if name.startswith("AIRFLOW_CONN_")}


def test_help_in_a_process() -> None:
    done = run(sys.executable, "-m", "airflow_cancel_provider.cli", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for command in cli.COMMANDS:
        assert command.name in done.stdout


@pytest.mark.parametrize("command", ["reap", "cancel", "describe", "dead-letters"])
def test_help_names_the_services_of_the_registry(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert "Exit codes: 0: " in told
    assert (f"with a service of aws, {', '.join(registry.SERVICES)};" in told) is (command == "reap")


def test_an_unknown_service_is_2_and_one_sentence_in_a_process(there: dict[str, str]) -> None:
    done = run(sys.executable, "-m", "airflow_cancel_provider.cli", "describe", "gcp://a/b", **there)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        f"There is no service 'gcp'; there are {', '.join(registry.SERVICES)}."
    )
    assert "Traceback" not in done.stderr


def test_wrong_arguments_in_a_process() -> None:
    done = run(sys.executable, "-m", "airflow_cancel_provider.cli", "reap", "--grace", "soon")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.airflow
@pytest.mark.skipif(not TAKES_COMMANDS, reason="its commands are its own")
@pytest.mark.parametrize("arguments", [["--help"], ["reap", "--help"], ["dead-letters", "--help"]])
def test_help_by_airflow(arguments: list[str]) -> None:
    done = run(sys.executable, "-m", "airflow", "remote-jobs", *arguments)
    assert done.returncode == 0, done.stderr
    assert "remote-jobs" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.airflow
@pytest.mark.parametrize("command", [REMOTE_JOBS, [sys.executable, "-m", "airflow_cancel_provider.cli"]])
def test_standard_output_is_for_answers(there: dict[str, str], command: list[str]) -> None:
    """Airflow's own log goes there, too, but not between ours."""
    done = run(*command, "describe", "-v", *JSON, NOWHERE, **there)
    assert (done.returncode, json.loads(done.stdout)[0]["state"]) == (1, "GONE")
    assert "credentials retrieved" in done.stderr


@pytest.mark.airflow
def test_a_database_that_is_not_there(there: dict[str, str], tmp_path: Path) -> None:
    settings = {"AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT": NAME, "AIRFLOW_HOME": str(tmp_path)}
    done = run(
        *(sys.executable, "-m", "airflow_cancel_provider.cli", "reap", *JSON, *HASTE), **there, **settings
    )
    assert done.returncode == 1
    (trouble,) = json.loads(done.stdout)["troubles"]
    assert trouble.startswith("Airflow's database did not answer")
    assert "Traceback" not in done.stderr


def test_what_is_not_given() -> None:
    parser = cli.get_parser()
    options = parser.parse_args(["reap"])
    expected = {"at": [], "loop": False, "interval": 300.0, "dry_run": False, "output": "table", "brake": 100}
    assert {name: getattr(options, name) for name in expected} == expected
    assert parser.parse_args(["reap", "--at", "a", "--at", "b"]).at == ["a", "b"]
    assert parser.parse_args(["reap"]).at == [], "a default is not added to"
