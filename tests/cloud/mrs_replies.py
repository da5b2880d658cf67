"""How MRS and its API gateway answer."""

from __future__ import annotations

import json
import secrets
from typing import Any

from werkzeug.wrappers import Response


class MrsError(Exception):
    """An error as MRS answers it."""

    def __init__(self, code: str, message: str, status: int = 500) -> None:
        super().__init__(code, message, status)
        self.code, self.message, self.status = code, message, status


def reply(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON with a request id."""
    response = Response(json.dumps(body), status, content_type="application/json", headers=headers)
    response.headers["X-Request-Id"] = secrets.token_hex(16)
    return response


def complain(code: str, words: str, status: int) -> Response:
    """An error in the shape of V2."""
    return reply({"error_code": code, "error_msg": words}, status)


def complain_oldly(code: str, words: str, status: int) -> Response:
    """An error in the shape of V1.1."""
    return reply({"errorCode": code, "message": words}, status)


def gateway(code: str, words: str, status: int) -> Response:
    """An error in the shape of the API gateway."""
    return reply({"error_msg": words, "error_code": code, "request_id": secrets.token_hex(16)}, status)
