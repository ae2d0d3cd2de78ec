"""Helm, kubectl and what they render; nothing here needs a cluster."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
APPLICATION = ROOT / "helm/file-sync-service"
SIDECAR = ROOT / "helm/file-sync-sidecar"
INJECTION = ROOT / "helm/file-sync-injection"
K8S = ROOT / "k8s"
TOOLS = Path(os.environ.get("PACKAGING_TOOLS", ROOT / "target/tools/kube")).resolve()
DAEMON = Path(os.environ.get("E2E_DAEMON", ROOT / "target/debug/file-sync-service")).resolve()

# Which layer has which; the tests name them.
HELMS = {"helm-3.17": "v32", "helm-4.2": "v36"}
KUSTOMIZES = {"kustomize-5.5": "v32", "kustomize-5.8": "v36"}
VALUES = sorted((APPLICATION / "ci").glob("*-values.yaml"))
# Kinds of the Prometheus operator: Kubernetes' own schemas know nothing of them.
OPERATOR = "monitoring.coreos.com/v1"
EXAMPLES = sorted(path.parent for path in (K8S / "examples").glob("*/kustomization.yaml"))

Object = dict


@dataclass(frozen=True)
class Run:
    """What a program said."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return f"{self.out}\n{self.err}"


def run(*command: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> Run:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return Run(done.returncode, done.stdout, done.stderr)


def documents(text: str) -> list[Object]:
    return [one for one in yaml.safe_load_all(text) if one]


class Helm:
    """One major version of Helm, with homes of its own."""

    def __init__(self, name: str, home: Path) -> None:
        self.program = TOOLS / HELMS[name] / "helm/helm"
        self.env = {f"HELM_{kind}_HOME": str(home / kind) for kind in ("CACHE", "CONFIG", "DATA")}

    def __call__(self, *arguments: object, cwd: Path | None = None) -> Run:
        return run(self.program, *arguments, cwd=cwd, env=self.env)

    def template(self, chart: Path, *arguments: object, release: str = "example") -> list[Object]:
        done = self("template", release, chart, "--namespace", "example", *arguments)
        assert done.code == 0, done.said
        return documents(done.out)

    def consumer(self, place: Path, *arguments: object, values: Object | None = None) -> list[Object]:
        """The sidecar's example chart, with its dependency built; `values` in place of its own."""
        done = self.consume(place, *arguments, values=values)
        assert done.code == 0, done.said
        return documents(done.out)

    def consume(self, place: Path, *arguments: object, values: Object | None = None) -> Run:
        copy = place / "helm"
        shutil.copytree(ROOT / "helm", copy, dirs_exist_ok=True)
        chart = copy / "file-sync-sidecar/examples/web"
        if values is not None:
            # JSON: PyYAML leaves `1e3` without quotes, which Helm reads as a number.
            (chart / "values.yaml").write_text(json.dumps(values))
        built = self("dependency", "build", chart)
        assert built.code == 0, built.said
        return self("template", "example", chart, "--namespace", "example", *arguments)


def kustomize(name: str, folder: Path) -> list[Object]:
    done = run(TOOLS / KUSTOMIZES[name] / "kubectl/kubectl", "kustomize", folder)
    assert done.code == 0, done.said
    assert not done.err, done.err
    return documents(done.out)


def of(objects: list[Object], kind: str) -> list[Object]:
    return [one for one in objects if one["kind"] == kind]


def pods(objects: list[Object]) -> list[Object]:
    """Every pod's metadata and spec, wherever it stands."""
    found = []
    for one in objects:
        if one["kind"] == "Pod":
            found.append(one)
        elif one["kind"] == "CronJob":
            found.append(one["spec"]["jobTemplate"]["spec"]["template"])
        elif "template" in one.get("spec", {}):
            found.append(one["spec"]["template"])
    return found


def container(pod: Object) -> Object:
    """Ours."""
    spec = pod["spec"]
    found = [one for one in spec["containers"] + spec.get("initContainers", []) if one["name"] == "file-sync"]
    assert len(found) == 1, f"{len(found)} containers named file-sync"
    return found[0]


def versions() -> dict[str, str]:
    """Where the version of program, image and charts is written down."""
    text = {name: (ROOT / name).read_text() for name in ("Cargo.toml", "Dockerfile", "compose.yaml")}
    charts = (APPLICATION, SIDECAR, INJECTION)
    chart, library, policies = (yaml.safe_load((one / "Chart.yaml").read_text()) for one in charts)
    template = (SIDECAR / "templates/_sidecar.tpl").read_text()
    example = yaml.safe_load((SIDECAR / "examples/web/Chart.yaml").read_text())

    def find(pattern: str, where: str) -> str:
        found = re.search(pattern, where, re.M)
        assert found, pattern
        return found[1]

    return {
        "Cargo.toml": find(r'^version = "(.+)"', text["Cargo.toml"]),
        "Dockerfile": find(r"^ARG VERSION=(.+)", text["Dockerfile"]),
        "compose.yaml": find(r"file-sync-service:([0-9][^}\s]*)", text["compose.yaml"]),
        "file-sync-service": chart["version"],
        "file-sync-service, appVersion": chart["appVersion"],
        "file-sync-sidecar": library["version"],
        "file-sync-injection": policies["version"],
        "file-sync-injection, appVersion": policies["appVersion"],
        "file-sync-sidecar, image": find(r'"file-sync-sidecar.version" -\}\}\n(.+)', template),
        "file-sync-sidecar, example": example["dependencies"][0]["version"],
        "file-sync-sidecar, README.md": find(r"version: (\S+)", (SIDECAR / "README.md").read_text()),
    }
