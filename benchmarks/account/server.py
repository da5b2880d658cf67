"""The account over HTTP: which call of which service a request is, and the answer in that service's form."""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from benchmarks.account.batch import Batch
from benchmarks.account.emr import Emr
from benchmarks.account.emr_serverless import EmrServerless
from benchmarks.account.ends import Ends, Finishing
from benchmarks.account.gate import Gate
from benchmarks.account.population import Population
from benchmarks.account.service import Refused, SimulatedService
from benchmarks.account.troubles import Troubles

FIGURES = "/figures"
FINISH = "/finish"
TROUBLE = "/trouble"
BATCH = {
    f"/v1/{name.lower()}": name
    for name in ("DescribeJobQueues", "ListJobs", "DescribeJobs", "TerminateJobs", "TerminateJob")
}
RUN = {"GET": "GetJobRun", "DELETE": "CancelJobRun"}

Call = tuple[str, str, dict[str, Any]]
"""Service, operation, parameters."""


class Account:
    """Everything in the account.

    :param latency: seconds that each answer takes, as from another building.
    :param calls: file for the calls that are answered, or dropped.
    """

    def __init__(self, population: Population, latency: float, calls: Path | None = None) -> None:
        self._calls = calls.open("a", encoding="utf-8") if calls else None
        self.latency, self.gate, self.ends, self.troubles = latency, Gate(), Ends(), Troubles()
        kinds: tuple[type[SimulatedService], ...] = (Batch, EmrServerless, Emr)
        self._services = {kind.name: kind(population, self.ends) for kind in kinds}

    def answer(self, call: Call) -> dict[str, Any]:
        """The answer to a call.

        :raises Refused: the quotas do not let it in, or the service does not take it.
        """
        service, operation, params = call
        is_let_in = self.gate.lets_in(service, operation)
        time.sleep(self.latency)
        if not is_let_in:
            raise self._services[service].throttling
        return self._services[service].answer(operation, params)

    def note(self, **call: Any) -> None:
        """Write down a call."""
        if self._calls:
            print(json.dumps({"at": time.time(), **call}), file=self._calls, flush=True)

    def finish(self, how: dict[str, Any]) -> dict[str, Any]:
        """Let jobs succeed by themselves from now on: see :class:`Finishing`."""
        self.ends.finishing = Finishing(**how)
        return {}

    def figures(self) -> dict[str, Any]:
        """What the account has seen so far: calls by name, and how often each job was asked to end."""
        return {"calls": self.gate.figures(), "cancelled": self.ends.cancelled()}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one piece
    disable_nagle_algorithm = True

    def __init__(self, account: Account, *args: Any) -> None:
        self._account = account
        super().__init__(*args)

    def do_POST(self) -> None:
        """Read a request, answer it."""
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        path = urlsplit(self.path).path
        if path in (FIGURES, FINISH, TROUBLE):
            self._send(200, self._control(path, body))
            return
        if self._account.troubles.drops():
            self.close_connection = True
            self._note(body, "dropped")
            return
        try:
            self._account.troubles.check(_access_key(self.headers.get("Authorization", "")))
            self._send(200, self._account.answer(self._call(body)))
            self._note(body, "answered")
        except Refused as error:
            self._send(error.status, {"__type": error.code, "message": error.message}, error.code)
            self._note(body, error.code)

    do_GET = do_DELETE = do_POST  # noqa: N815  named by the library

    def _note(self, body: dict[str, Any], answer: str) -> None:
        name = self.headers.get("X-Amz-Target") or f"{self.command} {self.path}"
        key = _access_key(self.headers.get("Authorization", ""))
        self._account.note(call=name, key=key, answer=answer, asked=body)

    def _control(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path == FINISH:
            return self._account.finish(body)
        if path == TROUBLE:
            return self._account.troubles.begin(**body)
        return self._account.figures()

    def _call(self, body: dict[str, Any]) -> Call:
        target = self.headers.get("X-Amz-Target", "")
        if target.startswith("ElasticMapReduce."):
            return "emr", target.partition(".")[2], body
        url = urlsplit(self.path)
        if url.path in BATCH:
            return "batch", BATCH[url.path], body
        return self._call_of_serverless(unquote(url.path).strip("/").split("/"), parse_qs(url.query))

    def _call_of_serverless(self, parts: list[str], query: dict[str, list[str]]) -> Call:
        params: dict[str, Any] = {
            name: values if name == "states" else values[0] for name, values in query.items()
        }
        match parts:
            case ["applications"]:
                return "emr-serverless", "ListApplications", params
            case ["applications", application, "jobruns"]:
                return "emr-serverless", "ListJobRuns", params | {"applicationId": application}
            case ["applications", application, "jobruns", run]:
                return (
                    "emr-serverless",
                    RUN[self.command],
                    params | {"applicationId": application, "jobRunId": run},
                )
        raise Refused("UnknownOperationException", f"{self.command} {self.path} is not simulated.", 404)

    def _send(self, status: int, answer: dict[str, Any], code: str | None = None) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if code:
            self.send_header("x-amzn-ErrorType", code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """The figures tell more."""


def _access_key(authorization: str) -> str:
    return authorization.partition("Credential=")[2].partition("/")[0]


class Server(ThreadingHTTPServer):
    """A thread for each connection."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no error: at the end of a run all of them do."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def make_server(account: Account) -> Server:
    """A server on a free port of loopback."""
    return Server(("127.0.0.1", 0), partial(Handler, account))
