"""The tests' Airflow is their own."""

from __future__ import annotations

import os

import pytest


@pytest.mark.airflow
def test_airflow_lives_in_the_tests_own_home() -> None:
    from airflow.configuration import AIRFLOW_HOME, conf

    from tests.conftest import AIRFLOW_HOME as OURS

    assert os.environ["AIRFLOW_HOME"] == AIRFLOW_HOME
    assert conf.get("database", "sql_alchemy_conn").startswith("sqlite:///")
    assert AIRFLOW_HOME in conf.get("database", "sql_alchemy_conn")
    assert not conf.getboolean("core", "load_examples")
    assert not conf.getboolean("core", "unit_test_mode")
    assert OURS
