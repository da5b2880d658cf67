"""A server in front of the local cloud: with a path of its own, with TLS, as a proxy, or with odd answers."""

from __future__ import annotations

import http.client
import ipaddress
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

RESET = "reset"
"""An answer that is none: the request is read, passed on, and the connection closed."""
Answer = tuple[int, bytes] | str | None
"""Status and body; :data:`RESET`; None: the cloud's own answer."""


@dataclass
class Seen:
    """A request that arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = field(repr=False)


class Gateway:
    """Passes requests on to the cloud, and keeps them.

    :param cloud_url: where to.
    :param path: what it takes away from the front of paths; others are 404.
    :param tls: certificate and key; with ``client_ca`` it asks for a client's certificate.
    """

    def __init__(
        self,
        cloud_url: str,
        path: str = "",
        tls: tuple[str, str] | None = None,
        client_ca: str | None = None,
    ) -> None:
        self.seen: list[Seen] = []
        self.answers: list[Answer] = []
        """Answers to the next requests; those behind them get the cloud's own."""
        self.passes_on = True
        """Whether requests that get another answer are passed on nevertheless."""
        self.clock: Callable[[], float] | None = time.time
        """What the Date header says; None: there is none."""
        self._cloud, self._path, self._lock = urlsplit(cloud_url), path, threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        scheme = "http"
        if tls:
            scheme, context = "https", ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*tls)
            if client_ca:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(client_ca)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}{path}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, seen: Seen) -> Answer:
        """What to answer."""
        with self._lock:
            self.seen.append(seen)
            return self.answers.pop(0) if self.answers else None

    def forward(self, seen: Seen) -> tuple[int, dict[str, str], bytes]:
        """The cloud's answer."""
        target = urlsplit(seen.target)
        path = target.path + (f"?{target.query}" if target.query else "")
        if not path.startswith(self._path):
            return 404, {}, b"no such path"
        connection = http.client.HTTPConnection(str(self._cloud.hostname), self._cloud.port, timeout=60)
        headers = {name: value for name, value in seen.headers.items() if name.lower() != "connection"}
        connection.request(seen.method, path.removeprefix(self._path) or "/", seen.body, headers)
        reply = connection.getresponse()
        body = reply.read()
        connection.close()
        kept = {
            name: value for name, value in reply.getheaders() if name.lower().startswith(("x-", "content-t"))
        }
        return reply.status, kept, body


def _handler(gateway: Gateway) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen = Seen(self.command, self.path, dict(self.headers.items()), body)
            answer = gateway.take(seen)
            headers: dict[str, str] = {}
            if answer is None:
                status, headers, body = gateway.forward(seen)
            else:
                if gateway.passes_on:
                    gateway.forward(seen)
                if isinstance(answer, str):
                    self.close_connection = True
                    return
                status, body = answer
            self.send_response_only(status)
            if gateway.clock:
                self.send_header("Date", formatdate(gateway.clock(), usegmt=True))
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_DELETE = do_PUT = do_POST  # noqa: N815  names of http.server

    return Handler


def certificate(folder: Path, name: str, signed_by: tuple[str, str] | None = None) -> tuple[str, str]:
    """Paths of a new certificate for 127.0.0.1 and its key; without a signer it is an authority."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signing_key, signing_public = subject, key, key.public_key()
    if signed_by:
        authority = x509.load_pem_x509_certificate(Path(signed_by[0]).read_bytes())
        issuer = authority.subject
        loaded: Any = serialization.load_pem_private_key(Path(signed_by[1]).read_bytes(), None)
        signing_key, signing_public = loaded, loaded.public_key()

    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=signed_by is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        # Python 3.13 asks for these three.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_public), critical=False)
        .add_extension(_usage(signs=signed_by is None), critical=True)
        .sign(signing_key, hashes.SHA256())
    )
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(paths[0]), str(paths[1])


def _usage(*, signs: bool) -> x509.KeyUsage:
    """What a key is for: an authority's signs certificates."""
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
