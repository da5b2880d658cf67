"""Authentication of requests: a signature with an access key, or a token of the identity service.

OTC API reference of MRS, "Authentication"; OpenStack Identity v3, "Password authentication".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from requests import PreparedRequest, Response
from requests.auth import AuthBase

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.services.credentials import without_logins
from airflow_cancel_provider.services.mrs.errors import Fault, FaultKind, classify, complaint
from airflow_cancel_provider.services.mrs.signature import signed_headers
from airflow_cancel_provider.services.replies import retry_after

if TYPE_CHECKING:
    from keystoneauth1.access.access import AccessInfo
    from keystoneauth1.identity.v3 import Password
    from keystoneauth1.session import Session as KeystoneSession

_SIGNED = ("Content-Type", "X-Project-Id", "X-Security-Token")
_CALL = "KeystoneCreateUserTokenByPassword"
_TIMEOUT = 30.0
_NO_TOKEN = (TypeError, AttributeError, KeyError, ValueError, RecursionError)
"""What keystoneauth1 raises for JSON that is not the object it expects."""


class AkSkAuth(AuthBase):
    """Sign each request at the moment it is sent.

    :param security_token: of a temporary access key.
    :param project_id: sent along, as sub-projects need it.
    """

    def __init__(
        self,
        access_key: str,
        secret_key: str,
        *,
        security_token: str | None = None,
        project_id: str | None = None,
    ) -> None:
        self.access_key = access_key
        self._secret_key = secret_key
        self._security_token = security_token
        self.project_id = project_id

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add the signature, and what it covers, to a request."""
        if self.project_id:
            request.headers["X-Project-Id"] = self.project_id
        if self._security_token:
            request.headers["X-Security-Token"] = self._security_token
        body = request.body or b""
        headers = signed_headers(
            request.method or "",
            request.url or "",
            {name: request.headers[name] for name in _SIGNED if name in request.headers},
            body.encode() if isinstance(body, str) else body,
            self.access_key,
            self._secret_key,
            datetime.now(UTC),
        )
        request.headers.update(headers)
        return request

    @property
    def arguments(self) -> dict[str, Any]:
        """What another of its kind is made of. Holds secrets: for a pipe to a process of ours alone."""
        return {
            "access_key": self.access_key,
            "secret_key": self._secret_key,
            "security_token": self._security_token,
            "project_id": self.project_id,
        }

    def __repr__(self) -> str:
        return f"AkSkAuth({self.access_key!r})"


class TokenAuth(AuthBase):
    """Send a project's token; fetch a new one, once, for a request that is refused because of it.

    The token is shared by all instances of this process with the same arguments: the identity service limits
    their number, and each is valid for a day.

    :param iam_endpoint: base URL of the identity service, with or without ``/v3``.
    :param domain: the account's name.
    :raises InvalidInput: keystoneauth1 is not installed.
    """

    def __init__(
        self,
        iam_endpoint: str,
        user: str,
        password: str,
        domain: str,
        *,
        project_id: str | None = None,
        project_name: str | None = None,
        verify: bool | str = True,
    ) -> None:
        self.user = user
        self.arguments: dict[str, Any] = {
            "iam_endpoint": iam_endpoint,
            "user": user,
            "password": password,
            "domain": domain,
            "project_id": project_id,
            "project_name": project_name,
            "verify": verify,
        }
        """What another of its kind is made of. Holds secrets: for a pipe to a process of ours alone."""
        self._keystone = _keystone(
            iam_endpoint, user, password, domain, project_id, project_name, verify=verify
        )

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add the token to a request."""
        request.headers["X-Auth-Token"] = self._token()
        request.register_hook("response", self._renewed)  # type: ignore[no-untyped-call]
        return request

    def project_id(self) -> str:
        """Id of the project that the token is for.

        :raises Fault: no token could be fetched.
        """
        return self._read(lambda access: str(access.project_id or ""))

    def _token(self) -> str:
        return self._read(lambda access: str(access.auth_token))

    def _read(self, read: Callable[[AccessInfo], str]) -> str:
        """What the reply with the token holds. One that can't be read is not kept: others share it."""
        plugin, session = self._keystone
        with _faults(self.user):
            try:
                access = plugin.get_access(session)
                access.will_expire_soon()  # reads when it expires
                return read(access)
            except _NO_TOKEN:
                plugin.invalidate()
                raise

    def _renewed(self, response: Response, **kwargs: Any) -> Response:
        if response.status_code < 400 or not _blames_token(response):
            return response
        self._drop(str(response.request.headers["X-Auth-Token"]))
        again = response.request.copy()
        again.headers["X-Auth-Token"] = self._token()
        response.close()
        # Through the adapter, which runs no hook: there is one renewal, and no loop.
        second: Response = response.connection.send(again, **kwargs)
        second.history.append(response)
        second.request = again
        return second

    def _drop(self, refused: str) -> None:
        """Invalidate the token, unless another thread has renewed it meanwhile."""
        plugin, _ = self._keystone
        if plugin.auth_ref is not None and plugin.auth_ref.auth_token == refused:
            plugin.invalidate()

    def __repr__(self) -> str:
        return f"TokenAuth({self.user!r})"


def _blames_token(response: Response) -> bool:
    return classify(complaint(response).code, response.status_code).kind is FaultKind.TOKEN


@lru_cache(maxsize=64)
def _keystone(
    iam_endpoint: str,
    user: str,
    password: str,
    domain: str,
    project_id: str | None,
    project_name: str | None,
    *,
    verify: bool | str,
) -> tuple[Password, KeystoneSession]:
    try:
        # From the extra `mrs`, which only this kind of sign-in needs.
        from keystoneauth1.identity.v3 import Password
        from keystoneauth1.session import Session
    except ImportError:
        raise InvalidInput(
            "Signing in with a password needs keystoneauth1: pip install 'airflow-cancel-provider[mrs]',"
            " or sign in with an access key (auth_type aksk)."
        ) from None
    plugin = Password(
        auth_url=f"{iam_endpoint.rstrip('/').removesuffix('/v3')}/v3",
        username=user,
        password=password,
        user_domain_name=domain,
        project_id=project_id,
        # A project name needs the project's domain; an id does not.
        project_name=None if project_id else project_name,
        project_domain_name=None if project_id else domain,
    )
    return plugin, Session(verify=verify, timeout=_TIMEOUT, redirect=False)


@contextmanager
def _faults(user: str) -> Iterator[None]:
    """Turn errors of keystoneauth1 into a fault; its message has neither password nor token."""
    from keystoneauth1 import exceptions

    what = f"Signing in as user {user} ({_CALL}) failed"
    try:
        yield
    except exceptions.HttpError as error:
        entry = classify("", error.http_status)
        kind = FaultKind.IDENTITY if error.http_status in (400, 401, 403, 404) else entry.kind
        advice = (
            "Check user name, password, account name (domain), project and IAM endpoint (iam_endpoint)"
            " of the connection."
        )
        message = (error.message or "").removesuffix(f"(HTTP {error.http_status})").rstrip(". ")
        words = f"{what}: HTTP {error.http_status} {message}".rstrip()
        asked = retry_after(error.response.headers) if error.response is not None else 0.0
        raise Fault(f"{words}. {advice}", _CALL, str(error.http_status), kind, retry_after=asked) from None
    except exceptions.SSLError as error:
        words = without_logins(f"{what}: {error}.")
        advice = "Check IAM endpoint (iam_endpoint) and TLS verification (verify) of the connection."
        raise Fault(f"{words} {advice}", _CALL) from None
    except exceptions.ConnectionError as error:
        raise Fault(without_logins(f"{what}: {error}."), _CALL, None, FaultKind.TRANSIENT) from None
    except exceptions.InvalidResponse as error:
        raise _no_token(what, error.response.status_code) from None
    except exceptions.ClientException as error:
        words = without_logins(f"{what}: {error}.")
        raise Fault(f"{words} Check IAM endpoint (iam_endpoint) of the connection.", _CALL) from None
    except _NO_TOKEN:
        raise _no_token(what, 200) from None


def _no_token(what: str, status: int) -> Fault:
    """The fault of a reply that is no token. A redirect stays one; another page may soon be gone."""
    words = f"{what}: the reply is not a token in JSON. Check IAM endpoint (iam_endpoint) and proxies."
    kind = FaultKind.TRANSIENT if status < 300 else FaultKind.OTHER
    return Fault(words, _CALL, f"HTTP {status}", kind)
