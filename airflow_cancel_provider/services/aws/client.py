"""From a boto3 client to its specification, and back to a client in another process. Imports no SDK."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from airflow_cancel_provider.services.client_spec import ClientSpec, frozen, whole_path

CONNECT_SECONDS = 5
READ_SECONDS = 8
ONCE: Any = {"mode": "standard", "total_max_attempts": 1}
"""Retries of a client that repeats nothing: its service does, at the pace of the account."""
UNSIGNED = "unsigned"
"""Stands for ``botocore.UNSIGNED``, which is no plain value."""
_NOT_CARRIED = frozenset(
    {
        # Fields of their own, or handled one by one.
        *("region_name", "proxies", "client_cert", "proxies_config", "signature_version", "user_agent"),
        # Ours: whoever acts later has little time.
        *("connect_timeout", "read_timeout", "retries", "defaults_mode", "max_pool_connections"),
        # Resolved: the endpoint is given in full.
        *("use_dualstack_endpoint", "use_fips_endpoint", "ignore_configured_endpoint_urls"),
        *("endpoint_discovery_enabled", "parameter_validation", "s3", "s3_disable_express_session_auth"),
    }
)
_PATHS = ("proxy_ca_bundle", "proxy_client_cert")


def spec_of(client: Any, conn_id: str | None = None, request: dict[str, Any] | None = None) -> ClientSpec:
    """The specification of a client of boto3 or aiobotocore. Holds secrets.

    :param request: botocore's request that is about to be sent, if there is one: the endpoint of some
        regions (FIPS, isolated partitions) is known only then.
    """
    # A client shows most of what it was made with; the rest is in attributes that have had the same
    # names for ten years.
    transport = client._endpoint.http_session  # noqa: SLF001
    proxies = getattr(transport, "_proxy_config", None)
    return ClientSpec(
        service=client.meta.service_model.service_name,
        conn_id=conn_id,
        region=client.meta.region_name,
        endpoint=_endpoint(client.meta.endpoint_url, request),
        verify=whole_path(getattr(transport, "_verify", None)),
        proxies=dict(getattr(proxies, "_proxies", None) or {}),
        secrets={"credentials": client._request_signer._credentials},  # noqa: SLF001
        client_cert=_whole_paths(client.meta.config.client_cert),
        config=_config(client),
    )


def client_of(spec: ClientSpec) -> Any:
    """A boto3-style client that reaches the service as the one that was specified did; it repeats nothing."""
    from botocore.session import Session

    return Session().create_client(
        spec.service,
        region_name=spec.region,
        endpoint_url=spec.endpoint,
        verify=spec.verify,
        config=_botocore_config(spec),
        **frozen(spec.secrets).get("credentials") or {},
    )


def _botocore_config(spec: ClientSpec) -> Any:
    from botocore import UNSIGNED as NO_SIGNATURE
    from botocore.config import Config

    options = dict(spec.config)
    if options.get("signature_version") == UNSIGNED:
        options["signature_version"] = NO_SIGNATURE
    if settings := options.get("proxies_config"):
        options["proxies_config"] = {name: _pair(value) for name, value in settings.items()}
    return Config(
        **options,
        proxies=spec.proxies,
        client_cert=_pair(spec.client_cert),
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries=ONCE,
    )


def _endpoint(configured: str, request: dict[str, Any] | None) -> str:
    """The client's endpoint, or that of the request where it went elsewhere: without the call's own part."""
    if request is None:
        return configured
    ours, sent = urlsplit(configured), urlsplit(request["url"])
    host: str = sent.netloc.removeprefix(request.get("host_prefix") or "")
    if (ours.scheme, ours.netloc) in ((sent.scheme, sent.netloc), (sent.scheme, host)):
        return configured
    path: str = sent.path.removesuffix(urlsplit(request.get("url_path") or "").path)
    return f"{sent.scheme}://{host}{path}"


def _config(client: Any) -> dict[str, Any]:
    config = client.meta.config
    values = {
        name: getattr(config, name, None) for name in config.OPTION_DEFAULTS if name not in _NOT_CARRIED
    }
    values["signature_version"] = _signature_version(client)
    # The name of the client's own software; ``user_agent`` itself is what botocore made of all of it.
    values["user_agent"] = getattr(config, "_supplied_user_agent", None)
    settings = config.proxies_config or {}
    values["proxies_config"] = {
        name: _whole_paths(value) if name in _PATHS else value for name, value in settings.items()
    }
    given = {name: value for name, value in values.items() if value not in (None, {})}
    return {name: _plain(value) for name, value in given.items() if _is_plain(value)}


def _signature_version(client: Any) -> str | None:
    """What the client was told to sign with; None where it follows the service."""
    value = client.meta.config.signature_version
    if value is not None and not isinstance(value, str):
        return UNSIGNED
    usual = client.meta.service_model.signature_version
    # Newer versions of botocore mark what was set in code by a class of its own.
    return None if value == usual and type(value) is str else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_plain(each) for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (str, int, float))


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value


def _whole_paths(value: Any) -> Any:
    return [*map(whole_path, value)] if isinstance(value, (list, tuple)) else whole_path(value)


def _pair(value: Any) -> Any:
    """A pair of paths, which JSON has made a list."""
    return tuple(value) if isinstance(value, list) else value
