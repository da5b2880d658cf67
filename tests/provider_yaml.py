"""``provider.yaml`` in the package, for tools that read it instead of importing: provider info, as YAML.

``python -m tests.provider_yaml`` writes it.
"""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import yaml

from airflow_cancel_provider.get_provider_info import get_provider_info
from airflow_cancel_provider.hooks import mrs_form

PATH = Path(__file__).parents[1] / "airflow_cancel_provider" / "provider.yaml"
HEAD = "# Made from get_provider_info.py by `python -m tests.provider_yaml`; do not edit.\n"
ONLY_THERE = {
    "state": "ready",
    "lifecycle": "production",
    "build-system": "hatchling",
    "source-date-epoch": 0,
}
"""What the schema of ``provider.yaml`` has, and that of provider info has not."""


class _NoAliases(yaml.SafeDumper):  # type: ignore[misc]  # yaml has no types
    def ignore_aliases(self, data: object) -> bool:
        return True


def provider_yaml() -> str:
    """The text that the file must have, whichever Airflow is at hand."""
    with patch.object(mrs_form, "_needs_port", return_value=False):
        info = {**get_provider_info(), **ONLY_THERE}
    text: str = yaml.dump(info, Dumper=_NoAliases, sort_keys=False, width=108, allow_unicode=True)
    return HEAD + text


if __name__ == "__main__":
    PATH.write_text(provider_yaml(), encoding="utf-8")
