"""Operator for the steps of Amazon EMR clusters."""

from __future__ import annotations

from typing import Any

from airflow_cancel_provider.mixins.connection import AwsConnection
from airflow_cancel_provider.mixins.targets import DEFERRABLE, JobNames, check_literal, number, one_of
from airflow_cancel_provider.operators.base import CancelRemoteJobsOperator
from airflow_cancel_provider.services.emr.submission import CANCELLATION_OPTIONS, CancellationOption


class CancelStepsOperator(AwsConnection, CancelRemoteJobsOperator):
    """Cancel steps of an Amazon EMR cluster, and see them end.

    Other parameters: :class:`CancelRemoteJobsOperator` and :class:`AwsConnection`.
    EMR cancels RUNNING steps from release 5.28.0 on. It has no place for ``reason``.
    https://docs.aws.amazon.com/emr/latest/APIReference/API_CancelSteps.html

    :param cluster_id: id of the cluster (``j-…``).
    :param step_ids: ids of the steps (``s-…``).
    :param cancellation_option: ``SEND_INTERRUPT`` (SIGTERM) or ``TERMINATE_PROCESS`` (SIGKILL).
    :param escalate_after: seconds after which steps that still live get ``TERMINATE_PROCESS``; None: never.
    """

    service_name = "emr"
    service_fields = ("cancellation_option", "escalate_after")

    def __init__(
        self,
        *,
        cluster_id: str | None = None,
        step_ids: JobNames = None,
        remote_jobs: JobNames = None,
        all_live: bool = False,
        name_prefix: str | None = None,
        reason: str | None = None,
        wait_for_completion: bool = True,
        waiter_delay: float = 10,
        waiter_max_attempts: int = 360,
        deferrable: bool = DEFERRABLE,
        fail_if_not_running: bool = False,
        cancellation_option: CancellationOption | str = "SEND_INTERRUPT",
        escalate_after: float | None = 60,
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
        self.cluster_id = cluster_id
        self.step_ids = step_ids
        self.cancellation_option = cancellation_option
        self.escalate_after = escalate_after
        check_literal(self, one_of, "cancellation_option", CANCELLATION_OPTIONS)
        check_literal(self, number, "escalate_after")
        self.check_literals()

    def service_options(self) -> dict[str, Any]:
        """Options of :class:`EmrStepService`, which checks them."""
        if self.escalate_after is not None:
            self.escalate_after = number("escalate_after", self.escalate_after)
        return {"cancellation_option": self.cancellation_option}
