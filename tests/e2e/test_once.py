"""`once`: for jobs and CI, which read nothing but the exit code."""

from __future__ import annotations

import tree
from harness import READER, SEED, Bucket, Daemon, Mirror, Proxy, free_ports


def _fill(daemon: Daemon) -> None:
    churn = tree.Churn(daemon.tree, SEED)
    for _ in range(200):
        churn.step()


def test_once_exits_0_with_all_in_s3(daemon: Daemon, bucket: Bucket) -> None:
    mirror = Mirror(bucket, lambda: tree.wanted(daemon.tree))
    _fill(daemon)
    assert daemon.run("once", seconds=60) == 0, daemon.tail()
    assert mirror.differences() == []

    # Deletions and changes made while nothing ran are found by the next one.
    names = sorted(mirror.wanted())
    mirror.wanted()[names[0]].unlink()
    mirror.wanted()[names[1]].write_text("changed")
    assert daemon.run("once", seconds=60) == 0, daemon.tail()
    assert mirror.differences() == []


def test_once_sends_nothing_twice(daemon: Daemon, bucket: Bucket, proxy: Proxy) -> None:
    daemon.endpoint = proxy.endpoint
    _fill(daemon)
    assert daemon.run("once", seconds=60) == 0, daemon.tail()
    before, sent = bucket.objects(), proxy.sent
    assert sent > sum(one.size for one in before.values())

    assert daemon.run("once", seconds=60) == 0, daemon.tail()
    assert bucket.objects() == before
    # Questions to S3 are allowed, contents are not.
    assert proxy.sent - sent < sent / 10


def test_once_exits_75_when_something_is_left(daemon: Daemon, bucket: Bucket) -> None:
    _fill(daemon)
    # S3 answers, and refuses every write.
    daemon.identity = READER
    assert daemon.run("once", seconds=60) == 75, daemon.tail()
    assert bucket.objects() == {}


def test_once_exits_69_when_s3_cannot_be_reached(daemon: Daemon) -> None:
    _fill(daemon)
    daemon.endpoint = f"http://127.0.0.1:{free_ports(1)[0]}"
    assert daemon.run("once", seconds=60) == 69, daemon.tail()
