"""Three processes share one tree; then four do, then two, while it is turned over."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import tree
from harness import SEED, Bucket, Daemon, Mirror, Server, eventually

FILES = int(os.environ.get("E2E_FILES", "20000")) // 10
MIB = int(os.environ.get("E2E_MIB", "1024")) // 10


class Shards:
    """The configured number of daemons, each with a place and a state of its own."""

    def __init__(self, place: Path, watched: Path, bucket: Bucket, server: Server) -> None:
        self.make = lambda index: Daemon(place / f"shard-{index}", bucket.name, server.endpoint, server.mirror)
        self.watched = watched
        self.known: dict[int, Daemon] = {}
        self.running: list[Daemon] = []

    def start(self, count: int) -> None:
        for index in range(count):
            one = self.known.setdefault(index, self.make(index))
            one.place.mkdir(exist_ok=True)
            one.env["FILE_SYNC__WATCH_PATH"] = str(self.watched)
            one.env["FILE_SYNC__SHARD_COUNT"] = str(count)
            one.env["FILE_SYNC__SHARD_INDEX"] = str(index)
            one.start()
            self.running.append(one)

    def stop(self) -> None:
        for one in self.running:
            assert one.terminate(35) == 0
        self.running = []


@pytest.fixture
def watched(place: Path) -> Path:
    directory = place / "watched"
    directory.mkdir()
    return directory


@pytest.fixture
def shards(place: Path, watched: Path, bucket: Bucket, server: Server) -> Iterator[Shards]:
    some = Shards(place, watched, bucket, server)
    yield some
    for one in some.known.values():
        one.kill()


def test_three_processes_on_one_tree_make_the_bucket_equal(
    shards: Shards, place: Path, watched: Path, bucket: Bucket
) -> None:
    mirror = Mirror(bucket, lambda: tree.wanted(watched))
    tree.make(place / "source", SEED, FILES, MIB)
    # SeaweedFS lists keys that XML cannot write as other ones: another shard would not know them again.
    for path in sorted((place / "source").rglob("*\x07*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    shards.start(3)
    subprocess.run(["cp", "--archive", f"{place / 'source'}/.", str(watched)], check=True)
    shutil.rmtree(place / "source")
    mirror.wait_until_equal(shards.running[0], 300)
    eventually("nothing waits", lambda: all(one.waiting() == 0 for one in shards.running), 30)
    mirrored = [one.mirrored() for one in shards.running]
    assert all(mirrored), f"one of them has nothing: {mirrored}"
    assert sum(mirrored) == len(mirror.wanted()), "each file is recorded once"

    chance = random.Random(SEED)
    for count in (4, 2, 3):
        folders = sorted(path for path in watched.iterdir() if path.is_dir())
        chance.shuffle(folders)
        shutil.rmtree(folders[0])
        folders[1].rename(watched / f"renamed for {count}")
        shards.stop()
        # No daemon runs now: what is deleted here is the next one's to delete.
        for path in itertools.islice(sorted(folders[2].rglob("*.dat")), 20):
            path.unlink()
        shutil.rmtree(folders[3])
        shards.start(count)
        (watched / f"new for {count}").write_text("new")
        mirror.wait_until_equal(shards.running[0], 120)
    shards.stop()
    assert bucket.unfinished_uploads() == []
