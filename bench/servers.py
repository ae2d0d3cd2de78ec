"""The S3 servers: SeaweedFS, and our own in memory, each on free ports of the loopback."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import hmac
import http.client
import json
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

from measure import Failed, tail

BUCKET = "mirror"
ACCESS_KEY = "AKIDEVELOPMENT"
SECRET_KEY = "development-only-secret"
REGION = "eu-central-1"

TIME_TO_START = 60
TIME_TO_STOP = 30
TRIES_MAX = 10


@dataclass(frozen=True)
class Count:
    """Requests for one operation, and the bytes of their bodies."""

    requests: int
    body_bytes: int = 0


Counts = dict[str, Count]


def requests(counts: Counts) -> int:
    return sum(one.requests for one in counts.values())


def since(before: Counts, after: Counts) -> Counts:
    """What came between two counts."""
    zero = Count(0)
    changed = {
        name: Count(
            count.requests - before.get(name, zero).requests,
            count.body_bytes - before.get(name, zero).body_bytes,
        )
        for name, count in after.items()
    }
    return {name: count for name, count in changed.items() if count != zero}


class DevS3:
    """Our own S3: with `discard` it looks at nothing and keeps nothing, else it verifies and keeps all."""

    def __init__(self, program: Path, directory: Path, discard: bool, port: int = 0, faults: int = 0) -> None:
        self.log = directory / "dev-s3.log"
        how = ["--bucket", BUCKET, "--discard" if discard else "--latest", "--faults", str(faults)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(program), *how, "--listen", f"127.0.0.1:{port}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.endpoint = self._line().split("=", 1)[1]
        # Credentials and the name of the bucket, which are constants here.
        self._line(), self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"the S3 in memory ended: {tail(self.log)}")
        return line.strip()

    def counts(self) -> Counts:
        self.process.send_signal(signal.SIGUSR1)
        counted = json.loads(self._line())
        return {name: Count(one["requests"], one["body_bytes"]) for name, one in counted.items()}

    def switch(self) -> None:
        """Away, and the next time back with all it holds."""
        self.process.send_signal(signal.SIGUSR2)
        self._line()

    def objects(self, prefix: str) -> dict[str, tuple[int, str]]:
        """Every object of a bucket that is kept: its size and its entity tag, as in a listing."""
        found: dict[str, tuple[int, str]] = {}
        query = {"list-type": "2", "prefix": prefix}
        while True:
            page = ElementTree.fromstring(signed_get(self.endpoint, f"/{BUCKET}", query))
            for one in page.iterfind("{*}Contents"):
                size, etag = int(one.findtext("{*}Size", "")), one.findtext("{*}ETag", "").strip('"')
                found[one.findtext("{*}Key", "")] = (size, etag)
            if page.findtext("{*}IsTruncated") != "true":
                return found
            query["continuation-token"] = page.findtext("{*}NextContinuationToken", "")

    def read(self, key: str) -> bytes:
        return signed_get(self.endpoint, f"/{BUCKET}/{key}", {})

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=TIME_TO_STOP)


class Weed:
    """SeaweedFS with its S3 gateway. It counts requests for its own metrics, but no bytes."""

    def __init__(self, program: Path, directory: Path) -> None:
        self.log = directory / "weed.log"
        data = directory / "weed"
        data.mkdir()
        names = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "filer.port")
        names += ("filer.port.grpc", "volume.port", "volume.port.grpc", "metricsPort")
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.endpoint = f"http://127.0.0.1:{ports['s3.port']}"
        self.metrics = f"http://127.0.0.1:{ports['metricsPort']}/metrics"
        identity = {
            "name": "bench",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        anonymous = {"name": "anonymous", "actions": ["Admin"]}
        (directory / "s3.json").write_text(json.dumps({"identities": [identity, anonymous]}))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    str(program),
                    "server",
                    "-ip=127.0.0.1",
                    "-ip.bind=127.0.0.1",
                    f"-dir={data}",
                    "-s3",
                    f"-s3.config={directory / 's3.json'}",
                    *(f"-{name}={port}" for name, port in ports.items()),
                    "-s3.port.iceberg=0",
                    "-s3.port.lance=0",
                    "-master.volumeSizeLimitMB=1024",
                    "-volume.max=200",
                ],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + TIME_TO_START
        while not self._takes_an_object():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise Failed(f"SeaweedFS did not start: {tail(self.log)}")
            time.sleep(0.25)

    def _takes_an_object(self) -> bool:
        try:
            for path in (BUCKET, f"{BUCKET}/ready"):
                request = urllib.request.Request(f"{self.endpoint}/{path}", data=b"", method="PUT")
                with contextlib.suppress(urllib.error.HTTPError) if path == BUCKET else contextlib.nullcontext():
                    urllib.request.urlopen(request, timeout=10).close()
        except OSError:
            return False
        return True

    def counts(self) -> Counts:
        with urllib.request.urlopen(self.metrics, timeout=10) as answer:
            text = answer.read().decode()
        counts: dict[str, int] = {}
        for labels, value in re.findall(r"^SeaweedFS_s3_request_total\{(.*)\} (\S+)$", text, re.MULTILINE):
            operation = dict(re.findall(r'(\w+)="([^"]*)"', labels)).get("type", "?")
            counts[operation] = counts.get(operation, 0) + int(float(value))
        return {name: Count(count) for name, count in counts.items()}

    def stop(self) -> None:
        # Its data goes with it, and on SIGTERM it waits for connections to close.
        self.process.kill()
        self.process.wait(TIME_TO_STOP)


Server = DevS3 | Weed


def signed_get(endpoint: str, path: str, query: dict[str, str]) -> bytes:
    """A GET that is tried again: a server that fails some of all requests fails ours as well."""
    for _ in range(TRIES_MAX - 1):
        with contextlib.suppress(Failed, ConnectionError, http.client.HTTPException):
            return try_get(endpoint, path, query)
    return try_get(endpoint, path, query)


def try_get(endpoint: str, path: str, query: dict[str, str]) -> bytes:
    """A GET with a signature of version 4, without an SDK."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    host, digest = endpoint.removeprefix("http://"), hashlib.sha256(b"").hexdigest()
    asked = "&".join(f"{name}={quote(value, safe='-_.~')}" for name, value in sorted(query.items()))
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": now}
    names = ";".join(headers)
    shown = "".join(f"{name}:{value}\n" for name, value in headers.items())
    scope = f"{now[:8]}/{REGION}/s3/aws4_request"
    request = hashlib.sha256("\n".join(["GET", path, asked, shown, names, digest]).encode()).hexdigest()
    key = f"AWS4{SECRET_KEY}".encode()
    for part in (*scope.split("/"), "\n".join(["AWS4-HMAC-SHA256", now, scope, request])):
        key = hmac.digest(key, part.encode(), "sha256")
    credential = f"Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    headers["authorization"] = f"AWS4-HMAC-SHA256 {credential}"
    connection = http.client.HTTPConnection(host)
    with contextlib.closing(connection):
        connection.request("GET", f"{path}?{asked}", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
    if answer.status != 200:
        raise Failed(f"GET {path}: {answer.status} {body[:300]!r}")
    return body


def free_ports(count: int) -> list[int]:
    """Ports without a listener, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
