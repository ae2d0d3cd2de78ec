"""Everything at once for half a minute; `make torture` does it for as long as one likes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from harness import DAEMON, PATIENCE, PROGRAMS, SEED

SECONDS = 30
KILLS = 20


def test_whatever_happens_the_bucket_becomes_the_tree(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kills, faults, lost state, swapped trees; the program judges every version that was ever stored."""
    arguments = ["--seconds", str(SECONDS), "--kills", str(KILLS), "--seed", str(SEED), "--work", str(place)]
    torture = subprocess.Popen(
        [str(PROGRAMS / "torture"), "--daemon", str(DAEMON), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        # The bucket has three minutes to become the tree.
        said, _ = torture.communicate(timeout=(SECONDS + 240) * PATIENCE)
    except BaseException:
        # SIGTERM: it stops its daemon and removes its directory.
        torture.terminate()
        torture.wait()
        raise
    # What it did, or found; before that it told how far it was every few seconds.
    verdict = said[max(said.rfind("\nseed "), 0) :]
    with capsys.disabled():
        print("".join(line for line in said.splitlines(keepends=True) if line.startswith("skipped:")), end="")
        print(verdict, end="")
    assert torture.returncode == 0, said
