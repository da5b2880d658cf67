"""Submitting an MRS job once, whatever is answered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_cancel_provider.exceptions import (
    AccessDenied,
    InvalidInput,
    ServiceError,
    ServiceUnavailable,
)
from airflow_cancel_provider.hooks.mrs import MrsHook
from tests.cloud.server import LocalCloud
from tests.mrs_fixtures import CLUSTER, QUICK, cloud, define, hook, mrs_server
from tests.reaper_airflow import tables

__all__ = ["cloud", "hook", "mrs_server", "tables"]


class TestSubmitOnce:
    def test_a_200_that_failed(self, hook: MrsHook, cloud: LocalCloud) -> None:
        cloud.mrs.settings.set(submit_result="JOBSTAT_SUBMIT_FAILED")
        with pytest.raises(ServiceError, match="Failed to submit"):
            hook.submit_job(CLUSTER, "Flink", "j", ["a"])

    @pytest.mark.parametrize("version", ["v2", "v1.1"])
    def test_a_lost_reply_is_found_by_its_name(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, version: str
    ) -> None:
        define(monkeypatch, cloud, api_version=version)
        operation = "CreateExecuteJob" if version == "v2" else "CreateAndExecuteJob"
        cloud.faults.add("mrs", operation, "lost_reply")
        cloud.mrs.add_job(name="mine-not")
        job = MrsHook(patience=QUICK).submit_job(CLUSTER, "MapReduce", "mine", ["a"])
        assert [known["id"] for known in cloud.mrs.jobs() if known["name"] == "mine"] == [job.id]

    def test_a_reset_before_the_act_is_not_sent_again(self, hook: MrsHook, cloud: LocalCloud) -> None:
        cloud.faults.add("mrs", "CreateExecuteJob", "reset", times=1)
        with pytest.raises(ServiceUnavailable, match=r"may or may not have been submitted as mine .no job"):
            hook.submit_job(CLUSTER, "Flink", "mine", ["a"])
        assert cloud.journal.count(operation="CreateExecuteJob") == 1

    @pytest.mark.parametrize("status", [302, 304, 403])
    def test_a_reply_of_a_gateway_does_not_tell_that_nothing_was_submitted(
        self, hook: MrsHook, cloud: LocalCloud, status: int
    ) -> None:
        reply = {"shape": "html", "status": status, "times": 1, "acts": True}
        cloud.faults.add("mrs", "CreateExecuteJob", "hostile_reply", **reply)
        job = hook.submit_job(CLUSTER, "Flink", "mine", ["a"])
        assert [known["id"] for known in cloud.mrs.jobs()] == [job.id]

    def test_two_of_the_name(self, hook: MrsHook, cloud: LocalCloud) -> None:
        cloud.faults.add("mrs", "CreateExecuteJob", "lost_reply", times=1)
        cloud.mrs.add_job(name="mine", arguments=["a"])
        with pytest.raises(ServiceUnavailable, match="have this name"):
            hook.submit_job(CLUSTER, "Flink", "mine", ["a"])

    @pytest.mark.parametrize("version", ["v2", "v1.1"])
    @pytest.mark.parametrize(
        "id_", ["a b", "x" * 65, True, 7, ["e-1"], {"id": "e-1"}, None], ids=lambda value: str(value)[:5]
    )
    def test_an_answer_with_what_is_no_id_is_none(
        self, cloud: LocalCloud, hook: MrsHook, monkeypatch: pytest.MonkeyPatch, version: str, id_: Any
    ) -> None:
        define(monkeypatch, cloud, api_version=version)
        operation = "CreateExecuteJob" if version == "v2" else "CreateAndExecuteJob"
        result = {"job_id": id_, "state": "COMPLETE"} if version == "v2" else {"id": id_, "job_id": "job_1_2"}
        name = "job_submit_result" if version == "v2" else "job_execution"
        cloud.faults.add("mrs", operation, "hostile_reply", body=json.dumps({name: result}))
        job = hook.submit_job(CLUSTER, "MapReduce", "mine", ["a"])
        assert [known["id"] for known in cloud.mrs.jobs()] == [job.id]

    @pytest.mark.parametrize("version", ["v2", "v1.1"])
    def test_numbers_among_the_arguments_are_texts(
        self, cloud: LocalCloud, hook: MrsHook, monkeypatch: pytest.MonkeyPatch, version: str
    ) -> None:
        """A template that renders to a native value makes a number of a date."""
        define(monkeypatch, cloud, api_version=version)
        hook.submit_job(CLUSTER, "MapReduce", "mine", ["/x.jar", 20260101, 0.5])  # type: ignore[list-item]
        (job,) = cloud.mrs._store.jobs.values()
        assert job.arguments == ["/x.jar", "20260101", "0.5"]

    @pytest.mark.parametrize("version", ["v2", "v1.1"])
    @pytest.mark.parametrize(
        "wrong, words",
        [
            ({"arguments": 5}, "arguments is of type int"),
            ({"arguments": [["s3cret"]]}, "arguments holds a value of type list"),
            ({"arguments": [True]}, "arguments holds a value of type bool"),
            ({"properties": "s3cret=1"}, "properties is of type str"),
            ({"properties": 5}, "properties is of type int"),
        ],
        ids=str,
    )
    def test_what_is_no_list_or_dict_is_refused_first(
        self,
        cloud: LocalCloud,
        hook: MrsHook,
        monkeypatch: pytest.MonkeyPatch,
        version: str,
        wrong: dict[str, Any],
        words: str,
    ) -> None:
        define(monkeypatch, cloud, api_version=version)
        with pytest.raises(InvalidInput, match=words) as caught:
            hook.submit_job(CLUSTER, "MapReduce", "mine", **{"arguments": ["/x.jar"], **wrong})
        assert "s3cret" not in str(caught.value)
        assert cloud.mrs.jobs() == []

    @pytest.mark.parametrize("fault", ["lost_reply", "reset"])
    def test_a_job_of_the_name_with_other_arguments_is_somebody_elses(
        self, hook: MrsHook, cloud: LocalCloud, fault: str
    ) -> None:
        cloud.mrs.add_job(name="mine", arguments=["--day", "1"])
        cloud.faults.add("mrs", "CreateExecuteJob", fault, times=1)
        if fault == "lost_reply":
            job = hook.submit_job(CLUSTER, "Flink", "mine", ["--day", "2, 3"])
            assert cloud.mrs.jobs()[-1]["id"] == job.id
        else:
            with pytest.raises(ServiceUnavailable, match="no job has this name"):
                hook.submit_job(CLUSTER, "Flink", "mine", ["--day", "2, 3"])

    def test_a_job_submitted_before_under_the_same_name_is_not_taken_for_this_one(
        self, hook: MrsHook, cloud: LocalCloud
    ) -> None:
        hook.submit_job(CLUSTER, "Flink", "mine", ["a"])
        cloud.faults.add("mrs", "CreateExecuteJob", "reset", times=1)
        with pytest.raises(ServiceUnavailable, match="no job has this name"):
            hook.submit_job(CLUSTER, "Flink", "mine", ["b"])

    @pytest.mark.parametrize("version", ["v2", "v1.1"])
    @pytest.mark.parametrize("apart", [-90, 0, 90])
    def test_a_job_of_the_name_that_is_older_than_the_request_is_somebody_elses(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, version: str, apart: float
    ) -> None:
        """Another run of the Dag may have submitted it: it would be cancelled with this task."""
        define(monkeypatch, cloud, api_version=version)
        cloud.clock.advance(apart)
        cloud.mrs.add_job(name="mine", arguments=["/x.jar"])
        cloud.clock.advance(20)
        operation = "CreateExecuteJob" if version == "v2" else "CreateAndExecuteJob"
        cloud.faults.add("mrs", operation, "reset", times=1)
        with pytest.raises(ServiceUnavailable, match="no job has this name"):
            MrsHook(patience=QUICK).submit_job(CLUSTER, "MapReduce", "mine", ["/x.jar"])

    @pytest.mark.parametrize("version", ["v2", "v1.1"])
    @pytest.mark.parametrize("apart", [-90, 90])
    def test_its_own_is_found_by_the_clock_of_the_service(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, version: str, apart: float
    ) -> None:
        define(monkeypatch, cloud, api_version=version)
        cloud.clock.advance(apart)
        operation = "CreateExecuteJob" if version == "v2" else "CreateAndExecuteJob"
        cloud.faults.add("mrs", operation, "lost_reply", times=1)
        job = MrsHook(patience=QUICK).submit_job(CLUSTER, "MapReduce", "mine", ["/x.jar"])
        assert [known["id"] for known in cloud.mrs.jobs()] == [job.id]

    def test_throttled_is_sent_again(self, hook: MrsHook, cloud: LocalCloud) -> None:
        cloud.faults.add("mrs", "CreateExecuteJob", "throttle", times=3)
        hook.submit_job(CLUSTER, "Flink", "mine", ["a"])
        assert len(cloud.mrs.jobs()) == 1

    def test_denied(self, hook: MrsHook, cloud: LocalCloud) -> None:
        cloud.faults.add("mrs", "CreateExecuteJob", "denied")
        with pytest.raises(AccessDenied, match="mrs:job:submit"):
            hook.submit_job(CLUSTER, "Flink", "mine", ["a"])

    def test_lost_and_looking_fails_too(self, hook: MrsHook, cloud: LocalCloud) -> None:
        cloud.faults.add("mrs", "CreateExecuteJob", "lost_reply")
        cloud.faults.add("mrs", "ShowJobExeListNew", "denied")
        with pytest.raises(ServiceUnavailable, match="looking for it failed"):
            hook.submit_job(CLUSTER, "Flink", "mine", ["a"])
