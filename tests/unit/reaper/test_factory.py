"""A reaper from names and numbers, and what is refused."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from airflow_cancel_provider.exceptions import AirflowUnavailable, InvalidInput
from airflow_cancel_provider.owner import deployment_of
from airflow_cancel_provider.reaper.backends.rest import Rest
from airflow_cancel_provider.reaper.dag import reaper_dag
from airflow_cancel_provider.reaper.factory import make_reaper, rest_airflow
from airflow_cancel_provider.reaper.places import Scopes
from airflow_cancel_provider.reaper.rules import Rules
from tests.airflow_versions import ParamValidationError
from tests.reaper_fixtures import Ground, ground
from tests.task_fixtures import connections

__all__ = ["connections", "ground"]


class TestMakeReaper:
    def test_without_a_name_of_its_own_none_is_made(
        self, monkeypatch: pytest.MonkeyPatch, ground: Ground
    ) -> None:
        """The address of the API server is none: a copy of an Airflow has its configuration."""
        monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com")
        for name in ("", " "):
            monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT", name)
            with pytest.raises(InvalidInput, match=r"Set \[cancel_provider\] deployment"):
                make_reaper(ground.airflow, at=["aws://aws_default"])
        monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT", "production")
        reaper = make_reaper(ground.airflow, at=["aws://aws_default"])
        # It knows that it checks everything: only then releases without addresses are cleaned up.
        assert (reaper.deployment, reaper.scopes) == (deployment_of("production"), Scopes())

    @pytest.mark.parametrize("name", ["at", "scopes", "except_scopes"])
    def test_a_text_is_no_list_of_patterns(
        self, monkeypatch: pytest.MonkeyPatch, ground: Ground, name: str
    ) -> None:
        """Of the letters of "etl-*" the last is a pattern of everything."""
        monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT", "blue")
        given: dict[str, object] = {"at": ["aws://aws_default"], name: "etl-*"}
        with pytest.raises(InvalidInput, match=rf"{name} is 'etl-\*'; expected a list"):
            make_reaper(ground.airflow, **given)
        with pytest.raises(InvalidInput, match=rf"{name} is 'etl-\*'; expected a list"):
            reaper_dag(airflow_conn_id="airflow_api", **given)

    def test_white_space_around_a_pattern(self, monkeypatch: pytest.MonkeyPatch, ground: Ground) -> None:
        """With it, what is to be left out would be checked."""
        monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT", "blue")
        reaper = make_reaper(ground.airflow, at=["aws://aws_default"], except_scopes=[" j-1\r", "prod-* "])
        assert list(reaper.scopes.chosen(["j-1", "prod-2", "j-2"])) == ["j-2"]

    @pytest.mark.parametrize("name", ["at", "scopes", "except_scopes"])
    @pytest.mark.parametrize("pattern", ["", " ", None, 5], ids=repr)
    def test_a_pattern_that_is_none(
        self, monkeypatch: pytest.MonkeyPatch, ground: Ground, name: str, pattern: object
    ) -> None:
        """As a template, or a variable of a shell, renders to nothing."""
        monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT", "blue")
        given: dict[str, object] = {"at": ["aws://aws_default"], name: ["x", pattern]}
        with pytest.raises(InvalidInput, match=rf"{name} holds {pattern!r}; expected"):
            make_reaper(ground.airflow, **given)

    @pytest.mark.parametrize("params", [{"except_scopes": "prod-1"}, {"scopes": [1]}, {"dry_run": "no"}])
    def test_a_run_of_the_dag_that_says_something_else(self, params: dict[str, object]) -> None:
        dag = reaper_dag(airflow_conn_id="airflow_api", at=["aws://aws_default"], scopes=["etl-*"])
        assert dag.params.validate() == {"dry_run": False, "scopes": ["etl-*"], "except_scopes": []}
        with pytest.raises(ParamValidationError, match="is not of type"):
            dag.params.update(params)

    def test_no_place(self, monkeypatch: pytest.MonkeyPatch, ground: Ground) -> None:
        monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT", "blue")
        with pytest.raises(InvalidInput, match="reaper_places"):
            make_reaper(ground.airflow)

    @pytest.mark.parametrize("name", ["grace", "confirm_seconds", "escalate_after", "brake"])
    @pytest.mark.parametrize("number", [-1, float("nan"), float("inf")])
    def test_numbers_that_are_none(self, name: str, number: float) -> None:
        with pytest.raises(InvalidInput, match=name):
            Rules(**{name: number})
        with pytest.raises(InvalidInput, match=name):
            reaper_dag(airflow_conn_id="airflow_api", **{name: number})


class TestApiServersConnection:
    """What the connection of Airflow's API server says of its address and of TLS."""

    def define(
        self, monkeypatch: pytest.MonkeyPatch, host: str = "https://127.0.0.1:1", **extra: object
    ) -> None:
        values = {
            "conn_type": "http",
            "host": host,
            "password": "token",
            "extra": json.dumps(extra),
        }
        monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", json.dumps(values))

    @pytest.mark.parametrize(
        "host",
        [
            *("https://reaper:hunter2@airflow", "ftp://reaper:hunter2@airflow", "reaper:hunter2@airflow"),
            *("https://airflow?key=hunter2", "ftp://airflow#hunter2"),
        ],
    )
    def test_a_login_in_the_address_is_refused_and_not_repeated(
        self, monkeypatch: pytest.MonkeyPatch, host: str
    ) -> None:
        """The address stands in reports, which are logs and XComs."""
        self.define(monkeypatch, host)
        with pytest.raises(InvalidInput, match="login and password") as refused:
            rest_airflow("airflow_api")
        assert "hunter2" not in str(refused.value)

    def test_white_space_around_the_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.define(monkeypatch, " https://airflow.example.com/base/\n")
        airflow = rest_airflow("airflow_api")
        assert isinstance(airflow, Rest)
        assert airflow.url == "https://airflow.example.com/base"

    @pytest.mark.parametrize(
        "verify, expected", [("false", False), (" True ", True), (None, True), (False, False)]
    )
    def test_verify_as_text(self, monkeypatch: pytest.MonkeyPatch, verify: object, expected: object) -> None:
        self.define(monkeypatch, verify=verify)
        airflow = rest_airflow("airflow_api")
        assert isinstance(airflow, Rest)
        assert airflow._options["verify"] is expected

    def test_verify_that_is_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.define(monkeypatch, verify="")
        with pytest.raises(InvalidInput, match="verify is empty"):
            rest_airflow("airflow_api")

    def test_a_bundle_that_is_not_there_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/hosts")  # the connection's own bundle comes first
        self.define(monkeypatch, verify="/no/such/ca.pem")
        with pytest.raises(AirflowUnavailable, match=r"/no/such/ca\.pem"):
            rest_airflow("airflow_api").owners([uuid4()])
