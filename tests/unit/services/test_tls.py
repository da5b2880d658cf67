"""Certificates, CA bundles, proxies and endpoints that are set wrongly: final and clear at once."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airflow_cancel_provider.exceptions import ConnectionUnusable, InvalidInput, ServiceUnavailable
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.hooks.batch import BatchJobsHook
from airflow_cancel_provider.jobs import CancelOutcome, JobState, RemoteJob
from airflow_cancel_provider.services.aws.service import AwsJobService
from airflow_cancel_provider.services.tls import verification
from tests.cloud.server import LocalCloud
from tests.service_fixtures import BENCHES, HASTY, PATIENT
from tests.task_fixtures import connect_aws, connections

__all__ = ["connections"]

JOBS = {
    "batch": [f"batch://@us-east-1/5b1f0000-0000-0000-0000-00000000000{number}" for number in range(5)],
    "emr-serverless": [f"emr-serverless://@us-east-1/00a{number}/00b" for number in range(5)],
    "emr": [f"emr://@us-east-1/j-{number}ABCDEFGHIJKL/s-1ABCDEFGHIJKL" for number in range(5)],
    "glue": [f"glue://@us-east-1/job-{number}/jr_{number:064x}" for number in range(5)],
    "emr-containers": [
        f"emr-containers://@us-east-1/{number}abcdefghijklmnopqrstuvwx/0000000abcdefghijkl"
        for number in range(5)
    ],
}
LONG = replace(PATIENT, seconds=60)
"""Longer than all calls of a test take on a busy machine."""


class Handler(BaseHTTPRequestHandler):
    """Says that it knows no job, or that a proxy wants a login."""

    status = 200

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b'{"jobs": []}'
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = do_CONNECT = answer  # noqa: N815  so the base class names them

    def log_message(self, format: str, *args: Any) -> None:
        pass


class LoginWanted(Handler):
    status = 407


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not like the certificate is what is tested."""


@contextmanager
def serving(certificate: Path | None = None, handler: type[Handler] = Handler) -> Iterator[str]:
    """A server on localhost, over TLS where it has a certificate; its address."""
    server = Quiet(("127.0.0.1", 0), handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"{'https' if certificate else 'http'}://localhost:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def certificate(tmp_path: Path) -> Callable[..., Path]:
    """Make a certificate that signs itself, with its key in the same file."""

    def make(host: str = "localhost", days: int = 1) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=9))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        )
        pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        plain = (
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path = tmp_path / f"{host}.pem"
        path.write_bytes(pem + key.private_bytes(*plain))
        return path

    return make


@contextmanager
def service(
    name: str, url: str, verify: bool | str | None = None, patience: Any = LONG, **config: Any
) -> Iterator[AwsJobService]:
    """A service whose client is set up so."""
    kind = next(bench.service_class for bench in BENCHES if bench.name == name)
    retries = {"mode": "standard", "total_max_attempts": 2}
    client = boto3.client(
        name,  # type: ignore[call-overload]
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        verify=verify,
        config=Config(retries=retries, connect_timeout=2, read_timeout=5, **config),
    )
    with closing(client):
        yield kind(client, conn_id="aws_default", patience=patience)


def must_be_final(service: AwsJobService, *words: str) -> None:
    """No job is asked for over and over, and the words say what to look at."""
    jobs = [RemoteJob(job) for job in JOBS[service.name]]
    begin = time.monotonic()
    results = service.cancel(jobs, "")
    assert [result.outcome for result in results] == [CancelOutcome.REFUSED] * 5
    for ask in (
        lambda: service.describe(jobs),
        lambda: list(service.scopes()),
        lambda: list(service.living(jobs[0].scope or "queue")),
    ):
        with pytest.raises(ConnectionUnusable) as caught:
            ask()
        for word in (*words, "of connection 'aws_default'"):
            assert word in str(caught.value)
            assert word in str(results[0].detail)
    assert time.monotonic() - begin < LONG.seconds  # of each of four


every_service = pytest.mark.parametrize(
    "name",
    [
        name if name in {"batch", "emr-serverless"} else pytest.param(name, marks=pytest.mark.slow)
        for name in JOBS
    ],
)
"""One that takes many jobs in a request, and one that takes one, are tried each time."""


@every_service
class TestFinal:
    def test_a_certificate_that_signs_itself(self, name: str, certificate: Callable[..., Path]) -> None:
        with serving(certificate()) as url, service(name, url, verify=True) as ours:
            must_be_final(ours, "TLS", "self-signed certificate", url, "check verify")

    def test_a_ca_bundle_that_is_not_there(self, name: str, certificate: Callable[..., Path]) -> None:
        with serving(certificate()) as url, service(name, url, verify="/no/such/ca.pem") as ours:
            must_be_final(ours, "TLS", "check verify")

    def test_a_ca_bundle_that_is_none(
        self, name: str, certificate: Callable[..., Path], tmp_path: Path
    ) -> None:
        bundle = tmp_path / "ca.pem"
        bundle.write_text("no certificate")
        with serving(certificate()) as url, service(name, url, verify=str(bundle)) as ours:
            must_be_final(ours, "TLS", "check verify")

    def test_another_hosts_certificate(self, name: str, certificate: Callable[..., Path]) -> None:
        path = certificate("elsewhere.example")
        with serving(path) as url, service(name, url, verify=str(path)) as ours:
            must_be_final(ours, "TLS", "localhost", "match")

    def test_an_expired_certificate(self, name: str, certificate: Callable[..., Path]) -> None:
        path = certificate(days=-1)
        with serving(path) as url, service(name, url, verify=str(path)) as ours:
            must_be_final(ours, "TLS", "expired")

    def test_a_port_without_tls(self, name: str) -> None:
        with serving() as url, service(name, url.replace("http:", "https:")) as ours:
            must_be_final(ours, "TLS", "endpoint")

    def test_a_client_certificate_that_is_not_there(
        self, name: str, certificate: Callable[..., Path]
    ) -> None:
        path = certificate()
        with (
            serving(path) as url,
            service(name, url, verify=str(path), client_cert="/no/such/cert.pem") as ours,
        ):
            must_be_final(ours, "client certificate")

    def test_a_proxy_that_wants_a_login(self, name: str, certificate: Callable[..., Path]) -> None:
        with serving(handler=LoginWanted) as proxy:
            for url in ("http://service.example", "https://service.example"):
                with service(name, url, proxies={"http": proxy, "https": proxy}) as ours:
                    must_be_final(ours, "The proxy wants a login")

    def test_a_proxy_that_is_no_address(self, name: str) -> None:
        proxies = {"http": "http://[proxy", "https": "http://[proxy"}
        with service(name, "http://service.example", proxies=proxies) as ours:
            must_be_final(ours, "endpoint and the proxies")


@every_service
def test_a_handshake_that_breaks_off_is_an_outage(name: str) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def hang_up() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connection.recv(1)
                    connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        jobs = [RemoteJob(job) for job in JOBS[name]]
        with service(name, f"https://localhost:{server.getsockname()[1]}", patience=HASTY) as ours:
            with pytest.raises(ServiceUnavailable):
                ours.describe(jobs)
            assert {result.outcome for result in ours.cancel(jobs, "")} == {CancelOutcome.UNANSWERED}


@pytest.mark.parametrize(
    "value, meant",
    [
        (True, True),
        (False, False),
        (None, None),
        ("True", True),
        ("false", False),
        (" False ", False),
        ("None", None),
        ("/etc/ca.pem", "/etc/ca.pem"),
    ],
)
def test_what_verify_means(value: bool | str | None, meant: bool | str | None) -> None:
    assert verification(value) == meant


@pytest.mark.parametrize("value", ["", "  "])
def test_a_verify_that_rendered_to_nothing(value: str) -> None:
    with pytest.raises(InvalidInput, match="verify is empty; set True, False, or the path of a CA bundle"):
        verification(value)


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
@pytest.mark.usefixtures("connections")
def test_a_verify_that_a_template_made_text_of(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, certificate: Callable[..., Path]
) -> None:
    job = RemoteJob(JOBS["batch"][0])
    path = certificate()
    with serving(path) as url:
        connect_aws(monkeypatch, cloud, endpoint_url=url)

        def state(verify: str) -> JobState:
            hook = BatchJobsHook.for_address("aws_default", "us-east-1", Access(verify=verify))
            return hook.service.describe([job])[0].state

        assert state("False") is JobState.GONE
        assert state(str(path)) is JobState.GONE
        with pytest.raises(ConnectionUnusable, match="TLS"):
            state("True")
        with pytest.raises(InvalidInput, match="verify is empty"):
            state("")
