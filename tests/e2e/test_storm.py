"""Files in new directories, made faster than a daemon can watch them."""

from __future__ import annotations

import subprocess

import pytest
from harness import DAEMON, PATIENCE, PROGRAMS


def test_no_file_in_new_directories_is_missed(capsys: pytest.CaptureFixture[str]) -> None:
    """The program has an S3 and a daemon of its own; its figures are worth seeing."""
    storm = subprocess.Popen(
        [str(PROGRAMS / "storm"), "--daemon", str(DAEMON)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = storm.communicate(timeout=300 * PATIENCE)
    except BaseException:
        # SIGTERM: it stops its daemon and removes its directory.
        storm.terminate()
        storm.wait()
        raise
    with capsys.disabled():
        print(f"\n{said}", end="")
    assert storm.returncode == 0, said
