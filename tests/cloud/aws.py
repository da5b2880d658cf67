"""What the AWS services share: who calls, JSON bodies, errors on the wire, one lock, moto behind."""

from __future__ import annotations

import json
import re
import secrets
import string
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Request, Response

from tests.cloud.lifecycle import Clock, Settings
from tests.cloud.moto_backing import Moto
from tests.cloud.service import ErrorKind, Subject

_CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request")
_PRESIGNED = re.compile(r"([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request")


@dataclass(frozen=True)
class Caller:
    """Who signs a request, for which region and service (the credential scope of Signature Version 4)."""

    access_key: str
    region: str
    service: str

    @classmethod
    def of(cls, request: Request) -> Caller | None:
        """Read the credential scope; None when the request carries no AWS signature."""
        found = _CREDENTIAL.match(request.headers.get("Authorization", ""))
        found = found or _PRESIGNED.match(request.args.get("X-Amz-Credential", ""))
        return cls(*found.groups()) if found else None


class Place(NamedTuple):
    """Where a resource lives. The same id in another account or region is another resource."""

    account: str
    region: str


class AwsError(Exception):
    """An error as a service answers it: code, words and HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(code, message, status)
        self.code, self.message, self.status = code, message, status


def json_response(body: Any, status: int = 200, content_type: str = "application/json") -> Response:
    """Answer with JSON and a request id, as the services do."""
    response = Response(json.dumps(body), status=status, content_type=content_type)
    response.headers["x-amzn-RequestId"] = secrets.token_hex(16)
    return response


def json_body(request: Request) -> dict[str, Any]:
    """The request's JSON object; an empty body is an empty object."""
    try:
        body = json.loads(request.get_data(cache=True) or b"{}")
    except ValueError as error:
        raise AwsError("SerializationException", "the request body is not JSON") from error
    if not isinstance(body, dict):
        raise AwsError("SerializationException", "the request body is not a JSON object")
    return body


def random_id(length: int, alphabet: str = string.ascii_uppercase + string.digits) -> str:
    """An id in the style of the services."""
    return "".join(secrets.choice(alphabet) for _ in range(length))


Handler = Callable[[Caller, dict[str, Any], Request], Any]


class AwsService:
    """Base of the AWS services. A subclass fills in names, handlers and the wire form of errors."""

    name = ""
    signing_name = ""
    errors: ClassVar[dict[ErrorKind, tuple[str, int]]] = {}
    """Code and HTTP status of each injected fault."""

    def __init__(self, clock: Clock, moto: Moto, settings: Settings) -> None:
        self.clock, self.moto, self.settings = clock, moto, settings
        self.lock = threading.RLock()
        self.handlers: dict[str, Handler] = {}

    # What a service words for itself.
    def find_operation(self, request: Request) -> str | None:
        """Name the operation of a request that is known to be this service's."""
        raise NotImplementedError

    def render(self, error: AwsError) -> Response:
        """Put an error on the wire."""
        raise NotImplementedError

    def render_result(self, result: Any) -> Response:
        """Put a result on the wire."""
        return json_response(result)

    def parse(self, operation: str, request: Request) -> dict[str, Any]:
        """Collect the parameters of a call from wherever the protocol puts them."""
        return json_body(request)

    # CloudService.
    def operation(self, request: Request) -> str | None:
        """Name the operation, None when the signature is for another service."""
        caller = Caller.of(request)
        if caller is None or caller.service != self.signing_name:
            return None
        return self.find_operation(request)

    def answer(self, operation: str, request: Request) -> Response:
        """Answer from the model where there is one, else from moto."""
        caller = Caller.of(request)
        assert caller is not None
        try:
            with self.lock:
                handler = self.handlers.get(operation)
                if handler is None:
                    return self.fall_back(caller, operation, request)
                result = handler(caller, self.parse(operation, request), request)
        except AwsError as error:
            return self.render(error)
        except BadRequest as error:
            return self.render(AwsError("SerializationException", str(error.description)))
        return result if isinstance(result, Response) else self.render_result(result)

    def fall_back(self, caller: Caller, operation: str, request: Request) -> Response:
        """Let moto answer."""
        return self.moto.answer(request)

    def error(self, kind: ErrorKind, operation: str) -> Response:
        """Render an injected fault."""
        code, status = self.errors[kind]
        action = f"{self.signing_name}:{operation}"
        messages: dict[ErrorKind, str] = {
            "throttle": "Rate exceeded",
            "server_error": "An internal error has occurred.",
            "denied": f"User: arn:aws:iam::123456789012:user/local is not authorized to perform: {action} "
            f"on resource: * because no identity-based policy allows the {action} action",
            "expired_token": "The security token included in the request is expired",
            "bad_key": "The security token included in the request is invalid.",
        }
        return self.render(AwsError(code, messages[kind], status))

    # Optional parts of the seam.
    def subject(self, operation: str, request: Request) -> Subject:
        """What the request names; nothing when its body can't be read."""
        try:
            return self.read_subject(self.parse(operation, request))
        except AwsError:
            return Subject()

    def read_subject(self, params: dict[str, Any]) -> Subject:
        """Pick scope and ids out of the parameters."""
        raise NotImplementedError

    def configure(self, values: dict[str, Any]) -> None:
        """Change settings of this service."""
        with self.lock:
            self.settings.update(values)
            self.refresh_timings()

    def set(self, **values: Any) -> None:
        """Change default timings or options; jobs that exist keep their timings."""
        self.configure(values)

    def override(self, pattern: str, **values: Any) -> None:
        """Give other timings to jobs by id, name or scope, present and future ones."""
        self.configure({"overrides": {pattern: values}})

    def configuration(self) -> dict[str, Any]:
        """All settings."""
        return self.settings.as_dict()

    def refresh_timings(self) -> None:
        """Apply changed overrides to jobs that live."""
        raise NotImplementedError

    def place(self, caller: Caller) -> Place:
        """The account and region that a request is for."""
        return Place(self.moto.account(caller.access_key), caller.region)
