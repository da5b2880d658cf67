"""A connection of type ``huaweicloud_mrs``: what its form shows, and what its fields mean."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.services.mrs.calls import API_VERSIONS, ApiVersion, base_url
from airflow_cancel_provider.services.mrs.regions import endpoints
from airflow_cancel_provider.services.tls import verification

CONN_TYPE = "huaweicloud_mrs"
HOOK_NAME = "Huawei Cloud / OTC MRS"

AuthType = Literal["password", "aksk"]
AUTH_TYPES: tuple[AuthType, ...] = ("password", "aksk")

FIELDS: dict[str, tuple[str, str]] = {
    "region": ("Region", "For example eu-de. Gives the hosts where they are known."),
    "project_id": ("Project id", "32 hexadecimal digits. Without it, the project is looked up by its name."),
    "project_name": ("Project name", "For example eu-de. Used only where there is no project id."),
    "auth_type": (
        "Authentication",
        "password: IAM user and password (default). aksk: access key and secret key.",
    ),
    "domain": ("Domain", "Name of the account. Needed with a password."),
    "security_token": ("Security token", "Of a temporary access key."),
    "endpoint": ("MRS endpoint", "https://host; instead of the region's own."),
    "iam_endpoint": ("IAM endpoint", "https://host; instead of the region's own."),
    "api_version": ("API version", "v2 (default), or v1.1 for clusters older than MRS 1.9.2."),
    "verify": ("Verify TLS", "true (default), false, or the path of a CA bundle."),
}
"""Fields in ``extra``: label and description."""
RELABELING = {"login": "User or access key", "password": "Password or secret key"}
HIDDEN_FIELDS = ["host", "port", "schema"]
PLACEHOLDERS = {
    "region": "eu-de",
    "endpoint": "https://mrs.eu-de.otc.t-systems.com",
    "iam_endpoint": "https://iam.eu-de.otc.t-systems.com",
}
SECRET_FIELDS = ("security_token",)
_KEY = re.compile(r"[!-~]+", re.ASCII)
_CHOICES: dict[str, tuple[str, ...]] = {"auth_type": AUTH_TYPES, "api_version": API_VERSIONS}


def connection_type() -> dict[str, Any]:
    """Entry for ``connection-types`` of the provider's info (declarative form of Airflow 3.2 and later)."""
    return {
        "connection-type": CONN_TYPE,
        "hook-class-name": "airflow_cancel_provider.hooks.mrs.MrsHook",
        "hook-name": HOOK_NAME,
        "ui-field-behaviour": {
            "hidden-fields": list(HIDDEN_FIELDS),
            "relabeling": dict(RELABELING),
            "placeholders": dict(PLACEHOLDERS),
        },
        "conn-fields": {
            name: {"label": label, "description": description, "schema": _schema(name)}
            for name, (label, description) in FIELDS.items()
        },
    }


def _schema(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": ["string", "null"]}
    if name in _CHOICES:
        schema |= {"enum": [*_CHOICES[name], None], "default": _CHOICES[name][0]}
    return schema | ({"format": "password"} if name in SECRET_FIELDS else {})


@dataclass(frozen=True, slots=True)
class MrsConnectionFields:
    """A connection that has been checked. ``region`` is None where only endpoints are given."""

    login: str
    password: str = field(repr=False)
    endpoint: str
    iam_endpoint: str | None
    region: str | None
    auth_type: AuthType
    api_version: ApiVersion
    verify: bool | str
    domain: str
    project_id: str | None
    project_name: str | None
    security_token: str | None = field(repr=False)


def read(
    conn_id: str,
    login: str | None,
    password: str | None,
    extra: dict[str, Any],
    *,
    region: str | None = None,
    verify: bool | str | None = None,
    api_version: str | None = None,
) -> MrsConnectionFields:
    """Check a connection; what is given beside it wins over it.

    :raises InvalidInput: one sentence on the first thing that is missing or wrong.
    """
    reader = _Reader(conn_id, extra)
    auth_type = cast("AuthType", reader.choice("auth_type", None))
    region = region or reader.text("region")
    endpoint, iam_endpoint = reader.endpoints(region)
    project_id, project_name = reader.text("project_id"), reader.text("project_name")
    domain = reader.text("domain") or ""
    if not login or not password:
        raise reader.wrong(
            f"auth_type {auth_type} needs {'an access key' if auth_type == 'aksk' else 'a user'} as login and"
            f" {'its secret key' if auth_type == 'aksk' else 'a password'} as password"
        )
    security_token = reader.text("security_token")
    if auth_type == "aksk":
        reader.check_key("the access key", login)
        reader.check_key("the secret key", password)
        reader.check_key("security_token", security_token or "-")
    if not project_id and not project_name:
        raise reader.wrong("set project_id, or project_name to have it looked up")
    if auth_type == "password" and not domain:
        raise reader.wrong("auth_type password needs domain, the name of the account")
    if iam_endpoint is None and (auth_type == "password" or not project_id):
        raise reader.wrong(f"the identity service of region {region!r} is not known; set iam_endpoint")
    return MrsConnectionFields(
        login=login,
        password=password,
        endpoint=endpoint,
        iam_endpoint=iam_endpoint,
        region=region,
        auth_type=auth_type,
        api_version=cast("ApiVersion", reader.choice("api_version", api_version)),
        verify=reader.verify(given=verify),
        domain=domain,
        project_id=project_id,
        project_name=project_name,
        security_token=security_token,
    )


class _Reader:
    """Reads fields of ``extra``, and words what is wrong with them."""

    def __init__(self, conn_id: str, extra: dict[str, Any]) -> None:
        self._conn_id = conn_id
        self._extra = extra

    def wrong(self, what: str) -> InvalidInput:
        return InvalidInput(f"Connection {self._conn_id!r}: {what}.")

    def text(self, name: str) -> str | None:
        value = self._extra.get(name)
        if value is not None and not isinstance(value, str):
            raise self.wrong(f"{name} is not text")
        return (value or "").strip() or None

    def check_key(self, what: str, value: str) -> None:
        if not _KEY.fullmatch(value):
            raise self.wrong(f"{what} holds a space, a line break or another character that no key has")

    def choice(self, name: str, given: str | None) -> str:
        value = given or self.text(name) or _CHOICES[name][0]
        if value.lower() not in _CHOICES[name]:
            raise self.wrong(f"{name} {value!r} is not one of {', '.join(_CHOICES[name])}")
        return value.lower()

    def endpoints(self, region: str | None) -> tuple[str, str | None]:
        known = endpoints(region) if region else None
        mrs = self.text("endpoint") or (known[0] if known else None)
        iam = self.text("iam_endpoint") or (known[1] if known else None)
        if mrs is None:
            missing = f"region {region!r} is not known; set endpoint" if region else "set region, or endpoint"
            raise self.wrong(missing)
        return self._url(mrs, "endpoint"), self._url(iam, "iam_endpoint") if iam else None

    def _url(self, url: str, what: str) -> str:
        try:
            return base_url(url, what)
        except InvalidInput as error:
            raise self.wrong(str(error).rstrip(".")) from None

    def verify(self, *, given: bool | str | None) -> bool | str:
        value = self._extra.get("verify") if given is None else given
        try:
            meant = None if value == "" else verification(value)
        except InvalidInput as error:
            raise self.wrong(str(error).rstrip(".")) from None
        if isinstance(meant, str) and not Path(meant).exists():
            raise self.wrong(f"verify {value!r} is neither true nor false nor the path of a CA bundle")
        return True if meant is None else meant
