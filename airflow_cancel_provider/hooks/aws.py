"""What the hooks of the AWS services share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook, SessionFactory
from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoRegionError,
    ParamValidationError,
)
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.loaders import Loader
from botocore.parsers import ResponseParserError

from airflow_cancel_provider.exceptions import InvalidInput, ServiceError
from airflow_cancel_provider.hooks import connections
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.services.aws.answers import NoAnswer
from airflow_cancel_provider.services.aws.client import ONCE
from airflow_cancel_provider.services.aws.errors import (
    error_code,
    error_words,
    is_unknown_identity,
    kind_of,
)
from airflow_cancel_provider.services.aws.service import AwsJobService
from airflow_cancel_provider.services.credentials import NO_KEY, caused_by, is_key, without_logins
from airflow_cancel_provider.services.ratelimit import share_of_quotas
from airflow_cancel_provider.services.retry import Patience
from airflow_cancel_provider.services.tls import usable_verification, verification
from airflow_cancel_provider.settings import use_quotas
from airflow_cancel_provider.version_compat import AirflowNotFoundException

TWICE: Any = {"mode": "standard", "total_max_attempts": 2}
S = TypeVar("S", bound=AwsJobService)
_KINDS: dict[str, type | tuple[type, ...]] = {
    "proxies": dict,
    "proxies_config": dict,
    "max_pool_connections": int,
    "signature_version": (str, type(UNSIGNED)),
}
"""Types of options of botocore that it does not check itself."""
_KINDS_OF_EXTRA = {
    **dict.fromkeys(("config_kwargs", "session_kwargs", "service_config", "assume_role_kwargs"), dict),
    **dict.fromkeys(("region_name", "endpoint_url", "role_arn"), str),
}
"""Types of fields of a connection's extra, over which AwsBaseHook would stumble."""
_OF_REPLIES = ("AssumeRoleResult", "AssumeRoleWithSAMLResult", "Credentials", "ResponseMetadata")
"""What botocore and AwsBaseHook take out of a reply that has credentials."""
QUOTA_SHARE = "quota_share"
"""Name in the connection's extra: the share of an account's quotas that one process uses."""


class AwsJobsHook(AwsBaseHook, Generic[S]):
    """An ``aws`` connection of the Amazon provider, as one of our services.

    Assume-role, profiles, endpoints and proxies are that provider's:
    https://airflow.apache.org/docs/apache-airflow-providers-amazon/stable/connections/aws.html

    The methods of a service's hook raise :class:`InvalidInput` for an id that can't be the service's, and a
    :class:`ServiceError` where it does not answer or refuses. A job that it does not know is ``GONE``.

    :param aws_conn_id: Airflow connection; None is boto3's own default chain, and so is ``aws_default``
        where no such connection is defined, as for every hook of the Amazon provider. ``aws_conn_id`` is
        None then, and addresses have no connection. One that a job's address names must be defined.
    :param region_name: AWS region; None leaves it to the connection.
    :param verify: TLS verification: True, False, or the path of a CA bundle.
    :param config: arguments of ``botocore.config.Config``, or one.
    :param options: the service's own options; the hook of a service lists them as parameters.
    """

    service_class: ClassVar[type[AwsJobService]]
    call_seconds: tuple[float, float] | None = None
    """Seconds to connect and between bytes of a reply, where the connection has none; None: botocore's.

    A role is then asked for twice at most, unless the connection says how often.
    """
    patience: Patience | None = None
    """How long calls are repeated; None: as long as a task does."""

    def __init__(
        self,
        aws_conn_id: str | None = connections.AWS_DEFAULT,
        region_name: str | None = None,
        *,
        verify: bool | str | None = None,
        config: Any = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            aws_conn_id=aws_conn_id,
            region_name=connections.plain("region_name", region_name),
            client_type=self.service_class.name,
            verify=verification(verify),
            config=config,
        )
        self.options = options or {}
        self._is_named = False
        self._has_own_retries = False

    @connections.unlocked
    def conn_config(self) -> AwsConnectionWrapper:
        """The connection.

        :raises InvalidInput: the connection is unknown, of another type, or can't be read.
        :raises AirflowUnavailable: Airflow did not say whether it is defined.
        """
        connection = self._connection()
        try:
            _check_extra(connection.extra_dejson if connection else {})
            wrapper = AwsConnectionWrapper(
                conn=connection,
                region_name=self._region_name,
                botocore_config=self._config,
                verify=self._verify,
            )
            # A connection's form makes text of it.
            wrapper.verify = None if wrapper.verify == "" else usable_verification(wrapper.verify)
            wrapper.region_name = wrapper.region_name and wrapper.region_name.strip()
            _check_config(wrapper.botocore_config)
            _check_keys(wrapper, wrapper.get_service_endpoint_url(self.service_class.name))
            self._has_own_retries = bool(getattr(wrapper.botocore_config, "retries", None))
            if self.call_seconds:
                wrapper.botocore_config = _timed(wrapper.botocore_config, *self.call_seconds)
        except (AttributeError, BotoCoreError, NotImplementedError, TypeError, ValueError) as error:
            raise self._unusable(error) from None  # fields of extra of another kind
        return wrapper

    @classmethod
    def get_connection(cls, conn_id: str) -> Any:
        """As :func:`connections.get_connection`."""
        return connections.get_connection(conn_id)

    @classmethod
    def for_address(cls, conn_id: str | None, region: str | None, access: Access) -> Self:
        """A hook for a connection that an address or a place names, and a region.

        :raises InvalidInput: botocore does not take this ``botocore_config``.
        """
        config = _config(access.botocore_config)
        hook = cls(conn_id, region, verify=access.verify, config=config, **access.options)
        hook._is_named = True
        return hook

    def check_connection(self) -> None:
        """Read the connection; sends nothing to the service. Raises as :attr:`conn_config`."""
        _ = self.conn_config

    @connections.unlocked
    def service(self) -> S:
        """The service over this connection.

        :raises InvalidInput: the connection is unknown, of another type, has no region, or says something
            that boto3 can't use.
        :raises ServiceError: the connection's role could not be assumed.
        :raises AirflowUnavailable: Airflow did not say whether the connection is defined.
        """
        use_quotas()
        self.check_connection()
        service = self.service_class(
            self._open_client(), conn_id=self.aws_conn_id, patience=self.patience, **self.options
        )
        service.quota_share = self._quota_share()
        return service  # type: ignore[return-value]

    def _quota_share(self) -> float | None:
        share = self.conn_config.extra_config.get(QUOTA_SHARE)
        try:
            return None if share in (None, "") else share_of_quotas(float(share))
        except (TypeError, ValueError, InvalidInput):
            raise self._unusable(
                ValueError(f"{QUOTA_SHARE} is {share!r}; expected a number above 0, at most 1")
            ) from None

    def _open_client(self) -> Any:
        try:
            return self.get_client_type(region_name=self.region_name, config=self._config_of_calls())
        except NoRegionError:
            raise InvalidInput(
                f"No AWS region: set region_name, or the region of connection {self.aws_conn_id!r}; "
                f"an address names it behind the connection: "
                f"{self.service_class.name}://{self.aws_conn_id or ''}@us-east-1."
            ) from None
        except (BotoCoreError, ClientError) as error:
            if not _is_of_calls(error):
                raise self._unusable(error) from None
            raise caused_by(error, self._no_credentials(error))  # noqa: B904
        except NotImplementedError as error:  # a way to credentials that AwsBaseHook has not
            raise self._unusable(error) from None
        except (AttributeError, KeyError, RuntimeError, ResponseParserError) as error:
            if not _is_of_reply(error):
                raise self._unusable(error) from None
            why = f"the reply holds none: {error!r}"
            raise caused_by(error, self._no_credentials(NoAnswer(why=why)))  # noqa: B904
        except (TypeError, ValueError) as error:
            # boto3 raises these, too, for a malformed endpoint or region, and for what is of another type.
            raise self._unusable(error) from None

    def get_session(self, region_name: str | None = None, deferrable: bool = False) -> Any:  # noqa: FBT001, FBT002
        """As that of ``AwsBaseHook``; all sessions of a process share what botocore reads of its files.

        Each would read endpoints and models anew, while no other thread of the process runs.
        """
        factory = _SharingFactory(conn=self.conn_config, region_name=region_name, config=self.config)
        return _share_files(factory.create_session(deferrable=deferrable))

    def _config_of_calls(self) -> Config:
        """The connection's, without repeats of botocore's own: a service repeats calls, at its pace.

        What is set over the connection, or for the hook, stays.
        """
        config: Config = self.config
        return config if self._has_own_retries else config.merge(Config(retries=ONCE))

    def repeat(self, retries: Any) -> None:
        """Have botocore repeat calls so, where the connection does not say how."""
        config: Config = self.config
        if not self._has_own_retries:
            self.conn_config.botocore_config = config.merge(Config(retries=retries))

    def _unusable(self, error: Exception) -> InvalidInput:
        said = f"its extra has no {error}" if isinstance(error, KeyError) else str(error)
        words = " ".join(without_logins(said).split()).rstrip(".")
        return InvalidInput(f"Connection {self.aws_conn_id!r} can't be used: {words}.")

    def _no_credentials(self, error: BotoCoreError | ClientError) -> ServiceError:
        return kind_of(error, None)(
            f"Connection {self.aws_conn_id!r} gave no credentials: {error_words(error)}.",
            getattr(error, "operation_name", None),
            error_code(error),
        )

    def _connection(self) -> Any:
        if not self.aws_conn_id:
            return None
        try:
            connection = self.get_connection(self.aws_conn_id)
        except AirflowNotFoundException:
            if self._is_named or self.aws_conn_id != connections.AWS_DEFAULT:
                raise InvalidInput(
                    f"Connection {self.aws_conn_id!r} is not defined in Airflow. Define it with type 'aws', "
                    "or correct the name (aws_conn_id, or the part of an address before the region). For the "
                    "process's own credentials name none (aws_conn_id=None, batch://@us-east-1/…)."
                ) from None
            self.log.warning(
                "Connection %r is not defined: the process's own AWS credentials are used.", self.aws_conn_id
            )
            self.aws_conn_id = None
            return None
        connections.check_type(self.aws_conn_id, connection, self.conn_type, type(self).__name__)
        return connection


class _SharingFactory(SessionFactory):  # type: ignore[misc, valid-type]
    """Makes sessions that share what botocore reads, also the one that asks for a role.

    The session factory that it builds on may be a user's own.
    """

    def _create_basic_session(self, *args: Any, **kwargs: Any) -> Any:
        return _share_files(super()._create_basic_session(*args, **kwargs))


_loaders: dict[tuple[str, ...], Loader] = {}
"""What reads botocore's files, and keeps them, by the folders that they are in."""


def _share_files(session: Any) -> Any:
    if core := getattr(session, "_session", None):  # AwsBaseHook's asynchronous ones share them already
        own = core.get_component("data_loader")
        if type(own) is Loader:  # none of a user's own
            core.register_component("data_loader", _loaders.setdefault(tuple(own.search_paths), own))
    return session


def _is_of_reply(error: Exception) -> bool:
    """Whether AwsBaseHook, which takes every reply for credentials, has stumbled over one.

    It also reads the extra's fields of SAML so. Credentials may come without the time at which they end.
    """
    if isinstance(error, KeyError):
        return error.args[0] in _OF_REPLIES
    return not isinstance(error, AttributeError) or (error.obj is None and error.name == "isoformat")


def _is_of_calls(error: BotoCoreError | ClientError) -> bool:
    """Whether credentials were asked for, or are missing; otherwise the connection says what can't be."""
    asked = isinstance(error, (ClientError, HTTPClientError, NoConnectionError, ParamValidationError))
    return asked or is_unknown_identity(error, None)


def _check_config(config: Config | None) -> None:
    """:raises TypeError: a value is of another type, over which calls would stumble."""
    for name, kind in _KINDS.items():
        value = getattr(config, name, None)
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name} is {value!r}, which botocore.config.Config does not take")


def _check_extra(extra: Mapping[str, Any]) -> None:
    """:raises TypeError: a field is of another type. Its value is not repeated: it may hold secrets."""
    for name, kind in _KINDS_OF_EXTRA.items():
        value = extra.get(name)
        if value and not isinstance(value, kind):
            raise TypeError(f"{name} is of type {type(value).__name__}; expected {kind.__name__}")


def _check_keys(wrapper: AwsConnectionWrapper, endpoint: Any) -> None:
    """:raises ValueError: a key can't be one; AWS would call it a wrong signature. Or the endpoint can't."""
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    for name, value in {**{name: getattr(wrapper, name) for name in names}, "endpoint_url": endpoint}.items():
        if value and not is_key(value):
            raise ValueError(f"{name} {NO_KEY}")


def _timed(config: Config | None, connect: float, read: float) -> Config:
    """The configuration of a connection with these time-outs, where it has none of its own."""
    timed = Config(connect_timeout=connect, read_timeout=read, retries=TWICE)
    return timed.merge(config) if config else timed


def _config(options: Any) -> Config | None:
    if options is None or options == {}:
        return None
    if not isinstance(options, Mapping):
        words = without_logins(repr(options))
        del options  # a tool that reports errors shows variables
        raise InvalidInput(
            f"botocore_config is {words}; it must be a dict of arguments of botocore.config.Config."
        )
    try:
        return Config(**options)
    except (BotoCoreError, AttributeError, TypeError, ValueError) as error:
        words = f"botocore_config can't be used: {without_logins(str(error)).rstrip('.')}."
    del options  # as above
    raise InvalidInput(words)
