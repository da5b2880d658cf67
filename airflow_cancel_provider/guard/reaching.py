"""Every job over the line of the client that submitted it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import NoReturn

from airflow_cancel_provider.exceptions import CancelProviderError, InvalidInput
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, RemoteJob
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.client_spec import ClientSpec, as_json
from airflow_cancel_provider.services.opening import open_line
from airflow_cancel_provider.services.patience import Patience
from airflow_cancel_provider.services.reach import Reach
from airflow_cancel_provider.services.submissions import Intent

CALL_SECONDS = 5.0
"""Patience of a look for jobs by their label."""


class LineReach(Reach):
    """The services that some jobs need: one for each line, opened anew when its credentials were renewed.

    An address alone leads nowhere here: two clients may have the same connection and region, and
    different identities.

    :param line: the line of a job.
    """

    def __init__(self, line: Callable[[RemoteJob], ClientSpec], patience: Patience) -> None:
        super().__init__(_by_address)
        self._line = line
        self._patience = patience
        self._by_line: dict[str, JobService] = {}

    def service_of(self, job: RemoteJob) -> JobService:
        """The service that a job belongs to, with the identity that submitted it.

        :raises CancelProviderError: it can't be opened.
        """
        return self.over(self._line(job))

    def over(self, line: ClientSpec) -> JobService:
        """The service over a line.

        :raises CancelProviderError: it can't be opened.
        """
        plain = json.dumps(as_json(line), sort_keys=True)
        if plain not in self._by_line:
            self._by_line[plain] = _opened(line, self._patience)
        return self._by_line[plain]

    def cancel(self, jobs: Sequence[RemoteJob], reason: str, *, force: bool = False) -> list[CancelResult]:
        """As :meth:`Reach.cancel`; a service that can't be opened keeps nobody from the others."""
        lost = {job: trouble for job in jobs if (trouble := self._trouble_with(job))}
        asked = super().cancel([job for job in jobs if job not in lost], reason, force=force)
        return [
            *asked,
            *(CancelResult(job, CancelOutcome.UNANSWERED, str(trouble)) for job, trouble in lost.items()),
        ]

    def can_escalate(self, job: RemoteJob) -> bool:
        """Whether forcing would do more to this job than was done at first."""
        return self._trouble_with(job) is None and super().can_escalate(job)

    def by_service(self, jobs: Sequence[RemoteJob]) -> list[tuple[JobService, list[RemoteJob]]]:
        """The jobs of each service that can be opened."""
        return self._groups([job for job in jobs if self._trouble_with(job) is None])

    def _trouble_with(self, job: RemoteJob) -> CancelProviderError | None:
        try:
            self.service_of(job)
        except CancelProviderError as error:
            return error
        return None


def labelled(intent: Intent) -> list[RemoteJob]:
    """Living jobs that carry a submission's label, where it was placed; none without label or place.

    :raises CancelProviderError: the service can't be opened, or did not answer.
    """
    if intent.label is None or intent.scope is None:
        return []
    return open_line(intent.line, Patience(seconds=CALL_SECONDS)).labelled(intent.scope, intent.label)


def _opened(line: ClientSpec, patience: Patience) -> JobService:
    try:
        return open_line(line, patience)
    except CancelProviderError:
        raise
    except Exception as error:
        raise InvalidInput(f"{line.service} can't be reached as its submitter did: {error}") from error


def _by_address(service: str, conn_id: str | None, region: str | None) -> NoReturn:
    raise InvalidInput(f"Jobs of {service} are reached over their lines, not over {conn_id!r} in {region!r}.")
