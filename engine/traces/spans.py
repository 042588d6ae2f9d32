"""Makes the spans of traces with OpenTelemetry's library; imported only where there are traces."""

import logging
import threading
import zlib
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
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from engine import __version__
from engine.board import Count, Row
from engine.trace_settings import TracesSettings
from engine.traces import Step

WITHIN_S: Final = 5.0
"""A receiver that takes longer has not taken them."""
GATHERED_MS: Final = 1_000
"""Spans wait for others so long, at most."""
MOST_WAITING: Final = 2_048
"""Spans that wait at once; while a receiver keeps so many waiting, newer ones are lost."""
LAST_SPANS_S: Final = 0.5
"""How long the end of a process may be delayed by its last spans."""
_LOW_BITS: Final = (1 << 64) - 1
_SAMPLED: Final = trace.TraceFlags(trace.TraceFlags.SAMPLED)

log = logging.getLogger(__name__)


class Spans:
    """See ``Traces``; spans wait in the library's bounded queue, its thread sends them."""

    def __init__(self, settings: TracesSettings, node: str, process: str, row: Row) -> None:
        """Send to ``settings.endpoint``; ``row`` is that of ``process``."""
        for library in ("opentelemetry", "urllib3"):  # we say it, only once, and never the URL
            logging.getLogger(library).setLevel(logging.CRITICAL)
        about = {
            "service.name": "platering",
            "service.version": __version__,
            "service.instance.id": f"{node}/{process}",
            "platering.node": node,
        }
        self._row = row
        self._share = settings.share
        self._ids = _Ids()
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.create(about),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._exporter = _Counting(OTLPSpanExporter(settings.endpoint, timeout=WITHIN_S), row)
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=MOST_WAITING,
                schedule_delay_millis=GATHERED_MS,
            )
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
        if not _is_chosen(trace_id, self._share):
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
        """Make a span, unless too many wait."""
        self._row.count(Count.TRACE_SPANS)
        if self._exporter.waiting >= MOST_WAITING:
            self._exporter.overflowed += 1
            return
        self._exporter.given += 1
        span = self._tracer.start_span(
            step.name, parent, attributes=about, start_time=step.begin_ns
        )
        span.end(max(step.end_ns, step.begin_ns))

    def close(self) -> None:
        """See ``Traces``."""
        last = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        last.start()
        last.join(LAST_SPANS_S)


def _is_chosen(trace_id: int, share: float) -> bool:
    """Tell whether a trace is one of the share.

    Only a checksum spreads evenly: a UUID says its version, its time and, ours do, the node.
    """
    return zlib.crc32(trace_id.to_bytes(16)) < share * (1 << 32)


class _Ids(RandomIdGenerator):
    """Random ids, unless those of the next trace and of its first span are chosen."""

    chosen = 0, 0

    def generate_trace_id(self) -> int:
        return self.chosen[0]

    def generate_span_id(self) -> int:
        (_, span_id), self.chosen = self.chosen, (0, 0)
        return span_id or super().generate_span_id()


class _Counting(SpanExporter):
    """Counts what another exporter sends; the library's thread calls it."""

    def __init__(self, exporter: SpanExporter, row: Row) -> None:
        self._exporter = exporter
        self._row = row
        self._is_away = False
        self.given = 0
        """Spans that were made; whoever makes them counts this and the next one."""
        self.overflowed = 0
        """Spans that were not, as too many waited."""
        self._taken = 0
        self._overflowed_told = 0

    @property
    def waiting(self) -> int:
        """How many wait, those that are being sent included."""
        return self.given - self._taken

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        self._taken += len(spans)
        more, self._overflowed_told = self.overflowed - self._overflowed_told, self.overflowed
        self._row.count(Count.TRACE_SPANS_LOST, more)
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
