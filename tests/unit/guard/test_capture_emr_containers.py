"""What the guard sees of job runs of EMR on EKS: the label, the idempotency token, a reply that was lost."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from airflow.providers.amazon.aws.operators.emr import EmrContainerOperator
from botocore.exceptions import BotoCoreError, ClientError

from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.emr_containers.service import EmrContainersJobRunService
from tests.capture_fixtures import LABEL, ROLE, Notes, client, recorder  # noqa: F401
from tests.cloud.server import LocalCloud
from tests.gateway import Gateway
from tests.service_fixtures import create_virtual_cluster
from tests.task_fixtures import connect_aws
from tests.unit.guard.test_idempotency import executing

OTHER_TRY = Label("abcd1234", UUID(int=8))
LONG = "daily-sales-aggregation"
"""There is no room for a label behind this name."""


@pytest.fixture
def containers(cloud: LocalCloud) -> Any:
    return client(cloud, "emr-containers")


@pytest.fixture
def cluster(containers: Any) -> str:
    return create_virtual_cluster(containers)


def start(containers: Any, cluster: str, **more: Any) -> str:
    return str(containers.start_job_run(virtualClusterId=cluster, executionRoleArn=ROLE, **more)["id"])


def described(containers: Any, cluster: str, run: str) -> dict[str, Any]:
    shown: dict[str, Any] = containers.describe_job_run(virtualClusterId=cluster, id=run)["jobRun"]
    return shown


@pytest.mark.parametrize(
    "name, sent",
    [
        (None, str(LABEL)),
        ("etl", f"etl-{LABEL}"),
        ("a" * 19, f"{'a' * 19}-{LABEL}"),
        (f"etl-{OTHER_TRY}", f"etl-{LABEL}"),
    ],
)
def test_a_label_stands_behind_a_short_name(
    notes: Notes, containers: Any, cluster: str, name: str | None, sent: str
) -> None:
    run = start(containers, cluster, **({"name": name} if name else {}))
    shown = described(containers, cluster, run)
    assert shown["name"] == sent
    assert Label.find(shown["clientToken"]) is None
    assert notes.jobs == [RemoteJob(f"emr-containers://@us-east-1/{cluster}/{run}")]
    assert (notes.scopes, notes.unlabelled) == ([cluster], [()])
    found = EmrContainersJobRunService(containers).labelled(cluster, LABEL)
    assert [job.id for job in found] == [run]


@pytest.mark.parametrize("name", ["a" * 20, LONG, "a" * 64])
@pytest.mark.parametrize("reconnects", [True, False])
def test_where_a_name_leaves_no_room_the_label_is_in_the_token(
    notes: Notes, containers: Any, cluster: str, name: str, reconnects: bool
) -> None:
    notes.wanted_label = Label(LABEL.deployment, LABEL.ti_id, reconnects=reconnects)
    runs = {start(containers, cluster, name=name) for _ in range(2)}
    assert len(runs) == 2, "each submission has a token of its own"
    for run in runs:
        shown = described(containers, cluster, run)
        assert shown["name"] == name
        label = Label.find(shown["clientToken"])
        assert label == LABEL
        assert label.reconnects is reconnects
    assert notes.unlabelled == [(), ()]
    assert notes.not_before == [0.0, 0.0]
    found = EmrContainersJobRunService(containers).labelled(cluster, LABEL)
    assert {job.id for job in found} == runs


@pytest.mark.parametrize("name", ["etl", LONG])
def test_nothing_that_comes_with_a_token_of_the_users_is_changed(
    notes: Notes, containers: Any, cluster: str, name: str
) -> None:
    first = start(containers, cluster, name=name, clientToken="daily")
    notes.wanted_label = OTHER_TRY
    assert start(containers, cluster, name=name, clientToken="daily") == first
    shown = described(containers, cluster, first)
    assert (shown["name"], shown["clientToken"]) == (name, "daily")
    assert notes.unlabelled == [(name,), (name,)]
    assert all(notes.not_before)
    with pytest.raises(ClientError, match="token was used with another request"):
        start(containers, cluster, name="other", clientToken="daily")
    assert notes.words == ["started", "started", "closed"]


def test_the_submission_of_a_labelled_run_may_be_repeated_as_it_was(
    notes: Notes, containers: Any, cluster: str
) -> None:
    first = start(containers, cluster, name=LONG)
    token = described(containers, cluster, first)["clientToken"]
    notes.wanted_label = OTHER_TRY
    assert start(containers, cluster, name=LONG, clientToken=token) == first


@pytest.mark.parametrize("name", ["etl", LONG])
@pytest.mark.parametrize("token", [None, "", "daily", str(uuid4())], ids=["none", "empty", "fixed", "uuid"])
def test_the_operator_makes_up_a_token_as_it_submits(
    cloud: LocalCloud,
    notes: Notes,
    monkeypatch: pytest.MonkeyPatch,
    containers: Any,
    cluster: str,
    name: str,
    token: str | None,
) -> None:
    """Its own token is no one else's; one that the author gave, even a random one, stays as it is."""
    connect_aws(monkeypatch, cloud)
    operator = EmrContainerOperator(
        task_id="operator",
        name=name,
        virtual_cluster_id=cluster,
        execution_role_arn=ROLE,
        release_label="emr-7.9.0-latest",
        job_driver={"sparkSubmitJobDriver": {"entryPoint": "s3://bucket/job.py"}},
        wait_for_completion=False,
        client_request_token=token,
        region_name="us-east-1",
    )
    with executing(operator):
        run = str(operator.execute({}))
    (job,) = notes.jobs
    assert (job.scope, job.id, job.conn_id) == (cluster, run, "aws_default")
    assert (notes.unlabelled == [()]) is not bool(token)
    shown = described(containers, cluster, run)
    assert (LABEL in {Label.find(shown["name"]), Label.find(shown["clientToken"])}) is not bool(token)


class Own(EmrContainerOperator):
    """An operator whose author submits with a token of their own, which looks like a random one."""

    def execute(self, context: Any) -> str | None:
        token = "0f7c3a52-6f0c-4a5e-9a3e-0a1b2c3d4e5f"
        return self.hook.submit_job(self.name, ROLE, "emr-7.9.0-latest", {}, None, token)


@pytest.mark.parametrize("name", ["etl", LONG])
def test_a_token_that_an_authors_own_execute_gives_leads_to_the_same_run_in_each_try(
    cloud: LocalCloud, notes: Notes, monkeypatch: pytest.MonkeyPatch, cluster: str, name: str
) -> None:
    connect_aws(monkeypatch, cloud)
    operator = Own(
        task_id="operator",
        name=name,
        virtual_cluster_id=cluster,
        execution_role_arn=ROLE,
        release_label="emr-7.9.0-latest",
        job_driver={},
        region_name="us-east-1",
    )
    with executing(operator):
        first = operator.execute({})
        notes.wanted_label = OTHER_TRY
        assert operator.execute({}) == first
    (run,) = cloud.emr_containers.jobs()
    assert run["name"] == name
    assert notes.unlabelled == [(name,), (name,)]


@pytest.mark.parametrize("name", ["etl", LONG])
def test_a_request_whose_reply_was_lost_is_the_same_run_when_it_is_repeated(
    cloud: LocalCloud, notes: Notes, cluster: str, name: str
) -> None:
    with Gateway(cloud.url) as gateway:
        made = client(cloud, "emr-containers", 2, endpoint_url=gateway.url)
        gateway.answers = ["reset"]
        run = start(made, cluster, name=name)
        assert len(gateway.seen) == 2
    assert [job["id"] for job in cloud.emr_containers.jobs()] == [run]
    assert notes.words == ["started"]


@pytest.mark.parametrize("name", ["etl", LONG])
def test_a_run_whose_reply_stays_lost_is_found_by_its_label(
    cloud: LocalCloud, notes: Notes, containers: Any, cluster: str, name: str
) -> None:
    cloud.faults.add("emr-containers", "StartJobRun", "lost_reply")
    with pytest.raises(BotoCoreError, match="closed"):
        start(containers, cluster, name=name)
    assert (notes.words, notes.unlabelled) == (["lost"], [()])
    (job,) = cloud.emr_containers.jobs()
    found = EmrContainersJobRunService(containers).labelled(cluster, LABEL)
    assert [run.id for run in found] == [job["id"]]


def test_runs_that_a_reply_shows_as_ended_are_told(
    cloud: LocalCloud, notes: Notes, containers: Any, cluster: str
) -> None:
    ended, alive = (start(containers, cluster) for _ in range(2))
    cloud.emr_containers.finish(ended, "COMPLETED")
    described(containers, cluster, alive)
    described(containers, cluster, ended)
    containers.list_job_runs(virtualClusterId=cluster)
    assert notes.ends == [("emr-containers", "us-east-1", [(cluster, ended, JobState.SUCCEEDED)])] * 2
