"""Makes the spans of traces with OpenTelemetry's library; imported only where there are traces."""

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from engine import __version__
from engine.board import Count, Row
from engine.trace_settings import TracesSettings
from engine.traces import Step

WITHIN_S: Final = 5.0
"""A receiver that takes longer has not taken them."""
GATHERED_MS: Final = 1_000
"""Spans wait for others so long, at most."""
LAST_SPANS_S: Final = 0.5
"""How long the end of a process may be delayed by its last spans."""
_LOW_BITS: Final = (1 << 64) - 1
_SAMPLED: Final = trace.TraceFlags(trace.TraceFlags.SAMPLED)

log = logging.getLogger(__name__)


class Spans:
    """See ``Traces``; spans wait in the library's bounded queue, its thread sends them."""

    def __init__(self, settings: TracesSettings, node: str, process: str, row: Row) -> None:
        """Send to ``settings.endpoint``; ``row`` is that of ``process``."""
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # we say it, and only once
        about = {
            "service.name": "platering",
            "service.version": __version__,
            "service.instance.id": f"{node}/{process}",
            "platering.node": node,
        }
        self._row = row
        self._ids = _Ids()
        self._provider = TracerProvider(
            sampler=TraceIdRatioBased(settings.share),
            resource=Resource.create(about),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        exporter = _Counting(OTLPSpanExporter(settings.endpoint, timeout=WITHIN_S), row)
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, schedule_delay_millis=GATHERED_MS)
        )
        self._tracer = self._provider.get_tracer("platering")

    def add(
        self, sighting: str, whole: Step | None, steps: Sequence[Step], about: Mapping[str, Any]
    ) -> None:
        """See ``Traces``."""
        try:
            trace_id = UUID(sighting).int
        except ValueError:
            return
        first_id = trace_id & _LOW_BITS
        if whole is not None:
            self._ids.chosen = trace_id, first_id
            self._span(whole, Context(), about)
        first = trace.SpanContext(trace_id, first_id, is_remote=True, trace_flags=_SAMPLED)
        parent = trace.set_span_in_context(trace.NonRecordingSpan(first), Context())
        for step in steps:
            self._span(step, parent, about)

    def _span(self, step: Step, parent: Context, about: Mapping[str, Any]) -> None:
        """Make a span, unless the trace is none of the chosen share."""
        span = self._tracer.start_span(
            step.name, parent, attributes=about, start_time=step.begin_ns
        )
        if span.is_recording():
            self._row.count(Count.TRACE_SPANS)
            span.end(max(step.end_ns, step.begin_ns))

    def close(self) -> None:
        """See ``Traces``."""
        last = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        last.start()
        last.join(LAST_SPANS_S)


class _Ids(RandomIdGenerator):
    """Random ids, unless those of the next trace and of its first span are chosen."""

    chosen = 0, 0

    def generate_trace_id(self) -> int:
        return self.chosen[0]

    def generate_span_id(self) -> int:
        (_, span_id), self.chosen = self.chosen, (0, 0)
        return span_id or super().generate_span_id()


class _Counting(SpanExporter):
    """Counts what another exporter sends; used by the library's thread alone."""

    def __init__(self, exporter: SpanExporter, row: Row) -> None:
        self._exporter = exporter
        self._row = row
        self._is_away = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        is_away = result is not SpanExportResult.SUCCESS
        which = Count.TRACE_SPANS_LOST if is_away else Count.TRACE_SPANS_SENT
        self._row.count(which, len(spans))
        if is_away and not self._is_away:
            log.warning("traces are lost: traces.endpoint does not take them")
        elif self._is_away and not is_away:
            log.info("traces.endpoint takes traces again")
        self._is_away = is_away
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)
