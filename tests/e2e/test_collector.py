"""A real OpenTelemetry Collector decodes what the daemon exports, and forwards it to the tests."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from collector import HttpCollector, assert_sound, attributes, by_name
from harness import PATIENCE, ROOT, Bucket, Daemon, eventually, free_ports
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

PROGRAM = Path(os.environ.get("E2E_OTELCOL", ROOT / "target/tools/otelcol/otelcol")).resolve()
# What the store is makes no difference here.
pytestmark = pytest.mark.parametrize("server", ["dev-s3"], indirect=True)


class Otelcol:
    """The program of tests/e2e/otelcol, on loopback ports; nothing waits in its queue."""

    def __init__(self, place: Path, forward_to: str) -> None:
        place.mkdir()
        grpc, http = free_ports(2)
        self.ports = {"grpc": grpc, "http/protobuf": http}
        protocols = {"grpc": {"endpoint": f"127.0.0.1:{grpc}"}, "http": {"endpoint": f"127.0.0.1:{http}"}}
        forward = {"endpoint": forward_to, "sending_queue": {"enabled": False}}
        pipeline = {"receivers": ["otlp"], "exporters": ["otlp_http"]}
        config = {
            "receivers": {"otlp": {"protocols": protocols}},
            "exporters": {"otlp_http": forward},
            "service": {
                "telemetry": {"metrics": {"level": "none"}, "logs": {"encoding": "json"}},
                "pipelines": {"traces": pipeline, "metrics": pipeline},
            },
        }
        # JSON is YAML.
        (place / "config.yaml").write_text(json.dumps(config))
        self.log = place / "otelcol.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(PROGRAM), "--config", f"file:{place}/config.yaml"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def is_listening(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        for port in self.ports.values():
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                return False
        return True

    def problems(self) -> list[str]:
        """What it could not decode or forward, in its own words."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        assert lines, self.log.read_text()
        return [line["msg"] for line in lines if line["level"] not in ("debug", "info")]

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20 * PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def received() -> Iterator[HttpCollector]:
    """What the Collector forwards."""
    if not PROGRAM.exists():
        pytest.skip(f"an OpenTelemetry Collector: {PROGRAM} is missing; tests/e2e/otelcol/build makes it, with Go")
    one = HttpCollector()
    yield one
    one.stop()


@pytest.fixture
def otelcol(place: Path, received: HttpCollector) -> Iterator[Otelcol]:
    one = Otelcol(place / "otelcol", received.endpoint)
    try:
        eventually("the Collector listens", one.is_listening, 60)
        yield one
    finally:
        one.stop()


def exporting(daemon: Daemon, otelcol: Otelcol, protocol: str, compression: str) -> None:
    daemon.env |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{otelcol.ports[protocol]}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_COMPRESSION": compression,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.name=pod-1,k8s.namespace.name=here",
        "FILE_SYNC__DEBOUNCE_MILLISECONDS": "50",
    }


def started(daemon: Daemon) -> None:
    daemon.start()
    eventually("the first scan", lambda: "scan.completed" in daemon.log.read_text(), 30)


def publish(daemon: Daemon, name: str, text: str) -> None:
    """Complete from the first event on: each file is one change."""
    part = daemon.tree / f".{name}"
    part.write_text(text)
    part.rename(daemon.tree / name)


def log_lines(daemon: Daemon) -> list[dict]:
    return [json.loads(line) for line in daemon.log.read_text().splitlines()]


@pytest.mark.parametrize(("protocol", "compression"), [("grpc", "gzip"), ("grpc", ""), ("http/protobuf", "gzip")])
def test_a_collector_decodes_all_that_is_exported(
    daemon: Daemon, bucket: Bucket, otelcol: Otelcol, received: HttpCollector, protocol: str, compression: str
) -> None:
    exporting(daemon, otelcol, protocol, compression)
    started(daemon)
    for number in range(3):
        publish(daemon, f"{number}.txt", "x" * 100)
    eventually("all files", lambda: len(bucket.objects()) == 3, 60)
    (daemon.tree / "0.txt").unlink()
    eventually("one is deleted", lambda: len(bucket.objects()) == 2, 60)
    # The end exports what is left, of both.
    assert daemon.terminate(35) == 0
    assert otelcol.problems() == []

    whole = {"upload": "mirror upload", "delete": "mirror delete"}
    for name, operations in (("0.txt", {"upload", "delete"}), ("1.txt", {"upload"}), ("2.txt", {"upload"})):
        traces = {
            spans[0].name: spans
            for spans in received.traces().values()
            if attributes(spans[0].attributes).get("file.path") == name
        }
        assert traces.keys() == {whole[operation] for operation in operations}, name
        for operation in operations:
            assert_change(traces[whole[operation]], operation, bucket, name)

    resources = received.resources
    assert all(one == resources[0] for one in resources), resources
    assert resources[0]["service.name"] == "file-sync-service"
    assert (resources[0]["k8s.pod.name"], resources[0]["k8s.namespace.name"]) == ("pod-1", "here")
    assert {"service.version", "service.instance.id", "telemetry.sdk.name"} <= resources[0].keys()

    metrics = received.metrics()
    assert metrics["file_sync_upload_bytes_total"].sum.data_points[0].as_int == 300
    assert sum(point.count for point in metrics["file_sync_upload_duration_seconds"].histogram.data_points) == 3
    puts = [
        point.as_int
        for point in metrics["file_sync_s3_requests_total"].sum.data_points
        if attributes(point.attributes) == {"operation": "PutObject", "result": "success"}
    ]
    assert puts == [3]


def assert_change(spans: list[Span], operation: str, bucket: Bucket, name: str) -> None:
    """The change, its attempt below it, and the request below that."""
    assert_sound(spans)
    root = attributes(spans[0].attributes)
    assert (root["aws.s3.bucket"], root["aws.s3.key"]) == (bucket.name, f"mirror/{name}")
    (attempt,) = by_name(spans, operation)
    assert attempt.parent_span_id == spans[0].span_id
    requests = [span for span in spans if span.kind == Span.SPAN_KIND_CLIENT]
    assert f"S3.{'PutObject' if operation == 'upload' else 'DeleteObject'}" in {one.name for one in requests}
    assert all(one.parent_span_id == attempt.span_id for one in requests)
    assert all(one.status.code != Status.STATUS_CODE_ERROR for one in spans)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_the_trace_id_of_each_log_line_is_that_of_a_trace(
    daemon: Daemon, bucket: Bucket, otelcol: Otelcol, received: HttpCollector, protocol: str
) -> None:
    exporting(daemon, otelcol, protocol, "")
    started(daemon)
    for number in range(5):
        publish(daemon, f"{number}.txt", "x")
    eventually("all files", lambda: len(bucket.objects()) == 5, 60)
    assert daemon.terminate(35) == 0
    traces = received.traces()
    lines = [line for line in log_lines(daemon) if "file.path" in line]
    uploaded = {line["file.path"]: line["trace_id"] for line in lines if line["event"] == "upload.completed"}
    assert uploaded.keys() == {f"{number}.txt" for number in range(5)}
    for line in lines:
        assert line["trace_id"] in traces, line
        spans = traces[line["trace_id"]]
        assert line["span_id"] in {span.span_id.hex() for span in spans}, line
        assert attributes(spans[0].attributes)["file.path"] == line["file.path"]
    assert otelcol.problems() == []
