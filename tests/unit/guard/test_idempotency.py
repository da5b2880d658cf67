"""A token of the user's: nothing that the service compares is changed, and an older run is not ours."""

from __future__ import annotations

import time
from hashlib import md5
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from airflow.providers.amazon.aws.operators.emr import EmrServerlessStartJobOperator
from airflow.sdk.execution_time.context import set_current_context
from botocore.exceptions import ClientError

from airflow_cancel_provider.guard.idempotency import is_made_by_operator, remember_of_operator
from airflow_cancel_provider.owner import Label
from tests.capture_fixtures import (
    LABEL,
    ROLE,
    Notes,
    application,
    client,
    recorder,  # noqa: F401
    start,
)
from tests.cloud.server import LocalCloud
from tests.gateway import Gateway
from tests.try_fixtures import CANCEL, Try, removed, variables

__all__ = ["removed", "variables"]

OTHER_TRY = Label("abcd1234", UUID(int=8))


@pytest.fixture
def runs(cloud: LocalCloud) -> Any:
    return client(cloud, "emr-serverless")


def test_the_local_cloud_compares_what_comes_with_a_token(runs: Any) -> None:
    app = application(runs)
    start(runs, app, clientToken="daily", name="etl")
    for changed in ({"name": "other"}, {"name": "etl", "tags": {"a": "b"}}):
        with pytest.raises(ClientError, match="ConflictException"):
            start(runs, app, clientToken="daily", **changed)


def test_two_tries_with_one_name_and_token_get_the_same_run(
    cloud: LocalCloud, notes: Notes, runs: Any
) -> None:
    app = application(runs)
    first = start(runs, app, clientToken="daily", name="etl")
    notes.wanted_label = OTHER_TRY
    second = start(runs, app, clientToken="daily", name="etl")
    assert first["jobRunId"] == second["jobRunId"]
    (run,) = cloud.emr_serverless.jobs()
    assert run["name"] == "etl"
    assert notes.unlabelled == [("etl",), ("etl",)]
    assert notes.words == ["started", "started"]


def test_a_copied_label_goes_in_each_try_alike(cloud: LocalCloud, notes: Notes, runs: Any) -> None:
    """With it the reaper would judge the run by another try, which may have ended a moment ago."""
    copied, app = f"etl {OTHER_TRY}", application(runs)
    first = start(runs, app, clientToken="daily", name=copied)
    notes.wanted_label = Label("abcd1234", UUID(int=9))
    assert start(runs, app, clientToken="daily", name=copied)["jobRunId"] == first["jobRunId"]
    (run,) = cloud.emr_serverless.jobs()
    assert run["name"] == "etl"
    assert notes.unlabelled == [("etl",), ("etl",)]


@pytest.mark.parametrize("event", ["provide-client-params", "before-parameter-build"])
@pytest.mark.parametrize("where", ["", ".emr-serverless", ".emr-serverless.StartJobRun"])
def test_a_token_that_a_handler_of_the_users_adds_is_the_users(
    cloud: LocalCloud, notes: Notes, runs: Any, event: str, where: str
) -> None:
    def add(params: dict[str, Any], model: Any, **_: Any) -> dict[str, Any] | None:
        if model.name != "StartJobRun":
            return None
        if event == "provide-client-params":
            return {**params, "clientToken": "daily"}
        params["clientToken"] = "daily"
        return None

    app = application(runs)
    runs.meta.events.register(event + where, add)
    start(runs, app, name="etl")
    assert [run["name"] for run in cloud.emr_serverless.jobs()] == ["etl"]
    assert notes.not_before[0] > 0


def test_a_token_that_botocore_makes_changes_nothing(cloud: LocalCloud, notes: Notes, runs: Any) -> None:
    start(runs, application(runs), name="etl")
    assert [run["name"] for run in cloud.emr_serverless.jobs()] == [f"etl {LABEL}"]
    assert notes.not_before == [0.0]


def executing(operator: Any) -> Any:
    remember_of_operator(operator)
    return set_current_context({"ti": SimpleNamespace(task=operator)})  # type: ignore[typeddict-item]


def operator(kind: type = EmrServerlessStartJobOperator, **extra: Any) -> Any:
    return kind(task_id="run", application_id="a", execution_role_arn=ROLE, job_driver={}, **extra)


class Fixed(EmrServerlessStartJobOperator):
    """A subclass that gives the token."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(client_request_token="0f7c3a52-6f0c-4a5e-9a3e-0a1b2c3d4e5f", **kwargs)


class After(EmrServerlessStartJobOperator):
    """A subclass that sets the token when the operator has made one up."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set(self.task_id)

    def _set(self, name: str) -> None:
        self.client_request_token = str(
            UUID(md5(name.encode(), usedforsecurity=False).hexdigest(), version=4)
        )


class ByName(After):
    """One that does so in another way."""

    def _set(self, name: str) -> None:
        setattr(self, "client_request_token", "0f7c3a52-6f0c-4a5e-9a3e-0a1b2c3d4e5f")  # noqa: B010


class OfNoToken(EmrServerlessStartJobOperator):
    """A subclass that has nothing to do with the token."""

    def __init__(self, *, name: str = "etl", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)


class Late(EmrServerlessStartJobOperator):
    """One that makes the token up as it submits, as ``EmrContainerOperator`` does, and does not keep it."""

    def __init__(self, *, client_request_token: str | None = None, **kwargs: Any) -> None:
        super().__init__(client_request_token=client_request_token, **kwargs)
        self.client_request_token = client_request_token or ""


@pytest.mark.parametrize(
    "made,is_labelled",
    [
        (operator, True),
        (lambda: operator(client_request_token=""), True),
        (lambda: operator(client_request_token="daily"), False),
        (lambda: operator(client_request_token=str(uuid4())), False),
        (lambda: operator(Fixed), False),
        (lambda: operator(default_args={"client_request_token": str(uuid4())}), False),
        (lambda: operator(After), False),
        (lambda: operator(ByName), False),
        (lambda: operator(OfNoToken), True),
        (lambda: operator(Late), True),
        (lambda: operator(Late, client_request_token=str(uuid4())), False),
    ],
    ids=[
        *("none", "empty", "fixed", "a uuid", "of a subclass", "default_args"),
        *("after the operator's own", "by name", "a subclass without one"),
        *("as it submits", "a uuid, as it submits"),
    ],
)
def test_a_token_that_the_operator_makes_up_is_no_ones_else(
    cloud: LocalCloud, notes: Notes, runs: Any, made: Any, is_labelled: bool
) -> None:
    app, task = application(runs), made()
    with executing(task):
        start(runs, app, clientToken=task.client_request_token or str(uuid4()), name="etl")
    (run,) = cloud.emr_serverless.jobs()
    assert run["name"] == (f"etl {LABEL}" if is_labelled else "etl")
    assert bool(notes.not_before[0]) is not is_labelled


def test_a_mapped_operator_with_a_token_for_each_of_its_tasks(
    cloud: LocalCloud, runs: Any, notes: Notes
) -> None:
    app = application(runs)
    for token, name in ((str(uuid4()), "etl"), (None, f"etl {LABEL}")):
        mapped = EmrServerlessStartJobOperator.partial(task_id="run", application_id=app).expand_kwargs([{}])
        given = {"client_request_token": token} if token else {}
        task: Any = mapped.unmap({"execution_role_arn": ROLE, "job_driver": {}, **given})
        with executing(task):
            start(runs, app, clientToken=task.client_request_token, name="etl")
        assert cloud.emr_serverless.jobs()[-1]["name"] == name
    assert len(notes.jobs) == 2


def test_a_token_that_code_sets_as_the_task_runs_is_the_users(
    cloud: LocalCloud, notes: Notes, runs: Any
) -> None:
    """As ``pre_execute`` does with one from XCom, which is the same in each try, and in other tasks."""
    app, task = application(runs), operator()
    with executing(task):
        task.client_request_token = str(uuid4())
        start(runs, app, clientToken=task.client_request_token, name="etl")
    assert [run["name"] for run in cloud.emr_serverless.jobs()] == ["etl"]
    assert notes.not_before[0] > 0


@pytest.mark.usefixtures("variables", "removed")
def test_the_guard_remembers_the_token_before_the_task_runs() -> None:
    ti: Any = Try()
    ti.task = task = operator()
    ti.guarded(CANCEL)
    with set_current_context({"ti": SimpleNamespace(task=task)}):  # type: ignore[typeddict-item]
        assert is_made_by_operator(task.client_request_token)


def test_another_tasks_token_is_not_of_this_operator(cloud: LocalCloud, notes: Notes, runs: Any) -> None:
    app, task = application(runs), operator()
    with executing(task):
        start(runs, app, clientToken=str(uuid4()), name="etl")
    assert [run["name"] for run in cloud.emr_serverless.jobs()] == ["etl"]
    assert notes.unlabelled == [("etl",)]


@pytest.mark.parametrize("skew", [-3600.0, 0.0, 3600.0])
def test_an_earlier_run_is_before_and_ones_own_is_not(cloud: LocalCloud, notes: Notes, skew: float) -> None:
    with Gateway(cloud.url) as gateway:
        made = client(cloud, "emr-serverless", retries=1, endpoint_url=gateway.url)
        app = application(made)
        answers: list[float] = []
        for ahead in (skew, skew + 4):
            # The service's clock is not ours.
            gateway.clock = lambda: time.time() + ahead  # noqa: B023
            began = gateway.clock()
            start(made, app, clientToken="daily", name="etl")
            answers.append(began)
    first, second = notes.not_before
    assert answers[0] - 4 < first <= answers[0]
    assert answers[0] < second <= answers[1]


def test_a_run_that_an_attempt_before_may_have_started_is_not_too_early(
    cloud: LocalCloud, notes: Notes
) -> None:
    with Gateway(cloud.url) as gateway:
        made = client(cloud, "emr-serverless", retries=2, endpoint_url=gateway.url)
        app = application(made)
        gateway.answers = ["reset", "reset"]
        began = time.time()
        start(made, app, clientToken="daily")
    assert began - 5 < notes.not_before[0] <= began
    assert notes.words == ["started"]


def test_without_a_date_a_run_counts_as_anothers(cloud: LocalCloud, notes: Notes) -> None:
    with Gateway(cloud.url) as gateway:
        made = client(cloud, "emr-serverless", endpoint_url=gateway.url)
        app = application(made)
        gateway.clock = None
        start(made, app, clientToken="daily")
    assert notes.not_before[0] > time.time() + 290
