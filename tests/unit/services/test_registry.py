"""A row of the registry is whole: what it names is there, and no service is known in another place."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from uuid import uuid4

import pytest

import airflow_cancel_provider
from airflow_cancel_provider.cli import COMMANDS
from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.get_provider_info import get_provider_info
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.links.console import console_url
from airflow_cancel_provider.mixins.targets import Targets
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.reaper.places import Place
from airflow_cancel_provider.services.aws.submission import AwsSubmission
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.registry import SERVICES, ServiceInfo, open_service, service_info
from airflow_cancel_provider.services.retry import Patience
from airflow_cancel_provider.setting_options import OPTIONS

ROOT = Path(airflow_cancel_provider.__file__).parent
MAY_NAME_SERVICES = ("services/", "hooks/", "operators/", "sensors/")
rows = pytest.mark.parametrize("row", SERVICES.values(), ids=SERVICES)


@rows
def test_what_a_row_names_is_there(row: ServiceInfo) -> None:
    assert issubclass(row.service_class, JobService)
    assert row.service_class.name == row.name
    assert row.hook_class.for_address
    assert row.ends
    assert row.title
    assert row.docs_url.startswith("https://")
    states = import_module(f"airflow_cancel_provider.services.{row.package}.states").STATES
    assert set(states.values()) >= {JobState.PENDING, JobState.RUNNING, JobState.FAILED}
    ends = {state: common for state, common in states.items() if common.is_terminal}
    assert {state: row.ends[state] for state in ends} == ends
    assert set(row.ends) - set(ends) <= {"CANCELLED"}  # a job of Batch that was ended has failed


@rows
def test_a_service_says_what_its_scope_and_ids_look_like(row: ServiceInfo) -> None:
    service = row.service_class
    assert (service.scope_word is None) == (row.scope_param is None)
    assert service.id_pattern.pattern
    assert service.quotas


@rows
def test_submissions_carry_a_label_and_tell_jobs(row: ServiceInfo) -> None:
    assert row.submissions
    for submission in row.submissions:
        assert submission.service == row.name
        if isinstance(submission, AwsSubmission):
            assert set(submission.carriers) <= set(row.carriers)
            assert row.state_readers, "replies that show ends are read, too"


@rows
@pytest.mark.parametrize("folder", ["operators", "sensors"])
def test_operators_and_sensors_list_their_parameters(row: ServiceInfo, folder: str) -> None:
    module = import_module(f"airflow_cancel_provider.{folder}.{row.package}")
    own = [
        each
        for each in vars(module).values()
        if inspect.isclass(each) and issubclass(each, Targets) and each.__module__ == module.__name__
    ]
    assert own
    for each in own:
        parameters = inspect.signature(each).parameters
        wanted = {row.scope_param, row.ids_param, "remote_jobs", "deferrable", "region_name", "verify"} - {
            None
        }
        assert wanted <= set(parameters)
        assert {row.scope_param, row.ids_param, "remote_jobs"} - {None} <= set(each.template_fields)
        assert set(each.template_fields) <= set(parameters) | {"poke_interval"}
        assert each.service_name == row.name


@rows
def test_a_choice_of_carriers_is_a_setting(row: ServiceInfo) -> None:
    option = OPTIONS.get(f"{row.package}_label")
    assert (option is not None) == bool(row.carriers)
    if option:
        assert option["default"] == row.carriers[0]
        assert option["description"] == row.carrier_help
        assert row.carrier_help


@rows
def test_airflow_is_told_of_it(row: ServiceInfo) -> None:
    info = get_provider_info()
    for folder in ("hooks", "operators", "sensors"):
        entries = {each["integration-name"]: each["python-modules"] for each in info[folder]}
        assert entries[row.title] == [f"airflow_cancel_provider.{folder}.{row.package}"]
        import_module(entries[row.title][0])
    assert row.title in {each["integration-name"] for each in info["integrations"]}


@rows
def test_a_sweep_of_its_family_looks_at_it(row: ServiceInfo) -> None:
    assert Place(row.name, "c", "r") in Place.parse(f"{row.family or row.name}://c@r")


UNKNOWN = "emr-on-mars"


def test_a_service_that_is_not_there_is_invalid_input_everywhere() -> None:
    job = RemoteJob(f"{UNKNOWN}://conn@us-east-1/scope/job")
    for ask in (
        lambda: service_info(UNKNOWN),
        lambda: Access().service(UNKNOWN, None, None),
        lambda: Access().pool().describe([job]),
        lambda: Place.parse(f"{UNKNOWN}://conn"),
        lambda: console_url(job),
        lambda: open_service(ClientSpec(UNKNOWN, None, None, None), Patience()),
    ):
        with pytest.raises(InvalidInput, match=UNKNOWN) as caught:
            ask()
        assert "emr-serverless" in str(caught.value)


def test_no_other_module_names_a_service() -> None:
    names = re.compile("|".join(f'"{re.escape(name)}"' for name in SERVICES))
    found = [
        path.relative_to(ROOT).as_posix()
        for path in sorted(ROOT.rglob("*.py"))
        if not path.relative_to(ROOT).as_posix().startswith(MAY_NAME_SERVICES)
        and names.search(path.read_text(encoding="utf-8"))
    ]
    assert not found


def test_the_command_line_names_each_service() -> None:
    (at,) = [arg for command in COMMANDS for arg in command.args if "--at" in arg.flags][:1]
    assert ", ".join(SERVICES) in at.kwargs["help"]


@rows
def test_a_label_fits_behind_a_short_name(row: ServiceInfo) -> None:
    label = Label("0a1b2c3d", uuid4(), reconnects=True)
    for submission in row.submissions:
        assert Label.find(submission.named("etl", label)) == label
