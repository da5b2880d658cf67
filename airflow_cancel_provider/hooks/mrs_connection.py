"""A connection of type ``huaweicloud_mrs``: what its fields mean, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.hooks.mrs_form import FIELDS, label
from airflow_cancel_provider.services.credentials import NO_KEY, is_key
from airflow_cancel_provider.services.mrs.calls import API_VERSIONS, ApiVersion, base_url
from airflow_cancel_provider.services.mrs.regions import KNOWN, endpoints
from airflow_cancel_provider.services.tls import usable_verification

AuthType = Literal["password", "aksk"]
AUTH_TYPES: tuple[AuthType, ...] = ("password", "aksk")

_ONE_OF_THEM = f"one of the regions {', '.join(sorted(KNOWN))}"
_CHOICES: dict[str, tuple[str, ...]] = {"auth_type": AUTH_TYPES, "api_version": API_VERSIONS}


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
    unknown: tuple[str, ...] = ()
    """Names in ``extra`` that mean nothing."""


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
    region = (region or "").strip() or reader.text("region")
    endpoint, iam_endpoint = reader.endpoints(region)
    project_id, project_name = reader.text("project_id"), reader.text("project_name")
    domain = reader.text("domain") or ""
    for name, value in (("login", login), ("password", password)):
        if not value:
            raise reader.wrong(f"{label(name)} is missing")
    login, password = str(login), str(password)
    security_token = reader.text("security_token")
    if auth_type == "aksk":
        reader.check_key("login", login)
        reader.check_key("password", password)
        reader.check_key("security_token", security_token or "-")
    reader.check_key("project_id", project_id or "-")
    if not project_id and not project_name:
        raise reader.wrong(f"{label('project_id')} is missing; set it, or {label('project_name')}")
    if auth_type == "password" and not domain:
        raise reader.wrong(f"{label('domain')} is missing; signing in with a password needs it")
    if iam_endpoint is None and (auth_type == "password" or not project_id):
        raise reader.wrong(f"{_unknown(region)}; set {label('iam_endpoint')}, or {_ONE_OF_THEM}")
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
        unknown=reader.unknown,
    )


def passed_over(unknown: Sequence[str]) -> str:
    """What is to be said of names in ``extra`` that mean nothing: one may be misspelt."""
    names = " or ".join(map(repr, unknown))
    return f"no field of extra is called {names}; the fields are {', '.join(FIELDS)}"


class _Reader:
    """Reads fields of ``extra``, and words what is wrong with them."""

    def __init__(self, conn_id: str, extra: dict[str, Any]) -> None:
        self._conn_id = conn_id
        self._extra = extra

    @property
    def unknown(self) -> tuple[str, ...]:
        return tuple(str(name) for name in self._extra if name not in FIELDS)

    def wrong(self, what: str) -> InvalidInput:
        hint = f" ({passed_over(self.unknown)})" if self.unknown else ""
        return InvalidInput(f"Connection {self._conn_id!r}: {what}{hint}.")

    def text(self, name: str) -> str | None:
        value = self._extra.get(name)
        if value is not None and not isinstance(value, str):
            raise self.wrong(f"{label(name)} is not text")
        return (value or "").strip() or None

    def check_key(self, name: str, value: str) -> None:
        if not is_key(value):
            raise self.wrong(f"{label(name)} {NO_KEY}")

    def choice(self, name: str, given: str | None) -> str:
        value = given or self.text(name) or _CHOICES[name][0]
        if value.lower() not in _CHOICES[name]:
            raise self.wrong(f"{label(name)} {value!r} is not one of {', '.join(_CHOICES[name])}")
        return value.lower()

    def endpoints(self, region: str | None) -> tuple[str, str | None]:
        known = endpoints(region) if region else None
        mrs = self.text("endpoint") or (known[0] if known else None)
        iam = self.text("iam_endpoint") or (known[1] if known else None)
        if mrs is None:
            unknown = _unknown(region) if region else f"{label('region')} is missing"
            raise self.wrong(f"{unknown}; set {label('endpoint')}, or {_ONE_OF_THEM}")
        return self._url(mrs, "endpoint"), self._url(iam, "iam_endpoint") if iam else None

    def _url(self, url: str, name: str) -> str:
        try:
            return base_url(url, label(name))
        except InvalidInput as error:
            raise self.wrong(str(error).rstrip(".")) from None

    def verify(self, *, given: bool | str | None) -> bool | str:
        own = self._extra.get("verify")
        # The connection's form leaves an empty field.
        value = (None if own == "" else own) if given is None else given
        try:
            meant = usable_verification(value)
        except InvalidInput as error:
            raise self.wrong(str(error).rstrip(".")) from None
        return True if meant is None else meant


def _unknown(region: str | None) -> str:
    return f"{label('region')} {region!r} is not known"
