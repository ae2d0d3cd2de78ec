"""Where things are, how a program is run, and one way to wait."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
# What `run` has made.
WORK = Path(os.environ.get("CLUSTER_WORK", TARGET / "cluster/work"))
PROGRAMS = Path(os.environ.get("CLUSTER_PROGRAMS", TARGET / "cluster/bin"))
GROUP = os.environ.get("CLUSTER_GROUP", "file-sync-e2e")
TOOLS = Path(os.environ.get("PACKAGING_TOOLS", TARGET / "tools/kube")).resolve()
FULL = os.environ.get("FULL") == "1"
# A slow machine waits longer; nothing else changes.
PATIENCE = float(os.environ.get("E2E_PATIENCE", "1"))

NODE, PODS, SERVICES = "172.31.0.1", "10.88.0.0/16", "10.96.0.0/16"
# Which layer of `tests/packaging/tools` has which.
HELMS = {"helm-3.17": "v32", "helm-4.2": "v36"}
KUBECTLS = {"kubectl-1.32": "v32", "kubectl-1.36": "v36"}


@dataclass(frozen=True)
class Run:
    """What a program said."""

    command: str
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return f"{self.command}: {self.code}\n{self.out}\n{self.err}"

    def fine(self) -> str:
        assert self.code == 0, self.said
        return self.out


def run(*command: object, env: dict[str, str] | None = None, stdin: str | None = None, seconds: float = 300) -> Run:
    words = [str(part) for part in command]
    done = subprocess.run(
        words,
        env={**os.environ, **(env or {})},
        input=stdin if stdin is not None else "",
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=seconds * PATIENCE,
    )
    return Run(" ".join(words), done.returncode, done.stdout, done.stderr)


def eventually(what: str, probe: Callable[[], T], seconds: float, poll: float = 0.25) -> T:
    """The first true answer; fails loudly when there is none in time."""
    deadline = time.monotonic() + seconds * PATIENCE
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"after {seconds * PATIENCE:.0f} s still not: {what}"
        time.sleep(poll)
    return answer


def let_pass(seconds: float) -> None:
    """A time that is part of the scenario itself, such as the length of an outage."""
    time.sleep(seconds)
