"""One SeaweedFS for the session, and a place, a bucket and a daemon for every test."""

from __future__ import annotations

import itertools
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import DAEMON, SEED, WORK, Bucket, Daemon, DevS3, Proxy, Server, Weed


def pytest_configure() -> None:
    # A time limit around the run ends it by SIGTERM; the servers have to go with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_report_header() -> str:
    return f"daemon: {DAEMON}; work: {WORK}; seed: {SEED}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


FAILED = pytest.StashKey[bool]()
BUCKETS = itertools.count(1)


@pytest.fixture(scope="session")
def work() -> Path:
    """Where everything is, empty at first."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    return WORK


@pytest.fixture(scope="session")
def weed(work: Path) -> Iterator[Weed]:
    server = Weed(work / "weed")
    yield server
    server.stop()
    shutil.rmtree(work / "weed")


@pytest.fixture
def server(request: pytest.FixtureRequest, work: Path) -> Iterator[Server]:
    """SeaweedFS, unless the test is run against others too: `parametrize("server", ..., indirect=True)`."""
    kind = getattr(request, "param", "seaweedfs")
    if kind == "seaweedfs":
        yield request.getfixturevalue("weed")
        return
    assert kind == "dev-s3", kind
    # One for each test: what it holds is in memory.
    directory = work / f"dev-s3-{next(BUCKETS)}"
    server = DevS3(directory)
    yield server
    server.stop()
    shutil.rmtree(directory)


@pytest.fixture
def place(request: pytest.FixtureRequest, work: Path) -> Iterator[Path]:
    """A directory of the test's own; kept where it failed."""
    directory = work / re.sub(r"\W+", "-", request.node.name).strip("-")
    directory.mkdir(parents=True)
    yield directory
    if not request.node.stash.get(FAILED, True):
        shutil.rmtree(directory)


@pytest.fixture
def bucket(request: pytest.FixtureRequest, server: Server) -> Bucket:
    """Named after the test, with a number: names end after 63 characters."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    return Bucket(server, f"{name}-{next(BUCKETS)}")


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    relay = Proxy(server.port)
    yield relay
    relay.stop()


@pytest.fixture
def daemon(place: Path, bucket: Bucket, server: Server) -> Iterator[Daemon]:
    """Not started yet."""
    program = Daemon(place, bucket.name, server.endpoint, server.mirror)
    program.tree.mkdir()
    yield program
    program.kill()
