"""Operators for the job executions of Huawei Cloud and OTC MRS clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.mixins.connection import MrsConnection
from airflow_cancel_provider.mixins.deferral import DefersWait
from airflow_cancel_provider.mixins.on_kill import CancelsWhenKilled
from airflow_cancel_provider.mixins.targets import (
    DEFERRABLE,
    EMPTY_XCOM,
    JobNames,
    check_literal,
    flag,
    is_empty,
    number,
    one_id,
    one_of,
    read_back,
    whole_number,
)
from airflow_cancel_provider.operators.base import CancelRemoteJobsOperator
from airflow_cancel_provider.record import RECORD_KEY, TryRecord, TryState
from airflow_cancel_provider.services.mrs.submission import (
    JOB_TYPES,
    argument_texts,
    check_job_name,
    property_texts,
)
from airflow_cancel_provider.version_compat import Context
from airflow_cancel_provider.watch import Watch, poll, wait

if TYPE_CHECKING:
    from airflow_cancel_provider.services.pool import ServicePool


class CancelJobExecutionOperator(MrsConnection, CancelRemoteJobsOperator):
    """Cancel job executions of an MRS cluster, and see them end.

    Other parameters: :class:`CancelRemoteJobsOperator` and :class:`MrsConnection`. MRS has no place for
    ``reason``, and can't stop Spark SQL jobs: those are refused, by name. OTC MRS API reference,
    "Terminating a Job" (mrs_02_0088); with ``api_version`` v1.1, "Canceling a Job Execution Object"
    (mrs_02_0052).

    :param cluster_id: id of the cluster.
    :param job_execution_ids: ids of the job executions.
    """

    service_name = "mrs"

    def __init__(
        self,
        *,
        cluster_id: str | None = None,
        job_execution_ids: JobNames = None,
        remote_jobs: JobNames = None,
        all_live: bool = False,
        name_prefix: str | None = None,
        reason: str | None = None,
        wait_for_completion: bool = True,
        waiter_delay: float = 10,
        waiter_max_attempts: int = 360,
        deferrable: bool = DEFERRABLE,
        fail_if_not_running: bool = False,
        mrs_conn_id: str = "mrs_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            remote_jobs=remote_jobs,
            all_live=all_live,
            name_prefix=name_prefix,
            reason=reason,
            wait_for_completion=wait_for_completion,
            waiter_delay=waiter_delay,
            waiter_max_attempts=waiter_max_attempts,
            deferrable=deferrable,
            fail_if_not_running=fail_if_not_running,
            mrs_conn_id=mrs_conn_id,
            region_name=region_name,
            verify=verify,
            **kwargs,
        )
        self.cluster_id = cluster_id
        self.job_execution_ids = job_execution_ids
        self.check_literals()


class MrsSubmitJobOperator(MrsConnection, DefersWait, CancelsWhenKilled):
    """Start a job in an MRS cluster and wait for its success; cancel it if the task does not succeed.

    The job's address is in XCom ``remote_jobs``, the record of the try, before any waiting. OTC MRS API
    reference, "Adding and Executing a Job" (mrs_02_0085).

    :param cluster_id: id of the cluster.
    :param job_type: ``MapReduce``, ``SparkSubmit``, ``SparkPython``, ``HiveScript``, ``HiveSql``, ``DistCp``,
        ``SparkScript``, ``SparkSql`` or ``Flink``.
    :param job_name: 1 to 64 of letters, digits, ``-`` and ``_``; make it unique, as a job whose submission
        was not answered is found by it.
    :param arguments: the program's arguments, in order.
    :param properties: the program's settings; numbers, True and False become texts.
    :param wait_for_completion: wait for the job; otherwise it is left running when the task has ended.
    :param waiter_delay: seconds between two polls.
    :param waiter_max_attempts: polls at most; a job that takes longer is cancelled.
    :param deferrable: wait in the triggerer.
    :return: the job's address.
    :raises UnexpectedEnd: the job failed or was cancelled.
    :raises NotEnded: the job took too long.
    :raises Killed: the task was killed; the job is being cancelled.
    :raises ServiceError: MRS did not take the job, or refuses to be asked about it.
    """

    template_fields = (
        "cluster_id",
        "job_type",
        "job_name",
        "arguments",
        "properties",
        "waiter_delay",
        "waiter_max_attempts",
        *MrsConnection.connection_fields,
    )
    ui_color = "#e3f1dc"
    starts_jobs = True

    def __init__(
        self,
        *,
        cluster_id: str,
        job_type: str,
        job_name: str,
        arguments: Sequence[str] | None = None,
        properties: Mapping[str, str] | None = None,
        wait_for_completion: bool = True,
        waiter_delay: float = 30,
        waiter_max_attempts: int = 1440,
        deferrable: bool = DEFERRABLE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cluster_id = cluster_id
        self.job_type = job_type
        self.job_name = job_name
        self.arguments = arguments
        self.properties = properties
        self.wait_for_completion = wait_for_completion
        self.waiter_delay = waiter_delay
        self.waiter_max_attempts = waiter_max_attempts
        self.deferrable = deferrable
        self.jobs: list[RemoteJob] = []
        self._given = {name for name in ("arguments", "properties") if getattr(self, name) is not None}
        flag("wait_for_completion", wait_for_completion)
        flag("deferrable", deferrable)
        check_literal(self, one_id, "cluster_id")
        check_literal(self, one_of, "job_type", JOB_TYPES)
        check_literal(self, check_job_name, "job_name")
        check_literal(self, argument_texts, "arguments")
        check_literal(self, property_texts, "properties")
        check_literal(self, number, "waiter_delay")
        check_literal(self, whole_number, "waiter_max_attempts")

    def execute(self, context: Context) -> str:
        """Submit, and wait or defer."""
        self.waiter_delay = number("waiter_delay", self.waiter_delay)
        self.waiter_max_attempts = whole_number("waiter_max_attempts", self.waiter_max_attempts)
        job, pool = self._submit()
        watch = Watch([job], [JobState.SUCCEEDED])
        try:
            self._guard_job(context, pool, job)
            if not self.wait_for_completion:
                self._release(context)
                return str(job)
            poll(watch, pool, self.log)
            if not watch.is_decided:
                self._wait(context, watch, pool)
            return self.finish(context, watch)
        except Exception:
            if _may_live(watch):
                self.cancel_armed()
            raise

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume from the trigger; also after its failure the job must not outlive the task."""
        watch: Watch | None = None
        try:
            if "event" in (next_kwargs := next_kwargs or {}):
                watch = Watch.from_json(next_kwargs["event"]["watch"])
            self._guard_again(context, watch)
            return super().resume_execution(next_method, next_kwargs, context)
        except Exception:
            if watch is None or _may_live(watch):
                self.cancel_armed()
            raise

    def _guard_again(self, context: Context, watch: Watch | None) -> None:
        """Cancel the job with the task again: the one that was waited for, or the recorded one."""
        from airflow_cancel_provider.settings import Settings

        ti: Any = context["ti"]
        record = TryRecord(UUID(str(ti.id)), jobs=tuple(watch.jobs)) if watch else self._on_record(ti)
        if record is None:
            return
        self.jobs, deployment = list(record.jobs), Settings.read().deployment
        objection = partial(record.foreign, deployment=deployment)
        self.arm(context, self.access().pool(), self.jobs, "", objection)

    def _on_record(self, ti: Any) -> TryRecord | None:
        found = ti.xcom_pull(task_ids=ti.task_id, key=RECORD_KEY, map_indexes=ti.map_index)
        try:
            record = TryRecord.from_json(found)
        except InvalidInput as error:
            self.log.warning("The job may still be running: XCom %s can't be read: %s", RECORD_KEY, error)
            return None
        if str(record.ti_id) == str(ti.id):
            return record
        self.log.warning("The job may still be running: XCom %s was written by another try.", RECORD_KEY)
        return None

    def _submit(self) -> tuple[RemoteJob, ServicePool]:
        from airflow_cancel_provider.hooks.mrs import MrsHook
        from airflow_cancel_provider.services.pool import ServicePool

        hook = MrsHook.for_address(*self.connection(), self.access())
        job = hook.submit_job(
            one_id("cluster_id", self.cluster_id),
            self.job_type,
            self.job_name,
            arguments=self._rendered("arguments") or (),
            properties=self._rendered("properties") or {},
        )
        pool = ServicePool(lambda *_: hook.service)
        pool.service_of(job)
        return job, pool

    def _rendered(self, param: str) -> Any:
        """A list or dict, also where a template turned it into text; None only where it was not given."""
        value = read_back(getattr(self, param))
        if is_empty(value) and param in self._given:
            raise InvalidInput(f"{param} is {value!r}. {EMPTY_XCOM}")
        return value

    def _guard_job(self, context: Context, pool: ServicePool, job: RemoteJob) -> None:
        """Cancel the job with the task from now on, and record its address."""
        self.jobs = [job]
        self.arm(context, pool, self.jobs, "")
        self.log.info("Started %s", job)

    def _wait(self, context: Context, watch: Watch, pool: ServicePool) -> None:
        delay, most = self.waiter_delay, self.waiter_max_attempts
        if self.may_defer():
            self.keep_record(context, TryState.DEFERRED)
            self.defer_wait(watch, delay, most, timeout=self.execution_timeout, cancel_reason="")
        wait(watch, pool, self.log, delay=delay, max_attempts=most)

    def finish(self, context: Context, watch: Watch) -> str:
        """The job's address."""
        watch.verdict()
        self._release(context)
        return str(watch.jobs[0])

    def _release(self, context: Context) -> None:
        self.keep_record(context, TryState.RETURNED)
        self.disarm()


def _may_live(watch: Watch) -> bool:
    """Whether the job was not seen to end. One that MRS did not know at the last poll may live."""
    is_unknown = any(status.state is JobState.GONE for status in watch.statuses.values())
    return is_unknown or bool(watch.open)
