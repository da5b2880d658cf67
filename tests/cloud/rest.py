"""What the AWS services that speak REST share: operations by path, errors by a header, pages."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

import botocore.session
from werkzeug.wrappers import Request, Response

from tests.cloud.aws import AwsError, AwsService, json_response


class RestService(AwsService):
    """Base of these services. Handlers find the operation among the parameters."""

    def find_operation(self, request: Request) -> str | None:
        return rest_operation(self.name, request)

    def render(self, error: AwsError) -> Response:
        response = json_response({"message": error.message}, error.status)
        response.headers["x-amzn-errortype"] = error.code
        return response

    def parse(self, operation: str, request: Request) -> dict[str, Any]:
        return {**super().parse(operation, request), "operation": operation}


def rest_operation(service: str, request: Request) -> str:
    """Name a REST operation by method and path, as the SDK's own model of the service has it."""
    for method, path, operation in _routes(service):
        if request.method == method and path.fullmatch(request.path):
            return operation
    return f"{request.method} {request.path}"


@functools.cache
def _routes(service: str) -> list[tuple[str, re.Pattern[str], str]]:
    model = botocore.session.get_session().get_service_model(service)
    routes = []
    for name in model.operation_names:
        http = model.operation_model(name).http
        # An ARN holds slashes, other parts of a path don't.
        pattern = re.sub(r"{\w+}", "[^/]+", http["requestUri"].replace("{resourceArn}", ".+"))
        routes.append((http["method"], re.compile(pattern + "/?"), name))
    return routes


def page(member: str, rows: Sequence[Any], begin: int, size: int) -> dict[str, Any]:
    """A page of a listing, and the token of the next one if there is more."""
    result: dict[str, Any] = {member: rows[begin : begin + size]}
    return result | ({"nextToken": str(begin + size)} if begin + size < len(rows) else {})
