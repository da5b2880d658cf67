"""How a submitting client reaches its service, so that another process can do the same."""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.services.credentials import is_renewable, keys_of


@dataclass(frozen=True, slots=True)
class ClientSpec:
    """How the client that submitted reaches its service, so that another process can.

    ``secrets`` holds credentials: it goes through a pipe to the sentinel, and nowhere else.
    """

    service: str
    conn_id: str | None
    region: str | None
    endpoint: str | None
    verify: bool | str | None = None
    proxies: dict[str, str] | None = None
    secrets: dict[str, Any] = field(default_factory=dict, repr=False)

    def address(self, scope: str | None, id: str) -> RemoteJob:
        """Address of a job that was started over this line."""
        return RemoteJob.of(self.service, id, scope=scope, conn_id=self.conn_id, region=self.region)

    @property
    def credentials(self) -> Any:
        """AWS credentials as the client has them, or None."""
        return self.secrets.get("credentials")


def as_json(line: ClientSpec) -> dict[str, Any]:
    """Plain values, for the sentinel's pipe. Holds secrets."""
    return {**{name: getattr(line, name) for name in line.__slots__}, "secrets": frozen(line.secrets)}


def identity_of(line: ClientSpec) -> Hashable:
    """What tells a line from others, and stays when its credentials are renewed. Holds secrets.

    Credentials that renew themselves count by the object, which must be kept for as long as its identity is.
    """
    renewable = is_renewable(line.credentials)
    plain = {name: getattr(line, name) for name in line.__slots__ if name != "secrets"}
    secrets = id(line.credentials) if renewable else frozen(line.secrets)
    return json.dumps([plain, secrets], sort_keys=True)


def frozen(secrets: dict[str, Any]) -> dict[str, Any]:
    """Secrets as they are now, as plain values; credentials that renew themselves are renewed if due."""
    credentials = secrets.get("credentials")
    if credentials is None or isinstance(credentials, dict):
        return secrets
    return {"credentials": keys_of(credentials)}
