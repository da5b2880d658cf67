"""What the recorders are told of a submission to MRS."""

from __future__ import annotations

import re
from typing import Any

import pytest
import responses

from airflow_cancel_provider.exceptions import (
    AccessDenied,
    InvalidInput,
    ServiceError,
    ServiceUnavailable,
    SubmissionRefused,
)
from airflow_cancel_provider.hooks.mrs import MrsHook
from airflow_cancel_provider.jobs import JobState
from airflow_cancel_provider.services.mrs import submit as submission
from airflow_cancel_provider.services.mrs.submission import SUBMISSIONS
from tests.capture_fixtures import LABEL, Notes, recorder  # noqa: F401
from tests.cloud.server import LocalCloud
from tests.gateway import RESET, Gateway
from tests.mrs_fixtures import CLUSTER, NONE, QUICK, cloud, define, mrs_server

__all__ = ["cloud", "mrs_server"]
KEYS = {"login": "DEMOACCESSKEY", "password": "demo-secret-key", "auth_type": "aksk", "domain": None}


@pytest.fixture
def hook(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> MrsHook:
    define(monkeypatch, cloud, **KEYS)
    monkeypatch.setattr(submission, "PAUSE", 0.1)
    return MrsHook(patience=QUICK)


def start(hook: MrsHook, name: str = "mine") -> Any:
    return hook.submit_job(CLUSTER, "Flink", name, ["a"])


def test_a_job_is_labelled_and_started(hook: MrsHook, cloud: LocalCloud, notes: Notes) -> None:
    job = start(hook)
    assert notes.jobs == [job]
    assert (notes.words, notes.asked, notes.unlabelled) == (["started"], [*SUBMISSIONS], [()])
    assert [known["name"] for known in cloud.mrs.jobs()] == [f"mine-{LABEL}"]


@pytest.mark.usefixtures("notes")
def test_a_labelled_job_is_listed_by_its_name(hook: MrsHook) -> None:
    job, other = start(hook), start(hook, "mine-2")
    assert [status.job for status in hook.list_jobs(CLUSTER, "mine")] == [job]
    assert hook.show_job(CLUSTER, job.id).name == f"mine-{LABEL}"
    assert [status.job for status in hook.list_jobs(CLUSTER, f"mine-2-{LABEL}")] == [other]


@pytest.mark.parametrize("name, is_labelled", [("mine", True), ("a-name-without-room-for-it", False)])
def test_where_mrs_does_not_tell_the_time_the_label_tells_whose_a_job_is(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, notes: Notes, name: str, is_labelled: bool
) -> None:
    monkeypatch.setattr(submission, "PAUSE", 0.1)
    with Gateway(cloud.url) as gateway:
        gateway.clock, gateway.answers = None, [RESET]
        define(monkeypatch, cloud, **KEYS, endpoint=gateway.url)
        if is_labelled:
            job = start(MrsHook(patience=QUICK), name)
            assert [known["id"] for known in cloud.mrs.jobs()] == [job.id]
        else:
            with pytest.raises(ServiceUnavailable, match="no job has this name"):
                start(MrsHook(patience=QUICK), name)
    assert notes.words == (["started"] if is_labelled else ["lost"])


@pytest.mark.parametrize("fault", ["denied", "throttle"])
def test_a_refused_submission_is_closed_at_once(
    hook: MrsHook, cloud: LocalCloud, notes: Notes, fault: str
) -> None:
    cloud.faults.add("mrs", "CreateExecuteJob", fault)
    hook.patience = NONE
    with pytest.raises(AccessDenied if fault == "denied" else ServiceUnavailable):
        start(hook)
    assert notes.words == ["closed"]


def test_a_200_that_says_failed_is_closed(hook: MrsHook, cloud: LocalCloud, notes: Notes) -> None:
    cloud.mrs.settings.set(submit_result="JOBSTAT_SUBMIT_FAILED")
    with pytest.raises(ServiceError):
        start(hook)
    assert notes.words == ["closed"]


def test_without_a_server_it_is_closed(
    cloud: LocalCloud, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    define(monkeypatch, cloud, **KEYS, endpoint="http://127.0.0.1:9")
    with pytest.raises(ServiceUnavailable):
        start(MrsHook(patience=NONE))
    assert notes.words == ["closed"]


def test_what_is_no_submission_is_closed(hook: MrsHook, notes: Notes) -> None:
    with pytest.raises(InvalidInput):
        start(hook, "a name with blanks")
    assert notes.words in (["closed"], [])
    assert not notes.is_open


def test_a_lost_answer_that_is_found_by_its_name_is_started(
    hook: MrsHook, cloud: LocalCloud, notes: Notes
) -> None:
    cloud.faults.add("mrs", "CreateExecuteJob", "lost_reply", times=1)
    job = start(hook)
    assert (notes.words, notes.jobs) == (["started"], [job])


@pytest.mark.parametrize("fault", ["reset", "server_error"])
def test_a_lost_answer_that_is_not_found_stays_open(
    hook: MrsHook, cloud: LocalCloud, notes: Notes, fault: str
) -> None:
    cloud.faults.add("mrs", "CreateExecuteJob", fault)
    with pytest.raises(ServiceUnavailable):
        start(hook)
    assert notes.words == ["lost"]
    assert notes.is_open


def test_a_lost_answer_whose_job_may_not_be_looked_for_stays_open(
    hook: MrsHook, cloud: LocalCloud, notes: Notes
) -> None:
    cloud.faults.add("mrs", "CreateExecuteJob", "lost_reply")
    cloud.faults.add("mrs", "ShowJobExeListNew", "denied")
    with pytest.raises(ServiceUnavailable):
        start(hook)
    assert notes.words == ["lost"]


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>Welcome</html>", b"[1]", b'{"job_submit_result": {}}'])
def test_a_200_that_is_no_answer_stays_open(
    cloud: LocalCloud, notes: Notes, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr(submission, "PAUSE", 0.1)
    with Gateway(cloud.url) as gateway:
        define(monkeypatch, cloud, **KEYS, endpoint=gateway.url)
        gateway.answers, gateway.passes_on = [(200, body)], False
        with pytest.raises(ServiceUnavailable, match="may or may not"):
            start(MrsHook(patience=QUICK))
    assert notes.words == ["lost"]


def test_whatever_ends_the_task_meanwhile_leaves_it_lost(
    hook: MrsHook, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    class TimedOut(BaseException):
        pass

    def send(*_: Any, **__: Any) -> Any:
        raise TimedOut

    monkeypatch.setattr(type(hook.client), "submit_job", send)
    with pytest.raises(TimedOut):
        start(hook)
    assert notes.words == ["lost"]


def test_the_fence_refuses(hook: MrsHook, cloud: LocalCloud, notes: Notes) -> None:
    notes.refuses = True
    with pytest.raises(SubmissionRefused):
        start(hook)
    assert not cloud.mrs.jobs()
    assert not notes.told


def test_jobs_that_were_seen_to_end_are_told(hook: MrsHook, cloud: LocalCloud, notes: Notes) -> None:
    ended, living = start(hook, "one"), start(hook, "two")
    cloud.mrs.finish(ended.id, "FINISHED")
    hook.service.describe([ended, living])
    assert notes.ends == [("mrs", None, [(CLUSTER, ended.id, JobState.SUCCEEDED)])]
    assert len(hook.list_jobs(CLUSTER)) == 2
    assert notes.ends == [("mrs", None, [(CLUSTER, ended.id, JobState.SUCCEEDED)])] * 2


def test_what_a_test_double_answers_is_not_carried_outside(hook: MrsHook, notes: Notes) -> None:
    assert hook.client.project_id
    with responses.RequestsMock() as mocked:
        answer = {"job_submit_result": {"job_id": "7", "state": "COMPLETE"}}
        mocked.add(responses.POST, re.compile(".*job-executions.*"), json=answer)
        assert start(hook).id == "7"
    assert notes.words == ["closed"]
    start(hook)
    assert notes.words == ["closed", "started"]
