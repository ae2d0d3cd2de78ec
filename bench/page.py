"""docs/PERFORMANCE.md: what is written into it between two marks, and how a run is made again."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from measure import MIB

ROOT = Path(__file__).resolve().parents[1]
# What was done, what it should cost, what it did, and whether that is good.
Target = tuple[str, str, str, str]


def write(page: Path, target: str, measured: str) -> None:
    """Between the two marks of a target of make: the words around them are written by hand."""
    begin, end = f"<!-- {target}: begin, written by `make {target}` -->", f"<!-- {target}: end -->"
    text = page.read_text() if page.exists() else f"# Performance\n\n{begin}\n{end}\n"
    before, after = text.split(begin)[0], text.split(end)[1]
    page.write_text(f"{before}{begin}\n\n{measured}\n\n{end}{after}")


def arguments(description: str | None, work: str, what_for: str) -> argparse.ArgumentParser:
    """The configuration of every run; each adds its own."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--programs", type=Path, default=ROOT / "target/release", help="where ours are built")
    made.add_argument("--work", type=Path, default=ROOT / work, help=what_for)
    made.add_argument("--output", type=Path, default=ROOT / "docs/PERFORMANCE.md", help="the page to write into")
    return made


def sizes(options: argparse.Namespace) -> str:
    """The arguments that make another run of this one, wherever it is."""
    said = [f"--{name.replace('_', '-')} {value}" for name, value in vars(options).items() if type(value) is int]
    return " ".join(said)


def surroundings(target: str, how: str, options: argparse.Namespace, versions: Mapping[str, str]) -> str:
    """The command, the machine and the versions."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    commit = first_line("git", "-C", str(ROOT), "describe", "--always", "--dirty")
    arguments = f"{target.upper().replace('-', '_')}_ARGS"
    return "\n".join(
        [
            f"Measured on {datetime.date.today()} at {commit}, {how}:",
            "",
            f"```sh\nmake {target} {arguments}='{sizes(options)}'\n```",
            "",
            f"- {os.cpu_count()} processors ({cpu[1] if cpu else platform.machine()}; {cpu_features()}), "
            f"{int(memory[1]) / MIB if memory else 0:.0f} GiB, Linux {platform.release()}, "
            f"load {os.getloadavg()[2]:.1f} over the last quarter of an hour, this run included",
            *(f"- {name}: {version.removeprefix(name).strip()}" for name, version in versions.items()),
        ]
    )


# What hashes and checksums cost depends on these.
CPU_FEATURES = ("sha_ni", "vaes", "vpclmulqdq", "avx512f")


def cpu_features() -> str:
    """Which of the features are here, and which are not."""
    flags = re.search(r"^flags\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    here = set(flags[1].split()) if flags else set()
    return ", ".join(name if name in here else f"no {name}" for name in CPU_FEATURES)


def first_line(*command: str) -> str:
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return (said.splitlines() or ["unknown"])[0]


def verdict(reached: bool) -> str:
    return "reached" if reached else "**missed**"
