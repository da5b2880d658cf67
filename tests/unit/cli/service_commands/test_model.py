"""The operations that are commands."""

from __future__ import annotations

import pytest

from airflow_cancel_provider.cli.service_commands.model import service_model
from airflow_cancel_provider.services.registry import SERVICES, ServiceInfo, load
from tests.service_fixtures import HAS_BULK

BULK = set() if HAS_BULK else {"CancelJobs", "TerminateJobs"}


@pytest.mark.parametrize("info", SERVICES.values(), ids=lambda info: str(info.name))
def test_every_operation_is_in_the_model(info: ServiceInfo) -> None:
    model, operations = service_model(info)
    assert {operation.model.name for operation in operations.values()} == set(info.operations) - BULK
    words = [command.partition("-")[0] for command in operations]
    assert {"cancel", "batch"} & set(words), "one of them cancels"
    assert {"describe", "get"} & set(words), "one of them shows"
    assert model.documentation


OURS = [info for info in SERVICES.values() if info.operations_class]


@pytest.mark.parametrize("info", OURS, ids=lambda info: str(info.name))
def test_a_model_of_our_own_has_a_class_with_its_methods(info: ServiceInfo) -> None:
    _, operations = service_model(info)
    methods = load(str(info.operations_class))
    for operation in operations.values():
        arguments = getattr(methods, operation.method).__annotations__.keys() - {"return"}
        assert arguments == {parameter.name for parameter in operation.parameters}


def test_pages_are_known() -> None:
    _, operations = service_model(SERVICES["batch"])
    assert operations["list-jobs"].page_members == {"nextToken", "maxResults"}
    assert operations["cancel-job"].page_members == set()
