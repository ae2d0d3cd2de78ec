"""What the tests drive: an S3 server, a way to cut it off, the daemon, and one way to wait.

Nothing here sleeps but `eventually`. Every process is ended by its own id.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import boto3
import urllib3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
DAEMON = Path(os.environ.get("E2E_DAEMON", ROOT / "target/debug/file-sync-service")).resolve()
# Where `make e2e` builds what the tests use beside the daemon.
PROGRAMS = Path(os.environ.get("E2E_PROGRAMS", ROOT / "target/debug")).resolve()
WORK = Path(os.environ.get("E2E_WORK", ROOT / "target/e2e")).resolve()
SEED = int(os.environ.get("E2E_SEED", "1"))
# A slow machine waits longer; nothing else changes.
PATIENCE = float(os.environ.get("E2E_PATIENCE", "1"))
LONG = os.environ.get("E2E_LONG") == "1"

REGION = "us-east-1"
PREFIX = "mirror"


class NotYet(AssertionError):
    """What was waited for did not come."""


def eventually(what: str, probe: Callable[[], T], seconds: float, poll: float = 0.25) -> T:
    """The first true answer of `probe`; fails loudly when there is none in time."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise NotYet(f"after {seconds * PATIENCE:.0f} s still not: {what}")
        time.sleep(poll)


def let_pass(seconds: float) -> None:
    """Waits for a moment that is part of the test itself, such as the length of an outage."""
    end = time.monotonic() + seconds
    eventually("the time has passed", lambda: time.monotonic() >= end, (seconds + 5) / PATIENCE, poll=0.01)


PORTS_BEGIN = 15_000
LOCAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int) -> list[int]:
    """Ports without a listener, all different, and none that the kernel gives to a connection meanwhile."""
    end = max(int(LOCAL_PORTS.read_text().split()[0]), PORTS_BEGIN + 5_000)
    ports: list[int] = []
    while len(ports) < count:
        port = secrets.randbelow(end - PORTS_BEGIN) + PORTS_BEGIN
        with contextlib.suppress(OSError), socket.socket() as one:
            one.bind(("127.0.0.1", port))
            if port not in ports:
                ports.append(port)
    return ports


# --- the server ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Identity:
    """An access key of the server, named after what it may do."""

    name: str
    secret: str
    actions: tuple[str, ...] = ()


ADMIN = Identity("admin", "admin-secret", ("Admin", "Read", "Write", "List", "Tagging"))
# What the daemon needs and no more.
MIRROR = Identity("mirror", "mirror-secret", ("Read", "Write", "List"))
READER = Identity("reader", "reader-secret", ("Read", "List"))


class Weed:
    """SeaweedFS with its S3 gateway, on loopback ports of its own."""

    reader = READER
    mirror = MIRROR

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self.directory = directory
        ports = free_ports(8)
        self.port = ports[0]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        identities = [
            {
                "name": one.name,
                "credentials": [{"accessKey": one.name, "secretKey": one.secret}],
                "actions": list(one.actions),
            }
            for one in (ADMIN, MIRROR, READER)
        ]
        (directory / "s3.json").write_text(json.dumps({"identities": identities}))
        names = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc")
        names += ("filer.port", "filer.port.grpc", "volume.port", "volume.port.grpc")
        weed = Path(sys.executable).parent / "weed"
        self.log = (directory / "weed.log").open("wb")
        self.process = subprocess.Popen(
            [
                str(weed),
                "server",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                f"-dir={directory}",
                "-s3",
                f"-s3.config={directory / 's3.json'}",
                *(f"-{name}={port}" for name, port in zip(names, ports, strict=True)),
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-master.volumeSizeLimitMB=256",
                "-volume.max=500",
            ],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        self.client = client(self.endpoint, ADMIN)
        eventually("SeaweedFS takes an object", self._takes_an_object, 60)

    def _takes_an_object(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"SeaweedFS ended, see {self.directory / 'weed.log'}")
        try:
            with contextlib.suppress(self.client.exceptions.BucketAlreadyOwnedByYou):
                self.client.create_bucket(Bucket="ready")
            self.client.put_object(Bucket="ready", Key="ready", Body=b"ready")
        except (BotoCoreError, ClientError):
            return False
        return True

    def stop(self) -> None:
        # Its data goes with it, and on SIGTERM it waits for connections to close.
        self.process.kill()
        self.process.wait()
        self.log.close()

    def make_bucket(self, name: str) -> str:
        self.client.create_bucket(Bucket=name)
        return name


class DevS3:
    """Our own S3 in memory, as `make e2e` builds it, with one bucket and one key that may do all."""

    reader = mirror = Identity("AKIDEVELOPMENT", "development-only-secret")

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self.port = free_ports(1)[0]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.log = (directory / "dev-s3.log").open("wb")
        self.process = subprocess.Popen(
            # It is to hold the tree, not all that the tree ever was.
            [str(PROGRAMS / "dev-s3"), "--listen", f"127.0.0.1:{self.port}", "--bucket", "mirror", "--latest"],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        self.client = client(self.endpoint, self.mirror)
        eventually("the S3 in memory answers", self._answers, 30)

    def _answers(self) -> bool:
        assert self.process.poll() is None, f"the S3 in memory ended, see {self.log.name}"
        try:
            self.client.head_bucket(Bucket="mirror")
        except (BotoCoreError, ClientError):
            return False
        return True

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def make_bucket(self, _: str) -> str:
        return "mirror"


Server = Weed | DevS3


def client(endpoint: str, identity: Identity):
    """An S3 client of the tests' own."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=identity.name,
        aws_secret_access_key=identity.secret,
        config=Config(
            s3={"addressing_style": "path"},
            connect_timeout=5,
            read_timeout=60,
            retries={"total_max_attempts": 1},
        ),
    )


class Proxy:
    """A TCP relay to the server that can be cut off (refused) or stop answering (silent)."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_ports(1)[0]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._open = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        # Bytes that went to the server.
        self.sent = 0
        # Is shown the first bytes of whatever went to the server, right after it went.
        self.witness: Callable[[bytes], None] = lambda _: None
        self.restore()

    def restore(self) -> None:
        """Everything goes through again."""
        self._open.set()
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def refuse(self) -> None:
        """Connections break, and new ones are refused."""
        if self._listener is not None:
            # Wakes the thread in accept, which close alone does not.
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._lock:
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def fall_silent(self) -> None:
        """Connections are accepted and stay, and no byte gets through."""
        self._open.clear()

    def stop(self) -> None:
        self._open.set()
        self.refuse()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target), timeout=10)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            with self._lock:
                self._sockets |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink, sink is far), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, there: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(256 * 1024):
                self._open.wait()
                sink.sendall(data)
                if there:
                    with self._lock:
                        self.sent += len(data)
                    self.witness(data[:1024])
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._sockets.discard(source)


# --- the bucket ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stored:
    """An object as in a listing."""

    size: int
    version: str


class Bucket:
    """A bucket as the tests read it: always straight from the server, never through the daemon."""

    def __init__(self, server: Server, name: str) -> None:
        self.name = server.make_bucket(name)
        self.s3 = server.client
        self._endpoint = server.endpoint
        self._http = urllib3.HTTPConnectionPool("127.0.0.1", server.port, maxsize=8, retries=2)
        # Reading a whole bucket back is quicker without an SDK; only its signatures are needed.
        secret = Credentials(server.reader.name, server.reader.secret)
        self._signer = S3SigV4Auth(secret, "s3", REGION)

    def objects(self, prefix: str = "") -> dict[str, Stored]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return {
            one["Key"]: Stored(one["Size"], f"{one['ETag']} {one['LastModified']}")
            for page in pages
            for one in page.get("Contents", [])
        }

    def sha256(self, key: str) -> str | None:
        """The digest of the object's bytes; nothing if it is gone."""
        path = f"/{self.name}/{quote(key, safe='/~')}"
        request = AWSRequest("GET", self._endpoint + path)
        self._signer.add_auth(request)
        answer = self._http.request("GET", path, headers=dict(request.headers), preload_content=False)
        try:
            if answer.status == 404:
                return None
            if answer.status != 200:
                raise RuntimeError(f"GET {path!r}: {answer.status}")
            digest = hashlib.sha256()
            for chunk in answer.stream(1024 * 1024):
                digest.update(chunk)
            return digest.hexdigest()
        finally:
            answer.release_conn()

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=self.name, Key=key, Body=body)

    def unfinished_uploads(self) -> list[str]:
        answer = self.s3.list_multipart_uploads(Bucket=self.name)
        return [one["Key"] for one in answer.get("Uploads", [])]


# --- the daemon ---------------------------------------------------------------------------------


@dataclass
class Daemon:
    """The built program, with a directory of its own for the tree, the state and the logs."""

    place: Path
    bucket: str
    endpoint: str
    identity: Identity = MIRROR
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    @property
    def tree(self) -> Path:
        return self.place / "watched"

    @property
    def state(self) -> Path:
        return self.place / "state"

    @property
    def log(self) -> Path:
        """What the latest start said."""
        return self.place / f"daemon-{self.starts}.log"

    def person(self) -> dict[str, str]:
        """What a person needs to use the bucket as the daemon does."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.place),
            "AWS_ACCESS_KEY_ID": self.identity.name,
            "AWS_SECRET_ACCESS_KEY": self.identity.secret,
            "AWS_REGION": REGION,
        }

    def environment(self) -> dict[str, str]:
        """Nothing of the machine's own: only what an operator would set."""
        variables = self.person() | {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
            "RUST_BACKTRACE": "1",
            "FILE_SYNC_DEBUGGABLE": "1",
            "FILE_SYNC__WATCH_PATH": str(self.tree),
            "FILE_SYNC__STATE_DIR": str(self.state),
            "FILE_SYNC__S3_BUCKET": self.bucket,
            "FILE_SYNC__S3_PREFIX": PREFIX,
            "FILE_SYNC__S3_FORCE_PATH_STYLE": "true",
            # Whatever the file system of this machine: what is tested here is the events.
            "FILE_SYNC__WATCH_MODE": "events",
            "FILE_SYNC__LISTEN_ADDRESS": "off",
            "FILE_SYNC__ADMIN_ADDRESS": "off",
            # Deletions pile up behind uploads while a tree changes all the time: the guard against
            # mass deletion is no part of these tests.
            "FILE_SYNC__DELETE_LIMIT_COUNT": "1000000",
            "FILE_SYNC__RETRY_INTERVAL_SECONDS": "5",
        }
        variables.update(self.env)
        return {name: value for name, value in variables.items() if value}

    def start(self, *arguments: str) -> None:
        assert self.process is None, "it is running already"
        self.starts += 1
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(DAEMON), *(arguments or ("run",))],
                cwd=self.place,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def run(self, *arguments: str, seconds: float) -> int:
        """Starts it and waits for its end: for `once` and the like."""
        self.start(*arguments)
        return self.wait(seconds)

    def wait(self, seconds: float) -> int:
        """The exit code, once it has ended by itself."""
        assert self.process is not None, "it was never started"
        try:
            return self.process.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise NotYet(f"it did not end in {seconds} s\n{self.tail()}") from None
        finally:
            self.process = None

    def terminate(self, seconds: float) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None, "it is not running"
        self.process.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self) -> None:
        """SIGKILL, wherever it is."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def assert_running(self) -> None:
        assert self.process is not None, "it was never started"
        code = self.process.poll()
        assert code is None, f"the daemon ended with {code}\n{self.tail()}"

    def tail(self, lines: int = 20) -> str:
        if not self.log.exists():
            return "(no log)"
        last = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([f"the last lines of {self.log}:", *last])

    def mirrored(self) -> int:
        """Files that the record holds."""
        return self._count("SELECT count(*) FROM mirrored")

    def waiting(self) -> int:
        """Files on their way: not those that S3 has no key for."""
        return self._count("SELECT count(*) FROM pending WHERE parked IS NULL")

    def _count(self, query: str) -> int:
        """Asks a copy of the record: the daemon has the file for itself."""
        copy = self.place / "record-copy"

        def read() -> tuple[int] | None:
            shutil.rmtree(copy, ignore_errors=True)
            copy.mkdir()
            for one in sorted(self.state.iterdir()):
                if one.is_file():
                    with contextlib.suppress(FileNotFoundError):
                        shutil.copy(one, copy / one.name)
            for one in sorted(copy.iterdir()):
                if one.read_bytes()[:15] == b"SQLite format 3":
                    # Not immutable: the last commits are in the write-ahead log beside it.
                    with contextlib.closing(sqlite3.connect(one)) as database:
                        # A copy may be torn; the next one is not.
                        with contextlib.suppress(sqlite3.DatabaseError):
                            return database.execute(query).fetchone()
            return None

        return eventually("a record that answers", read, 20)[0]


# --- the comparison -----------------------------------------------------------------------------


class Mirror:
    """Compares a tree with the bucket, and remembers what it has read already."""

    def __init__(self, bucket: Bucket, wanted: Callable[[], dict[str, Path]], foreign: Iterable[str] = ()):
        self.bucket = bucket
        self.wanted = wanted
        self.foreign = {f"{PREFIX}/{name}" for name in foreign}
        self._read: dict[str, tuple[Stored, tuple[int, ...]]] = {}

    def differences(self) -> list[str]:
        """What is missing, too much, or other; nothing means equal byte for byte."""
        objects = self.bucket.objects()
        files = {f"{PREFIX}/{name}": path for name, path in self.wanted().items()}
        found = [f"missing: {key!r}" for key in files.keys() - objects.keys()]
        found += [f"too much: {key!r}" for key in objects.keys() - files.keys() - self.foreign]
        found += [f"lost, and not ours: {key!r}" for key in self.foreign - objects.keys()]
        both = files.keys() & objects.keys()
        found += [f"size: {key!r}" for key in both if objects[key].size != files[key].stat().st_size]
        if found:
            return found
        stale = [key for key in both if self._read.get(key) != (objects[key], _look(files[key]))]
        with ThreadPoolExecutor(8) as pool:
            for key, error in zip(stale, pool.map(lambda key: self._compare(key, files[key]), stale), strict=True):
                if error:
                    found.append(error)
                else:
                    self._read[key] = (objects[key], _look(files[key]))
        return found

    def _compare(self, key: str, path: Path) -> str | None:
        with path.open("rb") as file:
            ours = hashlib.file_digest(file, "sha256").hexdigest()
        return None if self.bucket.sha256(key) == ours else f"content: {key!r}"

    def wait_until_equal(self, daemon: Daemon, seconds: float) -> None:
        """Quiet: the bucket equals the tree, and nothing is waiting any more."""
        latest: list[str] = []

        def equal() -> bool:
            nonlocal latest
            daemon.assert_running()
            latest = self.differences()
            return not latest

        try:
            eventually("the bucket equals the tree", equal, seconds, poll=1)
        except NotYet as late:
            shown = "\n".join(sorted(latest)[:20])
            raise NotYet(f"{late}\n{len(latest)} differences:\n{shown}\n{daemon.tail()}") from None


def _look(path: Path) -> tuple[int, ...]:
    stat = path.stat()
    return (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
