"""Glue job runs: an answer for each run, what refusals mean, listings without filters, names of any kind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_cancel_provider.exceptions import AccessDenied, InvalidInput
from airflow_cancel_provider.jobs import CancelOutcome, JobState, RemoteJob
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.glue.states import ENDS, STATES
from airflow_cancel_provider.services.glue.submission import LABEL_ARGUMENT
from tests.capture_fixtures import LABEL
from tests.cloud.glue import Run
from tests.cloud.journal import Entry
from tests.cloud.server import LocalCloud
from tests.service_fixtures import HASTY, GlueBench, outcomes

ENDING, ENDED, GONE, REFUSED, REQUESTED, UNANSWERED = (
    CancelOutcome.ALREADY_CANCELLING,
    CancelOutcome.ALREADY_ENDED,
    CancelOutcome.GONE,
    CancelOutcome.REFUSED,
    CancelOutcome.REQUESTED,
    CancelOutcome.UNANSWERED,
)
DAY = 86_400.0


@pytest.fixture
def glue(cloud: LocalCloud) -> Iterator[GlueBench]:
    bench = GlueBench(cloud)
    yield bench
    bench.close()


def answer(glue: GlueBench, runs: list[RemoteJob], code: str, **more: Any) -> None:
    """Let Glue refuse to stop each of these runs, in its answer."""
    errors = [{"JobRunId": run.id, "ErrorDetail": {"ErrorCode": code, "ErrorMessage": "no"}} for run in runs]
    body = json.dumps({"SuccessfulSubmissions": [], "Errors": errors})
    glue.cloud.faults.add("glue", "BatchStopJobRun", "hostile_reply", body=body, acts=False, **more)


def stops(glue: GlueBench) -> list[Entry]:
    return glue.cloud.journal.entries("glue", "BatchStopJobRun")


def model(glue: GlueBench, job: RemoteJob) -> Run:
    return next(run for run in glue.cloud.glue._all() if run.id == job.id)


class TestCancel:
    def test_runs_of_two_jobs_are_stopped_25_at_a_time(self, glue: GlueBench) -> None:
        runs = glue.running(30) + glue.running(1)
        assert outcomes(glue.service().cancel(runs, "")) == [REQUESTED] * 31
        sent = [(entry.scope, len(entry.ids)) for entry in stops(glue)]
        assert sent[0] == (runs[0].scope, 25)
        assert set(sent[1:]) == {(runs[0].scope, 5), (runs[-1].scope, 1)}

    def test_each_run_has_its_own_outcome(self, glue: GlueBench) -> None:
        scope = glue.new_scope()
        (live,), (over,), unknown = glue.running(1, scope), glue.ended(1, scope), glue.unknown(scope)
        assert outcomes(glue.service().cancel([over, live, unknown], "")) == [ENDED, REQUESTED, GONE]

    @pytest.mark.parametrize("again, outcome", [(True, REQUESTED), (False, ENDING)])
    def test_a_run_that_is_stopping_whatever_glue_says_of_a_second_request(
        self, glue: GlueBench, again: bool, outcome: CancelOutcome
    ) -> None:
        glue.local.set(stops_again=again)
        (run,) = glue.submit("endless")
        assert outcomes(glue.service().cancel([run], "")) == [REQUESTED]
        assert outcomes(glue.service().cancel([run], "")) == [outcome]

    @pytest.mark.parametrize(
        "code", ["ThrottlingException", "InternalServiceException", "OperationTimeoutException"]
    )
    def test_only_the_runs_that_glue_was_too_busy_for_are_asked_for_again(
        self, glue: GlueBench, code: str
    ) -> None:
        scope = glue.new_scope()
        busy, taken = glue.running(2, scope)
        errors = [{"JobRunId": busy.id, "ErrorDetail": {"ErrorCode": code}}]
        body = json.dumps({"SuccessfulSubmissions": [{"JobRunId": taken.id}], "Errors": errors})
        glue.cloud.faults.add("glue", "BatchStopJobRun", "hostile_reply", body=body, acts=False, times=1)
        assert outcomes(glue.service().cancel([busy, taken], "")) == [REQUESTED] * 2
        sent = [entry.ids for entry in stops(glue)]
        assert sent == [(busy.id, taken.id), (busy.id,)]

    def test_what_glue_stays_too_busy_for_is_unanswered(self, glue: GlueBench) -> None:
        runs = glue.running(2)
        answer(glue, runs, "ThrottlingException")
        results = glue.service(HASTY).cancel(runs, "")
        assert [(result.outcome, result.code) for result in results] == [
            (UNANSWERED, "ThrottlingException")
        ] * 2

    def test_a_run_that_lives_and_is_not_stopped_is_refused_in_glues_words(self, glue: GlueBench) -> None:
        runs = glue.running(1)
        answer(glue, runs, "SomeNewException")
        (result,) = glue.service().cancel(runs, "")
        assert (result.outcome, result.code, result.detail) == (REFUSED, "SomeNewException", "no")

    def test_a_denied_run_names_the_action_and_is_not_described(self, glue: GlueBench) -> None:
        runs = glue.running(1)
        answer(glue, runs, "AccessDeniedException")
        (result,) = glue.service().cancel(runs, "")
        assert (result.outcome, result.code) == (REFUSED, "AccessDeniedException")
        assert "Allow glue:BatchStopJobRun to this identity" in str(result.detail)
        assert glue.count("GetJobRun") == 0

    @pytest.mark.parametrize("kind, outcome", [("denied", REFUSED), ("throttle", UNANSWERED)])
    def test_a_refusal_that_cannot_be_described(
        self, glue: GlueBench, kind: str, outcome: CancelOutcome
    ) -> None:
        runs = glue.ended(1)
        glue.cloud.faults.add("glue", "GetJobRun", kind)
        (result,) = glue.service(HASTY).cancel(runs, "")
        assert result.outcome is outcome
        assert "is in state SUCCEEDED" in str(result.detail)

    def test_a_request_that_is_refused_as_a_whole_is_described(self, glue: GlueBench) -> None:
        scope = glue.new_scope()
        (live,), (over,) = glue.running(1, scope), glue.ended(1, scope)
        body = json.dumps({"__type": "InvalidInputException", "message": "no"})
        glue.cloud.faults.add("glue", "BatchStopJobRun", "hostile_reply", body=body, status=400, acts=False)
        assert outcomes(glue.service().cancel([live, over], "")) == [REFUSED, ENDED]

    def test_a_strangers_run_in_an_answer_counts_for_nobody(self, glue: GlueBench) -> None:
        ours, theirs = glue.running(2)
        body = json.dumps({"SuccessfulSubmissions": [{"JobRunId": theirs.id}], "Errors": []})
        glue.cloud.faults.add("glue", "BatchStopJobRun", "hostile_reply", body=body, acts=False, times=1)
        assert outcomes(glue.service().cancel([ours], "")) == [REQUESTED]
        assert glue.truth()[theirs.id]["cancel_requested_at"] is None


class TestDescriptions:
    def test_states(self, glue: GlueBench) -> None:
        """All that botocore's model knows, and no other."""
        assert set(STATES) == set(glue.client.meta.service_model.shape_for("JobRunState").enum)
        assert {"STOPPED", "SUCCEEDED", "FAILED", "TIMEOUT", "ERROR", "EXPIRED"} == set(ENDS)

    def test_the_stages_of_a_run(self, glue: GlueBench) -> None:
        glue.local.set(submitted=100, pending=100, cancel=100)
        (run,) = glue.submit("run")
        seen = []
        for _ in range(3):
            seen += glue.service().describe([run])
            glue.cloud.clock.advance(100)
        glue.service().cancel([run], "")
        seen += glue.service().describe([run])
        glue.cloud.clock.advance(100)
        seen += glue.service().describe([run])
        assert [status.service_state for status in seen] == [
            *("WAITING", "STARTING", "RUNNING", "STOPPING", "STOPPED"),
        ]
        assert (seen[-1].state, seen[-1].reason) == (JobState.CANCELLED, "Stopped by request.")

    @pytest.mark.parametrize(
        "name", ["nightly/etl", "a b", "100% ü", "x:y@z?#[]", "\N{ROCKET}", "n" * 255, ".."]
    )
    def test_a_job_may_have_nearly_any_name(self, glue: GlueBench, name: str) -> None:
        glue.cloud.glue.create_job(name)
        (run,) = glue.running(1, name)
        assert RemoteJob(str(run)).scope == name
        assert list(glue.service().scopes()) == [name]
        assert [claim.job for claim in glue.service().claims(name)] == [run]
        assert outcomes(glue.service().cancel([RemoteJob(str(run))], "")) == [REQUESTED]

    @pytest.mark.parametrize("name", ["", "a\nb", "a\x00b", "n" * 256])
    def test_what_is_no_name(self, glue: GlueBench, name: str) -> None:
        with pytest.raises(InvalidInput, match="job_name"):
            glue.service().address("jr_1", name)

    def test_a_retry_by_glue_has_an_id_of_its_own(self, glue: GlueBench) -> None:
        assert glue.service().address(f"jr_{'0a' * 32}_attempt_1", "etl").id.endswith("_attempt_1")

    def test_who_may_not_ask_whether_a_job_is_known_is_told_so(self, glue: GlueBench) -> None:
        """One code stands for an unknown run and an unknown job: nothing is over that may live elsewhere."""
        unknown = glue.unknown()
        glue.cloud.faults.add("glue", "GetJobRuns", "denied")
        with pytest.raises(AccessDenied, match="Allow glue:GetJobRuns"):
            glue.service().describe([unknown])
        assert outcomes(glue.service().cancel([unknown], "")) == [REFUSED]


class TestListing:
    def old(self, glue: GlueBench, count: int, days: float, scope: str) -> list[RemoteJob]:
        runs = glue.ended(count, scope)
        for run in runs:
            life = model(glue, run).life
            life.created_at -= days * DAY
        return runs

    def living(self, glue: GlueBench, scope: str) -> set[RemoteJob]:
        glue.cloud.journal.clear()
        return {status.job for status in glue.service().living(scope)}

    def test_ended_runs_of_years_cost_no_pages(self, glue: GlueBench) -> None:
        scope = glue.new_scope()
        self.old(glue, 410, 40, scope)
        recent, live = self.old(glue, 210, 1, scope), glue.running(3, scope)
        assert len(recent) == 210
        assert self.living(glue, scope) == set(live)
        # Two pages with a recent run, and one on which every run is over for long.
        assert glue.count("GetJobRuns") == 3

    def test_behind_recent_ones_all_pages_are_read(self, glue: GlueBench) -> None:
        scope = glue.new_scope()
        (first,) = glue.running(1, scope)
        glue.local.override(first.id, run=1e9)
        model(glue, first).life.created_at -= 29 * DAY
        self.old(glue, 450, 28, scope)
        assert self.living(glue, scope) == {first}
        assert glue.count("GetJobRuns") == 3

    def test_a_streaming_run_has_no_timeout_and_is_found_however_old(self, glue: GlueBench) -> None:
        scope = glue.cloud.glue.create_job("stream", command="gluestreaming")
        (first,) = glue.running(1, scope)
        glue.local.override(first.id, run=1e9)
        model(glue, first).life.created_at -= 300 * DAY
        self.old(glue, 250, 100, scope)
        assert self.living(glue, scope) == {first}

    def test_a_name_prefix_is_refused(self, glue: GlueBench) -> None:
        with pytest.raises(InvalidInput, match="have no names"):
            list(glue.service().living(glue.new_scope(), "nightly"))


class TestLabels:
    def labels(self, glue: GlueBench, scope: str) -> list[Label | None]:
        return [claim.label for claim in glue.service().claims(scope)]

    def test_a_run_is_found_by_its_label(self, glue: GlueBench) -> None:
        scope = glue.new_scope()
        (ours,) = glue.submit("run", 1, scope, Arguments={LABEL_ARGUMENT: str(LABEL)})
        glue.submit("run", 1, scope)
        assert glue.service().labelled(scope, LABEL) == [ours]

    def test_a_retry_shows_the_label_of_the_run_before_it_and_has_none(self, glue: GlueBench) -> None:
        scope = glue.new_scope()
        (first,) = glue.submit("run", 1, scope, Arguments={LABEL_ARGUMENT: str(LABEL)})
        glue.finish(first)
        (retry,) = glue.submit("run", 1, scope, JobRunId=first.id, Arguments={LABEL_ARGUMENT: str(LABEL)})
        assert glue.truth()[retry.id]["labels"]["arguments"] == {LABEL_ARGUMENT: str(LABEL)}
        assert self.labels(glue, scope) == [None]

    def test_a_run_without_arguments(self, glue: GlueBench) -> None:
        scope = glue.new_scope()
        glue.client.start_job_run(JobName=scope)
        assert self.labels(glue, scope) == [None]
