"""Trees of a size that matters, those who change them, and whether a bucket holds what they hold."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

DIRECTORIES_IN_PART = 100
CONTENT_BYTES = 32


def content(number: int) -> bytes:
    """So long for every number: a file that is written over is never seen half."""
    return b"%0*d" % (CONTENT_BYTES, number)


def directories(root: Path, count: int) -> Iterator[Path]:
    for number in range(count):
        part, one = divmod(number, DIRECTORIES_IN_PART)
        yield root / f"part-{part:04}" / f"directory-{one:03}"


def make(root: Path, files: int, count: int) -> int:
    """So many small files in so many directories, two levels deep. Answers how many directories there
    are in all, the root included."""
    each = -(-files // count)
    made = 0
    for directory in directories(root, count):
        directory.mkdir(parents=True)
        for number in range(min(each, files - made)):
            write(bytes(directory / f"file-{number:03}.dat"), made)
            made += 1
    return count + -(-count // DIRECTORIES_IN_PART) + 1


def write(path: bytes, number: int) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(file, content(number), 0)
    finally:
        os.close(file)


def paths(root: Path) -> list[bytes]:
    """Every file below, in the order of a walk."""
    found = []
    for directory, below, names in os.walk(bytes(root)):
        below.sort()
        found += [os.path.join(directory, name) for name in sorted(names)]
    return found


def etags(root: Path, prefix: str) -> dict[str, tuple[int, str]]:
    """What a listing of the bucket would say: size and MD5 of each file."""
    wanted = {}
    for path in paths(root):
        with open(path, "rb") as file:
            body = file.read()
        name = os.path.relpath(path, bytes(root)).decode()
        wanted[f"{prefix}/{name}"] = (len(body), hashlib.md5(body, usedforsecurity=False).hexdigest())
    return wanted


def rewrite(root: Path, per_second: int, seconds: int) -> subprocess.Popen[str]:
    """A process of its own that writes the files over, one after another, at an even pace; it prints how
    many it has written."""
    command = [sys.executable, __file__, str(root), str(per_second), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def rewriting(root: Path, per_second: int, seconds: int) -> int:
    files = paths(root)
    print("ready", flush=True)
    began, written = time.monotonic(), 0
    while (elapsed := time.monotonic() - began) < seconds:
        due = int(elapsed * per_second) - written
        if due == 0:
            time.sleep(0.001)
        for _ in range(due):
            write(files[written % len(files)], 1_000_000_000 + written)
            written += 1
    return written


if __name__ == "__main__":
    print(rewriting(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])), flush=True)
