"""Operator for the steps of Amazon EMR clusters."""

from __future__ import annotations

from typing import Any

from airflow_cancel_provider.operators.base import CancelRemoteJobsOperator
from airflow_cancel_provider.tasks.connections import AwsConnection
from airflow_cancel_provider.tasks.kinds import EmrTargets
from airflow_cancel_provider.tasks.targets import number, one_of


class CancelStepsOperator(EmrTargets, CancelRemoteJobsOperator):
    """Cancel steps of an Amazon EMR cluster, and see them end.

    Parameters also as :class:`EmrTargets`, :class:`CancelRemoteJobsOperator` and :class:`AwsConnection`.
    EMR cancels RUNNING steps from release 5.28.0 on. It has no place for ``reason``.
    https://docs.aws.amazon.com/emr/latest/APIReference/API_CancelSteps.html

    :param cancellation_option: ``SEND_INTERRUPT`` (SIGTERM) or ``TERMINATE_PROCESS`` (SIGKILL).
    :param escalate_after: seconds after which steps that still live get ``TERMINATE_PROCESS``; None: never.
    """

    template_fields = (
        *EmrTargets.target_fields,
        *CancelRemoteJobsOperator.common_fields,
        *AwsConnection.connection_fields,
        "cancellation_option",
        "escalate_after",
    )

    def __init__(
        self,
        *,
        cancellation_option: str = "SEND_INTERRUPT",
        escalate_after: float | None = 60,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cancellation_option = cancellation_option
        self.escalate_after = escalate_after

    def service_options(self) -> dict[str, Any]:
        """Options of :class:`EmrStepService`, checked."""
        one_of("cancellation_option", self.cancellation_option, ("SEND_INTERRUPT", "TERMINATE_PROCESS"))
        if self.escalate_after is not None:
            self.escalate_after = number("escalate_after", self.escalate_after)
        return {"cancellation_option": self.cancellation_option}
