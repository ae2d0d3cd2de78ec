"""What others see of an object: read back by AWS's own command line."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import PREFIX, Bucket, Daemon, Server, Weed

AWS = Path(sys.executable).with_name("aws")
RULES = """\
object_rules:
  - match: "*.csv.gz"
    content_type: text/csv
    content_encoding: gzip
    cache_control: max-age=60
    content_disposition: attachment
    metadata: {made-by: nightly}
    tags: {team: data, stage: "two words"}
"""
# CRC64NVME of these very bytes, by hand and not by the program: the check value of the algorithm.
CHECKED, CRC64NVME = b"123456789", 0xAE8B14860A799888
MTIME = 1_700_000_000.25


def _aws(daemon: Daemon, *arguments: str) -> dict:
    """Nothing but what a person would set."""
    answer = subprocess.run(
        [str(AWS), "--endpoint-url", daemon.endpoint, "--output", "json", "s3api", *arguments],
        env=daemon.person(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


@pytest.mark.parametrize("server", ["seaweedfs", "dev-s3"], indirect=True)
def test_the_aws_cli_reads_back_head_tags_and_checksum(
    daemon: Daemon, bucket: Bucket, server: Server
) -> None:
    file = daemon.tree / "export" / "all.csv.gz"
    file.parent.mkdir()
    file.write_bytes(CHECKED)
    os.utime(file, (MTIME, MTIME))
    file.chmod(0o640)
    (daemon.tree / "plain.html").write_text("plain")
    config = daemon.place / "rules.yml"
    config.write_text(RULES)
    assert daemon.run("once", "--config", str(config), seconds=60) == 0, daemon.tail()

    at = ("--bucket", bucket.name, "--key", f"{PREFIX}/export/all.csv.gz")
    head = _aws(daemon, "head-object", *at, "--checksum-mode", "ENABLED")
    assert head["ContentLength"] == len(CHECKED)
    assert (head["ContentType"], head["ContentEncoding"]) == ("text/csv", "gzip")
    assert (head["CacheControl"], head["ContentDisposition"]) == ("max-age=60", "attachment")
    metadata = head["Metadata"]
    assert metadata["made-by"] == "nightly"
    assert float(metadata["mtime"]) == MTIME
    assert int(metadata["mode"], 8) & 0o7777 == 0o640
    if "ChecksumCRC64NVME" in head:
        assert base64.b64decode(head["ChecksumCRC64NVME"]) == CRC64NVME.to_bytes(8, "big")
    else:
        # SeaweedFS keeps none; the other server of this test does.
        assert isinstance(server, Weed)
    if isinstance(server, Weed):
        # The other one only keeps the header they came in, which tests/it reads.
        tags = {tag["Key"]: tag["Value"] for tag in _aws(daemon, "get-object-tagging", *at)["TagSet"]}
        assert tags == {"team": "data", "stage": "two words"}

    plain = _aws(daemon, "head-object", "--bucket", bucket.name, "--key", f"{PREFIX}/plain.html")
    assert plain["ContentType"].startswith("text/html")
    assert "CacheControl" not in plain and "made-by" not in plain["Metadata"]
