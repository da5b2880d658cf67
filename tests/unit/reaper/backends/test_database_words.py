"""What an error of Airflow's database says to people."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError

from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.reaper.backends.database import _translated


@pytest.mark.parametrize(
    "words, is_hinted",
    [
        ("no such table: xcom", True),
        ('(psycopg2.errors.UndefinedTable) relation "xcom" does not exist', True),
        ("server closed the connection unexpectedly", False),
    ],
)
def test_a_database_without_tables_may_be_the_wrong_one(words: str, is_hinted: bool) -> None:
    with pytest.raises(AirflowUnavailable) as caught, _translated():
        raise OperationalError("SELECT", {}, Exception(words))
    assert ("Is this the right AIRFLOW_HOME?" in str(caught.value)) is is_hinted
