"""How a submitting client reaches its service, so that another process can do the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from airflow_cancel_provider.jobs import RemoteJob


@dataclass(frozen=True, slots=True)
class Line:
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


def as_json(line: Line) -> dict[str, Any]:
    """Plain values, for the sentinel's pipe. Holds secrets."""
    return {**{name: getattr(line, name) for name in line.__slots__}, "secrets": frozen(line.secrets)}


def frozen(secrets: dict[str, Any]) -> dict[str, Any]:
    """Secrets as they are now, as plain values; credentials that renew themselves are renewed if due."""
    credentials = secrets.get("credentials")
    if credentials is None or isinstance(credentials, dict):
        return secrets
    read = getattr(credentials, "get_frozen_credentials", None)
    now = read() if read is not None else credentials
    if hasattr(now, "close"):
        # aiobotocore's is a coroutine; its plain attributes are what was loaded last.
        now.close()
        now = credentials
    return {
        "credentials": {
            "aws_access_key_id": now.access_key,
            "aws_secret_access_key": now.secret_key,
            "aws_session_token": now.token,
        }
    }
