"""The wire of the AWS services that speak JSON 1.1: operations by a header, errors in the body."""

from __future__ import annotations

from typing import Any, ClassVar

from werkzeug.wrappers import Request, Response

from tests.cloud.aws import AwsError, AwsService, json_response

CONTENT_TYPE = "application/x-amz-json-1.1"


class JsonRpcService(AwsService):
    """Base of these services. ``target`` stands before the operation's name, with a dot."""

    target: ClassVar[str]

    def find_operation(self, request: Request) -> str | None:
        return request.headers.get("X-Amz-Target", "").removeprefix(self.target) or None

    def render(self, error: AwsError) -> Response:
        body = {"__type": error.code, "message": error.message}
        return json_response(body, error.status, CONTENT_TYPE)

    def render_result(self, result: Any) -> Response:
        return json_response(result, content_type=CONTENT_TYPE)
