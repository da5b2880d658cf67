"""Hooks of the AWS services: their verbs, and what of a connection they use."""

from __future__ import annotations

import inspect
from typing import Any

import certifi
import pytest
from botocore.config import Config

from airflow_cancel_provider.exceptions import AccessDenied, InvalidInput, ServiceError, ServiceUnavailable
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.hooks.aws import AwsJobsHook
from airflow_cancel_provider.hooks.batch import BatchJobsHook
from airflow_cancel_provider.hooks.emr import EmrStepsHook
from airflow_cancel_provider.hooks.emr_containers import EmrContainerJobRunsHook
from airflow_cancel_provider.hooks.emr_serverless import EmrServerlessJobRunsHook
from airflow_cancel_provider.hooks.glue import GlueJobRunsHook
from airflow_cancel_provider.hooks.mrs import MrsHook
from airflow_cancel_provider.jobs import CancelOutcome, JobState
from airflow_cancel_provider.services.aws.service import AwsJobService
from airflow_cancel_provider.services.registry import SERVICES, ServiceInfo
from airflow_cancel_provider.services.retry import Patience
from tests.cloud.server import LocalCloud
from tests.mrs_fixtures import define
from tests.service_fixtures import BatchBench, EmrBench, EmrServerlessBench, outcomes
from tests.task_fixtures import MRS_KEYS, SECRET, connect_aws, connections

__all__ = ["connections"]
pytestmark = pytest.mark.usefixtures("connections")

AWS_HOOKS: list[type[AwsJobsHook[Any]]] = [
    BatchJobsHook,
    EmrContainerJobRunsHook,
    EmrServerlessJobRunsHook,
    EmrStepsHook,
    GlueJobRunsHook,
]


BATCH_ID = "00000000-0000-0000-0000-000000000000"
KINDS_OPTIONS: dict[str, dict[str, Any]] = {
    "emr": {"cancellation_option": "TERMINATE_PROCESS"},
    "batch": {"pending_only": True},
    "emr-serverless": {"shutdown_grace_period": 15},
    "mrs": {"api_version": "v1.1"},
}
DONE = [CancelOutcome.REQUESTED]


VERBS: list[tuple[type[Any], str, tuple[str, ...]]] = [
    (EmrStepsHook, "cancel_steps", ("j-1AB",)),
    (EmrStepsHook, "describe_steps", ("j-1AB",)),
    (BatchJobsHook, "describe_jobs", ()),
    (EmrServerlessJobRunsHook, "cancel_job_runs", ("00f1",)),
    (EmrServerlessJobRunsHook, "describe_job_runs", ("00f1",)),
    (EmrContainerJobRunsHook, "cancel_job_runs", ("0f1",)),
    (EmrContainerJobRunsHook, "describe_job_runs", ("0f1",)),
    (GlueJobRunsHook, "batch_stop_job_runs", ("etl",)),
    (GlueJobRunsHook, "describe_job_runs", ("etl",)),
    (MrsHook, "cancel_job_executions", ("c-1",)),
]
"""Methods that take ids, and what they take before these."""


@pytest.mark.parametrize("hook, verb, place", VERBS, ids=str)
def test_a_text_is_no_list_of_ids(
    cloud: LocalCloud, hook: type[Any], verb: str, place: tuple[str, ...]
) -> None:
    """Each of its characters could be the id of a job."""
    with pytest.raises(InvalidInput, match="'00f2' is one text; expected a list of "):
        getattr(hook(), verb)(*place, "00f2")
    assert cloud.journal.count() == 0


@pytest.mark.parametrize("hook, verb, place", VERBS, ids=str)
@pytest.mark.parametrize("given", [None, 5, b"00f2", {"run": "00f2"}], ids=repr)
def test_what_is_no_list_of_ids(
    cloud: LocalCloud, hook: type[Any], verb: str, place: tuple[str, ...], given: Any
) -> None:
    with pytest.raises(InvalidInput, match=r" is no list; expected a list of job|of step ids of"):
        getattr(hook(), verb)(*place, given)
    assert cloud.journal.count() == 0


def test_batch_verbs(cloud: LocalCloud) -> None:
    bench = BatchBench(cloud)
    (running, pending), hook = bench.running(2), BatchJobsHook()
    assert hook.describe_jobs([running.id])[0].state is JobState.RUNNING
    assert {status.job for status in hook.list_live_jobs("queue")} == {running, pending}
    assert outcomes(hook.terminate_jobs([running.id], "late")) == DONE
    assert outcomes(hook.cancel_jobs([pending.id], "late")) == DONE
    assert bench.truth()[running.id]["reason"] == "late"
    gentle, left = BatchJobsHook(pending_only=True), bench.running()[0]
    assert outcomes(gentle.cancel_jobs([left.id], "late")) == [CancelOutcome.LEFT_RUNNING]
    assert outcomes(gentle.terminate_jobs([left.id], "late")) == DONE
    bench.close()


def test_emr_verbs(cloud: LocalCloud) -> None:
    bench = EmrBench(cloud)
    cluster = bench.new_scope()
    (step, other), hook = bench.running(2, cluster), EmrStepsHook()
    assert hook.describe_steps(cluster, [step.id])[0].state is JobState.RUNNING
    assert {status.job for status in hook.list_live_steps(cluster)} == {step, other}
    assert outcomes(hook.cancel_steps(cluster, [step.id])) == DONE
    assert outcomes(hook.cancel_steps(cluster, [other.id], force=True)) == DONE
    with pytest.raises(InvalidInput, match="'step' is not a step id"):
        hook.cancel_steps(cluster, ["step"])
    bench.close()


def test_emr_serverless_verbs(cloud: LocalCloud) -> None:
    bench = EmrServerlessBench(cloud)
    application = str(bench.new_scope())
    (first, second) = bench.running(2, application)
    hook = EmrServerlessJobRunsHook(shutdown_grace_period=15)
    assert hook.describe_job_runs(application, [first.id])[0].state is JobState.RUNNING
    assert {status.job for status in hook.list_live_job_runs(application)} == {first, second}
    assert outcomes(hook.cancel_job_runs(application, [first.id])) == DONE
    bench.close()


@pytest.mark.parametrize("hook", AWS_HOOKS)
class TestConnection:
    def test_an_unknown_one(self, hook: type[AwsJobsHook[Any]]) -> None:
        with pytest.raises(InvalidInput, match="'no_such' is not defined in Airflow"):
            _ = hook("no_such").service

    def test_one_of_another_type(self, hook: type[AwsJobsHook[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_FTP", "ftp://host")
        with pytest.raises(InvalidInput, match=f"has type 'ftp'; {hook.__name__} needs type 'aws'"):
            _ = hook("ftp").service

    def test_its_region_and_another(self, hook: type[AwsJobsHook[Any]]) -> None:
        assert hook().service.region == "us-east-1"
        assert hook(region_name="eu-west-1").service.region == "eu-west-1"
        assert hook(region_name="eu-west-1").service.client.meta.region_name == "eu-west-1"

    def test_what_it_is_part_of_addresses(self, hook: type[AwsJobsHook[Any]]) -> None:
        service: AwsJobService = hook().service
        assert (service.name, service.conn_id) == (hook.service_class.name, "aws_default")


def opened(**options: Any) -> Any:
    """The client behind a hook."""
    access = Access(**options)
    return BatchJobsHook.for_address("aws_default", None, access).service.client


def test_config_goes_to_the_client() -> None:
    config = opened(botocore_config={"read_timeout": 7, "retries": {"total_max_attempts": 1}}).meta.config
    assert config.read_timeout == 7
    assert config.retries["total_max_attempts"] == 1
    assert BatchJobsHook(config=Config(read_timeout=8)).service.client.meta.config.read_timeout == 8


def test_throttled_calls_are_repeated_in_one_layer(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the service, at the pace of the account; botocore would repeat them at once."""
    connect_aws(monkeypatch, cloud, config_kwargs=None)
    cloud.faults.add("batch", "DescribeJobQueues", "throttle", times=2)
    service = BatchJobsHook().service
    sent: list[int] = []
    service.client.meta.events.register("after-call", lambda parsed, **_: sent.append(attempts(parsed)))
    list(service.scopes())
    assert sent == [0, 0, 0]


def attempts(parsed: Any) -> int:
    return int(parsed["ResponseMetadata"].get("RetryAttempts", 0))


def test_retries_that_were_set_over_the_connection_stay(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect_aws(monkeypatch, cloud, config_kwargs={"retries": {"mode": "adaptive", "total_max_attempts": 7}})
    assert opened().meta.config.retries == {"mode": "adaptive", "total_max_attempts": 7}
    assert (
        opened(botocore_config={"retries": {"total_max_attempts": 4}}).meta.config.retries[
            "total_max_attempts"
        ]
        == 4
    )


def test_the_users_own_client_keeps_botocores_retries(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect_aws(monkeypatch, cloud, config_kwargs=None)
    hook = BatchJobsHook()
    assert hook.service.client.meta.config.retries["total_max_attempts"] == 1
    client: Any = hook.get_conn()
    assert client.meta.config.retries.get("total_max_attempts", 3) > 1


def test_a_connection_says_what_share_of_the_quotas_is_used(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect_aws(monkeypatch, cloud, quota_share=0.5)
    assert BatchJobsHook().service.quota_share == 0.5


@pytest.mark.parametrize("share", [0, 2, "half"])
def test_a_share_that_is_none(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, share: Any) -> None:
    connect_aws(monkeypatch, cloud, quota_share=share)
    with pytest.raises(InvalidInput, match=r"'aws_default' can't be used: quota_share is"):
        _ = BatchJobsHook().service


@pytest.mark.parametrize("verify", [False, certifi.where()])
def test_verify_goes_to_the_client(verify: bool | str) -> None:
    assert opened(verify=verify)._endpoint.http_session._verify == verify


@pytest.mark.parametrize(
    "text, meant",
    [
        ("false", False),
        ("False", False),
        (" true ", True),
        ("none", None),
        ("", None),
        (certifi.where(), certifi.where()),
    ],
)
def test_verify_that_a_connection_holds_as_text(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, text: str, meant: bool | str | None
) -> None:
    usual = opened()._endpoint.http_session._verify
    connect_aws(monkeypatch, cloud, verify=text)
    assert opened()._endpoint.http_session._verify == (usual if meant is None else meant)


@pytest.mark.parametrize("value", [7, ["/ca.pem"], " "])
def test_verify_that_is_neither_a_flag_nor_a_path(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    connect_aws(monkeypatch, cloud, verify=value)
    with pytest.raises(
        InvalidInput, match=r"^Connection 'aws_default' can't be used: verify is .* CA bundle"
    ):
        opened()
    define(monkeypatch, cloud, **{**MRS_KEYS, "verify": value})
    with pytest.raises(InvalidInput, match=r"^Connection 'mrs_default': verify is .* CA bundle"):
        MrsHook().check_connection()


@pytest.mark.parametrize("row", SERVICES.values(), ids=lambda row: str(row.name))
def test_a_hook_lists_its_parameters(row: ServiceInfo) -> None:
    """Options of the service included; a misspelt one is refused, and every public method is typed."""
    made = row.hook_class(**KINDS_OPTIONS.get(row.name, {}))
    assert made.service.name == row.name
    with pytest.raises(TypeError, match="no_such"):
        row.hook_class(no_such=1)
    for kind in (each for each in row.hook_class.__mro__ if each.__module__.startswith("airflow_cancel")):
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_") and method.__qualname__.startswith(kind.__name__):
                parameters = list(inspect.signature(method).parameters.values())[1:]
                assert all(each.annotation is not each.empty for each in parameters), name
                assert not any(each.kind is each.VAR_KEYWORD for each in parameters), name


def test_a_configuration_that_botocore_does_not_know(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidInput, match=r"^botocore_config can't be used: .*'nonsense'\.$"):
        opened(botocore_config={"nonsense": 1})
    connect_aws(monkeypatch, cloud, config_kwargs={"nonsense": 1})
    with pytest.raises(InvalidInput, match=r"^Connection 'aws_default' can't be used: .*'nonsense'\.$"):
        opened()


@pytest.mark.parametrize("conn_id", ["aws_default", None])
def test_without_a_connection_it_is_botos_own_chain(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, conn_id: str | None
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_AWS_DEFAULT")
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.url)
    hook = BatchJobsHook(conn_id, region_name="us-east-1")
    assert hook.describe_jobs([BATCH_ID])[0].state is JobState.GONE
    # Threads of earlier tests may be at work, too.
    asked = [entry for entry in cloud.journal.entries("batch") if BATCH_ID in entry.ids]
    assert {entry.access_key for entry in asked} == {"testing"}
    assert hook.service.conn_id is None
    assert hook.service.address(BATCH_ID) == f"batch://@us-east-1/{BATCH_ID}"


def test_no_region(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    connect_aws(monkeypatch, cloud, region_name=None)
    with pytest.raises(InvalidInput, match="No AWS region"):
        _ = BatchJobsHook().service


def test_a_profile_that_is_not_there(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    connect_aws(monkeypatch, cloud, login=None, password=None, profile_name="no-such")
    with pytest.raises(InvalidInput, match=r"'aws_default' can't be used: .*no-such"):
        _ = BatchJobsHook().service


def test_words_of_an_error_are_one_line(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore's own words about a parameter have a line for each."""
    connect_aws(monkeypatch, cloud, role_arn="nonsense")
    with pytest.raises(ServiceError, match=r"gave no credentials: .*RoleArn, value: 8") as caught:
        _ = BatchJobsHook().service
    assert "\n" not in str(caught.value)


def test_a_service_out_of_reach(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """There may have been no answer at all, so none is spoken of."""
    connect_aws(monkeypatch, cloud, endpoint_url="http://127.0.0.1:9")
    hook = BatchJobsHook()
    hook.patience = Patience(seconds=0.1)
    with pytest.raises(ServiceUnavailable, match=r"failed for 0\.1 s: EndpointConnectionError: "):
        hook.describe_jobs([BATCH_ID])


def test_a_role_that_may_not_be_assumed(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    role = "arn:aws:iam::123456789012:role/airflow"
    sts = {"sts": {"endpoint_url": cloud.url}}
    connect_aws(monkeypatch, cloud, role_arn=role, service_config=sts)
    cloud.faults.add("sts", "AssumeRole", "denied", times=1)
    with pytest.raises(AccessDenied, match="Connection 'aws_default' gave no credentials: ") as caught:
        _ = BatchJobsHook().service
    assert caught.value.operation == "AssumeRole"
    assert SECRET not in str(caught.value)
    assert BatchJobsHook().describe_jobs([BATCH_ID])[0].state is JobState.GONE
    assert cloud.journal.entries("batch")[-1].access_key != "DEFAULTKEY"
    cloud.faults.add("sts", "AssumeRole", "reset")
    with pytest.raises(ServiceUnavailable, match="gave no credentials"):
        _ = BatchJobsHook().service
