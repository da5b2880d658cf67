"""Reach every job with the client that submitted it, or over the connection in its address."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from typing import NoReturn

from airflow_cancel_provider.exceptions import CancelProviderError, InvalidInput
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.client_spec import ClientSpec, as_json
from airflow_cancel_provider.services.credentials import caused_by, without_logins
from airflow_cancel_provider.services.pool import ServicePool
from airflow_cancel_provider.services.registry import open_service
from airflow_cancel_provider.services.retry import Patience


class ClientPool(ServicePool):
    """One service for each client, opened anew when the client's credentials were renewed.

    An address alone is not enough: two clients may have the same connection and region, and different
    identities.

    :param client: the client of a job.
    """

    def __init__(self, client: Callable[[RemoteJob], ClientSpec], patience: Patience) -> None:
        super().__init__(_by_address)
        self._client = client
        self._patience = patience
        self._by_client: dict[str, JobService] = {}

    def service_of(self, job: RemoteJob) -> JobService:
        """The service of a job, with the identity that submitted it.

        :raises CancelProviderError: it can't be opened.
        """
        return self.over(self._client(job))

    def over(self, client: ClientSpec) -> JobService:
        """The service over a client.

        :raises CancelProviderError: it can't be opened.
        """
        plain = _plain(client)
        if plain not in self._by_client:
            self._by_client[plain] = _opened(client, self._patience)
        return self._by_client[plain]

    def renew(self) -> None:
        """Do nothing: a client whose credentials were renewed has a service of its own."""

    def _key(self, job: RemoteJob) -> Hashable:
        try:
            return _plain(self._client(job))
        except CancelProviderError:
            return job  # opening it raises the error again


def client_over(
    access: Access | ServicePool, service: str, conn_id: str | None, region: str | None
) -> ClientSpec:
    """How to reach a service over an Airflow connection. Asks Airflow: never from a signal handler.

    :param access: a pool of it opens each service once.
    :raises InvalidInput: the connection is unusable.
    """
    return access.service(service, conn_id, region).spec


def client_of(access: Access | ServicePool, job: RemoteJob) -> ClientSpec:
    """How to reach a job's service over the connection in its address; otherwise as :func:`client_over`.

    :raises InvalidInput: the connection is unusable, or its service can't have issued the job's ids.
    """
    service = access.service(*job.service_key)
    service.check(job)
    return service.spec


def _plain(client: ClientSpec) -> str:
    try:
        return json.dumps(as_json(client), sort_keys=True)
    except CancelProviderError:
        raise
    except Exception as error:  # noqa: BLE001  credential providers have errors of their own
        words = without_logins(f"Credentials for {client.service} can't be read: {error}")
        raise caused_by(error, InvalidInput(words))  # noqa: B904


def _opened(client: ClientSpec, patience: Patience) -> JobService:
    try:
        return open_service(client, patience)
    except CancelProviderError:
        raise
    except Exception as error:  # noqa: BLE001  botocore has many for a configuration that it does not accept
        words = without_logins(f"{client.service} can't be reached as its submitter did: {error}")
        raise caused_by(error, InvalidInput(words))  # noqa: B904


def _by_address(service: str, conn_id: str | None, region: str | None) -> NoReturn:
    raise InvalidInput(
        f"Jobs of {service} are reached over their clients, not over {conn_id!r} in {region!r}."
    )
