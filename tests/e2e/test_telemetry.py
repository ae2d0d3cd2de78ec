"""Traces and metrics, as a collector gets them that decodes them by the protocol's own definitions."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from collector import GrpcCollector, HttpCollector, Received, assert_sound, attributes, by_name, shown
from harness import WORK, Bucket, Daemon, Proxy, eventually, let_pass
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

# What the store is makes no difference here.
pytestmark = pytest.mark.parametrize("server", ["dev-s3"], indirect=True)


@pytest.fixture(params=["grpc", "http/protobuf"])
def collector(request: pytest.FixtureRequest, daemon: Daemon, proxy: Proxy) -> Iterator[Received]:
    """A collector that the daemon, not started yet, exports to, and an S3 that can be cut off."""
    kind = GrpcCollector if request.param == "grpc" else HttpCollector
    received = kind()
    daemon.endpoint = proxy.endpoint
    daemon.env |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": request.param,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=a%20secret",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
        "OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.name=pod-1,k8s.namespace.name=here",
        "FILE_SYNC__DEBOUNCE_MILLISECONDS": "50",
    }
    yield received
    received.stop()


def started(daemon: Daemon) -> None:
    daemon.start()
    eventually("the first comparison", lambda: "scan.completed" in daemon.log.read_text(), 30)


def test_a_slow_upload_shows_where_the_time_went(
    daemon: Daemon, bucket: Bucket, proxy: Proxy, collector: Received
) -> None:
    started(daemon)
    # The first try of all lists the bucket, which would be part of what is shown.
    (daemon.tree / "first.txt").write_text("first")
    eventually("the first file", lambda: bucket.objects(), 30)
    proxy.fall_silent()
    (daemon.tree / "slow.bin").write_bytes(b"x" * (20 << 20))
    let_pass(2)
    proxy.restore()
    spans = eventually("the trace", lambda: collector.trace_of("slow.bin"), 60)
    (WORK / f"trace-slow-{type(collector).__name__}.txt").write_text(shown(spans) + "\n")
    assert_sound(spans)
    whole, upload = spans[0], by_name(spans, "upload")[0]
    assert whole.name == "mirror upload"
    attrs = attributes(whole.attributes)
    assert attrs["file.size"] == 20 << 20 and attrs["file_sync.result"] == "success"
    assert (attrs["aws.s3.bucket"], attrs["aws.s3.key"]) == (bucket.name, "mirror/slow.bin")
    assert upload.end_time_unix_nano - upload.start_time_unix_nano > 1_000_000_000
    requests = [span for span in spans if span.kind == Span.SPAN_KIND_CLIENT]
    assert {"S3.CreateMultipartUpload", "S3.CompleteMultipartUpload"} <= {one.name for one in requests}
    parts = by_name(spans, "S3.UploadPart")
    assert sorted(attributes(part.attributes)["aws.s3.part_number"] for part in parts) == [1, 2, 3]
    for request in requests:
        attrs = attributes(request.attributes)
        assert attrs["rpc.system.name"] == "aws-api" and f"S3.{attrs['rpc.method']}" == request.name
        assert (attrs["aws.s3.bucket"], attrs["aws.s3.key"]) == (bucket.name, "mirror/slow.bin")
        assert attrs["http.response.status_code"] == 200 and attrs["aws.request_id"]
        assert attrs["aws.extended_request_id"] == "in memory"
        assert request.parent_span_id == upload.span_id
    assert daemon.terminate(35) == 0
    resource = collector.resources[0]
    assert (resource["service.name"], resource["k8s.pod.name"]) == ("file-sync-service", "pod-1")
    assert all(headers["x-key"] == "a secret" for headers in collector.headers)


def test_a_change_that_failed_is_kept_whatever_the_ratio(
    daemon: Daemon, bucket: Bucket, proxy: Proxy, collector: Received
) -> None:
    daemon.env |= {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    started(daemon)
    (daemon.tree / "fine.txt").write_text("fine")
    eventually("the first file", lambda: bucket.objects(), 30)
    proxy.refuse()
    (daemon.tree / "failing.txt").write_text("failing")

    def failed() -> list[Span]:
        return [span for spans in collector.traces().values() for span in by_name(spans, "upload")]

    # While it lasts: an operator does not wait for the end of an outage to see why.
    first = eventually("the failed try", failed, 30)[0]
    assert first.status.code == Status.STATUS_CODE_ERROR and attributes(first.attributes)["error.type"]
    proxy.restore()
    spans = eventually("the trace", lambda: collector.trace_of("failing.txt"), 60)
    (WORK / f"trace-failing-{type(collector).__name__}.txt").write_text(shown(spans) + "\n")
    assert_sound(spans)
    tries = by_name(spans, "upload")
    assert len(tries) >= 2 and tries[0].span_id == first.span_id
    assert tries[-1].status.code != Status.STATUS_CODE_ERROR
    # Its lines in the log lead here.
    lines = [json.loads(line) for line in daemon.log.read_text().splitlines()]
    lines = [line for line in lines if line.get("file.path") == "failing.txt"]
    assert {"upload.failed", "upload.completed"} <= {line["event"] for line in lines}
    for line in lines:
        assert line["trace_id"] == spans[0].trace_id.hex() and line["span_id"] == spans[0].span_id.hex()
        assert line["trace_flags"] == "01" or line["event"] == "change.queued"
    assert daemon.terminate(35) == 0
    assert list(collector.traces()) == [spans[0].trace_id.hex()], "the file that went well is not there"


def test_metrics_arrive_and_the_last_ones_at_the_end(
    daemon: Daemon, bucket: Bucket, proxy: Proxy, collector: Received
) -> None:
    daemon.env |= {"OTEL_METRIC_EXPORT_INTERVAL": "3600000", "OTEL_TRACES_EXPORTER": "none"}
    started(daemon)
    for number in range(10):
        (daemon.tree / f"{number}.txt").write_text("x" * 100)
    eventually("all files", lambda: len(bucket.objects()) == 10, 30)
    eventually("nothing waits", lambda: daemon.waiting() == 0, 30)
    assert collector.metrics() == {}, "nothing is sent before its time"
    assert daemon.terminate(35) == 0
    metrics, traces = collector.metrics(), collector.traces()
    assert traces == {}
    assert metrics["file_sync_upload_bytes_total"].sum.data_points[0].as_int == 1000
    assert sum(point.count for point in metrics["file_sync_lag_seconds"].histogram.data_points) == 10
    puts = {
        tuple(sorted(attributes(point.attributes).items())): point.as_int
        for point in metrics["file_sync_s3_requests_total"].sum.data_points
    }
    assert puts[(("operation", "PutObject"), ("result", "success"))] == 10
    assert metrics["file_sync_upload_duration_seconds"].unit == "s"
    names = "".join(str(metric) for metric in metrics.values())
    assert ".txt" not in names and "mirror/" not in names
