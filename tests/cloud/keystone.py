"""Identity of the Huawei and OTC clouds: users, access keys, projects, tokens.

Follows the Identity API v3 as OTC and Huawei Cloud document it ("Obtaining a User Token", "Querying Project
Information"), and what their API gateway says to a request without a valid identity.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from typing import Any

from werkzeug.wrappers import Request, Response

from tests.cloud import huawei_signature
from tests.cloud.lifecycle import Clock
from tests.cloud.service import ErrorKind

DOMAIN = "demo-domain"
PROJECT_ID = "0123456789abcdef0123456789abcdef"
PROJECT_NAME = "eu-de"
TOKENS, PROJECTS, VERSIONS = (
    "KeystoneCreateUserTokenByPassword",
    "KeystoneListProjects",
    "KeystoneShowVersion",
)
ROUTES = {("POST", "/v3/auth/tokens"): TOKENS, ("GET", "/v3/projects"): PROJECTS, ("GET", "/v3"): VERSIONS}
FAULTS: dict[str, tuple[int, str]] = {
    "throttle": (429, "Too Many Requests"),
    "server_error": (503, "Service Unavailable"),
    "denied": (403, "Forbidden"),
}


class Unidentified(Exception):
    """The request's identity is not accepted; the words are the gateway's."""


@dataclass(frozen=True)
class Key:
    """An access key; a temporary one has a security token."""

    secret: str
    project_id: str
    security_token: str = ""


@dataclass(frozen=True)
class Token:
    """What a token stands for; expires at epoch seconds."""

    project_id: str
    expires_at: float


class Keystone:
    """Knows who may call. The lifetime of tokens is in seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Back to one user, one access key and one project."""
        self.projects = {PROJECT_ID: PROJECT_NAME}
        self.users = {(DOMAIN, "demo"): "demo-password"}
        self.keys = {"DEMOACCESSKEY": Key("demo-secret-key", PROJECT_ID)}
        self.tokens: dict[str, Token] = {}
        self.token_life = 24 * 3600.0

    def register_user(self, name: str, password: str, domain: str = DOMAIN) -> None:
        """Let a user sign in."""
        self.users[domain, name] = password

    def register_key(
        self, access: str, secret: str, security_token: str = "", project_id: str = PROJECT_ID
    ) -> None:
        """Let an access key sign."""
        self.keys[access] = Key(secret, project_id, security_token)

    def revoke_tokens(self) -> None:
        """Make every token invalid that was given out so far."""
        self.tokens.clear()

    # Identity of a request.
    def project_of(self, request: Request) -> str:
        """The project that the caller may act in; raises ``Unidentified``."""
        token = request.headers.get("X-Auth-Token")
        if token is not None:
            return self._project_of_token(token)
        access = huawei_signature.access_key(request)
        if access is None:
            raise Unidentified("x-auth-token not found")
        key = self.keys.get(access)
        if key is None:
            raise Unidentified("AK access failed to reach the limit, or it does not exist")
        if request.headers.get("X-Security-Token", "") != key.security_token:
            raise Unidentified("security token is incorrect")
        try:
            huawei_signature.check(request, key.secret)
        except huawei_signature.BadSignature as error:
            raise Unidentified(str(error)) from error
        return request.headers.get("X-Project-Id") or key.project_id

    def _project_of_token(self, value: str) -> str:
        token = self.tokens.get(value)
        if token is None or token.expires_at <= self._clock():
            raise Unidentified("decrypt token fail")
        return token.project_id

    # The identity service's own calls.
    @staticmethod
    def operation(request: Request) -> str | None:
        """The operation asked for; None for a path that is not this service's."""
        return ROUTES.get((request.method, request.path.rstrip("/")))

    def answer(self, operation: str, request: Request) -> Response:
        """Perform an operation."""
        if operation == TOKENS:
            return self._create_token(request)
        if operation == PROJECTS:
            return self._list_projects(request)
        link = {"rel": "self", "href": f"{request.host_url}v3/"}
        version = {"id": "v3.6", "status": "stable", "links": [link]}
        return Response(json.dumps({"version": version}), content_type="application/json")

    def error(self, kind: ErrorKind) -> Response:
        """A fault in Keystone's words."""
        return refusal(*FAULTS.get(kind, (401, "Unauthorized")))

    def _create_token(self, request: Request) -> Response:
        auth = json.loads(request.get_data(cache=True))["auth"]
        user = auth["identity"]["password"]["user"]
        domain = user.get("domain", {}).get("name", "")
        if auth["identity"]["methods"] != ["password"]:
            return refusal(400, "Bad Request")
        if self.users.get((domain, user["name"])) != user["password"]:
            return refusal(401, "Unauthorized", "The username or password is wrong.")
        project = self._scope(auth.get("scope", {}).get("project", {}))
        if project is None:
            return refusal(401, "Unauthorized", "The project does not exist.")
        value = secrets.token_urlsafe(600)
        expires = self._clock() + self.token_life
        self.tokens[value] = Token(project, expires)
        body = {
            "methods": ["password"],
            "expires_at": _iso(expires),
            "issued_at": _iso(self._clock()),
            "project": {
                "id": project,
                "name": self.projects[project],
                "domain": {"name": domain, "id": "d" * 32},
            },
            "user": {"id": "u" * 32, "name": user["name"], "domain": {"name": domain, "id": "d" * 32}},
            "catalog": [self._catalogue(request)],
            "roles": [],
        }
        response = Response(json.dumps({"token": body}), 201, content_type="application/json")
        response.headers["X-Subject-Token"] = value
        return response

    def _scope(self, project: dict[str, Any]) -> str | None:
        if "id" in project:
            return project["id"] if project["id"] in self.projects else None
        # By name, the domain has to be said too: the name alone is not unique.
        if "domain" not in project:
            return None
        return next((found for found, name in self.projects.items() if name == project.get("name")), None)

    @staticmethod
    def _catalogue(request: Request) -> dict[str, Any]:
        """OTC's entry: V1.1 only, and without the project."""
        endpoint = {
            "interface": "public",
            "region": "eu-de",
            "region_id": "eu-de",
            "url": request.host_url + "v1.1",
        }
        return {"type": "mrs", "name": "mapreduce", "endpoints": [endpoint]}

    def _list_projects(self, request: Request) -> Response:
        try:
            self.project_of(request)
        except Unidentified as error:
            return refusal(401, "Unauthorized", str(error))
        wanted = request.args.get("name")
        projects = [
            {"id": found, "name": name, "domain_id": "d" * 32, "enabled": True}
            for found, name in self.projects.items()
            if wanted in (None, name)
        ]
        return Response(json.dumps({"projects": projects, "links": {}}), content_type="application/json")


def refusal(status: int, title: str, message: str = "") -> Response:
    """An error in Keystone's shape."""
    error = {"code": status, "message": message or title, "title": title}
    return Response(json.dumps({"error": error}), status, content_type="application/json")


def _iso(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(at))
