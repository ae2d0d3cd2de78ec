"""Parts that no object was made of cost money for ever: none may stay behind."""

from __future__ import annotations

import os
import random

import pytest
import tree
from harness import SEED, Bucket, Daemon, Mirror, Proxy, eventually

# The first request of an upload in parts, one in its middle, and the last.
RESUMED_MIB = int(os.environ.get("E2E_RESUMED_MIB", "256"))
RESUMED_KILLS = int(os.environ.get("E2E_RESUMED_KILLS", "4"))
PART_MIB = 8
# Parts of one file that are on their way at once: a kill may cost as many.
PARTS_AT_ONCE = 8

BEGIN, PART, COMPLETE = (b"POST ", b"?uploads"), (b"PUT ", b"partNumber=2"), (b"POST ", b"?uploadId=")


@pytest.mark.parametrize("moment", [BEGIN, PART, COMPLETE], ids=["begun", "under-way", "completed"])
def test_killed_in_a_large_upload_it_leaves_no_parts_behind(
    daemon: Daemon, bucket: Bucket, proxy: Proxy, moment: tuple[bytes, bytes]
) -> None:
    mirror = Mirror(bucket, lambda: tree.wanted(daemon.tree))
    daemon.endpoint = proxy.endpoint
    (daemon.tree / "large.bin").write_bytes(random.Random(SEED).randbytes(30 * tree.MIB))
    foreign = bucket.s3.create_multipart_upload(Bucket=bucket.name, Key="foreign")

    def kill_at_that_moment(request: bytes) -> None:
        method, query = moment
        line = request.split(b"\r\n", 1)[0]
        if line.startswith(method) and query in line and daemon.process is not None:
            daemon.process.kill()

    proxy.witness = kill_at_that_moment
    daemon.start()
    assert daemon.wait(60) == -9, "it was never killed"
    proxy.witness = lambda _: None

    daemon.start()
    mirror.wait_until_equal(daemon, 60)
    eventually("only the upload of others is left", lambda: bucket.unfinished_uploads() == [foreign["Key"]], 30)
    assert daemon.terminate(35) == 0


def test_killed_again_and_again_a_large_upload_goes_on(daemon: Daemon, bucket: Bucket, proxy: Proxy) -> None:
    chance = random.Random(SEED)
    mirror = Mirror(bucket, lambda: tree.wanted(daemon.tree))
    daemon.endpoint = proxy.endpoint
    with (daemon.tree / "large.bin").open("wb") as large:
        for _ in range(RESUMED_MIB):
            large.write(chance.randbytes(tree.MIB))
    parts = -(-RESUMED_MIB // PART_MIB)
    sent = 0

    def count(request: bytes) -> None:
        nonlocal sent
        line = request.split(b"\r\n", 1)[0]
        sent += line.startswith(b"PUT ") and b"partNumber=" in line

    proxy.witness = count
    for kill in range(RESUMED_KILLS):
        # Anywhere in its share of the upload, so that none is completed before the last one.
        moment = int(parts * (kill + chance.random()) / (RESUMED_KILLS + 1))
        daemon.start()
        eventually("so many parts are sent", lambda m=moment: sent >= m, 120, poll=0.01)
        daemon.kill()
        print(f"kill {kill + 1} of {RESUMED_KILLS}: after {sent} parts of {parts}")
    daemon.start()
    mirror.wait_until_equal(daemon, 180)
    eventually("no upload is left unfinished", lambda: not bucket.unfinished_uploads(), 30)
    again = sent - parts
    print(f"{again} of {parts} parts were sent more than once")
    assert again <= RESUMED_KILLS * PARTS_AT_ONCE
    assert daemon.terminate(35) == 0
