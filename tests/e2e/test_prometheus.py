"""A real Prometheus evaluates the shipped rules; alerts fire while something is wrong, and end after it."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
import yaml
from harness import PATIENCE, ROOT, Bucket, Daemon, NotYet, Proxy, eventually, free_ports

# A disk that is nearly full is the machine's own affair.
OF_THE_MACHINE = {"FileSyncStateVolumeFilling"}
RULES = ROOT / "monitoring/alerts.yaml"
# What the store is makes no difference here.
pytestmark = pytest.mark.parametrize("server", ["dev-s3"], indirect=True)


def faster(rules: str) -> str:
    """A minute of the rules is a second here: durations, ranges, and the quarter of an hour that two of them count."""
    rules = re.sub(r"\b(\d+)h\b", lambda found: f"{int(found[1]) * 60}m", rules)
    rules = re.sub(r"(for: |\[)(\d+)m\b", r"\1\2s", rules)
    return re.sub(r"\b900\b", "15", rules)


class Prometheus:
    """Debian's, on a loopback port of its own."""

    def __init__(self, place: Path, targets: list[int]) -> None:
        program = shutil.which("prometheus")
        if program is None:
            pytest.skip("Prometheus: Debian's package prometheus is not installed")
        place.mkdir()
        (place / "rules.yaml").write_text(faster(RULES.read_text()))
        scrape = {
            "job_name": "file-sync-service",
            "static_configs": [{"targets": [f"127.0.0.1:{one}" for one in targets]}],
        }
        config = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": ["rules.yaml"]}
        (place / "prometheus.yml").write_text(yaml.safe_dump(config | {"scrape_configs": [scrape]}))
        (port,) = free_ports(1)
        self.url, self.http = f"http://127.0.0.1:{port}", urllib3.PoolManager(retries=False, timeout=10 * PATIENCE)
        words = [program, f"--config.file={place}/prometheus.yml", f"--storage.tsdb.path={place}/data"]
        self.log = (place / "prometheus.log").open("wb")
        self.process = subprocess.Popen(
            [*words, f"--web.listen-address=127.0.0.1:{port}"],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def get(self, path: str) -> dict:
        assert self.process.poll() is None, f"Prometheus ended, see {self.log.name}"
        try:
            return json.loads(self.http.request("GET", f"{self.url}/api/v1/{path}").data)["data"]
        except (urllib3.exceptions.HTTPError, ValueError):
            return {}

    def rules(self) -> list[dict]:
        return [rule for group in self.get("rules").get("groups", []) for rule in group["rules"]]

    def firing(self) -> set[str]:
        alerts = self.get("alerts").get("alerts", [])
        return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"} - OF_THE_MACHINE

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.log.close()


@pytest.fixture
def shards(daemon: Daemon, proxy: Proxy, place: Path) -> Iterator[list[Daemon]]:
    """Two that share the tree, not started yet; the second has a record of its own."""
    daemon.endpoint = proxy.endpoint
    other = Daemon(place / "other", daemon.bucket, proxy.endpoint, daemon.identity)
    other.place.mkdir()
    for number, (one, port) in enumerate(zip((daemon, other), free_ports(2), strict=True)):
        one.env |= {
            "FILE_SYNC__WATCH_PATH": str(daemon.tree),
            "FILE_SYNC__LISTEN_ADDRESS": f"127.0.0.1:{port}",
            "FILE_SYNC__SHARD_COUNT": "2",
            "FILE_SYNC__SHARD_INDEX": str(number),
            "FILE_SYNC__DELETE_LIMIT_COUNT": "2",
            "FILE_SYNC__DELETE_LIMIT_PERCENT": "10",
            "FILE_SYNC__RETRY_INTERVAL_SECONDS": "2",
        }
    yield [daemon, other]
    other.kill()


@pytest.fixture
def prometheus(place: Path, shards: list[Daemon]) -> Iterator[Prometheus]:
    ports = [int(one.env["FILE_SYNC__LISTEN_ADDRESS"].rpartition(":")[2]) for one in shards]
    one = Prometheus(place / "prometheus", ports)
    yield one
    one.stop()


def shipped() -> list[str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return sorted(rule.get("alert") or rule["record"] for group in groups for rule in group["rules"])


def test_every_rule_is_evaluated_and_what_is_wrong_fires_its_alert(
    shards: list[Daemon], prometheus: Prometheus, bucket: Bucket, proxy: Proxy
) -> None:
    first, second = shards

    def fires(*names: str) -> None:
        eventually(f"{names} fire", lambda: set(names) <= prometheus.firing(), 90)

    def is_quiet() -> None:
        try:
            eventually("no alert fires", lambda: prometheus.rules() and not prometheus.firing(), 60)
        except NotYet as late:
            raise NotYet(f"{late}: {prometheus.firing()}") from None

    for number in range(40):
        folder = first.tree / f"folder-{number}"
        folder.mkdir()
        (folder / "file").write_text(str(number))
    first.start()
    fires("FileSyncShardMissing", "FileSyncDown")
    second.start()
    eventually("all is mirrored", lambda: len(bucket.objects()) == 40, 60)
    is_quiet()

    rules = prometheus.rules()
    assert sorted(one["name"] for one in rules) == shipped()
    assert {one["health"] for one in rules} == {"ok"}, [one.get("lastError") for one in rules]

    proxy.refuse()
    for number in range(40):
        (first.tree / f"folder-{number}/during").write_text("while S3 was away")
    fires("FileSyncS3Unavailable", "FileSyncBacklogOld", "FileSyncNoSuccess")
    proxy.restore()
    eventually("the rest is mirrored", lambda: len(bucket.objects()) == 80, 120)
    is_quiet()

    kept = {path: path.read_text() for path in first.tree.rglob("file")}
    for path in kept:
        path.unlink()
    fires("FileSyncDeletesHeld")
    assert len(bucket.objects()) == 80
    for path, text in kept.items():
        path.write_text(text)
    is_quiet()

    second.kill()
    fires("FileSyncDown", "FileSyncShardMissing")
    with contextlib.suppress(AssertionError):
        second.kill()
