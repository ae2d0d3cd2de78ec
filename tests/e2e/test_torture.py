"""Everything at once for half a minute; `make torture` does it for as long as one likes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from harness import DAEMON, PATIENCE, PROGRAMS, SEED

# What S3 itself does, and the network.
FAULTS = "403 500 503 slow-down reset reset-request reset-reply lost truncated in-200 delay slow-body".split()
# What other stores leave out.
MODES = "no-checksums no-batch-delete ignores-conditions equal-parts".split()

# Without a checksum an object is compared by size and time.
NO_CHECKSUMS = ["--no-restored-times", "--writers", "3"]

# How long, how many kills, and which options for each kind of store.
KINDS = {
    "memory": (30, 20, []),
    "other-stores": (15, 8, [*NO_CHECKSUMS, *(argument for mode in MODES for argument in ("--mode", mode))]),
    "seaweedfs": (15, 8, NO_CHECKSUMS),
    # Two daemons on one prefix: with one tree, and with a tree for each of them.
    "rollouts": (12, 6, ["--rollouts"]),
    "pods": (12, 6, ["--pods"]),
    "pods-without-conditions": (12, 6, ["--pods", "--mode", "ignores-conditions"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_happens_the_bucket_becomes_the_tree(
    kind: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kills, faults, lost state, swapped trees; the program judges every version that was ever stored."""
    seconds, kills, options = KINDS[kind]
    arguments = ["--seconds", str(seconds), "--kills", str(kills), "--seed", str(SEED), "--work", str(place)]
    arguments += [argument for fault in FAULTS for argument in ("--fault", fault)] + options
    command = [str(PROGRAMS / "torture"), "--daemon", str(DAEMON), *arguments]
    if kind == "seaweedfs":
        command = [sys.executable, str(Path(__file__).with_name("with_seaweedfs.py")), str(place), *command]
    torture = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        # The bucket has three minutes to become the tree.
        said, _ = torture.communicate(timeout=(seconds + 240) * PATIENCE)
    except BaseException:
        # SIGTERM: it stops its daemon and removes its directory.
        torture.terminate()
        torture.wait()
        raise
    # What it did, or found; before that it printed its progress every few seconds.
    verdict = said[max(said.rfind("\nseed "), 0) :]
    with capsys.disabled():
        print("".join(line for line in said.splitlines(keepends=True) if line.startswith("skipped:")), end="")
        print(verdict, end="")
    assert torture.returncode == 0, said
