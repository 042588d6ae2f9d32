"""A receiver of OpenTelemetry traces (OTLP over HTTP) on loopback; takes and decodes what comes."""

import gzip
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class TraceReceiver:
    """Spans by their trace's id, in hex; ``status`` is what it answers."""

    def __init__(self) -> None:
        self.status = 200
        self.traces: dict[str, list] = defaultdict(list)
        self.resources: list[dict[str, str]] = []
        self._answers = threading.Event()
        self._answers.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver._answers.wait(10.0)
                if receiver.status == 200 and self.path.partition("?")[0] == "/v1/traces":
                    receiver.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    def hold(self) -> threading.Event:
        """Answer nobody until the event is set."""
        self._answers.clear()
        return self._answers

    def take(self, request: ExportTraceServiceRequest) -> None:
        """Keep all spans of a request."""
        for group in request.resource_spans:
            about = group.resource.attributes
            self.resources.append({one.key: one.value.string_value for one in about})
            for scope in group.scope_spans:
                for span in scope.spans:
                    self.traces[span.trace_id.hex()].append(span)

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)
