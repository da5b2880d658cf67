"""What Airflow reads to know this provider: its classes, connection types and links."""

from __future__ import annotations

from typing import Any

from airflow_cancel_provider import __version__
from airflow_cancel_provider.config_options import OPTIONS
from airflow_cancel_provider.hooks.mrs_connection import connection_type

_PACKAGE = "airflow_cancel_provider"
_SERVICES = {
    "Amazon EMR": ("emr", "https://docs.aws.amazon.com/emr/", ["aws"]),
    "AWS Batch": ("batch", "https://docs.aws.amazon.com/batch/", ["aws"]),
    "Amazon EMR Serverless": ("emr_serverless", "https://docs.aws.amazon.com/emr-serverless/", ["aws"]),
    "Huawei Cloud / OTC MRS": ("mrs", "https://docs.otc.t-systems.com/mapreduce-service/", ["service"]),
}


def get_provider_info() -> dict[str, Any]:
    """Provider info, valid against Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-cancel-provider",
        "name": "Remote job cancelling",
        "description": "Cancel remote jobs in Amazon EMR, AWS Batch, EMR Serverless and Huawei/OTC MRS, "
        "and see that they ended.",
        "versions": [__version__],
        "integrations": [
            {"integration-name": name, "external-doc-url": url, "tags": tags}
            for name, (_, url, tags) in _SERVICES.items()
        ],
        "hooks": _modules("hooks"),
        "operators": _modules("operators"),
        "sensors": _modules("sensors"),
        "triggers": [
            {"integration-name": name, "python-modules": [f"{_PACKAGE}.triggers.remote_jobs"]}
            for name in _SERVICES
        ],
        "notifications": [f"{_PACKAGE}.notifications.cancel.CancelRemoteJobs"],
        "extra-links": [f"{_PACKAGE}.links.console.RemoteJobLink"],
        "cli": [f"{_PACKAGE}.cli.get_cli_commands"],
        "connection-types": [connection_type()],
        "config": {
            "cancel_provider": {
                "description": "The guard: what is done, and for which tasks, when a task does not succeed.",
                "options": OPTIONS,
            }
        },
    }


def _modules(room: str) -> list[dict[str, Any]]:
    return [
        {"integration-name": name, "python-modules": [f"{_PACKAGE}.{room}.{module}"]}
        for name, (module, _, _) in _SERVICES.items()
    ]
