"""What Airflow reads to know this provider: its classes, connection types and links."""

from __future__ import annotations

from typing import Any

from airflow_cancel_provider import __version__
from airflow_cancel_provider.services.registry import SERVICES, load
from airflow_cancel_provider.setting_options import OPTIONS

_PACKAGE = "airflow_cancel_provider"


def get_provider_info() -> dict[str, Any]:
    """Provider info, valid against Airflow's ``provider_info.schema.json``."""
    rows = SERVICES.values()
    names = ", ".join(row.title for row in rows)
    return {
        "package-name": "airflow-cancel-provider",
        "name": "Remote job cancelling",
        "description": f"Cancel remote jobs ({names}) and see that they ended.",
        "versions": [__version__],
        "integrations": [
            {"integration-name": row.title, "external-doc-url": row.docs_url, "tags": list(row.tags)}
            for row in rows
        ],
        "hooks": _modules("hooks"),
        "operators": _modules("operators"),
        "sensors": _modules("sensors"),
        "triggers": [
            {"integration-name": row.title, "python-modules": [f"{_PACKAGE}.triggers.remote_jobs"]}
            for row in rows
        ],
        "notifications": [f"{_PACKAGE}.notifications.cancel.CancelRemoteJobs"],
        "extra-links": [f"{_PACKAGE}.links.console.RemoteJobLink"],
        "cli": [f"{_PACKAGE}.cli.get_cli_commands"],
        "connection-types": [load(row.connection_type)() for row in rows if row.connection_type],
        "config": {
            "cancel_provider": {
                "description": "The guard: what is done, and for which tasks, when a task does not succeed.",
                "options": OPTIONS,
            }
        },
    }


def _modules(folder: str) -> list[dict[str, Any]]:
    return [
        {"integration-name": row.title, "python-modules": [f"{_PACKAGE}.{folder}.{row.package}"]}
        for row in SERVICES.values()
    ]
