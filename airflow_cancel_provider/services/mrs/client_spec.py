"""The configuration of an MRS client, with which another process can make the same client."""

from __future__ import annotations

from typing import Any

from airflow_cancel_provider.services.client_spec import ClientSpec, whole_path
from airflow_cancel_provider.services.mrs.auth import AkSkAuth, TokenAuth
from airflow_cancel_provider.services.mrs.client import MrsClient

_AUTHS: dict[str, type[AkSkAuth | TokenAuth]] = {auth.__name__: auth for auth in (AkSkAuth, TokenAuth)}
TIMEOUTS = (5.0, 12.0)
"""Seconds to connect and to wait for an answer."""


def spec_of(client: MrsClient, conn_id: str | None, region: str | None) -> ClientSpec:
    """The specification of a client. Holds secrets."""
    secrets = {
        "project_id": client.project_id,
        "api_version": client.api_version,
        "auth": type(client.auth).__name__,
        "arguments": {
            name: whole_path(value) if name == "verify" else value
            for name, value in client.auth.arguments.items()
        },
    }
    return ClientSpec("mrs", conn_id, region, client.endpoint, whole_path(client.verify), secrets=secrets)


def client_of(spec: ClientSpec) -> MrsClient:
    """A client that reaches the service as the one that was specified did."""
    secrets: dict[str, Any] = spec.secrets
    return MrsClient(
        spec.endpoint or "",
        secrets["project_id"],
        _AUTHS[secrets["auth"]](**secrets["arguments"]),
        api_version=secrets["api_version"],
        verify=True if spec.verify is None else spec.verify,
        timeouts=TIMEOUTS,
    )
