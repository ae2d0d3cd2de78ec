"""A tenth of many directories deleted at once: work elsewhere in the tree is hardly delayed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tree
from harness import PATIENCE, PREFIX, SEED, Bucket, Daemon, Mirror, eventually, let_pass

DIRECTORIES = int(os.environ.get("E2E_MASS_DIRECTORIES", "5050"))
# A directory and the hundred in it, of which every tenth has a file.
GROUP = 101
STALL_SECONDS = 6
PAUSE_SECONDS = 0.2
WATCH_LIMIT = Path("/proc/sys/fs/inotify/max_user_watches")


# What the store is makes no difference here.
@pytest.mark.parametrize("server", ["dev-s3"], indirect=True)
def test_while_many_watched_directories_are_deleted_changes_elsewhere_arrive_in_seconds(
    daemon: Daemon, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = max(10, DIRECTORIES // GROUP)
    directories = groups * GROUP
    if directories >= int(WATCH_LIMIT.read_text()):
        pytest.skip(f"{directories} directories are more than fs.inotify.max_user_watches allows")
    gone = [daemon.tree / f"gone-{number}" for number in range(groups // 10)]
    stay = [daemon.tree / f"stay-{number}" for number in range(groups - len(gone))]
    # Mixed, so that those that are deleted together were not made, and watched, one after the other.
    mixed = random.Random(SEED).sample([*gone, *stay], groups)
    for group in mixed:
        _make(group)
    files = {group: sorted(group.rglob("*.txt")) for group in mixed}
    to_delete = sum(len(files[group]) for group in gone)
    mirror = Mirror(bucket, lambda: tree.wanted(daemon.tree))

    daemon.start()
    mirror.wait_until_equal(daemon, 300)
    # The tree itself is one more.
    eventually("every directory is watched", lambda: _watches(daemon) > directories, 120, poll=1)
    eventually("nothing waits", lambda: daemon.waiting() == 0, 30)

    work_before, start = _processor_seconds(daemon), time.monotonic()
    elsewhere = Elsewhere(bucket, daemon.tree, [file for group in stay for file in files[group]])
    elsewhere.start()
    removal = threading.Thread(target=lambda: [shutil.rmtree(group) for group in gone])
    removal.start()
    removal.join()
    removed = time.monotonic() - start
    eventually("all deletes are in S3", lambda: not bucket.objects(f"{PREFIX}/gone-"), 300, poll=0.5)
    deleted = time.monotonic() - start
    work = _processor_seconds(daemon) - work_before
    # A stall may begin late, while the hints of the events are worked off.
    let_pass(5)
    elsewhere.stop_writing()
    eventually("what was written elsewhere is in S3", elsewhere.has_arrived, 300)
    latencies = elsewhere.latencies()

    longest, median = max(latencies), statistics.median(latencies)
    log = daemon.log.read_text()
    with capsys.disabled():
        print(
            f"\n{directories} directories watched, {len(gone) * GROUP} deleted with {to_delete} files:"
            f" removed in {removed:.1f} s, all deletes in S3 after {deleted:.1f} s,"
            f" {work:.1f} processor seconds of the daemon;"
            f"\n{len(latencies)} files written elsewhere meanwhile: in S3 after {median:.2f} s (p50),"
            f" {longest:.2f} s at most; events lost {log.count('detect.rebuild')} times"
        )
    assert longest <= STALL_SECONDS * PATIENCE
    mirror.wait_until_equal(daemon, 120)
    eventually("nothing waits", lambda: daemon.waiting() == 0, 30)
    assert daemon.mirrored() == len(mirror.wanted())
    assert len(mirror.wanted()) >= len(stay) * len(files[stay[0]]), "more was deleted than meant to be"
    assert daemon.terminate(35) == 0


class Elsewhere:
    """Writes a file every now and then, new ones and old ones, and sees when each is in the bucket."""

    def __init__(self, bucket: Bucket, root: Path, old: list[Path]) -> None:
        self._bucket = bucket
        self._root = root
        self._old = random.Random(SEED).sample(old, len(old))
        self._written = 0
        # Key, when its file was closed, and what it has to be.
        self._waiting: dict[str, tuple[float, str]] = {}
        self._latencies: list[float] = []
        self._no_more = threading.Event()
        self._arrived = threading.Event()
        self._error: BaseException | None = None
        tasks = (self._write, self._see)
        self._threads = [threading.Thread(target=self._guarded, args=(one,), daemon=True) for one in tasks]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop_writing(self) -> None:
        self._no_more.set()
        self._threads[0].join()

    def has_arrived(self) -> bool:
        """Whether all is in the bucket that was written; raises if a thread failed."""
        if self._error is not None:
            raise self._error
        if self._no_more.is_set() and not self._waiting:
            self._arrived.set()
            self._threads[1].join()
        return self._arrived.is_set()

    def latencies(self) -> list[float]:
        """Seconds from the close of each file until it was seen in the bucket."""
        assert len(self._latencies) == self._written >= 5 / PAUSE_SECONDS / 2, "too few for a result"
        return self._latencies

    def _guarded(self, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as error:
            self._error = error

    def _write(self) -> None:
        while not self._no_more.wait(PAUSE_SECONDS):
            path = self._old[self._written % len(self._old)]
            if self._written % 2:
                path = path.with_name(f"new-{self._written}.txt")
            body = f"written as number {self._written}"
            path.write_text(body)
            closed = time.monotonic()
            key = f"{PREFIX}/{path.relative_to(self._root)}"
            self._written += 1
            self._waiting[key] = (closed, hashlib.sha256(body.encode()).hexdigest())

    def _see(self) -> None:
        while not self._arrived.wait(0.02):
            for key, (closed, digest) in list(self._waiting.items()):
                if self._bucket.sha256(key) == digest:
                    self._latencies.append(time.monotonic() - closed)
                    del self._waiting[key]


def _make(group: Path) -> None:
    group.mkdir()
    for number in range(GROUP - 1):
        directory = group / f"{number:02}"
        directory.mkdir()
        if number % 10 == 0:
            (directory / "file.txt").write_text(f"{group.name}/{number}")


def _watches(daemon: Daemon) -> int:
    """What the kernel says: a line for each watch of each instance."""
    assert daemon.process is not None
    count = 0
    for descriptor in Path(f"/proc/{daemon.process.pid}/fdinfo").iterdir():
        # Closed meanwhile.
        with contextlib.suppress(FileNotFoundError):
            count += descriptor.read_text().count("inotify wd:")
    return count


def _processor_seconds(daemon: Daemon) -> float:
    assert daemon.process is not None
    # Behind the name, which may hold anything: utime and stime are the fields 14 and 15 of all.
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
