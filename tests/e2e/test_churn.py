"""A large tree with odd names, copied in and turned over while the daemon runs."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
import tree
from harness import PREFIX, SEED, Bucket, Daemon, Mirror, eventually

FILES = int(os.environ.get("E2E_FILES", "20000"))
MIB = int(os.environ.get("E2E_MIB", "1024"))


# SeaweedFS is an independent S3; ours checks every signature, checksum and condition.
@pytest.mark.parametrize("server", ["seaweedfs", "dev-s3"], indirect=True)
def test_a_large_tree_turned_over_ends_equal_byte_for_byte(daemon: Daemon, bucket: Bucket, place: Path) -> None:
    source = place / "source"
    tree.make(source, SEED, FILES, MIB)
    bucket.put(f"{PREFIX}/not-ours.txt", b"here before the daemon")
    mirror = Mirror(bucket, lambda: tree.wanted(daemon.tree), foreign=["not-ours.txt"])

    # As it comes: a third deleted is no mass deletion.
    daemon.env["FILE_SYNC__DELETE_LIMIT_COUNT"] = ""
    daemon.start()
    copy = subprocess.Popen(["cp", "--archive", f"{source}/.", str(daemon.tree)])
    repository = tree.Repository(daemon.tree / "code", SEED)
    assert copy.wait(600) == 0
    shutil.rmtree(source)

    repository.checkout("two")
    # The daemon has sent some, knows of some, and is in the middle of others.
    eventually("half of it is in S3", lambda: len(bucket.objects()) > FILES / 2, 300, poll=1)
    _turn_over(daemon.tree)
    repository.checkout("one")

    mirror.wait_until_equal(daemon, 420)
    assert len(mirror.wanted()) > FILES / 2, "the test has deleted more than it meant to"

    # And once more, now against a record that knows every file.
    repository.checkout("two")
    mirror.wait_until_equal(daemon, 60)

    eventually("nothing waits", lambda: daemon.waiting() == 0, 30)
    assert daemon.mirrored() == len(mirror.wanted())
    assert bucket.unfinished_uploads() == []
    assert daemon.terminate(35) == 0


def _turn_over(root: Path) -> None:
    """rm -rf of a third of the folders, renames of some others, and changes to the files of the rest."""
    chance = random.Random(SEED)
    folders = sorted(path for path in root.iterdir() if path.name.startswith("folder-"))
    chance.shuffle(folders)
    third, tenth = len(folders) // 3, max(1, len(folders) // 10)
    for folder in folders[:third]:
        shutil.rmtree(folder)
    for folder in folders[third : third + tenth]:
        folder.rename(folder.with_name(f"renamed {folder.name}"))
    rest = folders[third + tenth :]
    if len(rest) >= 2:
        # Two folders swap their names.
        one, other = rest[:2]
        one.rename(root / "aside")
        other.rename(one)
        (root / "aside").rename(other)
    for folder in rest:
        for number, path in enumerate(sorted(folder.rglob("*.dat"))):
            if number % 50 == 0:
                path.write_bytes(path.read_bytes()[::-1])
            elif number % 50 == 1:
                # A file becomes a folder of that name.
                path.unlink()
                path.mkdir()
                (path / "inside").write_text("was a file")
            elif number % 50 == 2:
                temporary = path.with_name(f"{path.name}.tmp.1")
                temporary.write_text("as an editor saves")
                temporary.replace(path)
