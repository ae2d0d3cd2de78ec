"""The config.yml of the original service works as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tree
from harness import REGION, Bucket, Daemon, Mirror, eventually

CONFIG = """\
watch_path: "{watch_path}"
s3_bucket: "{s3_bucket}"
s3_region: "{s3_region}"
s3_prefix: "mirror"
retry_file: "retry_queue.json"
retry_interval_seconds: 5
cloudfront_enabled: false
cloudfront_distribution_id: "E1EXAMPLE"
"""


@pytest.mark.parametrize("arguments", [(), ("-config", "etc/service.yml")], ids=["default-place", "one-dash"])
def test_the_original_config_starts_and_mirrors(
    daemon: Daemon, bucket: Bucket, place: Path, arguments: tuple[str, ...]
) -> None:
    path = place / (arguments[1] if arguments else "config.yml")
    path.parent.mkdir(exist_ok=True)
    path.write_text(CONFIG.format(watch_path=daemon.tree, s3_bucket=bucket.name, s3_region=REGION))
    # All that the file says comes from the file.
    for key in ("WATCH_PATH", "WATCH_MODE", "DELETE_LIMIT_COUNT", "S3_BUCKET", "S3_PREFIX", "RETRY_INTERVAL_SECONDS"):
        daemon.env[f"FILE_SYNC__{key}"] = ""
    daemon.env["AWS_REGION"] = ""

    # A queue as the original service leaves it behind: hints, no more.
    (daemon.tree / "was-waiting.txt").write_text("since before")
    daemon.state.mkdir()
    left = [{"path": str(daemon.tree / "was-waiting.txt"), "operation": "upload"}]
    (daemon.state / "retry_queue.json").write_text(json.dumps(left))

    mirror = Mirror(bucket, lambda: tree.wanted(daemon.tree))
    daemon.start(*arguments)
    mirror.wait_until_equal(daemon, 30)
    (daemon.tree / "sub").mkdir()
    (daemon.tree / "sub/file.txt").write_text("content, not an empty object")
    mirror.wait_until_equal(daemon, 30)
    assert "mirror/sub/file.txt" in bucket.objects()
    (daemon.tree / "sub/file.txt").unlink()
    mirror.wait_until_equal(daemon, 30)
    eventually("nothing waits", lambda: daemon.waiting() == 0, 30)
    assert daemon.terminate(35) == 0
