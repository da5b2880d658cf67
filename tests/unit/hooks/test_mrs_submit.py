"""Submitting an MRS job once, whatever is answered."""

from __future__ import annotations

import pytest

from airflow_cancel_provider.exceptions import (
    AccessDenied,
    ServiceError,
    ServiceUnavailable,
)
from airflow_cancel_provider.hooks.mrs import MrsHook
from tests.cloud.server import LocalCloud
from tests.mrs_fixtures import CLUSTER, QUICK, cloud, define, hook, mrs_server
from tests.reaper_airflow import empty_database, tables

__all__ = ["cloud", "empty_database", "hook", "mrs_server", "tables"]


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

    def test_two_of_the_name(self, hook: MrsHook, cloud: LocalCloud) -> None:
        cloud.faults.add("mrs", "CreateExecuteJob", "lost_reply", times=1)
        cloud.mrs.add_job(name="mine", arguments=["a"])
        with pytest.raises(ServiceUnavailable, match="have this name"):
            hook.submit_job(CLUSTER, "Flink", "mine", ["a"])

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
