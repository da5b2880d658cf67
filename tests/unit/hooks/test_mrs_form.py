"""The form of an MRS connection."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest
from airflow.providers_manager import (
    ProvidersManager,
    _create_customized_form_field_behaviours_schema_validator,
)
from packaging.version import Version

from airflow_cancel_provider.hooks.mrs import MrsHook
from airflow_cancel_provider.hooks.mrs_form import FIELDS, connection_type
from airflow_cancel_provider.version_compat import needs_port_for_test
from tests.airflow_versions import AIRFLOW
from tests.mrs_fixtures import cloud, hook, mrs_server
from tests.reaper_airflow import tables

__all__ = ["cloud", "hook", "mrs_server", "tables"]


class TestForm:
    @pytest.mark.skipif(Version("3.2") > AIRFLOW, reason="before 3.2 Airflow asks the hook for its form")
    def test_airflow_reads_the_declared_form(self) -> None:
        # Not the singleton, which other tests read.
        manager = object.__new__(ProvidersManager)
        manager._connection_form_widgets, manager._field_behaviours = {}, {}
        manager._customized_form_fields_schema_validator = (
            _create_customized_form_field_behaviours_schema_validator()  # type: ignore[no-untyped-call]
        )
        declared = connection_type()
        manager._add_widgets("us", declared["hook-class-name"], "mine_mrs", declared["conn-fields"])
        manager._add_customized_fields("us", "mine_mrs", declared["ui-field-behaviour"])
        token = manager._connection_form_widgets["extra__mine_mrs__security_token"]
        assert token.is_sensitive
        hidden = manager._field_behaviours["mine_mrs"]["hidden_fields"]
        assert hidden == (["host", "schema"] if needs_port_for_test() else ["host", "port", "schema"])

    def test_the_schema_of_airflows_own_providers_takes_it(self) -> None:
        schema = json.loads((Path(airflow.__path__[0]) / "provider.yaml.schema.json").read_text())
        jsonschema.validate([connection_type()], schema["properties"]["connection-types"])

    def test_it_names_the_hook(self) -> None:
        declared = connection_type()
        assert declared["hook-class-name"] == f"{MrsHook.__module__}.{MrsHook.__name__}"
        assert (declared["connection-type"], declared["hook-name"]) == (MrsHook.conn_type, MrsHook.hook_name)

    def test_older_forms_know_the_same_fields(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Only the API server of Airflow 3.0 and 3.1 has these: stand-ins take their place.
        def field(label: str, *, widget: object, **options: Any) -> tuple[str, object, dict[str, Any]]:
            return label, widget, options

        widgets = {"BS3TextFieldWidget": lambda: "text", "BS3PasswordFieldWidget": lambda: "password"}
        for name, contents in (
            ("flask_appbuilder", {}),
            ("flask_appbuilder.fieldwidgets", widgets),
            ("wtforms", {"StringField": field, "PasswordField": field}),
            ("wtforms.validators", {"any_of": list}),
        ):
            module = types.ModuleType(name)
            vars(module).update(contents)
            monkeypatch.setitem(sys.modules, name, module)
        fields = MrsHook.get_connection_form_widgets()
        assert set(fields) == set(connection_type()["conn-fields"])
        assert [name for name, made in fields.items() if made[1] == "password"] == ["security_token"]
        assert fields["auth_type"][2]["validators"] == [["password", "aksk"]]
        assert set(MrsHook.get_ui_field_behaviour()["placeholders"]) <= {"login", "password", "port"}

    @pytest.mark.parametrize(
        "version, is_shown",
        [("3.2.2", False), ("3.3.0", False), ("3.3.1", True), ("3.3.2", True), ("3.3.3", False)],
    )
    def test_the_port_is_shown_where_airflow_tests_no_connection_without_one(
        self, monkeypatch: pytest.MonkeyPatch, version: str, is_shown: bool
    ) -> None:
        monkeypatch.setattr(airflow, "__version__", version)
        behaviour = connection_type()["ui-field-behaviour"]
        assert ("port" not in behaviour["hidden-fields"]) is is_shown
        assert ("port" in behaviour["placeholders"]) is is_shown

    @pytest.mark.parametrize("name", FIELDS)
    def test_a_choice_is_one_that_people_read(self, name: str) -> None:
        schema = connection_type()["conn-fields"][name]["schema"]
        assert None not in schema.get("enum", [])
        assert set(schema.get("values_display", {})) == set(schema.get("enum", []))
        assert schema.get("default") == (schema["enum"][0] if "enum" in schema else None)

    def test_regions_are_suggested(self) -> None:
        examples = connection_type()["conn-fields"]["region"]["schema"]["examples"]
        assert {"eu-de", "cn-north-4"} <= set(examples)

    def test_importing_the_hook_loads_neither_boto3_nor_keystoneauth1(self) -> None:
        code = (
            "import sys, airflow_cancel_provider.hooks.mrs;"
            "print([name for name in ('boto3', 'botocore', 'keystoneauth1') if name in sys.modules])"
        )
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert output.stdout.strip().splitlines()[-1] == "[]"

    @pytest.mark.parametrize(
        "module",
        [
            "services.mrs.service",
            "services.mrs.projects",
            "services.mrs.submission",
            "hooks.mrs_connection",
            "hooks.mrs_form",
        ],
    )
    def test_none_of_these_imports_airflow(self, module: str) -> None:
        code = f"import sys, airflow_cancel_provider.{module}; print('airflow' in sys.modules)"
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert output.stdout.strip() == "False"
