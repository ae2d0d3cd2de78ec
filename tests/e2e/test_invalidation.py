"""Invalidations, as moto's CloudFront and a client of our own see them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from collector import GrpcCollector, Received, attributes, shown
from harness import PATIENCE, REGION, WORK, Bucket, Daemon, eventually, free_ports
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

OTHER = {"aws_access_key_id": "a", "aws_secret_access_key": "s", "region_name": REGION}


class CloudFront:
    """moto, with one distribution."""

    def __init__(self, directory: Path) -> None:
        port = free_ports(1)[0]
        self.endpoint = f"http://127.0.0.1:{port}"
        program = Path(sys.executable).parent / "moto_server"
        self.log = (directory / "moto.log").open("wb")
        self.process = subprocess.Popen(
            [str(program), "-H", "127.0.0.1", "-p", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        self.client = boto3.client("cloudfront", endpoint_url=self.endpoint, **OTHER)
        self.distribution = eventually("moto makes a distribution", self._make, 60)

    def _make(self) -> str | None:
        assert self.process.poll() is None, f"moto ended, see {self.log.name}"
        origin = {"Id": "o", "DomainName": "b.s3.amazonaws.com", "S3OriginConfig": {"OriginAccessIdentity": ""}}
        behaviour = {
            "TargetOriginId": "o",
            "ViewerProtocolPolicy": "allow-all",
            "MinTTL": 0,
            "ForwardedValues": {"QueryString": False, "Cookies": {"Forward": "none"}},
        }
        config = {
            "CallerReference": "r",
            "Comment": "",
            "Enabled": True,
            "Origins": {"Quantity": 1, "Items": [origin]},
            "DefaultCacheBehavior": behaviour,
        }
        try:
            return self.client.create_distribution(DistributionConfig=config)["Distribution"]["Id"]
        except (BotoCoreError, ClientError):
            return None

    def invalidations(self) -> list[list[str]]:
        """The paths of each invalidation, the first one first."""
        return [one["Paths"]["Items"] for one in self.made()]

    def made(self) -> list[dict]:
        listed = self.client.list_invalidations(DistributionId=self.distribution)["InvalidationList"]
        ids = [one["Id"] for one in sorted(listed.get("Items", []), key=lambda one: one["CreateTime"])]
        answers = [self.client.get_invalidation(DistributionId=self.distribution, Id=id) for id in ids]
        return [answer["Invalidation"]["InvalidationBatch"] for answer in answers]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.log.close()


@pytest.fixture
def cloudfront(place: Path, daemon: Daemon) -> Iterator[CloudFront]:
    server = CloudFront(place)
    daemon.env |= {
        "AWS_ENDPOINT_URL_CLOUDFRONT": server.endpoint,
        "FILE_SYNC__CLOUDFRONT_ENABLED": "true",
        "FILE_SYNC__CLOUDFRONT_DISTRIBUTION_ID": server.distribution,
        # Changes of a moment are one request, however slowly they arrive.
        "FILE_SYNC__CLOUDFRONT_BATCH_SECONDS": f"{max(1, PATIENCE):.0f}",
        "FILE_SYNC__OPEN_FILE_QUIET_SECONDS": "1",
    }
    yield server
    server.stop()


def _events(daemon: Daemon, event: str) -> list[dict]:
    lines = [json.loads(line) for line in daemon.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("event") == event]


def test_ten_changes_are_one_invalidation(daemon: Daemon, bucket: Bucket, cloudfront: CloudFront) -> None:
    folder = daemon.tree / "gallery"
    folder.mkdir()
    for number in range(10):
        (folder / f"{number}.jpg").write_text("first")
    assert daemon.run("once", seconds=60) == 0, daemon.tail()
    assert cloudfront.invalidations() == []

    daemon.start()
    eventually("it watches", lambda: _events(daemon, "scan.completed"), 30)
    for number in range(10):
        (folder / f"{number}.jpg").write_text("second")
    expected = [[f"/gallery/{number}.jpg" for number in range(10)]]
    eventually("one invalidation", lambda: cloudfront.invalidations() == expected, 30)
    eventually("it is known to be done", lambda: _events(daemon, "invalidation.completed"), 30)
    (folder / "3.jpg").unlink()
    eventually("the deletion, too", lambda: cloudfront.invalidations() == [*expected, ["/gallery/3.jpg"]], 30)
    assert daemon.terminate(seconds=30) == 0, daemon.tail()


def test_names_arrive_as_they_have_to_be_asked_for(daemon: Daemon, bucket: Bucket, cloudfront: CloudFront) -> None:
    names = {
        "with space.txt": "/site/with%20space.txt",
        "a+b&c.txt": "/site/a+b&c.txt",
        "100%.txt": "/site/100%25.txt",
        "größe/ä.txt": "/site/gr%C3%B6%C3%9Fe/%C3%A4.txt",
        "\N{GRINNING FACE}.png": "/site/%F0%9F%98%80.png",
    }
    daemon.env["FILE_SYNC__CLOUDFRONT_PATH_PREFIX"] = "site"
    (daemon.tree / "größe").mkdir()
    for content in ("first", "second"):
        for name in names:
            (daemon.tree / name).write_text(content)
        assert daemon.run("once", seconds=60) == 0, daemon.tail()
    assert cloudfront.invalidations() == [sorted(names.values())]


def test_killed_again_and_again_every_change_is_invalidated(daemon: Daemon, bucket: Bucket, cloudfront: CloudFront) -> None:
    names = [f"{number}.txt" for number in range(6)]
    for name in names:
        (daemon.tree / name).write_text("first")
    assert daemon.run("once", seconds=60) == 0, daemon.tail()
    for number, name in enumerate(names):
        daemon.start()
        eventually("it watches", lambda: _events(daemon, "scan.completed"), 30)
        (daemon.tree / name).write_text("second")
        # Now after the upload, now after the invalidation as well.
        event = "upload.completed" if number % 2 else "invalidation.created"
        eventually(event, lambda event=event: _events(daemon, event), 30)
        daemon.kill()
    assert daemon.run("once", seconds=60) == 0, daemon.tail()
    requested = [path for paths in cloudfront.invalidations() for path in paths]
    assert set(requested) == {f"/{name}" for name in names}
    # moto makes a new one of every request; CloudFront knows the reference of one that it has seen.
    made = cloudfront.made()
    assert len({(one["CallerReference"], *one["Paths"]["Items"]) for one in made}) == len(
        {one["CallerReference"] for one in made}
    ), "a reference never stands for other paths"


def test_an_unknown_distribution_leaves_uploads_alone(daemon: Daemon, bucket: Bucket, cloudfront: CloudFront) -> None:
    daemon.env["FILE_SYNC__CLOUDFRONT_DISTRIBUTION_ID"] = "EUNKNOWN"
    (daemon.tree / "file").write_text("first")
    assert daemon.run("once", seconds=60) == 0, daemon.tail()
    (daemon.tree / "file").write_text("second")
    assert daemon.run("once", seconds=60) == 75, daemon.tail()
    assert bucket.s3.get_object(Bucket=bucket.name, Key="mirror/file")["Body"].read() == b"second"
    failed = _events(daemon, "invalidation.failed")
    assert failed and failed[0]["error.type"] == "NoSuchDistribution", daemon.tail()
    # What was not requested waits, and goes to the right one.
    daemon.env["FILE_SYNC__CLOUDFRONT_DISTRIBUTION_ID"] = cloudfront.distribution
    assert daemon.run("once", seconds=60) == 0, daemon.tail()
    assert cloudfront.invalidations() == [["/file"]]


def test_one_tag_stands_for_a_directory(daemon: Daemon, bucket: Bucket, cloudfront: CloudFront) -> None:
    daemon.env["FILE_SYNC__CLOUDFRONT_CACHE_TAG"] = "cache-tag"
    daemon.env["FILE_SYNC__CLOUDFRONT_WILDCARD_THRESHOLD"] = "3"
    folder = daemon.tree / "größe, alle"
    folder.mkdir()
    for content in ("first", "second"):
        for number in range(5):
            (folder / f"{number}.jpg").write_text(content)
        assert daemon.run("once", seconds=60) == 0, daemon.tail()
    tag = "/mirror/gr=C3=B6=C3=9Fe=2C=20alle/"
    head = bucket.s3.head_object(Bucket=bucket.name, Key="mirror/größe, alle/0.jpg")
    assert head["Metadata"]["cache-tag"] == f"/mirror/,{tag}"
    assert cloudfront.invalidations() == [[f"#{tag}"]]


@pytest.fixture
def collector(daemon: Daemon) -> Iterator[Received]:
    received = GrpcCollector()
    daemon.env |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_METRICS_EXPORTER": "none",
    }
    yield received
    received.stop()


def _named(collector: Received, name: str) -> list[Span]:
    return [span for spans in collector.traces().values() for span in spans if span.name == name]


def test_the_trace_of_a_change_leads_to_its_invalidation_request(
    daemon: Daemon, bucket: Bucket, cloudfront: CloudFront, collector: Received
) -> None:
    (daemon.tree / "file").write_text("first")
    assert daemon.run("once", seconds=60) == 0, daemon.tail()
    # CloudFront is away, and the daemon killed before it is back.
    daemon.env["AWS_ENDPOINT_URL_CLOUDFRONT"] = f"http://127.0.0.1:{free_ports(1)[0]}"
    daemon.start()
    eventually("it watches", lambda: _events(daemon, "scan.completed"), 30)
    (daemon.tree / "file").write_text("second")
    call = "CloudFront.CreateInvalidation"
    failed = eventually("the failed request", lambda: _named(collector, call), 30)[0]
    assert failed.status.code == Status.STATUS_CODE_ERROR and _named(collector, "invalidate") == []
    daemon.kill()
    daemon.env["AWS_ENDPOINT_URL_CLOUDFRONT"] = cloudfront.endpoint
    daemon.start()
    whole = eventually("the request", lambda: _named(collector, "invalidate"), 30)[0]
    invalidated = eventually("the end of the change", lambda: _named(collector, "invalidated"), 30)[0]
    change = collector.traces()[invalidated.trace_id.hex()]
    (WORK / "trace-invalidated.txt").write_text(f"{shown(change)}\n{shown(collector.traces()[whole.trace_id.hex()])}\n")
    # Both lead to each other, and a restart has torn neither apart.
    uploaded = [span for span in change if span.name == "mirror upload"][0]
    assert invalidated.parent_span_id == uploaded.span_id
    assert [(link.trace_id, link.span_id) for link in invalidated.links] == [(whole.trace_id, whole.span_id)]
    assert [(link.trace_id, link.span_id) for link in whole.links] == [(uploaded.trace_id, uploaded.span_id)]
    assert (failed.trace_id, failed.parent_span_id) == (whole.trace_id, whole.span_id)
    assert attributes(whole.attributes)["file_sync.paths"] == 1
    # Its line in the log leads there.
    line = _events(daemon, "invalidation.created")[0]
    assert (line["trace_id"], line["span_id"]) == (whole.trace_id.hex(), whole.span_id.hex())
    assert cloudfront.invalidations() == [["/file"]]
