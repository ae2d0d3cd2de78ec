"""One server for the session, and a place, a bucket and a daemon for every test."""

from __future__ import annotations

import itertools
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import DAEMON, SEED, WORK, Bucket, Daemon, Proxy, Weed


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
def weed() -> Iterator[Weed]:
    shutil.rmtree(WORK, ignore_errors=True)
    server = Weed(WORK / "weed")
    yield server
    server.stop()
    shutil.rmtree(WORK / "weed")


@pytest.fixture
def place(request: pytest.FixtureRequest, weed: Weed) -> Iterator[Path]:
    """A directory of the test's own; kept where it failed."""
    directory = WORK / re.sub(r"\W+", "-", request.node.name).strip("-")
    directory.mkdir(parents=True)
    yield directory
    if not request.node.stash.get(FAILED, True):
        shutil.rmtree(directory)


@pytest.fixture
def bucket(request: pytest.FixtureRequest, weed: Weed) -> Bucket:
    """Named after the test, with a number: names end after 63 characters."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    return Bucket(weed, f"{name}-{next(BUCKETS)}")


@pytest.fixture
def proxy(weed: Weed) -> Iterator[Proxy]:
    relay = Proxy(weed.port)
    yield relay
    relay.stop()


@pytest.fixture
def daemon(place: Path, bucket: Bucket, weed: Weed) -> Iterator[Daemon]:
    """Not started yet."""
    program = Daemon(place, bucket.name, weed.endpoint)
    program.tree.mkdir()
    yield program
    program.kill()
