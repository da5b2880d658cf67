"""Every other AWS service, as moto answers it, so that faults and the journal cover them too."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from werkzeug.wrappers import Request, Response

from tests.cloud.aws import Caller, json_response
from tests.cloud.moto_backing import Moto
from tests.cloud.service import ErrorKind

# Codes of the query services (STS, IAM, ...), which most tests of credentials lean on.
QUERY_ERRORS: dict[ErrorKind, tuple[str, str, int]] = {
    "throttle": ("Throttling", "Rate exceeded", 400),
    "server_error": ("InternalFailure", "The request processing has failed.", 500),
    "denied": ("AccessDenied", "not authorized to perform this action", 403),
    "expired_token": ("ExpiredToken", "The security token included in the request is expired", 403),
    "bad_key": ("InvalidClientTokenId", "The security token included in the request is invalid.", 403),
}


class OtherService:
    """One AWS service that moto answers for."""

    def __init__(self, name: str, moto: Moto) -> None:
        self.name, self._moto = name, moto
        self._lock = threading.Lock()

    def operation(self, request: Request) -> str | None:
        """The operation as far as the protocol names it; otherwise method and path."""
        caller = Caller.of(request)
        if caller is not None and caller.service != self.name:
            return None
        target = request.headers.get("X-Amz-Target", "")
        if target:
            return target.rpartition(".")[2]
        action = request.args.get("Action") or self._action_of_body(request)
        return action or f"{request.method} {request.path}"

    @staticmethod
    def _action_of_body(request: Request) -> str:
        if not request.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
            return ""
        fields = parse_qs(request.get_data(cache=True).decode(errors="replace"))
        return fields.get("Action", [""])[0]

    def answer(self, operation: str, request: Request) -> Response:
        """Let moto answer; one request at a time, since its stores have no locks."""
        with self._lock:
            return self._moto.answer(request)

    def error(self, kind: ErrorKind, operation: str) -> Response:
        """An error in XML, or in JSON for services that speak it."""
        code, message, status = QUERY_ERRORS[kind]
        if self.name not in ("sts", "iam", "ec2", "s3"):
            return json_response({"__type": code, "message": message}, status)
        text = f"<Code>{code}</Code><Message>{escape(message)}</Message>"
        xml = f"<ErrorResponse><Error><Type>Sender</Type>{text}</Error></ErrorResponse>"
        return Response(xml, status=status, content_type="text/xml")

    def jobs(self) -> list[dict[str, Any]]:
        """moto's jobs are not ours to tell about."""
        return []
