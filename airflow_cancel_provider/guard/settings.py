"""The ``[cancel_provider]`` section of Airflow's configuration."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.owner import deployment_of
from airflow_cancel_provider.version_compat import conf

SECTION = "cancel_provider"
EMR_LABELS = ("name", "properties")
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


@dataclass(frozen=True)
class Settings:
    """What the guard does, and for which tasks. Described to Airflow in ``get_provider_info``."""

    enabled: bool = True
    dags: tuple[str, ...] = ("*",)
    except_dags: tuple[str, ...] = ()
    operators: tuple[str, ...] = ("*",)
    except_operators: tuple[str, ...] = ()
    deployment: str = "00000000"
    labels: bool = True
    emr_label: str = "name"
    tags: bool = False
    raise_on_sigterm: bool = True
    fail_closed: bool = False
    sentinel: bool = True
    patience: float = 900.0
    confirm_seconds: float = 30.0
    escalate_after: float = 60.0
    on_retry: str = "cancel"
    reaper_places: tuple[str, ...] = ()
    reaper_scopes: tuple[str, ...] = ("*",)
    reaper_except: tuple[str, ...] = ()
    has_own_name: bool = False
    """Whether ``deployment`` comes from something that no other Airflow has, too."""

    @classmethod
    def read(cls) -> Settings:
        """The settings in force here; what is not set has its default.

        :raises InvalidInput: one has a value that is none of those it may have.
        """
        return cls(
            enabled=_flag("enabled", cls.enabled),
            dags=_patterns("dags", "*"),
            except_dags=_patterns("except_dags", ""),
            operators=_patterns("operators", "*"),
            except_operators=_patterns("except_operators", ""),
            deployment=_deployment(),
            labels=_flag("labels", cls.labels),
            emr_label=_choice("emr_label", EMR_LABELS),
            tags=_flag("tags", cls.tags),
            raise_on_sigterm=_flag("raise_on_sigterm", cls.raise_on_sigterm),
            fail_closed=_flag("fail_closed", cls.fail_closed),
            sentinel=_flag("sentinel", cls.sentinel),
            patience=_seconds("patience", cls.patience),
            confirm_seconds=_seconds("confirm_seconds", cls.confirm_seconds),
            escalate_after=_seconds("escalate_after", cls.escalate_after),
            on_retry=_choice("on_retry", ON_RETRY),
            reaper_places=_patterns("reaper_places", ""),
            reaper_scopes=_patterns("reaper_scopes", "*"),
            reaper_except=_patterns("reaper_except_scopes", ""),
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


def _flag(name: str, default: object) -> bool:
    return bool(conf.getboolean(SECTION, name, fallback=default))


def _seconds(name: str, default: object) -> float:
    return float(conf.getfloat(SECTION, name, fallback=default))


def _choice(name: str, words: tuple[str, ...]) -> str:
    """One of some words; the first is the default."""
    word = str(conf.get(SECTION, name, fallback=words[0])).strip()
    if word not in words:
        raise InvalidInput(f"[{SECTION}] {name} is {word!r}; expected {' or '.join(words)}.")
    return word


def _patterns(name: str, default: str) -> tuple[str, ...]:
    text = conf.get(SECTION, name, fallback=default)
    return tuple(part.strip() for part in text.split(",") if part.strip())


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
