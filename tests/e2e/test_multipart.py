"""Parts that no object was made of cost money for ever: none may stay behind."""

from __future__ import annotations

import random

import pytest
import tree
from harness import SEED, Bucket, Daemon, Mirror, Proxy, eventually

# The first request of an upload in parts, one in its middle, and the last.
BEGIN, PART, COMPLETE = (b"POST ", b"?uploads"), (b"PUT ", b"partNumber=2"), (b"POST ", b"?uploadId=")


@pytest.mark.parametrize("moment", [BEGIN, PART, COMPLETE], ids=["begun", "under-way", "completed"])
def test_killed_in_a_large_upload_it_leaves_no_parts_behind(
    daemon: Daemon, bucket: Bucket, proxy: Proxy, moment: tuple[bytes, bytes]
) -> None:
    mirror = Mirror(bucket, lambda: tree.wanted(daemon.tree))
    daemon.endpoint = proxy.endpoint
    (daemon.tree / "large.bin").write_bytes(random.Random(SEED).randbytes(30 * tree.MIB))
    foreign = bucket.s3.create_multipart_upload(Bucket=bucket.name, Key="somebody-elses")

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
