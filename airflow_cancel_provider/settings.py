"""The ``[cancel_provider]`` section of Airflow's configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.owner import deployment_of
from airflow_cancel_provider.services.registry import SERVICES
from airflow_cancel_provider.setting_options import OPTIONS
from airflow_cancel_provider.version_compat import conf

SECTION = "cancel_provider"
ON_RETRY = ("cancel", "keep")
PRIVATE_DOMAINS = frozenset(
    {
        *("arpa", "consul", "corp", "docker", "domain", "example", "home", "internal", "intranet", "invalid"),
        *("lan", "local", "localdomain", "localhost", "private", "svc", "test"),
    }
)
"""Top-level domains without a public registry: many hosts have the same name there."""
SHARED_LABELS = frozenset({"localhost", "svc", "lvh", "localtest", "nip", "sslip"})
"""Labels of names that lead to another host everywhere: of Kubernetes, and of DNS names for loopback."""


def _default(name: str) -> Any:
    option = OPTIONS[name]
    kinds: dict[str, Callable[[str], Any]] = {"boolean": "True".__eq__, "float": float, "string": str}
    return kinds[option["type"]](option["default"])


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


@dataclass(frozen=True)
class Settings:
    """What the guard does, and for which tasks; each field is an option of ``setting_options``.

    :param deployment: this Airflow's name in labels.
    :param carriers: by service: where its label goes, if there is a choice.
    :param has_own_name: whether ``deployment`` comes from something that no other Airflow has, too.
    """

    enabled: bool = _default("enabled")
    dags: tuple[str, ...] = _parts(_default("dags"))
    except_dags: tuple[str, ...] = _parts(_default("except_dags"))
    operators: tuple[str, ...] = _parts(_default("operators"))
    except_operators: tuple[str, ...] = _parts(_default("except_operators"))
    deployment: str = "00000000"
    labels: bool = _default("labels")
    carriers: Mapping[str, str] = field(default_factory=dict)
    tags: bool = _default("tags")
    raise_on_sigterm: bool = _default("raise_on_sigterm")
    fail_closed: bool = _default("fail_closed")
    sentinel: bool = _default("sentinel")
    patience: float = _default("patience")
    confirm_seconds: float = _default("confirm_seconds")
    escalate_after: float = _default("escalate_after")
    on_retry: str = _default("on_retry")
    reaper_places: tuple[str, ...] = _parts(_default("reaper_places"))
    reaper_scopes: tuple[str, ...] = _parts(_default("reaper_scopes"))
    reaper_except_scopes: tuple[str, ...] = _parts(_default("reaper_except_scopes"))
    has_own_name: bool = False

    @classmethod
    def read(cls) -> Settings:
        """The settings in force here; what is not set has its default.

        :raises InvalidInput: one has a value that is none of those it may have.
        """
        values = {each.name: _value(each.name, each.default) for each in fields(cls) if each.name in OPTIONS}
        values["on_retry"] = _choice("on_retry", ON_RETRY)
        values["deployment"] = _deployment()
        return cls(
            **values,
            carriers={
                row.name: _choice(f"{row.package}_label", row.carriers)
                for row in SERVICES.values()
                if row.carriers
            },
            has_own_name=_has_own_name(),
        )

    def guards(self, dag_id: str, operator: str) -> bool:
        """Whether tasks of this Dag and operator class (its short or full name) are guarded."""
        return (
            self.enabled
            and _matches((dag_id,), self.dags)
            and not _matches((dag_id,), self.except_dags)
            and _matches((operator, operator.rpartition(".")[2]), self.operators)
            and not _matches((operator, operator.rpartition(".")[2]), self.except_operators)
        )


def _value(name: str, default: Any) -> Any:
    """What is set, in the type of the default."""
    if isinstance(default, bool):
        return conf.getboolean(SECTION, name, fallback=default)
    if isinstance(default, float):
        return conf.getfloat(SECTION, name, fallback=default)
    text = str(conf.get(SECTION, name, fallback=OPTIONS[name]["default"]))
    return _parts(text) if isinstance(default, tuple) else text


def _choice(name: str, words: tuple[str, ...]) -> str:
    """One of some words."""
    word = str(conf.get(SECTION, name, fallback=OPTIONS[name]["default"])).strip()
    if word not in words:
        raise InvalidInput(f"[{SECTION}] {name} is {word!r}; expected {' or '.join(words)}.")
    return word


def _matches(names: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _deployment() -> str:
    named = conf.get(SECTION, "deployment", fallback="").strip()
    return deployment_of(named or str(conf.get("api", "base_url", fallback="")))


def _has_own_name() -> bool:
    if conf.get(SECTION, "deployment", fallback="").strip():
        return True
    try:
        host = urlsplit(str(conf.get("api", "base_url", fallback=""))).hostname or ""
    except ValueError:
        return False
    return _is_unique(host)


def _is_unique(host: str) -> bool:
    """Whether a host's name is one of the public DNS, which only one Airflow can have.

    In doubt it is not: two labels may be a service and its namespace in Kubernetes.
    """
    labels = host.rstrip(".").lower().split(".")
    top = labels[-1]
    return (
        len(labels) > 2
        and all(labels)
        and top not in PRIVATE_DOMAINS
        and not top[0].isdigit()  # an IP address, in whatever form
        and ":" not in host
        and not SHARED_LABELS.intersection(labels)
    )
