"""Helm in two majors, kubectl in two minors, and where each test works."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine import Engine, Unavailable, free_port, images, started
from kube import (
    APPLICATION,
    DAEMON,
    EXAMPLES,
    HELMS,
    K8S,
    KUSTOMIZES,
    TOOLS,
    VALUES,
    Helm,
    Object,
    documents,
    kustomize,
    run,
)
from pod import Pod


def pytest_report_header() -> str:
    return f"helm and kubectl: {TOOLS if TOOLS.exists() else 'none'}"


def need_tools() -> None:
    if not TOOLS.exists():
        pytest.skip("Helm and kubectl: tests/packaging/tools could not fetch them (no npm?)")


@pytest.fixture(scope="session", params=HELMS)
def helm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Helm]:
    need_tools()
    yield Helm(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def newest(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """The one Helm, where both would say the same."""
    need_tools()
    return Helm("helm-4.2", tmp_path_factory.mktemp("newest"))


@pytest.fixture(scope="session")
def rendered(newest: Helm, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Object]]:
    """Every way the project can be installed."""
    everything = {f"chart, {one.stem}": newest.template(APPLICATION, "--values", one) for one in VALUES}
    everything["sidecar chart"] = newest.consumer(tmp_path_factory.mktemp("consumer"))
    everything["sidecar manifest"] = documents((K8S / "sidecar/deployment.yaml").read_text())
    for one in [K8S / "base", *EXAMPLES]:
        everything[f"kustomize, {one.name}"] = kustomize("kustomize-5.8", one)
    return everything


@pytest.fixture(params=KUSTOMIZES)
def kustomizer(request: pytest.FixtureRequest) -> str:
    need_tools()
    return request.param


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A Docker engine with the images; the tests that need it are skipped where there is none."""
    # Short: a socket's path ends after 108 bytes.
    work = Path(tempfile.mkdtemp(prefix="engine-"))
    try:
        with started(work) as one:
            images(one)
            yield one
    except Unavailable as why:
        pytest.skip(str(why))
    finally:
        shutil.rmtree(work, ignore_errors=True)


@pytest.fixture(scope="session")
def commands(engine: Engine) -> str:
    """The commands that the service in the image knows."""
    return run(DAEMON, "--help").out


NAMES = itertools.count(1)


@pytest.fixture
def pod(engine: Engine) -> Iterator[Pod]:
    one = Pod(engine, f"file-sync-test-{free_port()}-{next(NAMES)}", free_port())
    try:
        one.set_up()
        yield one
    finally:
        one.remove()
