"""Packages for Debian and RPM systems, and the systemd units in them: the same files at the same places."""

from __future__ import annotations

import gzip
import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
from kube import DAEMON, ROOT, run

CARGO = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["metadata"]
PROGRAM = "target/static/file-sync-service"
GENERATED = "target/static/generated/"
UNITS = sorted((ROOT / "contrib/systemd").glob("*.service"))


def _debian() -> dict[str, tuple[str, str]]:
    return {f"/{target}": (source, mode) for source, target, mode in CARGO["deb"]["assets"]}


def _rpm() -> dict[str, tuple[str, str]]:
    return {one["dest"]: (one["source"], one["mode"]) for one in CARGO["generate-rpm"]["assets"]}


def test_both_packages_hold_the_same_files() -> None:
    rpm = _rpm()
    # Debian's package gets the licence from `license-file`.
    assert rpm.pop("/usr/share/licenses/file-sync-service/LICENSE") == (CARGO["deb"]["license-file"][0], "644")
    # The distributions keep the completions of zsh in different places.
    zsh = rpm.pop("/usr/share/zsh/site-functions/_file-sync-service")
    debian = _debian()
    assert debian.pop("/usr/share/zsh/vendor-completions/_file-sync-service") == zsh
    assert debian == rpm
    for target, (source, mode) in rpm.items():
        assert source == PROGRAM or source.startswith(GENERATED) or (ROOT / source).is_file(), source
        assert mode == ("755" if target.startswith("/usr/bin/") else "644"), target
    assert f'"$target/static/{Path(PROGRAM).name}"' in (ROOT / "contrib/image/static-build").read_text()


def test_the_program_writes_what_the_packages_take_from_it(tmp_path: Path) -> None:
    assert run(ROOT / "contrib/release/generated", DAEMON, tmp_path).code == 0
    taken = {source.removeprefix(GENERATED) for source, _ in _rpm().values() if source.startswith(GENERATED)}
    assert {path.name for path in tmp_path.iterdir()} == taken
    manual = gzip.decompress((tmp_path / "file-sync-service.1.gz").read_bytes()).decode()
    assert manual.count(".TH") == 1 and "check\\-config" in manual
    if shutil.which("bash"):
        script = f'. {tmp_path}/bash; COMP_WORDS=(file-sync-service pre); COMP_CWORD=1; _file__sync__service'
        listed = run("bash", "-c", f'{script} file-sync-service pre file-sync-service; echo "${{COMPREPLY[*]}}"')
        assert listed.out.split() == ["prestop"], listed.said


def test_packages_touch_neither_configuration_nor_state() -> None:
    for target in _rpm():
        assert not target.startswith(("/etc/", "/var/")), target
    for script in (ROOT / "contrib/packages").glob("*/*"):
        text = "\n".join(line for line in script.read_text().splitlines() if not line.startswith("#"))
        assert not re.search(r"/etc/|/var/|\brm\b|userdel|enable", text), script


def test_the_scripts_of_both_packages_do_the_same() -> None:
    scripts = {path.name for path in (ROOT / "contrib/packages/deb").iterdir()}
    assert scripts == {path.name for path in (ROOT / "contrib/packages/rpm").iterdir()}
    for name in scripts:
        done = []
        for kind in ("deb", "rpm"):
            lines = [line.strip() for line in (ROOT / f"contrib/packages/{kind}/{name}").read_text().splitlines()]
            done.append([line for line in lines if line.startswith(("systemctl", "systemd-", "/usr/lib"))])
        assert done[0] == done[1] and done[0], name
    hooks = ("post_install_script", "pre_uninstall_script", "post_uninstall_script")
    assert {CARGO["generate-rpm"][one] for one in hooks} == {f"contrib/packages/rpm/{name}" for name in scripts}
    shellcheck = Path(sys.executable).parent / "shellcheck"
    found = run(shellcheck, *(ROOT / "contrib/packages").glob("*/p*"))
    assert found.code == 0, found.said


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_finds_its_program_and_is_valid(unit: Path, place: Path) -> None:
    text = unit.read_text()
    (start,) = re.findall(r"^ExecStart=(\S+)", text, re.M)
    # systemd looks in /usr/local/bin and /usr/bin.
    assert "/" not in start and f"/usr/bin/{start}" in _debian()
    assert f"/usr/lib/systemd/system/{unit.name}" in _debian()
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd units: systemd-analyze is not installed")
    (place / unit.name).write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.M))
    done = run("systemd-analyze", "verify", "--man=no", place / unit.name)
    assert done.code == 0 and not done.said.strip(), done.said


def test_an_instance_has_a_configuration_and_a_state_of_its_own() -> None:
    single, template = (unit.read_text().split("[Service]\n")[-1].splitlines() for unit in UNITS)
    lines = set(template)
    assert "ExecStart=file-sync-service run --config /etc/file-sync-service/%i.yml" in lines
    assert "StateDirectory=file-sync-service/%i" in lines
    (user,) = re.findall(r"^u (\S+)", (ROOT / "contrib/packages/sysusers.conf").read_text(), re.M)
    assert {f"User={user}", f"Group={user}"} <= lines
    # The same confinement, line by line.
    own = ("ExecStart=", "EnvironmentFile=", "StateDirectory=", "User=", "Group=", "DynamicUser=")

    def shared(of: list[str]) -> list[str]:
        return [line for line in of if line and line[0] != "#" and not line.startswith(own)]

    assert shared(template) == shared(single)


def test_the_user_is_one_that_systemd_can_make() -> None:
    if shutil.which("systemd-sysusers") is None:
        pytest.skip("sysusers.d: systemd-sysusers is not installed")
    done = run("systemd-sysusers", "--dry-run", ROOT / "contrib/packages/sysusers.conf")
    assert done.code == 0 and not re.search("ignoring|invalid|Failed", done.said, re.I), done.said


def test_the_limits_are_those_of_the_documentation() -> None:
    text = (ROOT / "contrib/packages/sysctl.conf").read_text()
    limits = dict(re.findall(r"^(fs\.inotify\.\w+) = (\d+)$", text, re.M))
    assert set(limits) == {"fs.inotify.max_user_watches", "fs.inotify.max_user_instances"}
    watches = f"fs.inotify.max_user_watches={limits['fs.inotify.max_user_watches']}"
    assert watches in (ROOT / "docs/OPERATIONS.md").read_text()
