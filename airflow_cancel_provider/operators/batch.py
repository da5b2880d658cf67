"""Operator for AWS Batch jobs."""

from __future__ import annotations

from typing import Any

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.mixins.connection import AwsConnection
from airflow_cancel_provider.mixins.targets import DEFERRABLE, JobNames, is_empty
from airflow_cancel_provider.operators.base import CancelRemoteJobsOperator


class CancelBatchJobOperator(AwsConnection, CancelRemoteJobsOperator):
    """Cancel AWS Batch jobs, in whatever state they are, and see them end.

    Other parameters: :class:`CancelRemoteJobsOperator` and :class:`AwsConnection`.
    https://docs.aws.amazon.com/batch/latest/APIReference/API_TerminateJob.html

    :param job_ids: ids of the jobs. An array parent stands for all its children; ``id:index`` is one child.
    :param pending_only: cancel only what has not started (Batch's own ``CancelJob``); jobs that have are
        left running, and the task succeeds with them RUNNING.
    :param job_queue: with ``all_live``, the queue's name or ARN; ``name_prefix`` is needed too, because
        queues are shared ("" means every job in it, but not a template that renders to nothing).
    """

    service_name = "batch"
    service_fields = ("job_queue",)
    flags = (*CancelRemoteJobsOperator.flags, "pending_only")

    def __init__(
        self,
        *,
        job_ids: JobNames = None,
        remote_jobs: JobNames = None,
        all_live: bool = False,
        name_prefix: str | None = None,
        reason: str | None = None,
        wait_for_completion: bool = True,
        waiter_delay: float = 10,
        waiter_max_attempts: int = 360,
        deferrable: bool = DEFERRABLE,
        fail_if_not_running: bool = False,
        pending_only: bool = False,
        job_queue: str | None = None,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
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
            aws_conn_id=aws_conn_id,
            region_name=region_name,
            verify=verify,
            botocore_config=botocore_config,
            **kwargs,
        )
        self.job_ids = job_ids
        self.pending_only = pending_only
        self.job_queue = job_queue
        self.check_literals()

    @property
    def leave_running(self) -> bool:
        """Whether jobs that are seen running are left running."""
        return self.pending_only

    def live_scope(self) -> str:
        """The queue.

        :raises InvalidInput: it, or ``name_prefix``, was not given.
        """
        if self.job_queue is None or is_empty(self.job_queue):
            raise InvalidInput(f"job_queue is {self.job_queue!r}; all_live needs the queue's name or ARN.")
        if self.name_prefix is None:
            raise InvalidInput(
                'all_live on a Batch queue needs name_prefix; "" means every job in the queue.'
            )
        return self.job_queue

    def service_options(self) -> dict[str, Any]:
        """Options of :class:`BatchJobService`."""
        return {"pending_only": self.pending_only}
