"""A connection is created, tested, edited and used, in the browser."""

from __future__ import annotations

import json
from typing import Any

import pytest
from packaging.version import Version

from airflow_cancel_provider.version_compat import needs_port_for_test
from tests.airflow_versions import AIRFLOW
from tests.browser.chromium import Visitor
from tests.browser.conftest import Visit
from tests.browser.connection_form import ConnectionForm
from tests.cloud.keystone import DOMAIN, PROJECT_ID
from tests.real_airflow.world import World

MRS = "Huawei Cloud / OTC MRS"
TALL = (1280, 1500)


def choice(value: str, words: str) -> str:
    """A choice as the form shows it: that of Airflow 3.1 shows the value, not the words for it."""
    return value if Version("3.2") > AIRFLOW else words


ACCESS_KEY = choice("aksk", "Access key")


def fill_in(form: ConnectionForm, url: str, conn_id: str, *, port: str = "0", **values: str) -> None:
    """Fill in the form of a connection to the local cloud."""
    form.fill(Connection_ID=conn_id)
    form.fill(User_name="demo", Password_or_secret="demo-password")
    if port and needs_port_for_test():
        form.fill(Port=port)
    form.fill(Region="eu-de", Project_ID=PROJECT_ID, Account_name=DOMAIN)
    form.fill(MRS_endpoint=url, IAM_endpoint=url)
    form.fill(**values)


def answered(visitor: Visitor, name: str) -> None:
    """A picture of what the Test button says, on a low window."""
    visitor.page.set_viewport_size({"width": 1280, "height": 560})
    visitor.page.get_by_text("Test Connection").last.wait_for()
    visitor.page.wait_for_timeout(700)  # the message slides in
    visitor.picture(name)


def stored(world: World, conn_id: str) -> dict[str, Any]:
    """A connection as Airflow keeps it, with its secrets hidden."""
    kept: dict[str, Any] = world.airflow.rest.call("GET", f"connections/{conn_id}")
    return kept | {"extra": json.loads(kept["extra"] or "{}")}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_form_speaks_in_words(visit: Visit, scheme: str) -> None:
    op = visit("op", scheme=scheme, size=TALL)
    form = ConnectionForm(op).add(MRS)
    assert form.field("Description").is_visible()
    op.picture(f"connection-mrs-{scheme}", of="[role=dialog]")
    assert form.field("User name or access key ID").get_attribute("placeholder")
    assert form.field("Password or secret access key").get_attribute("type") == "password"
    if Version("3.2") <= AIRFLOW:  # the form of Airflow 3.1 suggests nothing
        assert str(form.field("Region").get_attribute("placeholder")).startswith("Start typing")
        suggested = form.dialog.locator("datalist option").all()
        assert "eu-de" in [option.get_attribute("value") for option in suggested]
    op.picture(f"connection-mrs-project-{scheme}", of="[role=dialog]")
    assert form.field("Account name").is_visible()
    op.picture(f"connection-mrs-sign-in-{scheme}", of="[role=dialog]")
    passwords = choice("password", "User name and password of an IAM user")
    assert form.choices("Sign in with") == [passwords, ACCESS_KEY]


def test_no_choice_is_called_null(visit: Visit) -> None:
    form = ConnectionForm(visit("op", size=TALL)).add(MRS)
    old = choice("v1.1", "v1.1 (clusters older than MRS 1.9.2)")
    assert form.choices("MRS API version") == ["v2", old]


def test_create_test_edit_and_use(visit: Visit, world: World) -> None:
    op = visit("op", size=TALL)
    form = ConnectionForm(op).add(MRS)
    fill_in(form, world.cloud.url, "mrs_form")
    form.save()
    words = form.test("mrs_form")
    assert words == f"Signed in. Project {PROJECT_ID} has 1 cluster at {world.cloud.url}."
    answered(op, "connection-mrs-tested")

    before = stored(world, "mrs_form")
    assert before["extra"]["auth_type"] == "password"
    form.edit("mrs_form").fill(Description="Cancels jobs")
    form.save()
    after = stored(world, "mrs_form")
    assert after == before | {"description": "Cancels jobs"}
    assert "Signed in" in form.test("mrs_form"), "the password survived the edit"

    cluster = world.place("mrs", run=1)
    run = world.run_with("submit_form", {"scope": cluster})
    run.end("success")


def test_a_security_token_survives_an_edit(visit: Visit, world: World) -> None:
    world.cloud.mrs.keystone.register_key("TEMPKEY", "temp-secret", security_token="temp-token")
    form = ConnectionForm(visit("op", size=TALL)).add(MRS)
    fill_in(form, world.cloud.url, "mrs_temp")
    form.fill(User_name="TEMPKEY", Password_or_secret="temp-secret")
    form.choose("Sign in with", ACCESS_KEY)
    form.fill(Security_token="temp-token")
    form.save()
    assert "Signed in" in form.test("mrs_temp")
    form.edit("mrs_temp").fill(Description="Temporary")
    form.save()
    assert stored(world, "mrs_temp")["extra"]["security_token"] == "***"
    assert "Signed in" in form.test("mrs_temp")
    shown = form.visitor.text()
    assert "temp-token" not in shown
    assert "temp-secret" not in shown


def test_an_error_speaks_of_the_form(visit: Visit, world: World) -> None:
    op = visit("op", size=TALL)
    form = ConnectionForm(op).add(MRS)
    fill_in(form, world.cloud.url, "mrs_wrong", Region="mars-1", MRS_endpoint="")
    form.save()
    words = form.test("mrs_wrong")
    assert words.startswith("Region (region) 'mars-1' is not known; set MRS endpoint (endpoint), or one of")
    assert "eu-de" in words
    answered(op, "connection-mrs-error")


@pytest.mark.skipif(not needs_port_for_test(), reason="only Airflow 3.3.1 and 3.3.2")
def test_what_airflow_says_without_a_port(visit: Visit, world: World) -> None:
    form = ConnectionForm(visit("op", size=TALL)).add(MRS)
    fill_in(form, world.cloud.url, "mrs_no_port", port="")
    form.save()
    assert form.test("mrs_no_port").startswith("The host or port to test differs from the stored")
    form.edit("mrs_no_port").fill(Port="0")
    form.save()
    assert "Signed in" in form.test("mrs_no_port")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_aws_connection(visit: Visit, world: World, scheme: str) -> None:
    op = visit("op", scheme=scheme, size=TALL)
    form = ConnectionForm(op).add("Amazon Web Services")
    form.fill(Connection_ID="aws_cancel")
    extra = {"region_name": "us-east-1", "role_arn": "arn:aws:iam::111122223333:role/airflow-cancel"}
    form.fill_json(json.dumps(extra, indent=2))
    op.picture(f"connection-aws-{scheme}", of="[role=dialog]")
    form.save()
    assert stored(world, "aws_cancel")["extra"] == extra
    world.airflow.rest.call("DELETE", "connections/aws_cancel")


def test_an_aws_connection_with_port_0_is_tested(visit: Visit, world: World) -> None:
    extra = json.dumps({"endpoint_url": world.cloud.url, "region_name": "us-east-1"})
    connection = {"conn_type": "aws", "login": "demo", "password": "demo-secret", "extra": extra, "port": 0}
    world.airflow.rest.add_connection({"connection_id": "aws_port", **connection})
    words = ConnectionForm(visit("op", size=TALL)).test("aws_port")
    assert words.startswith("UserId="), words


def test_the_command_line_stores_port_0_and_tests_what_has_none(visit: Visit, world: World) -> None:
    extra = {"endpoint": world.cloud.url, "iam_endpoint": world.cloud.url, "domain": DOMAIN}
    world.airflow.airflow(
        *("connections", "add", "mrs_cli", "--conn-type", "huaweicloud_mrs", "--conn-port", "0"),
        *("--conn-login", "demo", "--conn-password", "demo-password"),
        *("--conn-extra", json.dumps(extra | {"project_id": PROJECT_ID})),
    )
    assert "Signed in" in ConnectionForm(visit("op")).test("mrs_cli")
    assert world.airflow.rest.call("GET", "connections/mrs_default")["port"] is None
    assert "Connection success" in world.airflow.airflow("connections", "test", "mrs_default")
