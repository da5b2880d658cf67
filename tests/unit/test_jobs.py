"""Addresses of jobs, states and results."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.jobs import (
    CancelOutcome,
    CancelResult,
    JobState,
    JobStatus,
    RemoteJob,
    by_scope,
)
from tests.job_strategies import Parts, hostile_text, jobs, parts, parts_made_of

# What tears addresses apart: delimiters, escapes and half escapes, line ends, invisible and reversing marks.


surrogates = st.characters(categories=["Cs"])


def parts_of(job: RemoteJob) -> Parts:
    return Parts(job.service, job.id, job.scope, job.conn_id, job.region)


# Few letters, all of them delimiters or halves of escapes: different parts meet in one address if they can.
near_misses = parts_made_of(st.text("/@:%2F4", min_size=1, max_size=3), st.sampled_from(["a", "a-b"]))


def same(left: RemoteJob, right: RemoteJob) -> bool:
    return left == right and parts_of(left) == parts_of(right) and type(left) is type(right)


class TestAddress:
    @given(parts)
    def test_keeps_its_parts(self, given_parts: Parts) -> None:
        assert parts_of(given_parts.job()) == given_parts

    @given(jobs)
    def test_is_its_text(self, job: RemoteJob) -> None:
        assert type(str(job)) is str
        assert same(RemoteJob(str(job)), job)
        assert f"{job}" == str(job) == job

    @given(jobs)
    def test_fits_in_a_log_line_and_on_a_command_line(self, job: RemoteJob) -> None:
        assert job.isascii()
        assert job.isprintable()
        assert not set(job) & set(" \"'\\#?&;|<>$`*[](){}!")

    @given(jobs)
    def test_survives_pickle_copy_and_json(self, job: RemoteJob) -> None:
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert same(pickle.loads(pickle.dumps(job, protocol)), job)
        assert same(copy.copy(job), job)
        assert same(copy.deepcopy([job])[0], job)
        assert json.loads(json.dumps({job: job})) == {str(job): str(job)}

    @given(jobs)
    def test_survives_being_escaped_once_more(self, job: RemoteJob) -> None:
        assert same(RemoteJob(unquote(quote(job, safe=""))), job)

    @given(st.lists(jobs))
    def test_sorts_and_hashes_as_its_text(self, some: list[RemoteJob]) -> None:
        assert sorted(some) == sorted(str(job) for job in some)
        assert set(some) == {str(job) for job in some}

    @given(jobs)
    def test_shows_itself_as_code(self, job: RemoteJob) -> None:
        assert same(eval(repr(job), {"RemoteJob": RemoteJob}), job)

    @given(near_misses, near_misses)
    def test_is_equal_exactly_where_the_parts_are(self, left: Parts, right: Parts) -> None:
        assert (left.job() == right.job()) is (left == right)

    @given(parts)
    def test_takes_empty_connection_and_region_for_none(self, given_parts: Parts) -> None:
        bare = given_parts._replace(conn_id="", region="").job()
        assert same(bare, given_parts._replace(conn_id=None, region=None).job())

    def test_reads_the_four_services(self) -> None:
        uris = {
            "emr://aws_default@us-east-1/j-2AXX/s-3BYY": Parts(
                "emr", "s-3BYY", "j-2AXX", "aws_default", "us-east-1"
            ),
            "batch://@us-east-1/5b1f:12": Parts("batch", "5b1f:12", None, None, "us-east-1"),
            "glue://aws@eu-west-1/etl%2F%C3%BC%20%25/jr_1": Parts(
                "glue", "jr_1", "etl/ü %", "aws", "eu-west-1"
            ),
            "emr-containers://aws@eu-west-1/0f1/0f2": Parts(
                "emr-containers", "0f2", "0f1", "aws", "eu-west-1"
            ),
            "emr-serverless://aws@eu-west-1/00f1/00f2": Parts(
                "emr-serverless", "00f2", "00f1", "aws", "eu-west-1"
            ),
            "mrs://mrs_default/c-1/e-1": Parts("mrs", "e-1", "c-1", "mrs_default", None),
        }
        assert {uri: parts_of(RemoteJob(uri)) for uri in uris} == uris
        assert {str(RemoteJob(uri)) for uri in uris} == set(uris)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "None",
            "j-2AXX",
            "emr:/c@r/j/s",
            "emr:///",
            "emr://c@r",
            "emr://c@r/",
            "emr://c@r//s",
            "emr://c@r/j/",
            "emr://c@r/j/s/t",
            "emr://c@r@q/j/s",
            "EMR://c@r/j/s",
            "émr://c@r/j/s",
            "1emr://c@r/j/s",
            "://c@r/j/s",
            " emr://c@r/j/s",
            "\nemr://c@r/j/s",
            "emr://c@r/j/%ff",
            "emr://%c3@r/j/s",
            "emr://c@%ed%a0%80/j/s",
            "emr://c@r/j/\ud800",
        ],
    )
    def test_names_the_text_that_is_none(self, text: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            RemoteJob(text)
        assert repr(text) in str(caught.value)
        assert str(caught.value).isprintable()

    @pytest.mark.parametrize("value", [None, 5, b"emr://c@r/j/s", ["emr://c@r/j/s"]])
    def test_names_what_is_no_text(self, value: Any) -> None:
        with pytest.raises(InvalidInput, match="is not the address of a remote job") as caught:
            RemoteJob(value)
        assert repr(value) in str(caught.value)

    @given(st.text())
    def test_any_text_is_an_address_or_is_named(self, text: str) -> None:
        try:
            job = RemoteJob(text)
        except InvalidInput as wrong:
            named = str(wrong)
        else:
            named = repr(text)
            assert same(RemoteJob(str(job)), job)
        assert repr(text) in named

    @given(parts, surrogates, st.sampled_from(["id", "scope", "conn_id", "region"]))
    def test_has_no_room_for_surrogates(self, given_parts: Parts, surrogate: str, where: str) -> None:
        with pytest.raises(InvalidInput, match="not valid Unicode"):
            given_parts._replace(**{where: f"x{surrogate}"}).job()

    @given(hostile_text.filter(lambda text: not text.isalnum()))
    def test_wants_a_service_that_can_be_a_scheme(self, service: str) -> None:
        with pytest.raises(InvalidInput):
            RemoteJob.of(f"x{service}/", "id")

    @pytest.mark.parametrize("wrong", [{"id": ""}, {"scope": ""}, {"service": ""}, {"service": "emr\n"}])
    def test_wants_no_part_empty(self, wrong: dict[str, str]) -> None:
        with pytest.raises(InvalidInput):
            Parts("emr", "s", "j", None, None)._replace(**wrong).job()

    @given(st.lists(jobs, max_size=8))
    def test_groups_by_scope_each_once_in_order(self, some: list[RemoteJob]) -> None:
        groups = by_scope(some + some)
        assert {job for group in groups.values() for job in group} == set(some)
        for scope, group in groups.items():
            assert group == [job for job in dict.fromkeys(some) if job.scope == scope]


class TestStatesAndResults:
    @pytest.mark.parametrize(
        "state,terminal",
        [
            (JobState.PENDING, False),
            (JobState.RUNNING, False),
            (JobState.CANCELLING, False),
            (JobState.SUCCEEDED, True),
            (JobState.FAILED, True),
            (JobState.CANCELLED, True),
            (JobState.GONE, True),
        ],
    )
    def test_terminal_is_what_never_runs_again(self, state: JobState, terminal: bool) -> None:
        assert state.is_terminal is terminal

    def test_the_table_above_knows_every_state(self) -> None:
        marks = TestStatesAndResults.test_terminal_is_what_never_runs_again.pytestmark  # type: ignore[attr-defined]
        assert {row[0] for row in marks[0].args[1]} == set(JobState)

    @given(
        st.builds(
            JobStatus,
            jobs,
            st.sampled_from(JobState),
            *[st.none() | st.text()] * 3,
        )
    )
    def test_status_comes_back_from_json_and_pickle(self, status: JobStatus) -> None:
        assert JobStatus.from_json(json.loads(json.dumps(status.as_json()))) == status
        assert pickle.loads(pickle.dumps(status)) == status
        assert str(status).startswith(f"{status.job} is {status.state}")

    @given(st.builds(CancelResult, jobs, st.sampled_from(CancelOutcome), *[st.none() | st.text()] * 2))
    def test_result_comes_back_from_json_and_pickle(self, result: CancelResult) -> None:
        assert CancelResult.from_json(json.loads(json.dumps(result.as_json()))) == result
        assert pickle.loads(pickle.dumps(result)) == result
        assert str(result).startswith(f"{result.job}: {result.outcome}")

    @pytest.mark.parametrize("kind", [JobStatus, CancelResult])
    def test_what_is_not_one_is_refused(self, kind: Any) -> None:
        with pytest.raises(ValueError, match="''"):
            kind.from_json({"job": None, "state": None, "outcome": None})
