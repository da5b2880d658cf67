"""Clients of the services over Airflow connections."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import NoRegionError

from airflow_cancel_provider.cli.reach import CALL_SECONDS, Silence, reached
from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.services.aws.body import read_body
from airflow_cancel_provider.services.registry import ServiceInfo, load

ATTEMPTS = 3
REPEATS = {"mode": "standard", "total_max_attempts": ATTEMPTS}
"""As version 2 of the AWS CLI, where the connection says nothing else."""


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
        hook.call_seconds = CALL_SECONDS
        hook.check_connection()
        return hook


def silence_of(info: ServiceInfo, options: ClientOptions) -> Silence:
    """Says for whom a command waits, on standard error."""
    whom = info.title if options.conn_id is None else reached(info, options.conn_id, options.region)
    until = f"Each request is given up after {CALL_SECONDS[1]:g} s, and sent up to {ATTEMPTS} times."
    return Silence(whom, until, lambda words: sys.stderr.write(f"{words}\n"))


def client_of(info: ServiceInfo, options: ClientOptions) -> Any:
    """A client with a method for each operation, as boto3 makes them.

    :raises InvalidInput: the connection is not defined or unusable, or there is no region.
    :raises CancelProviderError: the connection could not be looked up, or gave no credentials.
    """
    hook = options.hook(info)
    if info.operations_class:
        return load(info.operations_class)(hook, options.endpoint_url)
    hook.repeat(REPEATS)
    wrapper = hook.conn_config
    if options.endpoint_url:
        wrapper.endpoint_url = options.endpoint_url
        wrapper.service_config = {**wrapper.service_config, info.name: {}}
    try:
        client = hook.get_conn()
    except NoRegionError as error:
        conn_id = hook.aws_conn_id
        where = f"the region of connection {conn_id!r}" if conn_id else "AWS_DEFAULT_REGION"
        raise InvalidInput(f"{error} Use --region, or set {where}.") from None
    except (TypeError, ValueError) as error:  # a malformed endpoint or region
        raise InvalidInput(str(error)) from None
    # A page of a proxy is no answer; botocore, and the AWS CLI with it, takes it for one without content.
    client.meta.events.register("before-parse", read_body)
    return client
