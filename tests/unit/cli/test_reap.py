"""``reap``: once, and again and again."""

from __future__ import annotations

import os
import signal
from threading import Timer

import pytest

from airflow_cancel_provider.cli.printer import Printer
from airflow_cancel_provider.reaper.backends.base import TryPhase
from airflow_cancel_provider.reaper.dead_letters import VARIABLE
from tests.cli_fixtures import JSON, Line, deployment, line
from tests.reaper_fixtures import SERVICES, ground
from tests.task_fixtures import connections

__all__ = ["connections", "deployment", "ground", "line"]


S = TryPhase


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

    def test_dry_on_a_laptop_which_reaches_no_airflow(
        self, line: Line, deployment: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        job = line.ground.start("batch", S.FAILED, deployment=deployment)
        line.ground.airflow.is_down = True
        done = line("reap", "--dry-run", *JSON, *HASTE)
        assert (done.code, done.json["orphans"], done.json["troubles"]) == (0, [], [])
        assert sum(done.json["jobs"].values()) == 1  # the job is listed, as one whose task is not known
        assert "Airflow is down. So it is not known which tasks are over" in caplog.text
        assert "--airflow-conn-id" in caplog.text
        done = line("reap", *JSON, *HASTE)
        assert done.code == 1
        assert line.ground.lives(job)

    def test_scopes(self, line: Line, deployment: str) -> None:
        job = line.ground.start("batch", S.FAILED, deployment=deployment)
        assert line("reap", *JSON, "--except-scope", "que*", *HASTE).json["orphans"] == []
        assert line("reap", *JSON, "--scope", "other", *HASTE).json["orphans"] == []
        assert line.ground.lives(job)
        assert line("reap", *JSON, "--scope", "que*", *HASTE).json["fates"] == {"ended": 1}

    def test_trouble_is_1(self, line: Line, deployment: str) -> None:
        job = line.ground.start("batch", S.FAILED, deployment=deployment)
        line.ground.airflow.before_question = lambda _: setattr(line.ground.airflow, "is_down", True)
        done = line("reap", *JSON, *HASTE)
        assert (done.code, done.json["troubles"]) == (
            1,
            ["Airflow is down. The jobs that it was asked about are kept."],
        )
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

        def at(question: int) -> None:
            if question == 1:
                line.ground.airflow.is_down = True
                Timer(0.3, setattr, (line.ground.airflow, "is_down", False)).start()
            if question == 3:
                line.ground.start("batch", S.ALIVE, deployment=deployment)
            if question > 3:
                os.kill(os.getpid(), signal.SIGTERM)

        line.ground.airflow.before_question = at
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

        def at(question: int) -> None:
            if question == 2:
                variables[VARIABLE] = "no JSON"
                Timer(0.5, mend).start()
            if line.ground.truth(job)["cancel_requested_at"]:
                os.kill(os.getpid(), signal.SIGTERM)

        line.ground.start("batch", S.ALIVE, deployment=deployment)
        line.ground.airflow.before_question = at
        done = line("reap", "--loop", "--interval", "0.1", *HASTE)
        assert done.code == 0
        assert line.ground.truth(job)["cancel_requested_at"]

    def test_a_loop_whose_reports_nobody_reads_has_failed(
        self, line: Line, deployment: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What starts it again after a failure does so: else jobs of lost tasks would run on, unseen."""
        job = line.ground.start("batch", S.FAILED, deployment=deployment)

        def fail(*_: object) -> None:
            raise BrokenPipeError

        monkeypatch.setattr(Printer, "say", fail)
        done = line("reap", "--loop", "--interval", "0.1", *HASTE)
        assert (done.code, done.err.splitlines()[-1]) == (
            1,
            "Nobody reads the reports any more: the loop ends.",
        )
        assert line.ground.truth(job)["cancel_requested_at"]

    @pytest.mark.parametrize("number, code", [(signal.SIGTERM, 1), (signal.SIGINT, 130)])
    def test_a_signal_ends_a_single_sweep(
        self, line: Line, deployment: str, number: signal.Signals, code: int
    ) -> None:
        job = line.ground.start("batch", S.FAILED, deployment=deployment)
        before = signal.getsignal(number)
        line.ground.airflow.before_question = lambda _: os.kill(os.getpid(), number)
        done = line("reap", *JSON, *HASTE, "--grace", "60")
        assert done.code == code
        assert "stopped" in done.json["troubles"][0]
        assert line.ground.lives(job)
        assert signal.getsignal(number) is before
