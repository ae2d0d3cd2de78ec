"""Charts as they are published: pushed to a registry, and taken from there."""

from __future__ import annotations

import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from engine import eventually, free_port
from kube import APPLICATION, INJECTION, ROOT, SIDECAR, VALUES, Helm, documents, run, versions

EPOCH = {"SOURCE_DATE_EPOCH": "1767225600"}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's, on a loopback port of its own; ended by its process id."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("a registry for charts: Debian's package docker-registry is not installed")
    place, port = tmp_path_factory.mktemp("registry"), free_port()
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(place / "storage")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (place / "config.yml").write_text(yaml.safe_dump(config))
    with (place / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", str(place / "config.yml")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def answers() -> bool:
        assert process.poll() is None, (place / "registry.log").read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    try:
        eventually("the registry answers", answers, 30)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _packaged(helm: Helm, chart: Path, out: Path) -> Path:
    done = run(ROOT / "helm/package", helm.program, chart, out, env={**EPOCH, **helm.env})
    assert done.code == 0, done.said
    (package,) = out.glob("*.tgz")
    return package


@pytest.mark.parametrize("chart", [APPLICATION, SIDECAR, INJECTION], ids=lambda path: path.name)
def test_what_is_pulled_is_what_was_pushed(helm: Helm, registry: str, place: Path, chart: Path) -> None:
    charts = f"oci://{registry}/{helm.program.parents[1].name}"
    package = _packaged(helm, chart, place / "packaged")
    pushed = helm("push", package, charts, "--plain-http")
    assert pushed.code == 0, pushed.said
    at = (f"{charts}/{chart.name}", "--version", versions()[chart.name], "--plain-http")
    pulled = helm("pull", *at, "--destination", place)
    assert pulled.code == 0, pulled.said
    assert (place / package.name).read_bytes() == package.read_bytes()


def test_an_installation_from_the_registry_is_that_of_the_sources(helm: Helm, registry: str, place: Path) -> None:
    charts = f"oci://{registry}/installed-{helm.program.parents[1].name}"
    pushed = helm("push", _packaged(helm, APPLICATION, place / "packaged"), charts, "--plain-http")
    assert pushed.code == 0, pushed.said
    at = (f"{charts}/{APPLICATION.name}", "--version", versions()[APPLICATION.name], "--plain-http")
    for values in VALUES:
        done = helm("template", "example", *at, "--namespace", "example", "--values", values)
        assert done.code == 0, done.said
        # Helm 4 says first what it has pulled.
        installed = [one for one in documents(done.out) if "kind" in one]
        assert installed == helm.template(APPLICATION, "--values", values), values.name


def test_a_release_pushes_the_charts_and_says_their_digests(newest: Helm, registry: str, place: Path) -> None:
    charts = f"oci://{registry}/released"
    env = {**EPOCH, **newest.env, "HELM_PUSH": "--plain-http"}
    done = run(ROOT / "contrib/release/charts", newest.program, place, charts, env=env)
    assert done.code == 0, done.said
    pushed = dict(line.split() for line in done.out.splitlines())
    assert set(pushed) == {APPLICATION.name, SIDECAR.name, INJECTION.name}
    for name, digest in pushed.items():
        url = f"http://{registry}/v2/released/{name}/manifests/{digest}"
        request = urllib.request.Request(url, headers={"Accept": "application/vnd.oci.image.manifest.v1+json"})
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert answer.headers["Docker-Content-Digest"] == digest
