"""The settings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.owner import deployment_of
from airflow_cancel_provider.services.ratelimit import EVERY, PACES
from airflow_cancel_provider.services.registry import SERVICES
from airflow_cancel_provider.settings import Settings, use_quotas


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

    @pytest.mark.parametrize(
        "url", ["https://a.b.example.com/x", "https://A.B.example.com/x/", " https://a.b.example.com/x// "]
    )
    def test_one_address_of_the_api_server_is_one_name(
        self, monkeypatch: pytest.MonkeyPatch, url: str
    ) -> None:
        """It is written in the configuration of each worker and of the reaper."""
        monkeypatch.setenv("AIRFLOW__API__BASE_URL", url)
        assert Settings.read().deployment == deployment_of("https://a.b.example.com/x")
        monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://a.b.example.com/X")
        assert Settings.read().deployment != deployment_of("https://a.b.example.com/x")


@pytest.fixture(autouse=True)
def kept() -> Iterator[None]:
    before = PACES.configured
    yield
    PACES.configure(*before)


def set_to(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"AIRFLOW__CANCEL_PROVIDER__{name}", value)


def test_quotas_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to(monkeypatch, "QUOTAS", "emr.ListSteps=20/2, emr.*=50/10.5,mrs.*=5/1")
    set_to(monkeypatch, "QUOTA_SHARE", "0.5")
    use_quotas()
    pace = PACES.of("emr", "here", "me", SERVICES["emr"].quotas)
    found = {name: [bucket.burst, bucket.per_second] for name, bucket in pace.buckets.items()}
    assert found["ListSteps"] == [10, 1.0]
    assert found[EVERY] == [25, 5.25]
    assert found["CancelSteps"] == [5, 0.25]


def test_the_published_ones_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to(monkeypatch, "QUOTAS", "")
    use_quotas()
    assert PACES.configured == ({}, 1.0)


@pytest.mark.parametrize(
    "text, words",
    [
        ("emr.ListSteps=20", r"'emr.ListSteps=20' can't be read; expected service.operation="),
        ("emr.ListSteps=0/1", r"below 1 call at once"),
        ("emr.ListSteps=1/0", r"or 0 a second"),
        ("emr.ListSteps=a/b", r"can't be read"),
        ("spark.*=1/1", r"can't be read.*Services: emr, batch"),
        ("mrs.CancelJobExecution=1/1", r"mrs has no quota for CancelJobExecution; it has \*\."),
        ("emr.ListStep=1/1", r"emr has no quota for ListStep; it has CancelSteps, ListSteps"),
    ],
)
def test_quotas_that_are_none(monkeypatch: pytest.MonkeyPatch, text: str, words: str) -> None:
    set_to(monkeypatch, "QUOTAS", text)
    with pytest.raises(InvalidInput, match=words):
        use_quotas()


@pytest.mark.parametrize("share", ["0", "1.5", "-1", "nan", "half"])
def test_shares_that_are_none(monkeypatch: pytest.MonkeyPatch, share: str) -> None:
    set_to(monkeypatch, "QUOTA_SHARE", share)
    words = rf"^\[cancel_provider\] quota_share is '{share}'; expected a number above 0, at most 1\.$"
    with pytest.raises(InvalidInput, match=words):
        use_quotas()
