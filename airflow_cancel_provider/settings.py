"""The ``[cancel_provider]`` section of Airflow's configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from math import isfinite
from typing import Any

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.owner import deployment_of
from airflow_cancel_provider.services.ratelimit import EVERY, PACES, share_of_quotas
from airflow_cancel_provider.services.registry import SERVICES, ServiceInfo
from airflow_cancel_provider.setting_options import OPTIONS, Options
from airflow_cancel_provider.version_compat import conf

SECTION = "cancel_provider"
_QUOTA = re.compile(
    r"(?P<name>\*|(?P<service>[a-z-]+)\.(?P<operation>\w+|\*))\s*=\s*(?P<burst>\d+)\s*/\s*(?P<rate>\d+(?:\.\d+)?)",
    re.ASCII,
)
ON_RETRY = ("cancel", "keep")


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


@dataclass(frozen=True)
class Settings(Options):
    """The options of the guard and the reaper, and values derived from them.

    :param carriers: by service: where its label goes, if there is a choice.
    :param deployment_name: what ``deployment`` stands for in labels: the name that is set, or the
        API server's URL.
    :param has_own_name: whether ``deployment``, this Airflow's name in labels, comes from a name that is set.
    """

    deployment: str = "00000000"
    deployment_name: str = ""
    carriers: Mapping[str, str] = field(default_factory=dict)
    has_own_name: bool = False

    @classmethod
    def read(cls) -> Settings:
        """Read the settings from Airflow's configuration; what is not set has its default.

        :raises InvalidInput: a value is invalid.
        """
        values = {each.name: _value(each.name, each.default) for each in fields(Options)}
        name, url = values["deployment"].strip(), _base_url()
        values |= {
            "on_retry": _choice("on_retry", ON_RETRY),
            "deployment": deployment_of(name or url),
            "deployment_name": name or url,
            "has_own_name": bool(name),
            "carriers": {
                row.name: _choice(f"{row.package}_label", row.carriers)
                for row in SERVICES.values()
                if row.carriers
            },
        }
        return cls(**values)

    def guards(self, dag_id: str, operator: str) -> bool:
        """Whether tasks of this Dag and operator class (its short or full name) are guarded."""
        names = (operator, operator.rpartition(".")[2])
        return (
            self.enabled
            and _matches((dag_id,), self.dags)
            and not _matches((dag_id,), self.except_dags)
            and _matches(names, self.operators)
            and not _matches(names, self.except_operators)
        )


def own_deployment() -> str:
    """As :attr:`Settings.deployment`. To read all settings takes Airflow ten times as long."""
    return deployment_of(_text("deployment") or _base_url())


def use_quotas() -> None:
    """Have this process keep to the quotas that are set, where they are not the published ones.

    :raises InvalidInput: they can't be read.
    """
    quotas: tuple[str, ...] = _value("quotas", Options.quotas)
    PACES.configure(dict(map(_quota, quotas)), _quota_share())


def _base_url() -> str:
    return _plain(str(conf.get("api", "base_url", fallback="")))


def _quota_share() -> float:
    text = _text("quota_share")
    try:
        return share_of_quotas(float(text)) if text else Options.quota_share
    except ValueError:
        raise InvalidInput(
            f"[{SECTION}] quota_share is {text!r}; expected a number above 0, at most 1."
        ) from None


def _quota(text: str) -> tuple[str, tuple[float, float]]:
    found = _QUOTA.fullmatch(text)
    name, service = (found["name"], found["service"]) if found else ("", None)
    if not found or not (name == EVERY or service in SERVICES):
        raise InvalidInput(
            f"[{SECTION}] quotas: {text!r} can't be read; expected service.operation=calls at once/calls a "
            f"second, as emr.ListSteps=20/2. Services: {', '.join(SERVICES)}."
        )
    known = SERVICES[service].quotas if service else {}
    if service and found["operation"] not in {EVERY, *known, *_counted(SERVICES[service])}:
        raise InvalidInput(
            f"[{SECTION}] quotas: {service} has no quota for {found['operation']}; it has {', '.join(known)}."
        )
    burst, rate = float(found["burst"]), float(found["rate"])
    if not (burst >= 1 and rate > 0):
        raise InvalidInput(f"[{SECTION}] quotas: {text!r} is below 1 call at once, or 0 a second.")
    return name, (burst, rate)


def _counted(row: ServiceInfo) -> tuple[str, ...]:
    """Operations whose calls are counted one by one: those of boto3 are."""
    return row.operations if row.operations_class is None else ()


def _value(name: str, default: Any) -> Any:
    """The value that is set, in the type of the default."""
    if isinstance(default, (bool, float)):
        return _number(name, default) if _text(name) else default
    text = _text(name) or OPTIONS[name]["default"]
    return _parts(text) if isinstance(default, tuple) else text


def _text(name: str) -> str:
    """What is set; nothing where it is blank, as an empty environment variable is."""
    return str(conf.get(SECTION, name, fallback="")).strip()


def _number(name: str, default: float) -> float:
    """True or false, or a number."""
    is_flag = isinstance(default, bool)
    try:
        value: float = (conf.getboolean if is_flag else conf.getfloat)(SECTION, name, fallback=default)
    except Exception as error:  # Airflow has several for a value of another type
        raise InvalidInput(f"[{SECTION}] {name} can't be read: {error}") from error
    if not (isfinite(value) and value >= 0):
        raise InvalidInput(f"[{SECTION}] {name} is {value!r}; expected a number from 0 on.")
    return value


def _choice(name: str, words: tuple[str, ...]) -> str:
    """One of some words."""
    word = _text(name) or OPTIONS[name]["default"]
    if word not in words:
        raise InvalidInput(f"[{SECTION}] {name} is {word!r}; expected {' or '.join(words)}.")
    return word


def _matches(names: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _plain(url: str) -> str:
    """The same text for the same address: each worker and the reaper have their own configuration."""
    scheme, separator, rest = url.strip().rstrip("/").partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host}".lower() + slash + path
