"""Every job over the line of the client that submitted it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import NoReturn

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.lines import Line, as_json
from airflow_cancel_provider.services.opening import open_line
from airflow_cancel_provider.services.patience import Patience
from airflow_cancel_provider.services.reach import Reach


class LineReach(Reach):
    """The services that some jobs need: one for each line, opened anew when its credentials were renewed.

    An address alone leads nowhere here: two clients may have the same connection and region, and
    different identities.

    :param line: the line of a job.
    """

    def __init__(self, line: Callable[[RemoteJob], Line], patience: Patience) -> None:
        super().__init__(_by_address)
        self._line = line
        self._patience = patience
        self._by_line: dict[str, JobService] = {}

    def service_of(self, job: RemoteJob) -> JobService:
        """The service that a job belongs to, with the identity that submitted it."""
        return self.over(self._line(job))

    def over(self, line: Line) -> JobService:
        """The service over a line."""
        plain = json.dumps(as_json(line), sort_keys=True)
        if plain not in self._by_line:
            self._by_line[plain] = open_line(line, self._patience)
        return self._by_line[plain]

    def by_service(self, jobs: Sequence[RemoteJob]) -> list[tuple[JobService, list[RemoteJob]]]:
        """The jobs of each service."""
        return self._groups(jobs)


def _by_address(service: str, conn_id: str | None, region: str | None) -> NoReturn:
    raise InvalidInput(f"Jobs of {service} are reached over their lines, not over {conn_id!r} in {region!r}.")
