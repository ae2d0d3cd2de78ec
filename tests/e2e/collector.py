"""A collector of traces and metrics: the protocol's own definitions, and nothing of the daemon's."""

from __future__ import annotations

import gzip
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


def attributes(pairs: Any) -> dict[str, Any]:
    """Attributes as a dictionary; no name may be there twice."""
    found = {pair.key: _value(pair.value) for pair in pairs}
    assert len(found) == len(pairs), pairs
    return found


class Received:
    """What has arrived so far."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.resources: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self._spans: list[Span] = []
        self._metrics: dict[str, Any] = {}

    def take_traces(self, request: Any) -> None:
        with self._lock:
            for resource in request.resource_spans:
                self.resources.append(attributes(resource.resource.attributes))
                for scope in resource.scope_spans:
                    self._spans.extend(scope.spans)

    def take_metrics(self, request: Any) -> None:
        with self._lock:
            for resource in request.resource_metrics:
                self.resources.append(attributes(resource.resource.attributes))
                for scope in resource.scope_metrics:
                    self._metrics.update({one.name: one for one in scope.metrics})

    def traces(self) -> dict[str, list[Span]]:
        """Spans by trace, in the order of their beginnings."""
        traces = defaultdict(list)
        with self._lock:
            for span in self._spans:
                traces[span.trace_id.hex()].append(span)
        for spans in traces.values():
            spans.sort(key=lambda span: (span.start_time_unix_nano, -span.end_time_unix_nano))
        return traces

    def trace_of(self, name: str) -> list[Span] | None:
        """The spans of the file's change, once it has come to its end."""
        for spans in self.traces().values():
            if any(attributes(span.attributes).get("file.path") == name for span in spans):
                return spans
        return None

    def metrics(self) -> dict[str, Any]:
        with self._lock:
            return dict(self._metrics)


class GrpcCollector(Received):
    """OTLP over gRPC."""

    def __init__(self) -> None:
        super().__init__()
        self._server = grpc.server(ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(self), self._server)
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(self), self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        self.endpoint = f"http://127.0.0.1:{port}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, received: Received) -> None:
        self.received = received

    def Export(self, request, context):  # noqa: N802, the protocol's name
        self.received.headers.append(dict(context.invocation_metadata()))
        self.received.take_traces(request)
        return trace_service_pb2.ExportTraceServiceResponse()


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, received: Received) -> None:
        self.received = received

    def Export(self, request, context):  # noqa: N802, the protocol's name
        self.received.headers.append(dict(context.invocation_metadata()))
        self.received.take_metrics(request)
        return metrics_service_pb2.ExportMetricsServiceResponse()


class HttpCollector(Received):
    """OTLP over HTTP, protobuf."""

    def __init__(self) -> None:
        super().__init__()
        received = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # noqa: N802, the library's name
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.headers["Content-Type"] == "application/x-protobuf"
                received.headers.append({name.lower(): value for name, value in self.headers.items()})
                if self.path == "/v1/traces":
                    received.take_traces(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
                elif self.path == "/v1/metrics":
                    received.take_metrics(metrics_service_pb2.ExportMetricsServiceRequest.FromString(body))
                else:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def by_name(spans: list[Span], name: str) -> list[Span]:
    return [span for span in spans if span.name == name]


def assert_sound(spans: list[Span]) -> None:
    """One root, every parent there and around its children, ids of the right length."""
    ids = {span.span_id: span for span in spans}
    assert len(ids) == len(spans)
    assert [span.name for span in spans if not span.parent_span_id] == [spans[0].name]
    for span in spans:
        assert (len(span.trace_id), len(span.span_id)) == (16, 8)
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        if span.parent_span_id:
            parent = ids[span.parent_span_id]
            assert parent.start_time_unix_nano <= span.start_time_unix_nano
            # The end of a request is measured by another clock than its beginning.
            assert span.end_time_unix_nano <= parent.end_time_unix_nano + 1_000_000


def shown(spans: list[Span]) -> str:
    """A trace as text: what began when, how long it took, and what went wrong."""
    begin = min(span.start_time_unix_nano for span in spans)
    ids = {span.span_id for span in spans}
    lines = [f"trace {spans[0].trace_id.hex()}"]

    def show(parent: bytes, depth: int) -> None:
        for span in spans:
            if (span.parent_span_id if span.parent_span_id in ids else b"") != parent:
                continue
            attrs = attributes(span.attributes)
            names = ("file.path", "file.size", "file_sync.result", "file_sync.attempt", "aws.s3.part_number", "error.type")
            notes = [f"{name.rpartition('.')[2]}={attrs[name]}" for name in names if name in attrs]
            if span.status.code == Status.STATUS_CODE_ERROR:
                notes.append(f"ERROR {span.status.message[:60]!r}")
            start = (span.start_time_unix_nano - begin) / 1e9
            took = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
            name = "  " * depth + span.name
            lines.append(f"{start:8.3f} s {took:8.3f} s  {name:<34} {'  '.join(notes)}".rstrip())
            show(span.span_id, depth + 1)

    show(b"", 0)
    return "\n".join(lines)
