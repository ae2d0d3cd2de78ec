"""Workflows of GitHub: pinned, with the least permissions, and no more than what `make` does on any machine."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from kube import ROOT, TOOLS, run, versions

ACTIONS = "checkout|cache|upload-artifact|download-artifact"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
RELEASE = ROOT / "contrib/release"
# What a job may do beside reading the sources. Everything else has to be a decision here.
WRITES = {
    ("release", "image"): {"packages", "id-token"},
    ("release", "charts"): {"packages", "id-token"},
    ("release", "publish"): {"contents", "id-token"},
}


def _jobs(path: Path) -> dict[str, dict[str, Any]]:
    return yaml.safe_load(path.read_text())["jobs"]


def _commands(path: Path) -> str:
    return "\n".join(step["run"] for job in _jobs(path).values() for step in job["steps"] if "run" in step)


def test_actionlint_finds_nothing() -> None:
    found = [path for path in (shutil.which("actionlint"), TOOLS / "bin/actionlint") if path and Path(path).exists()]
    if not found:
        pytest.skip("actionlint: it is not installed, and tests/packaging/tools could not build it (no Go?)")
    done = run(found[0], "-shellcheck", Path(sys.executable).parent / "shellcheck", *WORKFLOWS)
    assert done.code == 0, done.said


def test_zizmor_finds_nothing() -> None:
    programs = (Path(sys.executable).parent / "zizmor", shutil.which("zizmor"))
    found = [path for path in programs if path and Path(path).exists()]
    if not found:
        pytest.skip("zizmor: the Python package is not installed")
    done = run(found[0], "--offline", "--no-progress", "--persona=auditor", ROOT / ".github")
    assert done.code == 0, done.said


def test_yaml_is_clean() -> None:
    rules = ROOT / "tests/packaging/yamllint.yml"
    done = run(Path(sys.executable).parent / "yamllint", "--strict", "-c", rules, ROOT / ".github")
    assert done.code == 0, done.said


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_few(path: Path) -> None:
    used = re.findall(r"uses: (.*)", path.read_text())
    for line in used:
        # By commit, with the version for people, and from GitHub itself alone.
        assert re.fullmatch(rf"actions/({ACTIONS})@[0-9a-f]{{40}} # v\d+\.\d+\.\d+", line), line
    text = "".join(one.read_text() for one in WORKFLOWS)
    for line in set(used):
        assert len(set(re.findall(rf"{line.partition('@')[0]}@(\w+)", text))) == 1, f"one version of each: {line}"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_jobs_may_do_no_more_than_they_need(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        writes = {scope for scope, access in job["permissions"].items() if access == "write"}
        assert writes == WRITES.get((path.stem, name), set()), name
        assert {access for access in job["permissions"].values()} <= {"read", "write"}
        assert job["timeout-minutes"] <= 120, name
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, name
    # A cache of another run could be in what is released.
    assert path.stem != "release" or "actions/cache@" not in path.read_text()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_jobs_run_what_runs_on_any_machine(path: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M))
    commands = _commands(path)
    assert set(re.findall(r"\bmake ([a-z0-9-]+)", commands)) <= targets
    for script in re.findall(r"(?<![\w/])(?:contrib|tests|helm)/[\w./-]+", commands):
        assert os.access(ROOT / script, os.X_OK), script


def test_ci_does_what_ci_run_does() -> None:
    locally = set(re.findall(r"^timeout .* make ([a-z0-9-]+)", (ROOT / ".ci/run").read_text(), re.M))
    ci = set(re.findall(r"\bmake ([a-z0-9-]+)", _commands(ROOT / ".github/workflows/ci.yml")))
    # `make e2e` ends with `make packaging` if it has no arguments; CI has a job for each.
    assert ci == locally | {"packaging"} == {"test", "e2e", "packaging"}


def test_workflows_build_with_the_rust_of_the_image() -> None:
    (image,) = re.findall(r"^ARG RUST_IMAGE=rust:([\d.]+)-", (ROOT / "Dockerfile").read_text(), re.M)
    for path in WORKFLOWS:
        assert yaml.safe_load(path.read_text())["env"]["RUST"] == image, path


def test_one_place_says_where_a_release_goes() -> None:
    for path in WORKFLOWS:
        text = path.read_text()
        assert text.count("ghcr.io") == (1 if path.stem == "release" else 0)
        assert "secrets." not in text, "the token of the job is enough"


def test_scripts_are_clean() -> None:
    done = run(Path(sys.executable).parent / "shellcheck", *RELEASE.iterdir())
    assert done.code == 0, done.said


def test_a_release_has_the_version_of_its_tag_and_notes(place: Path) -> None:
    version = versions()["Cargo.toml"]
    assert run(RELEASE / "version", f"v{version}").code == 0
    assert run(RELEASE / "version", "v999.0.0").code == 1
    changelog = place / "CHANGELOG.md"
    sections = "## Unreleased\n\n## 1.2.0\n\n### Added\n\n- one\n\n## 1.1.0\n\n- two\n\n## 1.0.0\n"
    changelog.write_text(f"# Changelog\n\n{sections}")
    notes = {"CHANGELOG": str(changelog)}
    assert run(RELEASE / "notes", "1.2.0", env=notes).out == "### Added\n\n- one\n"
    assert run(RELEASE / "notes", "1.1.0", env=notes).out == "- two\n"
    for missing in ("1.0.0", "1.2", "2.0.0", "Unreleased"):
        assert run(RELEASE / "notes", missing, env=notes).code == 1, missing
    assert run(RELEASE / "notes", "Unreleased").code == 0, "the changelog of the project"


def test_an_archive_of_the_program_comes_out_the_same_every_time(place: Path) -> None:
    program = place / "program"
    program.write_bytes(b"\x7fELF")
    epoch = {"SOURCE_DATE_EPOCH": "1767225600"}
    for number in range(2):
        os.utime(program, (number, number))
        done = run(RELEASE / "archive", program, "x86_64-unknown-linux-gnu", place / str(number), env=epoch)
        assert done.code == 0, done.said
    (one,), (other,) = ((place / str(number)).iterdir() for number in range(2))
    assert one.name == f"file-sync-service-{versions()['Cargo.toml']}-x86_64-unknown-linux-gnu.tar.gz"
    assert one.read_bytes() == other.read_bytes()
    with tarfile.open(one) as archive:
        members = {Path(member.name).name: member for member in archive.getmembers()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "config.example.yml", "file-sync-service@.service"} <= set(members)
    assert members["file-sync-service"].mode == 0o755
    assert {(member.uid, member.uname, member.mtime) for member in members.values()} == {(0, "", 1767225600)}


def test_checksums_are_of_all_files_and_can_be_checked(place: Path) -> None:
    (place / "SHA256SUMS").write_text("of another time")
    for name in ("b.tar.gz", "a b.deb"):
        (place / name).write_text(name)
    assert run(RELEASE / "sums", place).code == 0
    digests = [f"{hashlib.sha256(name.encode()).hexdigest()}  {name}" for name in ("a b.deb", "b.tar.gz")]
    assert (place / "SHA256SUMS").read_text().splitlines() == digests
    assert run("sha256sum", "--check", "SHA256SUMS", cwd=place).code == 0


def test_dependabot_sees_everything_with_a_version() -> None:
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    watched = set()
    for one in updates:
        watched |= {(one["package-ecosystem"], path) for path in one.get("directories", [one.get("directory")])}
    found = {("github-actions", "/")}
    kinds = {"requirements.txt": "pip", "go.mod": "gomod", "versions.tf": "terraform", "Dockerfile": "docker"}
    for name, ecosystem in kinds.items():
        paths = run("git", "ls-files", f"*{name}", cwd=ROOT).out.split()
        found |= {(ecosystem, f"/{Path(path).parent}".replace("/.", "/")) for path in paths}
    assert found <= watched, found - watched
