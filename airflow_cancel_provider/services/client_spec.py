"""The configuration of a submitting client, with which another process can make the same client."""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.services.credentials import is_renewable, keys_of


@dataclass(frozen=True, slots=True)
class ClientSpec:
    """A client's whole configuration, as plain values.

    Without retries and time-outs: each process has its own. ``secrets`` holds
    credentials, and the address of an endpoint or a proxy may hold a password: they go through a pipe to the
    sentinel, and nowhere else.

    :param endpoint: base URL, with its path if it has one.
    :param verify: whether certificates are checked, or the path of a CA bundle.
    :param proxies: proxy URL by URL scheme; empty: no proxy, whatever the environment says.
    :param client_cert: path of a client certificate, or the two paths of certificate and key.
    :param config: other settings of the client: for AWS, options of ``botocore.config.Config``.
    """

    service: str
    conn_id: str | None
    region: str | None
    endpoint: str | None = field(repr=False)
    verify: bool | str | None = None
    proxies: dict[str, str] | None = field(default=None, repr=False)
    secrets: dict[str, Any] = field(default_factory=dict, repr=False)
    client_cert: str | list[str] | None = None
    config: dict[str, Any] = field(default_factory=dict, repr=False)

    def address(self, scope: str | None, id: str) -> RemoteJob:
        """Address of a job that was started by this client."""
        return RemoteJob.of(self.service, id, scope=scope, conn_id=self.conn_id, region=self.region)

    @property
    def credentials(self) -> Any:
        """AWS credentials as the client has them, or None."""
        return self.secrets.get("credentials")


def as_json(spec: ClientSpec) -> dict[str, Any]:
    """Plain values, for the sentinel's pipe. Holds secrets."""
    return {**{name: getattr(spec, name) for name in spec.__slots__}, "secrets": frozen(spec.secrets)}


def identity_of(spec: ClientSpec) -> Hashable:
    """What tells a client from others, and stays when its credentials are renewed. Holds secrets.

    Credentials that renew themselves count by the object, which must be kept for as long as its identity is.
    """
    renewable = is_renewable(spec.credentials)
    plain = {name: getattr(spec, name) for name in spec.__slots__ if name != "secrets"}
    secrets = id(spec.credentials) if renewable else frozen(spec.secrets)
    return json.dumps([plain, secrets], sort_keys=True)


def frozen(secrets: dict[str, Any]) -> dict[str, Any]:
    """Secrets as they are now, as plain values; credentials that renew themselves are renewed if due."""
    credentials = secrets.get("credentials")
    if credentials is None or isinstance(credentials, dict):
        return secrets
    return {"credentials": keys_of(credentials)}


def whole_path(value: Any) -> Any:
    """A file's path that is good in every working directory; anything else (True, None) as it is."""
    return str(Path(value).absolute()) if isinstance(value, str) and value.strip() else value
