"""Clients of the services over Airflow connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from botocore.exceptions import NoRegionError

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.services.registry import ServiceInfo, load


@dataclass(frozen=True)
class ClientOptions:
    """How to reach a service.

    :param conn_id: Airflow connection, which must be defined; empty: boto3's own default chain; None: the
        default connection of the service's hook.
    :param region: region instead of the connection's.
    :param endpoint_url: base URL instead of the connection's.
    :param verify: TLS verification: False, or the path of a CA bundle; None leaves it to the connection.
    """

    conn_id: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    verify: bool | str | None = None

    def hook(self, info: ServiceInfo) -> Any:
        """The service's hook, whose connection has been read.

        :raises InvalidInput: the connection is not defined or unusable.
        :raises AirflowUnavailable: Airflow did not say whether it is defined.
        """
        if self.conn_id is None:
            hook = info.hook_class(region_name=self.region, verify=self.verify)
        else:
            hook = info.hook_class.for_address(self.conn_id, self.region, Access(verify=self.verify))
        hook.check_connection()
        return hook


def client_of(info: ServiceInfo, options: ClientOptions) -> Any:
    """A client with a method for each operation, as boto3 makes them.

    :raises InvalidInput: the connection is not defined or unusable, or there is no region.
    :raises CancelProviderError: the connection could not be looked up, or gave no credentials.
    """
    hook = options.hook(info)
    if info.operations_class:
        return load(info.operations_class)(hook, options.endpoint_url)
    wrapper = hook.conn_config
    if options.endpoint_url:
        wrapper.endpoint_url = options.endpoint_url
        wrapper.service_config = {**wrapper.service_config, info.name: {}}
    try:
        return hook.get_conn()
    except NoRegionError as error:
        raise InvalidInput(
            f"{error} Use --region, or set the region of connection {hook.aws_conn_id!r}."
        ) from None
    except (TypeError, ValueError) as error:  # a malformed endpoint or region
        raise InvalidInput(str(error)) from None
