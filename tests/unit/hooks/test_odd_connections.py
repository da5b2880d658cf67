"""Connections and ``botocore_config`` that say what can't be: one sentence, and nothing is sent."""

from __future__ import annotations

import re
from typing import Any

import pytest
from botocore.config import Config

from airflow_cancel_provider.exceptions import InvalidInput, ServiceError, ServiceUnavailable
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.hooks.batch import BatchJobsHook
from airflow_cancel_provider.hooks.mrs import MrsHook
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.services.retry import Patience
from tests.cloud.server import LocalCloud
from tests.mrs_fixtures import define
from tests.replies import Replies, replying
from tests.task_fixtures import MRS_KEYS, connect_aws, connections

__all__ = ["connections", "replying"]
pytestmark = pytest.mark.usefixtures("connections")

ROLE = "arn:aws:iam::123456789012:role/job"
CERTIFICATE = f"-----BEGIN CERTIFICATE-----\n{'A' * 600}\n-----END CERTIFICATE-----"
SAML = {"principal_arn": ROLE, "idp_auth_method": "x"}
ODD_CONFIGS: list[Any] = [
    "x",
    "",
    [],
    5,
    '{"read_timeout": 3}',
    Config(read_timeout=3),
    {"retries": 5},
    {"s3": "x"},
    {"defaults_mode": 5},
    {"defaults_mode": "x"},
    {"request_checksum_calculation": "x"},
    {"max_pool_connections": "x"},
    {"proxies": "http://user:hunter2@proxy"},
    {"proxies_config": ["x"]},
    {"signature_version": 4},
    {"connect_timeout": "soon"},
]
ODD_EXTRAS: list[dict[str, Any]] = [
    {"service_config": "x"},
    {"service_config": {"batch": 5}},
    {"service_config": {"batch": {"endpoint_url": "http://127.0.0.1:1 "}}},
    {"config_kwargs": {"max_pool_connections": "x"}},
    {"config_kwargs": {"defaults_mode": "x"}},
    {"config_kwargs": "x"},
    {"config_kwargs": {"retries": {"mode": "x"}}},
    {"session_kwargs": 5},
    {"endpoint_url": 5},
    {"endpoint_url": " http://127.0.0.1:1"},
    {"endpoint_url": "user:hunter2@127.0.0.1:1"},
    {"config_kwargs": {"proxies": "user:hunter2@proxy"}},
    {"region_name": 5},
    {"verify": "/no/such/bundle.pem"},
    {"verify": CERTIFICATE},
    {"role_arn": ROLE, "assume_role_method": "x"},
    {"role_arn": ROLE, "assume_role_method": "assume_role_with_saml"},
    {"role_arn": ROLE, "assume_role_method": "assume_role_with_saml", "assume_role_with_saml": SAML},
]


def sentence(cloud: LocalCloud, conn_id: str, access: Access) -> str:
    with pytest.raises(InvalidInput) as caught:
        _ = BatchJobsHook.for_address(conn_id, None, access).service
    assert cloud.journal.count() == 0
    words = str(caught.value)
    assert "\n" not in words
    assert "hunter2" not in words
    return words


@pytest.mark.parametrize("config", ODD_CONFIGS)
def test_a_configuration_that_can_not_be(cloud: LocalCloud, config: Any) -> None:
    words = sentence(cloud, "aws_default", Access(botocore_config=config))
    assert words.startswith(("botocore_config ", "Connection 'aws_default' can't be used: "))


@pytest.mark.parametrize("extra", ODD_EXTRAS)
def test_an_extra_that_can_not_be(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any]
) -> None:
    connect_aws(monkeypatch, cloud, "odd", **extra)
    assert sentence(cloud, "odd", Access()).startswith("Connection 'odd' can't be used: ")


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/?key=hunter2", "http://127.0.0.1:1#hunter2"])
def test_an_endpoint_with_more_than_an_address(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    connect_aws(monkeypatch, cloud, "odd", endpoint_url=address)
    service = BatchJobsHook.for_address("odd", None, Access()).service.with_patience(Patience(seconds=0))
    with pytest.raises(ServiceError) as caught:
        service.describe([RemoteJob("batch://odd@us-east-1/00000000-0000-0000-0000-000000000000")])
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize("name,value", [("config_kwargs", '{"read_timeout": 3}'), ("region_name", ["eu-de"])])
def test_an_extra_with_another_type(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, name: str, value: Any
) -> None:
    connect_aws(monkeypatch, cloud, "odd", **{name: value})
    kinds = rf"{name} is of type {type(value).__name__}; expected (dict|str)\.$"
    assert re.search(kinds, sentence(cloud, "odd", Access()))


def test_a_certificate_instead_of_its_path(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, cloud, "odd", **{**MRS_KEYS, "verify": CERTIFICATE})
    with pytest.raises(InvalidInput, match=r"^Connection 'odd': .* nor the path of a CA bundle\.") as caught:
        _ = MrsHook("odd").service
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [BatchJobsHook, MrsHook])
@pytest.mark.parametrize("region", [5, [], ["eu-de"], b"eu-de"], ids=repr)
def test_a_region_of_a_hook_that_is_no_text(make: Any, region: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        make("mrs_default", region)
    assert str(caught.value) == f"region_name is {region!r}; it must be text."


def test_an_api_version_of_a_hook_that_is_no_text() -> None:
    version: Any = 2
    with pytest.raises(InvalidInput, match=r"^api_version is 2; it must be text\.$"):
        MrsHook(api_version=version)


@pytest.mark.parametrize("value", ["hunter2\n", " hunter2", "hunter2é", "hunter2\thunter2"], ids=repr)
@pytest.mark.parametrize("name", ["login", "password", "aws_session_token"])
def test_a_key_that_can_not_be_one(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Of a copied line break AWS says that the signature is wrong, and urllib3 shows the signature."""
    connect_aws(monkeypatch, cloud, "odd", **{name: value})
    words = sentence(cloud, "odd", Access())
    assert words.endswith(" holds a space, a line break or another character that no key has.")


@pytest.mark.parametrize("project", ["a\nb", "プロジェクト", "a b"])
def test_a_project_that_can_not_be_one(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, project: str
) -> None:
    """It goes into a header."""
    define(monkeypatch, cloud, "odd", **{**MRS_KEYS, "project_id": project})
    with pytest.raises(
        InvalidInput, match=r"^Connection 'odd': .*\(project_id\) holds a space, a line break"
    ):
        _ = MrsHook("odd").service
    assert cloud.journal.count() == 0


def test_no_configuration_leaves_the_connections() -> None:
    without: tuple[dict[str, Any] | None, ...] = (None, {})
    for nothing in without:
        hook = BatchJobsHook.for_address("aws_default", None, Access(botocore_config=nothing))
        config: Any = hook.conn_config.botocore_config
        assert config.retries == {"mode": "standard", "total_max_attempts": 2}


def test_white_space_around_a_region(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    connect_aws(monkeypatch, cloud, "odd", region_name="eu-west-1\n")
    assert BatchJobsHook("odd").service.region == "eu-west-1"
    assert BatchJobsHook("odd", " us-east-1\n").service.region == "us-east-1"


@pytest.mark.parametrize("status", [200, 202])
@pytest.mark.parametrize(
    "body",
    [
        b"<html>sign in</html>",
        b"<html><p>sign in",
        b"{}",
        b"<A><AssumeRoleResult/></A>",
        b"<A><AssumeRoleResult><Credentials/></AssumeRoleResult></A>",
    ],
)
def test_a_page_instead_of_a_role(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, replying: str, body: bytes, status: int
) -> None:
    """AwsBaseHook takes every reply for credentials. A page of a proxy may soon be gone."""
    Replies.set(body, status)
    service = {"sts": {"endpoint_url": replying}}
    connect_aws(monkeypatch, cloud, "role", role_arn=ROLE, service_config=service)
    with pytest.raises(ServiceUnavailable, match=r"^Connection 'role' gave no credentials: .*[^.]\.$"):
        _ = BatchJobsHook("role").service
    assert cloud.journal.count("batch") == 0
