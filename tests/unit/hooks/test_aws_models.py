"""What botocore reads of its files, by hooks of the AWS services."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import boto3
import botocore
import pytest
from airflow.providers.amazon.aws.hooks.base_aws import BaseSessionFactory
from botocore.loaders import JSONFileLoader, Loader

from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.hooks.batch import BatchJobsHook
from tests.cloud.server import LocalCloud
from tests.task_fixtures import connect_aws, connections

__all__ = ["connections"]
pytestmark = pytest.mark.usefixtures("connections")

REGION = "us-east-1"
MODELS = Path(botocore.__file__).parent / "data"
ROLE = "arn:aws:iam::123456789012:role/airflow"


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files that are read from now on."""
    read: list[str] = []
    load = JSONFileLoader.load_file

    def load_and_note(self: JSONFileLoader, file_path: str) -> Any:
        read.append(file_path)
        return load(self, file_path)

    monkeypatch.setattr(JSONFileLoader, "load_file", load_and_note)
    return read


@pytest.mark.parametrize("name", ["batch", "emr", "emr-serverless", "emr-containers", "glue"])
def test_a_service_that_is_opened_again_reads_no_file(name: str, files: list[str]) -> None:
    """To read and check endpoints and models takes long, and no other thread runs meanwhile."""
    Access().service(name, "aws_default", REGION)
    files.clear()
    Access().service(name, "aws_default", REGION)
    assert files == []


def test_a_role_that_is_asked_for_again_reads_no_file(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, files: list[str]
) -> None:
    sts = {"sts": {"endpoint_url": cloud.url}}
    connect_aws(monkeypatch, cloud, role_arn=ROLE, service_config=sts)
    Access().service("batch", "aws_default", REGION)
    files.clear()
    Access().service("batch", "aws_default", REGION)
    assert files == []


def test_folders_with_more_models_are_looked_into(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: list[str]
) -> None:
    """Those of a process, or of a profile, are its own."""
    Access().service("batch", "aws_default", REGION)
    shutil.copytree(MODELS / "batch", tmp_path / "batch")
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    files.clear()
    assert BatchJobsHook().service.region == REGION
    assert any(file.startswith(str(tmp_path)) for file in files)


class OwnLoader(Loader):
    """A loader of a user's own."""


@pytest.mark.parametrize("kind", [Loader, OwnLoader])
def test_a_session_factory_that_has_more_models_keeps_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: type[Loader], files: list[str]
) -> None:
    """As one of a user's own has, in setting ``[aws] session_factory``."""
    create = BaseSessionFactory.create_session
    shutil.copytree(MODELS / "batch", tmp_path / "batch")

    def with_models(*args: Any, **kwargs: Any) -> Any:
        session: Any = create(*args, **kwargs)
        session._session.register_component("data_loader", kind([str(tmp_path)]))
        return session

    monkeypatch.setattr(BaseSessionFactory, "create_session", with_models)
    assert BatchJobsHook().service.region == REGION
    assert any(file.startswith(str(tmp_path)) for file in files)


def test_a_session_factory_that_asks_for_roles_its_own_way_makes_no_other_session(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("there are no keys that could ask for a role")

    connect_aws(monkeypatch, cloud, role_arn=ROLE)
    monkeypatch.setattr(BaseSessionFactory, "_create_basic_session", refuse)
    own = boto3.session.Session("AKIDOWN", "secret", region_name=REGION)
    monkeypatch.setattr(BaseSessionFactory, "create_session", lambda *_, **__: own)
    assert BatchJobsHook().get_session() is own
