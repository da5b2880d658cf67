"""The settings."""

from __future__ import annotations

import pytest

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.settings import Settings


class TestSettings:
    @pytest.mark.parametrize(
        "name, text",
        [
            *(("PATIENCE", text) for text in ("30s", "-1", "nan", "inf", "-inf")),
            *(("CONFIRM_SECONDS", text) for text in ("nan", "inf")),
            *(("SENTINEL", text) for text in ("yes", "2")),
            *(("ON_RETRY", text) for text in ("KEEP", "kepp")),
            ("EMR_LABEL", "PROPERTIES"),
        ],
    )
    def test_a_value_that_is_none_is_named(
        self, monkeypatch: pytest.MonkeyPatch, name: str, text: str
    ) -> None:
        monkeypatch.setenv(f"AIRFLOW__CANCEL_PROVIDER__{name}", text)
        with pytest.raises(InvalidInput, match=rf"\[cancel_provider\] {name.lower()} "):
            Settings.read()

    @pytest.mark.parametrize(
        "name, text, value",
        [
            ("PATIENCE", " 30 ", 30.0),
            ("PATIENCE", "0", 0.0),
            ("PATIENCE", "1e3", 1000.0),
            ("SENTINEL", "0", False),
            ("SENTINEL", " True ", True),
            ("ON_RETRY", " keep ", "keep"),
            # Blank is not set, as an empty environment variable in a compose file.
            ("DAGS", "", ("*",)),
            ("DAGS", " , ", ()),
            ("PATIENCE", " ", 900.0),
            ("SENTINEL", "", True),
            ("ON_RETRY", "", "cancel"),
            ("EXCEPT_DAGS", "", ()),
        ],
    )
    def test_a_value_in_an_unusual_form(
        self, monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object
    ) -> None:
        monkeypatch.setenv(f"AIRFLOW__CANCEL_PROVIDER__{name}", text)
        read = getattr(Settings.read(), name.lower())
        assert read == value
        assert type(read) is type(value)
