"""Connection parameters that operators and sensors share."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.hooks.connections import plain, used_connection
from airflow_cancel_provider.mixins.targets import is_empty
from airflow_cancel_provider.version_compat import BaseOperator


class AwsConnection(BaseOperator):
    """A task that reaches its service over an ``aws`` connection.

    :param aws_conn_id: Airflow connection; None is boto3's own default chain, and so is ``aws_default`` where
        it is not defined: the addresses of the jobs then have no connection.
    :param region_name: AWS region; None leaves it to the connection.
    :param verify: TLS verification: True, False, or the path of a CA bundle; None leaves it to the
        connection.
    :param botocore_config: arguments of ``botocore.config.Config``.

    Jobs named by ``remote_jobs`` carry their own connection and region, which are used instead.
    """

    connection_fields: ClassVar[tuple[str, ...]] = ("aws_conn_id", "region_name", "verify", "botocore_config")

    def __init__(
        self,
        *,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = botocore_config

    def connection(self) -> tuple[str | None, str | None]:
        """Connection and region for jobs that are named by their ids. Asks Airflow for ``aws_default``.

        :raises AirflowUnavailable: Airflow did not say whether it is defined.
        :raises InvalidInput: one of them is no text, or an empty template.
        """
        conn_id, region = plain("aws_conn_id", self.aws_conn_id), _region(self.region_name)
        return used_connection(conn_id, self.log), region

    def access(self) -> Access:
        """How to reach the service."""
        return Access(self.verify, self.botocore_config, self.service_options())

    def service_options(self) -> dict[str, Any]:
        """The service's own options, checked."""
        return {}


class MrsConnection(BaseOperator):
    """A task that reaches its service over a ``huaweicloud_mrs`` connection.

    :param mrs_conn_id: Airflow connection.
    :param region_name: region; None leaves it to the connection.
    :param verify: TLS verification: True, False, or the path of a CA bundle; None leaves it to the
        connection.

    Jobs named by ``remote_jobs`` carry their own connection, which is used instead.
    """

    connection_fields: ClassVar[tuple[str, ...]] = ("mrs_conn_id", "region_name", "verify")

    def __init__(
        self,
        *,
        mrs_conn_id: str = "mrs_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.mrs_conn_id = mrs_conn_id
        self.region_name = region_name
        self.verify = verify

    def connection(self) -> tuple[str | None, str | None]:
        """Connection and region for jobs that are named by their ids.

        :raises InvalidInput: one of them is no text, or an empty template.
        """
        return plain("mrs_conn_id", self.mrs_conn_id), _region(self.region_name)

    def access(self) -> Access:
        """How to reach the service."""
        return Access(self.verify)


def _region(given: Any) -> str | None:
    """The region, or None where none is given. A template that rendered to nothing is no region."""
    value = plain("region_name", given)
    if not value:
        return None
    if is_empty(value):
        raise InvalidInput(
            f"region_name is {value!r}, which is no region; leave it out for the connection's."
        )
    return value
