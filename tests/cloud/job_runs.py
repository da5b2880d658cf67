"""What the services of job runs share in the local cloud: tokens, cancels, the truth about runs."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from werkzeug.wrappers import Request

from tests.cloud.aws import AwsError, Caller, Place
from tests.cloud.lifecycle import Clock, Life, Settings, Timings
from tests.cloud.moto_backing import Moto
from tests.cloud.rest import RestService
from tests.cloud.service import ErrorKind


class AnyRun(Protocol):
    """A job run."""

    id: str
    request: dict[str, Any]
    place: Place
    life: Life

    @property
    def scope(self) -> str: ...
    @property
    def name(self) -> str: ...


def invalid(message: str) -> AwsError:
    """ValidationException."""
    return AwsError("ValidationException", message)


def timestamp(text: str) -> float:
    """Epoch seconds of a timestamp in a query string."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        raise invalid(f"'{text}' is not a timestamp") from error


def whole(request: Request, name: str, default: int) -> int:
    """A whole number of the query string."""
    text = request.args.get(name, str(default))
    if not text.isdigit():
        raise invalid(f"{name} '{text}' is not valid")
    return int(text)


R = TypeVar("R", bound=AnyRun)


class JobRunsService(RestService, Generic[R]):
    """Runs with live states, by application or virtual cluster."""

    errors: ClassVar[dict[ErrorKind, tuple[str, int]]] = {
        "throttle": ("ThrottlingException", 429),
        "server_error": ("InternalServerException", 500),
        "denied": ("AccessDeniedException", 403),
        "expired_token": ("ExpiredTokenException", 403),
        "bad_key": ("UnrecognizedClientException", 403),
    }
    final_states: ClassVar[Collection[str]]

    def __init__(self, clock: Clock, moto: Moto) -> None:
        timings = Timings(submitted=0.05, pending=0.2, starting=0.1, run=3600, cancel=0.5)
        super().__init__(clock, moto, Settings(timings))
        self.runs: dict[tuple[Place, str], dict[str, R]] = {}
        self.tokens: dict[tuple[Place, str, str], R] = {}

    def started(self, caller: Caller, scope: str, params: dict[str, Any]) -> R:
        """Start a run. The same client token with the same request gives the same run."""
        place = self.place(caller)
        token = (place, scope, params["clientToken"])
        run = self.tokens.get(token)
        if run is None:
            run = self.tokens[token] = self.make(caller, params)
            self.runs.setdefault((place, scope), {})[run.id] = run
        elif run.request != params:
            raise self.token_conflict()
        return run

    def make(self, caller: Caller, params: dict[str, Any]) -> R:
        """A new run."""
        raise NotImplementedError

    def token_conflict(self) -> AwsError:
        """What is said of a client token that comes with another request."""
        return AwsError("ConflictException", "the client token was used with another request", 409)

    def check_cancel(self, run: R) -> None:
        """Refuse to cancel a run that has ended, or that the caller may not cancel."""
        now = self.clock()
        if run.life.timings.refuse:
            raise AwsError(run.life.timings.refuse, f"not authorized to cancel JobRun {run.id}", 403)
        if run.life.ended(now):
            state = run.life.state(now)
            raise invalid(f"JobRun {run.id} is not in a cancellable state. Its state is {state}.")

    # Ground truth.
    def all_runs(self) -> list[R]:
        """Every run."""
        return [run for runs in self.runs.values() for run in runs.values()]

    def jobs(self) -> list[dict[str, Any]]:
        with self.lock:
            return [self._truth(run) for run in self.all_runs()]

    def _truth(self, run: R) -> dict[str, Any]:
        names = {"service": self.name, "scope": run.scope, "id": run.id, "name": run.name}
        names |= {"region": run.place.region, "account": run.place.account}
        return {**names, **run.life.truth(self.clock()), "labels": {"tags": run.request.get("tags") or {}}}

    def finish(self, job_id: str, state: str, reason: str = "") -> None:
        """End a run now."""
        if state not in self.final_states:
            raise ValueError(f"not a final state of a run: {state}")
        with self.lock:
            run = next((run for run in self.all_runs() if run.id == job_id), None)
            if run is None:
                raise KeyError(job_id)
            run.life.finish(self.clock(), state, reason)

    def refresh_timings(self) -> None:
        now = self.clock()
        for run in self.all_runs():
            if not run.life.ended(now):
                run.life.timings = self.settings.timings(run.scope, run.name, run.id)

    def reset(self) -> None:
        with self.lock:
            self.runs.clear()
            self.tokens.clear()
            self.settings.reset()
