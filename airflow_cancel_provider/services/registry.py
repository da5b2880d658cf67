"""The services: one row each, and the only place in which they are listed.

A service is a row here, a folder ``services/<package>`` (``service``, ``states``, ``submission``) and a
module named ``<package>`` in ``hooks``, ``operators`` and ``sensors``. Imports no SDK and no Airflow: classes
go by their paths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.services.batch import submission as batch
from airflow_cancel_provider.services.emr import submission as emr
from airflow_cancel_provider.services.emr_containers import submission as emr_containers
from airflow_cancel_provider.services.emr_serverless import submission as emr_serverless
from airflow_cancel_provider.services.glue import submission as glue
from airflow_cancel_provider.services.mrs import submission as mrs
from airflow_cancel_provider.services.ratelimit import Quotas
from airflow_cancel_provider.services.submissions import Submission

if TYPE_CHECKING:
    from airflow_cancel_provider.jobs import JobState

    # Every Airflow command reads the rows.
    from airflow_cancel_provider.services.base import JobService
    from airflow_cancel_provider.services.client_spec import ClientSpec
    from airflow_cancel_provider.services.retry import Patience

_ROOT = "airflow_cancel_provider"
StateReader = Callable[[Mapping[str, Any]], Iterator[tuple[str | None, Any, Any]]]
"""From a reply to scope (where the reply tells it), id and state of each job that it shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceInfo:
    """What differs between services, as data.

    :param name: scheme of the addresses; for a service of AWS also what botocore calls it.
    :param title: what people call it; unique.
    :param service: path of its :class:`JobService`.
    :param hook: path of its hook.
    :param family: what stands for it and its like in a place to look at, as ``aws``; None: only its name.
    :param scope_param: parameter with the cluster or application in operators and sensors; None: jobs have
        none.
    :param ids_param: parameter with the ids of jobs.
    :param submissions: the calls that start jobs.
    :param quotas: how often its operations may be called, as published for an account in a region.
    :param state_readers: by operation: how its reply shows jobs with their states.
    :param operations: its operations that the command line offers, beside our own commands, in the service's
        words: those that cancel jobs or show them.
    :param operations_class: path of a class with a method for each of them, for a service that boto3 does not
        know; None: boto3's client has them.
    :param carriers: where a label can go, by the words of the setting ``<package>_label``, the default first;
        empty: there is one way.
    :param carrier_help: what that setting says of itself.
    :param console_path: path of a job's page in the AWS console, from ``region``, ``scope`` and ``id``; None:
        the page's address can't be told.
    :param docs_url: the service's documentation.
    :param tags: of the integration, for Airflow.
    :param connection_type: path of a function that gives an Airflow connection type of our own.
    """

    name: str
    title: str
    service: str
    hook: str
    family: str | None = "aws"
    scope_param: str | None
    ids_param: str
    submissions: tuple[Submission, ...]
    quotas: Quotas = field(default_factory=dict)
    state_readers: Mapping[str, StateReader] = field(default_factory=dict)
    operations: tuple[str, ...] = ()
    operations_class: str | None = None
    carriers: tuple[str, ...] = ()
    carrier_help: str = ""
    console_path: str | None = None
    docs_url: str
    tags: tuple[str, ...] = ("aws",)
    connection_type: str | None = None

    @property
    def package(self) -> str:
        """Name of its folder in ``services``, and of its module in ``hooks``, ``operators``, ``sensors``."""
        return self.name.replace("-", "_")

    @property
    def hook_class(self) -> Any:
        """Its hook class."""
        return load(self.hook)

    @property
    def service_class(self) -> type[JobService]:
        """Its service class."""
        return cast("type[JobService]", load(self.service))

    @property
    def ends(self) -> Mapping[str, JobState]:
        """The states of jobs that have ended, by the service's own words for them."""
        found: Mapping[str, JobState] = load(f"{_ROOT}.services.{self.package}.states.ENDS")
        return found


SERVICES: dict[str, ServiceInfo] = {
    row.name: row
    for row in (
        ServiceInfo(
            name="emr",
            title="Amazon EMR",
            service=f"{_ROOT}.services.emr.service.EmrStepService",
            hook=f"{_ROOT}.hooks.emr.EmrStepsHook",
            scope_param="cluster_id",
            ids_param="step_ids",
            submissions=emr.SUBMISSIONS,
            quotas=emr.QUOTAS,
            operations=("CancelSteps", "DescribeStep", "ListSteps"),
            state_readers=emr.STATE_READERS,
            carriers=("name", "properties"),
            carrier_help="Where the label goes on an EMR step: behind its name, or (properties), for those "
            "who look steps up by name, into the property airflow.owner, a Java system property of the step.",
            # A step has no page of its own: its cluster's lists it.
            console_path="/emr/home?region={region}#/clusterDetails/{scope}",
            docs_url="https://docs.aws.amazon.com/emr/",
        ),
        ServiceInfo(
            name="batch",
            title="AWS Batch",
            service=f"{_ROOT}.services.batch.service.BatchJobService",
            hook=f"{_ROOT}.hooks.batch.BatchJobsHook",
            scope_param=None,
            ids_param="job_ids",
            submissions=batch.SUBMISSIONS,
            quotas=batch.QUOTAS,
            operations=(
                *("CancelJob", "TerminateJob", "CancelJobs", "TerminateJobs"),
                *("DescribeJobs", "ListJobs"),
            ),
            state_readers=batch.STATE_READERS,
            console_path="/batch/home?region={region}#jobs/detail/{id}",
            docs_url="https://docs.aws.amazon.com/batch/",
        ),
        ServiceInfo(
            name="emr-serverless",
            title="Amazon EMR Serverless",
            service=f"{_ROOT}.services.emr_serverless.service.EmrServerlessJobRunService",
            hook=f"{_ROOT}.hooks.emr_serverless.EmrServerlessJobRunsHook",
            scope_param="application_id",
            ids_param="job_run_ids",
            submissions=emr_serverless.SUBMISSIONS,
            quotas=emr_serverless.QUOTAS,
            operations=("CancelJobRun", "GetJobRun", "ListJobRuns", "ListJobRunAttempts"),
            state_readers=emr_serverless.STATE_READERS,
            console_path="/emr/home?region={region}#/serverless/applications/{scope}/job-runs/{id}",
            docs_url="https://docs.aws.amazon.com/emr-serverless/",
        ),
        ServiceInfo(
            name="emr-containers",
            title="Amazon EMR on EKS",
            service=f"{_ROOT}.services.emr_containers.service.EmrContainersJobRunService",
            hook=f"{_ROOT}.hooks.emr_containers.EmrContainerJobRunsHook",
            scope_param="virtual_cluster_id",
            ids_param="job_run_ids",
            submissions=emr_containers.SUBMISSIONS,
            quotas=emr_containers.QUOTAS,
            operations=("CancelJobRun", "DescribeJobRun", "ListJobRuns"),
            state_readers=emr_containers.STATE_READERS,
            # A run has no page of its own: its virtual cluster's lists it.
            console_path="/emr/home?region={region}#/eks/clusters/{scope}",
            docs_url="https://docs.aws.amazon.com/emr-on-eks/",
        ),
        ServiceInfo(
            name="mrs",
            title="Huawei Cloud / OTC MRS",
            service=f"{_ROOT}.services.mrs.service.MrsJobService",
            hook=f"{_ROOT}.hooks.mrs.MrsHook",
            family=None,
            scope_param="cluster_id",
            ids_param="job_execution_ids",
            submissions=mrs.SUBMISSIONS,
            quotas=mrs.QUOTAS,
            operations=("CancelJobExecution", "DescribeJobExecution", "ListJobExecutions"),
            operations_class=f"{_ROOT}.cli.service_commands.mrs.MrsOperations",
            docs_url="https://docs.otc.t-systems.com/mapreduce-service/",
            tags=("service",),
            connection_type=f"{_ROOT}.hooks.mrs_form.connection_type",
        ),
        ServiceInfo(
            name="glue",
            title="AWS Glue",
            service=f"{_ROOT}.services.glue.service.GlueJobRunService",
            hook=f"{_ROOT}.hooks.glue.GlueJobRunsHook",
            scope_param="job_name",
            ids_param="job_run_ids",
            submissions=glue.SUBMISSIONS,
            quotas=glue.QUOTAS,
            operations=("BatchStopJobRun", "GetJobRun", "GetJobRuns"),
            state_readers=glue.STATE_READERS,
            carriers=("none", "arguments"),
            carrier_help="Where the label goes on a Glue job run: nowhere, or (arguments) into the argument "
            "--airflow_owner, which reaches the job's script: one that refuses what it does not know fails.",
            console_path="/gluestudio/home?region={region}#/job/{scope}/run/{id}",
            docs_url="https://docs.aws.amazon.com/glue/",
        ),
    )
}

PLACES = tuple(dict.fromkeys([*(row.family for row in SERVICES.values() if row.family), *SERVICES]))
"""What a place may name: a family of services, or one of them."""


def service_info(name: str) -> ServiceInfo:
    """The row of a service.

    :raises InvalidInput: there is no such service.
    """
    try:
        return SERVICES[name]
    except KeyError:
        raise InvalidInput(f"There is no service {name!r}; there are {', '.join(SERVICES)}.") from None


def open_service(spec: ClientSpec, patience: Patience) -> JobService:
    """A service over the same endpoint, with the same identity, as a client that submitted.

    :raises InvalidInput: there is no such service.
    """
    return service_info(spec.service).service_class.over(spec, patience)


def load(path: str) -> Any:
    """What a path of a module and a name leads to."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
