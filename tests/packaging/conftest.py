"""Helm in two majors, kubectl in two minors, and where each test works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kube import HELMS, KUSTOMIZES, TOOLS, Helm


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


@pytest.fixture(params=KUSTOMIZES)
def kustomizer(request: pytest.FixtureRequest) -> str:
    need_tools()
    return request.param


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path
