"""`make bench`, small and without the programs it compares with: that its figures are those of a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness import PROGRAMS, ROOT

SIZES = {
    "--rounds": "1",
    "--files": "150",
    "--mib": "20",
    "--renamed": "120",
    "--idle-seconds": "1",
    "--latency-files": "5",
    "--far-files": "40",
    "--far-mib": "9",
    "--memory-large": "2",
    "--memory-mib": "20",
    "--memory-small": "30",
}


def test_one_run_measures_everything_and_writes_the_page(place: Path) -> None:
    page = place / "PERFORMANCE.md"
    words = "# Ours\n\nBefore.\n\n", "\n\nAfter.\n"
    marks = "<!-- bench: begin, written by `make bench` -->", "<!-- bench: end -->"
    page.write_text(f"{words[0]}{marks[0]}\nstale\n{marks[1]}{words[1]}")
    options = [word for pair in SIZES.items() for word in pair]
    options += ["--no-peers", "--programs", str(PROGRAMS), "--work", str(place / "work"), "--output", str(page)]
    said = subprocess.run(
        [sys.executable, str(ROOT / "bench/bench.py"), *options], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr

    text = page.read_text()
    assert text.startswith(words[0]) and text.endswith(words[1]) and "stale" not in text
    assert "40 files of 4 KiB, TLS, 100 ms" in text, text
    # What follows is not a matter of speed.
    for line in (
        "| nothing changed, 150 files, restart | 0 S3 requests | 0 | reached |",
        "| folder of 120 files renamed | 0 bytes of content sent | 0, 120 copies | reached |",
        "| idle | 0 S3 requests | 0 | reached |",
    ):
        assert line in text, text
    compared = [line.split(" | ") for line in text.splitlines() if line.startswith("| file-sync-service |")]
    # To both servers, small and large; the small ones again; and over TLS at three and two distances.
    assert len(compared) == 10, text
    first, _, again, *_ = compared
    assert int(first[5]) >= 150 and int(again[5]) == 0
    assert not (place / "work").exists()
