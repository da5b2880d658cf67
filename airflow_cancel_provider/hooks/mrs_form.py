"""The form of a connection of type ``huaweicloud_mrs``, in the words that people read in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_cancel_provider.services.mrs.regions import KNOWN

CONN_TYPE = "huaweicloud_mrs"
HOOK_NAME = "Huawei Cloud / OTC MRS"

_PROJECT, _SIGN_IN, _SELDOM = "Region and project", "Sign-in", "Endpoints, API version, TLS"


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of ``extra``.

    :param section: the part of the form in which it is.
    :param choices: values that it can have, with the words shown for each; the first is the default.
    :param examples: values that are suggested while somebody types.
    """

    section: str
    label: str
    help: str
    choices: Mapping[str, str] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    is_secret: bool = False

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema with what Airflow's form reads of it. None stands for a field that is empty."""
        schema: dict[str, Any] = {"type": ["string", "null"], "section": self.section}
        if self.choices:
            choices = dict(self.choices)
            schema |= {"enum": list(choices), "values_display": choices, "default": next(iter(choices))}
        if self.examples:
            schema["examples"] = list(self.examples)
        return schema | ({"format": "password"} if self.is_secret else {})


FIELDS: dict[str, FormField] = {
    "region": FormField(
        _PROJECT,
        "Region",
        "Where the clusters are, for example eu-de. A region that is not suggested needs both endpoints.",
        examples=tuple(sorted(KNOWN)),
    ),
    "project_id": FormField(
        _PROJECT,
        "Project ID",
        "32 hexadecimal digits, from My Credentials in the console. If empty, the project name is needed.",
    ),
    "project_name": FormField(
        _PROJECT,
        "Project name",
        "For example eu-de. Its ID is looked up. Not used if there is a Project ID.",
    ),
    "auth_type": FormField(
        _SIGN_IN,
        "Sign in with",
        "What the user name and the password above are.",
        choices={"password": "User name and password of an IAM user", "aksk": "Access key"},
    ),
    "domain": FormField(
        _SIGN_IN,
        "Account name",
        'The account that the IAM user belongs to. The API calls it "domain". Not needed with an access key.',
    ),
    "security_token": FormField(
        _SIGN_IN,
        "Security token",
        "Only for a temporary access key: the token that was issued together with it.",
        is_secret=True,
    ),
    "endpoint": FormField(
        _SELDOM,
        "MRS endpoint",
        "Empty: the region's own. Otherwise a URL, for example https://mrs.eu-de.otc.t-systems.com.",
    ),
    "iam_endpoint": FormField(
        _SELDOM,
        "IAM endpoint",
        "Where users sign in. Empty: the region's own. Otherwise a URL,"
        " for example https://iam.eu-de.otc.t-systems.com.",
    ),
    "api_version": FormField(
        _SELDOM,
        "MRS API version",
        "Only clusters older than MRS 1.9.2 need v1.1.",
        choices={"v2": "v2", "v1.1": "v1.1 (clusters older than MRS 1.9.2)"},
    ),
    "verify": FormField(
        _SELDOM,
        "TLS verification",
        "true (default), false, or the path of a file with the CA certificates to trust.",
        examples=("true", "false"),
    ),
}
"""Fields of ``extra``, in the order of the form."""
RELABELING = {"login": "User name or access key ID", "password": "Password or secret access key"}


def label(name: str) -> str:
    """What a field is called in the form, and in a connection that is written as JSON."""
    return f"{RELABELING.get(name) or FIELDS[name].label} ({name})"


def _needs_port() -> bool:
    try:
        from airflow_cancel_provider.version_compat import needs_port_for_test
    except ImportError:  # each process of Airflow reads this form; the guard reports what can't be imported
        return False
    return needs_port_for_test()


def ui_field_behaviour() -> dict[str, Any]:
    """What the form does with the standard fields. Airflow 3 shows placeholders in these alone.

    The port is shown where Airflow tests no saved connection without one, although MRS has no use for it.
    """
    hint = "Enter 0 for Test to work"
    port, port_hint = ({"port": "Port"}, {"port": hint}) if _needs_port() else ({}, {})
    return {
        "hidden_fields": [name for name in ("host", "port", "schema") if name not in port],
        "relabeling": RELABELING | port,
        "placeholders": {"login": "For example airflow-cancel"} | port_hint,
    }


def connection_type() -> dict[str, Any]:
    """Entry for ``connection-types`` of the provider's info (declarative form of Airflow 3.2 and later)."""
    return {
        "connection-type": CONN_TYPE,
        "hook-class-name": "airflow_cancel_provider.hooks.mrs.MrsHook",
        "hook-name": HOOK_NAME,
        "ui-field-behaviour": {name.replace("_", "-"): value for name, value in ui_field_behaviour().items()},
        "conn-fields": {
            name: {"label": field.label, "description": field.help, "schema": field.schema}
            for name, field in FIELDS.items()
        },
    }
