"""The control API under ``/_cloud``: the same levers over HTTP that tests in the process have as methods."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Request, Response

from tests.cloud.service import Configurable, Finishing

if TYPE_CHECKING:
    from tests.cloud.server import LocalCloud

PREFIX = "/_cloud"


class Control:
    """Answers the control API. Mistakes of the caller are 400 with the reason in ``error``."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._cloud = cloud
        self._routes: dict[tuple[str, str], Callable[[Request, Any], Any]] = {
            ("GET", "/health"): lambda *_: {"status": "ok", "url": cloud.url},
            ("GET", "/jobs"): self._jobs,
            ("POST", "/jobs/finish"): self._finish,
            ("GET", "/settings"): lambda *_: self.settings(),
            ("PUT", "/settings"): self._configure,
            ("GET", "/faults"): lambda *_: cloud.faults.as_list(),
            ("POST", "/faults"): self._add_faults,
            ("DELETE", "/faults"): lambda *_: cloud.faults.clear(),
            ("GET", "/journal"): self._journal,
            ("DELETE", "/journal"): lambda *_: cloud.journal.clear(),
            ("POST", "/clusters"): lambda _, body: {"id": cloud.emr.create_cluster(**body)},
            ("POST", "/queues"): lambda _, body: cloud.batch.set_queue(**body),
            ("POST", "/definitions"): lambda _, body: cloud.batch.set_definition(**body),
            ("POST", "/clock"): self._advance,
            ("POST", "/reset"): lambda *_: cloud.reset(),
        }

    def answer(self, request: Request) -> Response:
        """Answer a request whose path begins with the prefix."""
        path = request.path.removeprefix(PREFIX).rstrip("/")
        route = self._routes.get((request.method, path))
        if route is None:
            return self._json({"error": f"no such control: {request.method} {path}"}, 404)
        try:
            body = json.loads(request.get_data() or b"{}")
            result = route(request, body)
        except KeyError as error:
            return self._json({"error": f"not found: {error.args[0]}"}, 404)
        except (ValueError, TypeError) as error:
            return self._json({"error": str(error)}, 400)
        return self._json({"ok": True} if result is None else result)

    @staticmethod
    def _json(body: Any, status: int = 200) -> Response:
        return Response(json.dumps(body, default=str), status=status, content_type="application/json")

    def _jobs(self, request: Request, body: Any) -> list[dict[str, Any]]:
        """All jobs; any key of a job may be given in the query to choose among them."""
        jobs = self._cloud.jobs()
        return [job for job in jobs if all(str(job.get(key)) == value for key, value in request.args.items())]

    def _finish(self, request: Request, body: dict[str, Any]) -> None:
        service = self._cloud.services[body["service"]]
        if not isinstance(service, Finishing):
            raise TypeError(f"{body['service']} can't end jobs")
        service.finish(body["id"], body["state"], body.get("reason", ""))

    def settings(self) -> dict[str, Any]:
        """The settings of the cloud and of each service that has some."""
        named = {name: s for name, s in self._cloud.services.items() if isinstance(s, Configurable)}
        return {
            "bad_access_keys": sorted(self._cloud.bad_access_keys),
            "expired_access_keys": sorted(self._cloud.expired_access_keys),
            **{name: service.configuration() for name, service in named.items()},
        }

    def _configure(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        for name, values in body.items():
            if name in ("bad_access_keys", "expired_access_keys"):
                setattr(self._cloud, name, set(values))
                continue
            service = self._cloud.services[name]
            if not isinstance(service, Configurable):
                raise TypeError(f"{name} has no settings")
            service.configure(values)
        return self.settings()

    def _add_faults(self, request: Request, body: dict[str, Any] | list[dict[str, Any]]) -> Any:
        for rule in body if isinstance(body, list) else [body]:
            self._cloud.faults.add(**rule)
        return self._cloud.faults.as_list()

    def _journal(self, request: Request, body: Any) -> list[dict[str, Any]]:
        wanted = {key: request.args[key] for key in ("service", "operation") if key in request.args}
        return self._cloud.journal.as_list(**wanted)

    def _advance(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        self._cloud.clock.advance(float(body["advance"]))
        return {"now": self._cloud.clock()}
