"""The node, the store, and a namespace for each test."""

from __future__ import annotations

import itertools
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import images
import pytest
from api import Api, Provisioner
from common import FULL, HELMS, KUBECTLS, TOOLS
from node import Node
from place import Place
from store import Store

STARTED: dict[str, str] = {}


def pytest_terminal_summary(terminalreporter) -> None:
    for name, said in STARTED.items():
        terminalreporter.write_line(f"{name}: {said}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("full") and not FULL:
            item.add_marker(pytest.mark.skip(reason="the long half: make e2e-cluster FULL=1"))


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    assert TOOLS.exists(), f"no Helm and kubectl: tests/packaging/tools {TOOLS}"
    one = Node()
    try:
        one.start()
        STARTED.update(one.versions(), node=f"Ready after {one.seconds:.0f} s")
        began = time.monotonic()
        images.load()
        STARTED["images"] = f"imported in {time.monotonic() - began:.0f} s"
        yield one
    finally:
        one.stop()


@pytest.fixture(scope="session")
def api(node: Node) -> Api:
    return Api()


@pytest.fixture(scope="session")
def provisioner(api: Api) -> Iterator[Provisioner]:
    one = Provisioner(api)
    yield one
    one.stopped.set()
    one.thread.join(10)


@pytest.fixture(scope="session")
def store(node: Node) -> Iterator[Store]:
    one = Store()
    yield one
    one.stop()


NUMBERS = itertools.count(1)


@pytest.fixture
def place(
    request: pytest.FixtureRequest, api: Api, provisioner: Provisioner, store: Store, tmp_path: Path
) -> Iterator[Place]:
    """A namespace under `restricted`, with the keys of the store, and a prefix of its own in the bucket."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:40].strip("-")
    one = Place(f"{words}-{next(NUMBERS)}", api, provisioner, store, tmp_path)
    one.set_up()
    yield one
    if not store.answers():
        store.come_back()
    failed = getattr(request.node, "failed", False)
    if failed:
        print(one.diagnosis(), file=sys.stderr)
    one.remove()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call):
    report = yield
    if report.when == "call":
        item.failed = report.failed
    return report


@pytest.fixture(params=HELMS)
def helm(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=KUBECTLS)
def kubectl(request: pytest.FixtureRequest) -> str:
    return request.param
