"""Operator for AWS Batch jobs."""

from __future__ import annotations

from typing import Any

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.operators.base import CancelRemoteJobsOperator
from airflow_cancel_provider.tasks.connections import AwsConnection
from airflow_cancel_provider.tasks.kinds import BatchTargets
from airflow_cancel_provider.tasks.targets import is_empty


class CancelBatchJobOperator(BatchTargets, CancelRemoteJobsOperator):
    """Cancel AWS Batch jobs, in whatever state they are, and see them end.

    Parameters also as :class:`BatchTargets`, :class:`CancelRemoteJobsOperator` and :class:`AwsConnection`.
    https://docs.aws.amazon.com/batch/latest/APIReference/API_TerminateJob.html

    :param pending_only: cancel only what has not started (Batch's own ``CancelJob``); jobs that have are
        left running, and the task succeeds with them RUNNING.
    :param job_queue: with ``all_live``, the queue's name or ARN; ``name_prefix`` is needed too, because
        queues are shared ("" means every job in it, but not a template that renders to nothing).
    """

    template_fields = (
        *BatchTargets.target_fields,
        *CancelRemoteJobsOperator.common_fields,
        *AwsConnection.connection_fields,
        "job_queue",
    )

    def __init__(self, *, pending_only: bool = False, job_queue: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pending_only = pending_only
        self.job_queue = job_queue

    @property
    def leave_running(self) -> bool:
        """Whether jobs that are seen running are let go."""
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
