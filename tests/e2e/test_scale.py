"""`make bench-scale` and `make soak`, small: that their figures are those of a run, and that nothing is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness import PROGRAMS, ROOT

SCALE = {
    "--rounds": "1",
    "--files": "300",
    "--directories": "30",
    "--burst-files": "100",
    "--burst-rate": "200",
    "--burst-seconds": "2",
    "--outage-seconds": "2",
    "--outage-rate": "20",
}
SOAK = {
    "--seconds": "20",
    "--files": "200",
    "--rate": "30",
    "--large-mib": "17",
    "--every": "8",
    "--outage": "2",
}


def run(place: Path, program: str, sizes: dict[str, str], *more: str) -> tuple[str, int]:
    """Its part of a page of ours, and how it ended."""
    page = place / "PERFORMANCE.md"
    target = {"scale": "bench-scale"}.get(program, program)
    begin, end = f"<!-- {target}: begin, written by `make {target}` -->", f"<!-- {target}: end -->"
    page.write_text(f"# Ours\n\n{begin}\nstale\n{end}\n\nAfter.\n")
    options = [word for pair in sizes.items() for word in pair]
    options += ["--programs", str(PROGRAMS), "--work", str(place / "work"), "--output", str(page), *more]
    said = subprocess.run(
        [sys.executable, str(ROOT / f"bench/{program}.py"), *options], capture_output=True, text=True, check=False
    )
    text = page.read_text()
    assert text.startswith("# Ours\n") and text.endswith("After.\n"), said.stdout + said.stderr
    assert "stale" not in text, said.stdout + said.stderr
    return text, said.returncode


def test_scale_is_measured_in_one_run(place: Path) -> None:
    text, status = run(place, "scale", SCALE)
    assert status == 0
    # What follows is not a matter of speed.
    for line in (
        "| 300 files in 32 directories: nothing changed | 32 directories watched | 32 | reached |",
        "| 300 files in 32 directories: nothing changed | 0 S3 requests | 0 | reached |",
        "| nothing lost | 0 of 100 objects differ | reached |",
    ):
        assert line in text, text
    assert not (place / "work").exists()


def test_a_soak_ends_with_bucket_and_tree_equal(place: Path) -> None:
    plot = place / "soak.svg"
    # So short a run is not flat: it may end with a verdict against it, but never with a difference.
    text, _ = run(place, "soak", SOAK, "--plot", str(plot))
    assert "| bucket and tree | equal in the end | 0 differences | reached |" in text, text
    assert plot.read_text().startswith("<svg")
