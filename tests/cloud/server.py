"""The local cloud: one HTTP server on loopback in front of all simulated services."""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import struct
import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import unquote

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler
from werkzeug.wrappers import Request, Response

from tests.cloud.aws import Caller, json_response
from tests.cloud.batch import BatchService
from tests.cloud.control import PREFIX, Control
from tests.cloud.emr import EmrService
from tests.cloud.emr_containers import EmrContainersService
from tests.cloud.emr_serverless import EmrServerlessService
from tests.cloud.faults import Fault, Faults
from tests.cloud.glue import GlueService
from tests.cloud.hostile import hostile_reply
from tests.cloud.journal import Entry, Journal
from tests.cloud.lifecycle import Clock
from tests.cloud.moto_backing import Moto
from tests.cloud.others import OtherService
from tests.cloud.service import CloudService, Describing, ErrorKind, Resettable, Subject

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

WORDED: tuple[ErrorKind, ...] = ("throttle", "server_error", "denied", "expired_token", "bad_key")


class QuietHandler(WSGIRequestHandler):
    """Logs nothing: the journal tells more. The Date of a reply is the cloud's own."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        cloud: Any = self.server.app
        return super().date_time_string(timestamp or cloud.clock())

    def log(self, type: str, message: str, *args: Any) -> None:
        pass

    def connection_dropped(self, error: BaseException, environ: WSGIEnvironment | None = None) -> None:
        """Look for no further request on a connection that is gone."""
        self.close_connection = True


class Server(ThreadedWSGIServer):
    """A thread for each connection; none of them holds up the end of the process."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 512


def _stop(server: Server) -> None:
    server.shutdown()
    server.server_close()


def huawei_service(clock: Clock) -> CloudService | None:
    """Huawei MRS with its Keystone, when that module is there."""
    try:
        module = importlib.import_module("tests.cloud.mrs")
    except ModuleNotFoundError as error:
        if error.name != "tests.cloud.mrs":
            raise
        return None
    service: CloudService = module.MrsService(clock)
    return service


class LocalCloud:
    """EMR, Batch, EMR Serverless, EMR on EKS, Glue, MRS and the rest of moto at one address.

    A context manager: ``with LocalCloud() as cloud: boto3.client("emr", endpoint_url=cloud.url, ...)``.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host, self._wanted_port = host, port
        self.clock = Clock()
        self.faults, self.journal = Faults(self.clock), Journal()
        self.bad_access_keys: set[str] = set()
        self.expired_access_keys: set[str] = set()
        self.moto = Moto()
        self.emr = EmrService(self.clock, self.moto)
        self.batch = BatchService(self.clock, self.moto)
        self.emr_serverless = EmrServerlessService(self.clock, self.moto)
        self.emr_containers = EmrContainersService(self.clock, self.moto)
        self.glue = GlueService(self.clock, self.moto)
        self.mrs: Any = huawei_service(self.clock)
        ours: list[CloudService] = [self.emr, self.batch, self.emr_serverless, self.emr_containers, self.glue]
        self.services: dict[str, CloudService] = {service.name: service for service in ours}
        if self.mrs is not None:
            self.services[self.mrs.name] = self.mrs
        self._others: dict[str, OtherService] = {}
        self._control = Control(self)
        self._server: Server | None = None

    # Life of the server.
    @property
    def port(self) -> int:
        """The port listened on; 0 before the start unless one was asked for."""
        return self._server.server_port if self._server else self._wanted_port

    @property
    def url(self) -> str:
        """The address for ``endpoint_url`` and ``AWS_ENDPOINT_URL``."""
        return f"http://{self._host}:{self.port}"

    def start(self) -> Self:
        """Listen in a thread of its own."""
        if self._server is None:
            self._server = self._listening()
        return self

    def _listening(self) -> Server:
        server = Server(self._host, self._wanted_port, self, QuietHandler)
        threading.Thread(target=server.serve_forever, args=(0.05,), name="cloud", daemon=True).start()
        return server

    def stop(self) -> None:
        """Stop listening and let go of hanging requests."""
        self.faults.clear()
        if self._server is not None:
            _stop(self._server)
            self._server = None

    def renew(self) -> None:
        """Forget everything, and listen at another address.

        What an earlier test has left behind, a thread or a sentinel, calls the old one, and is not heard.
        """
        old, self._server = self._server, self._listening()
        self.reset()
        if old is not None:
            threading.Thread(target=_stop, args=(old,), name="cloud-stop", daemon=True).start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def reset(self) -> None:
        """Forget jobs, faults, journal, settings, and what moto holds."""
        self.faults.clear()
        self.bad_access_keys, self.expired_access_keys = set(), set()
        for service in self.services.values():
            if isinstance(service, Resettable):
                service.reset()
        self.moto.reset()
        self.journal.clear()
        self.clock.reset()

    def jobs(self) -> list[dict[str, Any]]:
        """The truth about every job of every service."""
        return [job for service in self.services.values() for job in service.jobs()]

    # Requests.
    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """The WSGI entry point."""
        if "/jobruns/" in (path := environ["REQUEST_URI"].partition("?")[0]):
            # A slash within an id parts nothing.
            environ["PATH_INFO"] = unquote(path.replace("%2F", "%252F"), "latin-1")
        request = Request(environ)
        if environ["SERVER_PORT"] != str(self.port):
            self._drop_connection(request)
        if request.path.startswith(PREFIX + "/"):
            return self._control.answer(request)(environ, start_response)
        request.get_data(cache=True)
        service, operation = self._route(request)
        if service is None or operation is None:
            return json_response({"message": "no service claims this request"}, 404)(environ, start_response)
        response = self._serve(service, operation, request)
        return response(environ, start_response)

    def _route(self, request: Request) -> tuple[CloudService | None, str | None]:
        """Find the service that claims the request, and the operation it asks for."""
        for service in self.services.values():
            operation = service.operation(request)
            if operation is not None:
                return service, operation
        caller = Caller.of(request)
        if caller is None and request.path.startswith(("/v1.1/", "/v2/", "/v3/")):
            return None, None
        name = caller.service if caller else "unsigned"
        other = self._others.setdefault(name, OtherService(name, self.moto))
        return other, other.operation(request)

    def _serve(self, service: CloudService, operation: str, request: Request) -> Response:
        """Note the request, apply what is to go wrong, and answer."""
        caller = Caller.of(request)
        subject = service.subject(operation, request) if isinstance(service, Describing) else Subject()
        access_key, region = (caller.access_key, caller.region) if caller else ("", "")
        entry = Entry(self.clock(), service.name, operation, *subject, region=region, access_key=access_key)
        self.journal.add(entry)
        fault, delay = self.faults.choose(service.name, operation, subject, access_key)
        fault = self._key_fault(access_key) or fault
        entry.fault = fault.kind if fault else "latency" if delay else ""
        time.sleep(delay)
        response = self._act(service, operation, request, fault)
        entry.status = response.status_code
        return response

    def _key_fault(self, access_key: str) -> Fault | None:
        if access_key in self.bad_access_keys:
            return Fault(kind="bad_key")
        return Fault(kind="expired_token") if access_key in self.expired_access_keys else None

    def _act(self, service: CloudService, operation: str, request: Request, fault: Fault | None) -> Response:
        for kind in WORDED:
            if fault and fault.kind == kind:
                return service.error(kind, operation)
        if fault and fault.kind == "hang":
            self._hold(request)
        if fault and fault.kind in ("reset", "hang"):
            self._drop_connection(request)
        if fault and fault.kind == "hostile_reply":
            true = service.answer(operation, request) if fault.acts else None
            return hostile_reply(fault.shape, operation, true, status=fault.status, body=fault.body)
        response = service.answer(operation, request)
        if fault and fault.kind == "lost_reply":
            self._drop_connection(request)
        return response

    def _hold(self, request: Request) -> None:
        """Wait until the client gives up or hanging requests are let go."""
        connection: socket.socket = request.environ["werkzeug.socket"]
        while not self.faults.released.wait(0.05):
            with contextlib.suppress(BlockingIOError):
                if connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"":
                    return

    @staticmethod
    def _drop_connection(request: Request) -> NoReturn:
        """Reset the connection: no byte of a reply goes out."""
        connection: socket.socket = request.environ["werkzeug.socket"]
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(connection.detach())
        # The server takes this for a client that has gone, and stays quiet.
        raise ConnectionResetError("connection dropped on order")
