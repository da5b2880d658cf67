"""The page needs Airflow 3.1: before that a browser has no cookie that its requests could carry."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.version import Version

from tests.airflow_versions import AIRFLOW

NEEDS_3_1 = pytest.mark.skipif(Version("3.1") > AIRFLOW, reason="the page needs Airflow 3.1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(NEEDS_3_1)
