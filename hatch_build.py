"""Addresses of the project in the package's metadata: those of the repository that it is built from.

Airflow's page of providers links to what is called ``Documentation``; without it, to a page of Airflow's own
site that does not exist.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

from hatchling.metadata.plugin.interface import MetadataHookInterface

_SHORT_SSH = re.compile(r"(?:[\w.-]+@)?(?P<host>[\w-]+(?:\.[\w-]+)+):(?P<path>(?!//).+)")


class CustomMetadataHook(MetadataHookInterface):
    """Fills in ``[project.urls]``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Name the repository's pages; none, with a warning, if its address is not known."""
        address = os.environ.get("PROJECT_URL", "").strip().rstrip("/") or browsable(_origin(self.root))
        metadata["urls"] = project_urls(address) if address else {}
        if not address:
            warning = "The package will have no links: set PROJECT_URL to the repository's address."
            print(warning, file=sys.stderr)  # noqa: T201  hatchling has no log


def project_urls(address: str) -> dict[str, str]:
    """Pages of a repository, by what they are called in the metadata."""
    return {
        "Documentation": f"{address}#readme",
        "Source": address,
        "Issues": f"{address}/issues",
        "Changelog": f"{address}/blob/HEAD/CHANGELOG.md",
    }


def browsable(remote: str) -> str | None:
    """What a browser opens for the address of a git remote, without user and password.

    None for a folder, or a host without a domain.
    """
    if short := _SHORT_SSH.fullmatch(remote):
        host, path = short["host"], short["path"]
    else:
        parts = urlsplit(remote)
        if parts.scheme not in {"http", "https", "ssh", "git"} or not parts.hostname:
            return None
        port = f":{parts.port}" if parts.port and parts.scheme == "https" else ""
        host, path = f"{parts.hostname}{port}", parts.path
    if "." not in host:
        return None
    return f"https://{host}/{path.strip('/').removesuffix('.git')}"


def _origin(root: str) -> str:
    command = ["git", "-C", root, "config", "--get", "remote.origin.url"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
    except FileNotFoundError:
        return ""
