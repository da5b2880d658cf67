"""``cancel`` by addresses."""

from __future__ import annotations

from uuid import uuid4

import pytest

from airflow_cancel_provider.services.batch.service import BatchJobService
from tests.cli_fixtures import JSON, NOWHERE, TYPO, Line, deployment, line, once
from tests.reaper_fixtures import SERVICES, ground
from tests.task_fixtures import connections

__all__ = ["connections", "deployment", "ground", "line"]


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

    def test_what_a_service_says_of_a_job_is_said_once(
        self, line: Line, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Not logged as well: on standard error that would be the same sentence in another format."""
        job = line.ground.unlabelled("batch")
        for operation in ("TerminateJob", "TerminateJobs"):
            line.ground.cloud.faults.add("batch", operation, kind="denied")
        done = line("cancel", str(job), NOWHERE)
        assert done.code == 1
        assert [text.partition(": ")[0] for text in done.err.splitlines()] == [str(job), f"{NOWHERE} is GONE"]
        assert [each for each in caplog.records if each.name == "airflow_cancel_provider"] == []

    def test_forced(self, line: Line) -> None:
        line.ground.cloud.emr.override("stubborn*", stubborn=True)
        job = line.ground.start("emr", None, name="stubborn")
        line.ground.cloud.clock.advance(1)
        assert line("cancel", "--force", *JSON, str(job)).states == {job: "CANCELLED"}

    def test_a_job_that_ignores_the_first_request(self, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever waits for its end sees it, as after a cancel by everybody else."""
        monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__ESCALATE_AFTER", "0.2")
        line.ground.cloud.emr.override("stubborn*", stubborn=True)
        job = line.ground.start("emr", None, name="stubborn")
        line.ground.cloud.clock.advance(1)
        done = line("cancel", "--wait", "5", *JSON, str(job))
        assert (done.code, done.states) == (0, {job: "CANCELLED"})
        assert line.ground.cancels(job) == 2

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

    @pytest.mark.parametrize("method", ["cancel", "describe"])
    def test_an_error_that_nobody_expects_keeps_no_other_job_from_its_end(
        self, line: Line, monkeypatch: pytest.MonkeyPatch, method: str
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise RuntimeError("the SDK has a bug")

        broken, other = line.ground.unlabelled("batch"), line.ground.unlabelled("emr")
        monkeypatch.setattr(BatchJobService, method, fail)
        done = line("cancel", *JSON, str(broken), str(other))
        assert (done.code, done.states[other]) == (1, "CANCELLED")
        assert f"{broken}: RuntimeError: the SDK has a bug. Run the command again with -v" in done.err
        assert done.json[0]["detail"].startswith(f"{broken}: RuntimeError")

    def test_who_interrupts_it_sees_what_was_requested(self, line: Line) -> None:
        line.ground.benches["batch"].local.configure({"cancel": 1000})
        job = line.ground.unlabelled("batch")
        polls = line.ground.cloud.journal

        def is_polled() -> bool:
            return bool(line.ground.cancels(job)) and polls.count("batch", "DescribeJobs") > 2

        with once(is_polled):
            done = line("cancel", *JSON, str(job))
        assert (done.code, done.states) == (130, {job: "CANCELLING"})
        assert done.err.splitlines()[-1].startswith("Interrupted. What was requested is not undone")

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
    def test_an_unknown_cluster_is_1_and_the_other_jobs_go_on(self, line: Line, force: list[str]) -> None:
        job = line.ground.unlabelled("emr")
        done = line("cancel", *JSON, *force, "--ignore-missing", TYPO, str(job))
        assert (done.code, done.states) == (1, {TYPO: "REFUSED", job: "CANCELLED"})
        assert "Cluster id 'j-TYPO' is not valid" in done.err.splitlines()[-1]

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


def test_addresses_and_a_task_are_not_mixed(line: Line) -> None:
    both = line("cancel", NOWHERE, "--dag-id", "dag")
    assert (both.code, both.err.strip().endswith("; both are given.")) == (2, True)
    neither = line("cancel")
    assert (neither.code, neither.err.strip().endswith("; neither is given.")) == (2, True)
