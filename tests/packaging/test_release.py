"""One version everywhere, nothing generated that is stale, and packages that come out the same."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tarfile
from pathlib import Path

import pytest
import yaml
from kube import APPLICATION, INJECTION, ROOT, SIDECAR, Helm, documents, run, versions


def test_program_image_and_charts_have_one_version() -> None:
    found = versions()
    assert len(set(found.values())) == 1, found
    for path in (ROOT / "k8s").rglob("*.yaml"):
        for line in path.read_text().splitlines():
            if "image: file-sync-service:" in line or "newTag:" in line:
                assert line.rpartition(":")[2].strip() == found["Cargo.toml"], f"{path}: {line}"


def test_what_is_generated_is_what_would_be_generated() -> None:
    done = run(sys.executable, ROOT / "helm/generate.py", "--check")
    assert done.code == 0, f"run: make charts\n{done.said}"


# Handed on as they are.
WHOLE = ("config", "securityContext", "podSecurityContext", "resources", "updateStrategy")


@pytest.mark.parametrize("chart", [APPLICATION, SIDECAR, INJECTION], ids=lambda path: path.name)
def test_every_value_is_documented_and_used(chart: Path) -> None:
    page = (chart / "README.md").read_text()
    text = "".join(path.read_text() for path in (chart / "templates").rglob("*") if path.is_file())
    values = yaml.safe_load((chart / "values.yaml").read_text())
    for key, value in values.items():
        whole = not isinstance(value, dict) or key in WHOLE
        for name in [key, *([] if whole else value)]:
            assert name in text, f"{chart.name}: nothing uses {key}.{name}"
        assert f"| `{key}" in page, f"{chart.name}: {key} has no comment"


@pytest.mark.parametrize("chart", [APPLICATION, SIDECAR, INJECTION], ids=lambda path: path.name)
def test_a_package_of_the_chart_comes_out_the_same_every_time(newest: Helm, place: Path, chart: Path) -> None:
    digests = set()
    for number in range(2):
        copy = place / str(number) / chart.name
        shutil.copytree(chart, copy)
        done = run(
            ROOT / "helm/package",
            newest.program,
            copy,
            place / f"out-{number}",
            env={"SOURCE_DATE_EPOCH": "1767225600", **newest.env},
        )
        assert done.code == 0, done.said
        (package,) = (place / f"out-{number}").glob("*.tgz")
        digests.add(hashlib.sha256(package.read_bytes()).hexdigest())
    assert len(digests) == 1
    with tarfile.open(package) as archive:
        names = archive.getnames()
    assert not [name for name in names if "/ci/" in name or "/examples/" in name]
    assert f"{chart.name}/LICENSE" in names


def test_the_bill_of_materials_names_what_is_in_the_program_and_nothing_else(place: Path) -> None:
    done = run(sys.executable, ROOT / "contrib/image/sbom", cwd=ROOT, env={"SOURCE_DATE_EPOCH": "1767225600"})
    assert done.code == 0, done.said
    bill = json.loads(done.out)
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["version"] == versions()["Cargo.toml"]
    names = {one["name"] for one in bill["components"]}
    assert {"aws-sdk-s3", "tokio", "rusqlite", "libsqlite3-sys"} <= names
    assert not names & {"proptest", "file-sync-dev-drivers", "file-sync-dev-s3", "s3s"}, "only for tests"
    assert all(one["purl"].startswith("pkg:cargo/") and one["licenses"] for one in bill["components"])
    listed = {one["ref"] for one in bill["dependencies"]}
    assert listed == {one["bom-ref"] for one in bill["components"]} | {bill["metadata"]["component"]["bom-ref"]}


def test_yaml_is_clean() -> None:
    rules = ROOT / "tests/packaging/yamllint.yml"
    done = run(Path(sys.executable).parent / "yamllint", "--strict", "-c", rules, *_yaml())
    assert done.code == 0, done.said


def _yaml() -> list[Path]:
    return [
        ROOT / "compose.yaml",
        *ROOT.glob("monitoring/*.yaml"),
        *ROOT.glob("contrib/compose/*.yml"),
        *ROOT.glob("contrib/site/*.yml"),
        *ROOT.glob("k8s/**/*.y*ml"),
        *APPLICATION.glob("*.yaml"),
        *APPLICATION.glob("ci/*.yaml"),
        *APPLICATION.glob("rules/*.yaml"),
        *SIDECAR.glob("*.yaml"),
        *INJECTION.glob("*.yaml"),
    ]


def test_the_dockerfile_is_clean() -> None:
    done = run(Path(sys.executable).parent / "hadolint", ROOT / "Dockerfile")
    assert done.code == 0, done.said


def test_scripts_are_clean() -> None:
    scripts = [ROOT / "helm/package", ROOT / "tests/packaging/tools", *ROOT.glob("contrib/image/*")]
    scripts.append(ROOT / "tests/cluster/programs/build")
    shell = [path for path in scripts if "sh" in path.read_text().splitlines()[0].rpartition("/")[2]]
    assert len(shell) >= 5
    done = run(Path(sys.executable).parent / "shellcheck", *shell)
    assert done.code == 0, done.said


def test_every_alert_is_of_metrics_that_exist_and_is_explained() -> None:
    metrics = set(re.findall(r"^\| `(file_sync_\w+)` ", (ROOT / "docs/METRICS.md").read_text(), re.M))
    operations = (ROOT / "docs/OPERATIONS.md").read_text()
    for path in (APPLICATION / "rules").glob("*.yaml"):
        (page,) = documents(path.read_text())
        rules = [rule for group in page["groups"] for rule in group["rules"]]
        assert rules
        recorded = {rule["record"]: rule["expr"] for rule in rules if "record" in rule}
        for rule in rules:
            # Of a recorded series, what it is made of.
            text = re.sub(r"file_sync:[\w:]+", lambda name: recorded[name[0]], rule["expr"])
            named = {name.removesuffix("_bucket") for name in re.findall(r"file_sync_\w+", text)}
            assert named and named <= metrics, rule
            if "record" in rule:
                continue
            assert rule["annotations"]["summary"] and rule["annotations"]["runbook_url"], rule["alert"]
            assert rule["labels"]["severity"] in ("critical", "warning", "info"), rule["alert"]
            assert f"\n### {rule['alert']}\n" in operations, rule["alert"]


def test_promtool_accepts_the_alerts() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool: Debian's package prometheus is not installed")
    done = run(promtool, "check", "rules", *(APPLICATION / "rules").glob("*.yaml"))
    assert done.code == 0, done.said


def test_the_build_context_holds_no_more_than_the_build_needs() -> None:
    allowed = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] not in "#"]
    assert allowed[0] == "*"
    assert not [line for line in allowed[1:] if line[0] != "!"]
    for line in allowed[1:]:
        name = line[1:]
        assert name == "target/image" or os.path.exists(ROOT / name), name
