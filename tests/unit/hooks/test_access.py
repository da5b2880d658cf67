"""Services by their addresses: each is opened once, and anew where its identity is not accepted."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from uuid import UUID

import pytest

from airflow_cancel_provider.exceptions import IdentityError, InvalidInput
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import CancelOutcome, JobState, RemoteJob
from airflow_cancel_provider.services.registry import SERVICES
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import until
from tests.mrs_fixtures import define
from tests.service_fixtures import BatchBench, Bench, EmrServerlessBench, outcomes
from tests.task_fixtures import connect_aws, connections

__all__ = ["connections"]
pytestmark = pytest.mark.usefixtures("connections")
AWS = ("emr", "batch", "emr-serverless", "emr-containers", "glue")


class TestRenewal:
    """A service whose identity is not accepted is opened anew, with the credentials that there are then."""

    def test_a_poll_and_a_cancel_go_on_with_new_keys(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench = BatchBench(cloud)
        job = bench.running()[0]
        connect_aws(monkeypatch, cloud, login="OLDKEY")
        pool = Access().pool()
        assert [status.state for status in pool.describe([job])] == [JobState.RUNNING]
        cloud.expired_access_keys.add("OLDKEY")
        connect_aws(monkeypatch, cloud, login="NEWKEY")
        assert outcomes(pool.cancel([job], "")) == [CancelOutcome.REQUESTED]
        cloud.expired_access_keys.add("NEWKEY")
        connect_aws(monkeypatch, cloud, login="NEWESTKEY")
        assert pool.describe([job])[0].state in (JobState.CANCELLING, JobState.CANCELLED)
        bench.close()

    def test_wrong_keys_are_told_soon_and_leave_the_cancel_open(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench = BatchBench(cloud)
        job = bench.running()[0]
        connect_aws(monkeypatch, cloud, login="WRONGKEY")
        cloud.bad_access_keys.add("WRONGKEY")
        pool = Access().pool()
        assert outcomes(pool.cancel([job], "")) == [CancelOutcome.UNANSWERED]
        with pytest.raises(IdentityError, match="Check the credentials of connection 'aws_default'"):
            pool.describe([job])
        bench.close()

    @pytest.mark.parametrize("kind", [BatchBench, EmrServerlessBench], ids=lambda kind: str(kind.name))
    def test_no_credentials_at_all(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, kind: type[Bench]
    ) -> None:
        bench = kind(cloud)
        job = bench.running()[0]
        cloud.journal.clear()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        connect_aws(monkeypatch, cloud, login=None, password=None)
        pool = Access().pool()
        (result,) = pool.cancel([job], "")
        assert result.outcome is CancelOutcome.UNANSWERED
        assert "Unable to locate credentials" in str(result.detail)
        with pytest.raises(IdentityError):
            pool.describe([job])
        sent = cloud.journal.entries(bench.name)
        assert not [entry for entry in sent if job.id in entry.ids or entry.scope == (job.scope or "-")]
        bench.close()


class TestAccess:
    def test_it_reaches_every_service_that_is_registered(self) -> None:
        for name in AWS:
            assert Access().service(name, "aws_default", None).name == name
        assert set(SERVICES) == {*AWS, "mrs"}

    def test_a_service_that_is_not_there(self) -> None:
        with pytest.raises(InvalidInput, match="There is no service 'athena'; there are emr, batch"):
            Access().service("athena", None, None)

    def test_options_go_to_the_service(self) -> None:
        access = Access(options={"cancellation_option": "TERMINATE_PROCESS"})
        pool = Access(**access.as_json()).pool()
        job = RemoteJob.of("emr", "s-1", scope="j-1", conn_id="aws_default")
        assert not pool.can_escalate(job)
        assert access.key == Access(**access.as_json()).key != Access().key

    def test_a_reach_opens_each_service_once(self) -> None:
        pool = Access().pool()
        job = RemoteJob.of("batch", str(UUID(int=0)), conn_id="aws_default", region="us-east-1")
        service = pool.service("batch", "aws_default", None)
        assert pool.service_of(job) is service
        assert pool.hurried(1).service_of(job) is not service
        with pytest.raises(InvalidInput, match="is not a job id"):
            pool.check([job, RemoteJob.of("batch", "x", conn_id="aws_default")])


def _role(monkeypatch: pytest.MonkeyPatch, cloud: LocalCloud) -> None:
    sts = {"sts": {"endpoint_url": cloud.url}}
    connect_aws(monkeypatch, cloud, "slow", role_arn="arn:aws:iam::123456789012:role/x", service_config=sts)
    connect_aws(monkeypatch, cloud, "other")


def _project(monkeypatch: pytest.MonkeyPatch, cloud: LocalCloud) -> None:
    define(monkeypatch, cloud, "slow", project_id=None, project_name="eu-de")
    define(monkeypatch, cloud, "other")


@pytest.mark.parametrize(
    "service, asks, connect",
    [("batch", "AssumeRole", _role), ("mrs", "KeystoneCreateUserTokenByPassword", _project)],
)
def test_credentials_that_do_not_come_hold_up_no_other_connection(
    cloud: LocalCloud,
    monkeypatch: pytest.MonkeyPatch,
    service: str,
    asks: str,
    connect: Callable[[pytest.MonkeyPatch, LocalCloud], None],
) -> None:
    """In Python 3.11 all instances share the lock of a ``cached_property``."""
    connect(monkeypatch, cloud)
    region = None if service == "mrs" else "us-east-1"
    cloud.faults.add("*", asks, "hang")
    slow, other = (
        Thread(target=Access().service, args=(service, conn_id, region), daemon=True)
        for conn_id in ("slow", "other")
    )
    slow.start()
    until(lambda: cloud.journal.count(operation=asks))
    other.start()
    other.join(20)
    assert slow.is_alive()
    assert not other.is_alive()
    cloud.faults.clear()
    slow.join(20)
