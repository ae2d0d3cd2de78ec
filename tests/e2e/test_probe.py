"""The probe of another store: what it says of a real one, and that it leaves nothing behind."""

from __future__ import annotations

import json

import pytest
from harness import PREFIX, Bucket, Daemon, Server


@pytest.mark.parametrize("server", ["seaweedfs", "dev-s3"], indirect=True)
def test_a_store_is_asked_what_it_can_do_and_holds_the_files_and_no_more(
    daemon: Daemon, bucket: Bucket, server: Server
) -> None:
    (daemon.tree / "file").write_text("content")
    daemon.env["FILE_SYNC__S3_PROBE"] = "true"
    assert daemon.run("once", seconds=60) == 0, daemon.tail()
    lines = map(json.loads, daemon.log.read_text().splitlines())
    [probed] = [line for line in lines if line["event"] == "store.probed"]
    assert [probed[name] for name in ("put", "copy", "multipart")] == ["yes"] * 3, probed
    assert set(bucket.objects()) == {f"{PREFIX}/file"}
    assert bucket.unfinished_uploads() == []
