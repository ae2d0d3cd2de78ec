"""TLS with an authority of one's own: `AWS_CA_BUNDLE` counts for S3 and for CloudFront."""

from __future__ import annotations

import datetime
import http.client
import ipaddress
import json
import os
import signal
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from harness import DAEMON, PREFIX, Bucket, Daemon, Server, eventually, free_ports
from test_invalidation import CloudFront, cloudfront  # noqa: F401

# What is said about one connection.
HOP_BY_HOP = {"connection", "content-length", "date", "server", "transfer-encoding"}


def _certificate(name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None):
    """One for this machine, or an authority if it has no issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=24))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(here, critical=False)
        .sign(issuer[1] if issuer else key, hashes.SHA256())
    )
    return certificate, key


class Relay(BaseHTTPRequestHandler):
    """Hands a request on as it is, and its answer back."""

    protocol_version = "HTTP/1.1"

    def _relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        far = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=30)
        far.request(self.command, self.path, body, dict(self.headers))
        answer = far.getresponse()
        content = answer.read()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        far.close()

    do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = _relay

    def log_message(self, *_: object) -> None:
        pass


class Fronts:
    """TLS in front of servers that speak none, with certificates of one authority."""

    def __init__(self, place: Path) -> None:
        authority = _certificate("an authority of our own", None)
        certificate, key = _certificate("127.0.0.1", authority)
        pem = serialization.Encoding.PEM
        self.bundle = place / "bundle.pem"
        self.bundle.write_bytes(authority[0].public_bytes(pem))
        chain = place / "server.pem"
        plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        chain.write_bytes(key.private_bytes(pem, *plain) + certificate.public_bytes(pem))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(chain)
        self.servers: list[ThreadingHTTPServer] = []

    def of(self, endpoint: str) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Relay)
        server.target = int(endpoint.rsplit(":", 1)[1])
        server.socket = self.context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.servers.append(server)
        return f"https://127.0.0.1:{server.server_address[1]}"

    def stop(self) -> None:
        for server in self.servers:
            server.shutdown()
            server.server_close()


@pytest.fixture
def fronts(place: Path) -> Iterator[Fronts]:
    fronts = Fronts(place)
    yield fronts
    fronts.stop()


def _events(daemon: Daemon, event: str) -> list[dict]:
    lines = [json.loads(line) for line in daemon.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("event") == event]


@pytest.mark.parametrize("server", ["dev-s3"], indirect=True)
def test_s3_and_cloudfront_are_believed_by_the_authorities_of_the_bundle_and_no_others(
    daemon: Daemon, bucket: Bucket, server: Server, cloudfront: CloudFront, fronts: Fronts  # noqa: F811
) -> None:
    daemon.env |= {
        "AWS_ENDPOINT_URL_CLOUDFRONT": fronts.of(cloudfront.endpoint),
        "FILE_SYNC__CLOUDFRONT_INVALIDATE_NEW": "true",
    }
    (daemon.tree / "file").write_text("content")
    daemon.start()
    [refused, *_] = eventually("CloudFront is not believed", lambda: _events(daemon, "invalidation.failed"), 30)
    assert "certificate" in refused["error.message"], refused
    assert set(bucket.objects()) == {f"{PREFIX}/file"}
    assert daemon.terminate(35) == 0
    assert cloudfront.invalidations() == []

    daemon.env |= {"AWS_ENDPOINT_URL_S3": fronts.of(server.endpoint), "AWS_CA_BUNDLE": str(fronts.bundle)}
    (daemon.tree / "other").write_text("content")
    assert daemon.run("once", seconds=60) == 0, daemon.tail()
    assert set(bucket.objects()) == {f"{PREFIX}/file", f"{PREFIX}/other"}
    # Another endpoint is another store, with a state of its own: what waited in the other is not reported.
    assert cloudfront.invalidations() == [["/other"]]


@pytest.mark.parametrize("server", ["dev-s3"], indirect=True)
def test_hints_travel_over_tls_that_the_relay_verifies(
    daemon: Daemon, bucket: Bucket, server: Server, place: Path
) -> None:
    pem = serialization.Encoding.PEM
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    authority = _certificate("an authority of our own", None)
    certificate, key = _certificate("127.0.0.1", authority)
    files = {
        "cert.pem": certificate.public_bytes(pem),
        "key.pem": key.private_bytes(pem, *plain),
        "ca.pem": authority[0].public_bytes(pem),
        "other.pem": _certificate("another authority", None)[0].public_bytes(pem),
        "token": b"a token of more than sixteen bytes",
    }
    for name, content in files.items():
        (place / name).write_bytes(content)
    [port] = free_ports(1)
    daemon.env |= {
        "FILE_SYNC__WATCH_MODE": "poll",
        "FILE_SYNC__POLL_INTERVAL_SECONDS": "3600",
        "FILE_SYNC__HINT_LISTEN_ADDRESS": f"127.0.0.1:{port}",
        "FILE_SYNC__HINT_TOKEN_FILE": str(place / "token"),
        "FILE_SYNC__HINT_TLS_CERT_FILE": str(place / "cert.pem"),
        "FILE_SYNC__HINT_TLS_KEY_FILE": str(place / "key.pem"),
    }
    daemon.tree.mkdir(parents=True, exist_ok=True)
    (daemon.tree / "first").write_text("first")
    daemon.start()
    eventually("it is mirrored", lambda: bucket.objects(PREFIX), 60)

    def relay(ca: str) -> tuple[subprocess.Popen, Path]:
        environment = {
            "PATH": os.environ["PATH"],
            "FILE_SYNC__WATCH_PATH": str(daemon.tree),
            "FILE_SYNC__HINT_URL": f"https://127.0.0.1:{port}",
            "FILE_SYNC__HINT_TOKEN_FILE": str(place / "token"),
            "FILE_SYNC__HINT_CA_FILE": str(place / ca),
        }
        log = place / f"relay-{ca}.log"
        with log.open("wb") as output:
            return subprocess.Popen([DAEMON, "relay"], cwd=place, env=environment, stdout=output), log

    def said(log: Path, event: str) -> bool:
        return f'"event":"{event}"' in log.read_text()

    wrong, log = relay("other.pem")
    eventually("another authority is refused", lambda: said(log, "relay.send_failed"), 60)
    wrong.send_signal(signal.SIGTERM)
    assert wrong.wait(60) == 0
    right, log = relay("ca.pem")
    try:
        eventually("it watches", lambda: said(log, "relay.watching"), 60)
        (daemon.tree / "second").write_text("second")
        eventually("it is mirrored", lambda: len(bucket.objects(PREFIX)) == 2, 60)
        assert "relay.send_failed" not in log.read_text()
    finally:
        right.send_signal(signal.SIGTERM)
        assert right.wait(60) == 0
