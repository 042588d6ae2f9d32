"""``POST /alpr_data``: plates from outside, answered once they are durable.

A bare plate and a group become one sighting each, ``alpr_results`` goes through the tracker like
the reads of our own workers. What a sighting has no place for is kept beside it. The publisher
commits to disk before it answers; when it is away or busy the answer is 503 with ``Retry-After``
and nothing was taken.
"""

import time
import zlib
from pathlib import Path
from typing import BinaryIO, Final, cast

import msgspec
from flask import Blueprint, Response, request

from api import payloads, posted
from api.endpoints import endpoint
from api.patience import SlowClientError
from api.payloads import AlprAlert, AlprGroup, AlprResults, BarePlate, Envelope
from api.problems import ProblemError
from engine.board import Count, Row
from engine.errors import PayloadError, SinkError
from engine.ingest_channel import IngestClient
from engine.scopes import Scope
from engine.store import Store
from engine.types import Evidence

CHUNK_BYTES: Final = 1 << 16
WITHOUT_PLATES: Final = frozenset({"vehicle", "heartbeat"})
"""What agents also send: understood, nothing to keep."""


class Accepted(msgspec.Struct, frozen=True):
    """The answer to a payload that was taken; ids of the sightings it became."""

    status: str = "success"
    sightings: tuple[str, ...] = ()


class IngestRoom:
    """Turns bodies into sightings and hands them to the publisher."""

    def __init__(
        self, ingest_path: str, row: Row, *, node: str, max_bytes: int, keep_payloads: bool
    ) -> None:
        """Take the publisher's socket; empty where no engine runs beside this front."""
        self._client = IngestClient(Path(ingest_path)) if ingest_path else None
        self._row = row
        self._node = node
        self._max_bytes = max_bytes
        self._keep_payloads = keep_payloads

    def take(self, content_type: str, encoding: str, body: BinaryIO, length: int) -> Accepted:
        """Take one posted body, of which ``length`` bytes are announced; 0 if it is not said.

        Raises:
            ProblemError: it cannot be taken as it is, or not now.
            PayloadError: it is malformed; names the field.
        """
        try:
            _check_type(content_type)
            self._check_length(length)
            accepted = self._publish(self._read(encoding, body))
        except (ProblemError, PayloadError):
            self._row.count(Count.INGEST_REFUSED)
            raise
        except SlowClientError:
            self._row.count(Count.INGEST_REFUSED)
            raise
        except OSError as error:  # the client hung up, stalled or chunked wrongly
            self._row.count(Count.INGEST_REFUSED)
            raise ProblemError(400, "the body ended too early", field="body") from error
        except SinkError as error:
            self._row.count(Count.INGEST_REFUSED)
            raise ProblemError(503, str(error), retry_after_s=1) from error
        self._row.count(Count.INGESTED)
        return accepted

    def _read(self, encoding: str, body: BinaryIO) -> bytes:
        """Read and inflate a body, never more of it than the limit."""
        encoding = encoding.strip().lower()
        if encoding in {"", "identity"}:
            whole = body.read(self._max_bytes + 1)
        elif encoding in {"gzip", "x-gzip"}:
            whole = self._inflate(body)
        else:
            raise ProblemError(415, "send it plain or with gzip", field="Content-Encoding")
        self._check_length(len(whole))
        return whole

    def _check_length(self, length: int) -> None:
        if length > self._max_bytes:
            raise ProblemError(
                413, f"the body is larger than {self._max_bytes} bytes", field="body"
            )

    def _inflate(self, body: BinaryIO) -> bytes:
        """Inflate gzip until its end or one byte over the limit."""
        inflater = zlib.decompressobj(wbits=31)
        whole = bytearray()
        try:
            while len(whole) <= self._max_bytes and not inflater.eof:
                chunk = inflater.unconsumed_tail or body.read(CHUNK_BYTES)
                if not chunk:
                    raise PayloadError("body", "the gzip data ends too early")
                whole += inflater.decompress(chunk, self._max_bytes + 1 - len(whole))
        except zlib.error as error:
            raise PayloadError("body", f"is no gzip data: {error}") from error
        return bytes(whole)

    def _publish(self, body: bytes) -> Accepted:
        """Hand over what a body holds and wait until it is durable."""
        envelope = payloads.decode(body, Envelope)
        kind = envelope.data_type or ("alpr_results" if envelope.results else "")
        if kind in WITHOUT_PLATES:
            return Accepted()
        if kind == "alpr_results":
            return self._publish_reads(payloads.decode(body, AlprResults))
        if kind == "alpr_group":
            return self._publish_group(payloads.decode(body, AlprGroup), body)
        if kind == "alpr_alert":
            return self._publish_group(payloads.decode(body, AlprAlert).group, body, "group.")
        if kind:
            raise PayloadError("data_type", f"{kind[:40]!r} is not known here")
        bare = payloads.decode(body, BarePlate)
        sighting = payloads.bare_sighting(bare, self._node, _now_ms())
        more = self._keep_payloads or posted.says_more(body)
        evidence = Evidence(payload=self._kept(body) if more else b"")
        done = self._connected().sighting(bare.uuid, sighting, evidence)
        return Accepted(sightings=(done.sighting_id,))

    def _kept(self, body: bytes) -> bytes:
        return posted.kept(body, whole=self._keep_payloads)

    def _publish_group(self, group: AlprGroup, body: bytes, within: str = "") -> Accepted:
        sighting, evidence = payloads.group_sighting(group, self._node, _now_ms(), within)
        evidence = msgspec.structs.replace(evidence, payload=self._kept(body))
        done = self._connected().sighting(group.best_uuid, sighting, evidence)
        return Accepted(sightings=(done.sighting_id,))

    def _publish_reads(self, results: AlprResults) -> Accepted:
        reads = payloads.frame_reads(results, _now_ms(), time.monotonic_ns())
        self._connected().reads(results.uuid, reads)
        return Accepted()

    def _connected(self) -> IngestClient:
        if self._client is None:
            raise SinkError("no engine runs beside this front")
        return self._client


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _check_type(content_type: str) -> None:
    """Refuse what says that it is no JSON; agents that say nothing are believed."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind and kind not in {"application/json", "text/json"} and not kind.endswith("+json"):
        raise ProblemError(415, "send JSON: Content-Type: application/json", field="Content-Type")


def blueprint(room: IngestRoom, store: Store) -> Blueprint:
    """Return the routes of this room."""
    routes = Blueprint("ingest", __name__)

    @routes.post("/alpr_data")
    @routes.post("/api/v1/ingest")
    @endpoint(needs=Scope.INGEST, answers=Accepted)
    def take() -> Accepted:
        """Take a bare plate or what an OpenALPR agent posts."""
        return room.take(
            request.headers.get("Content-Type", ""),
            request.headers.get("Content-Encoding", ""),
            cast("BinaryIO", request.environ["wsgi.input"]),
            request.content_length or 0,
        )

    @routes.get("/api/v1/sightings/<sighting_id>/payload")
    @endpoint(needs=Scope.READ, answers="application/json")
    def payload(sighting_id: str) -> Response:
        """What an agent posted, with all fields: whole if the configuration says so."""
        found = store.payload(sighting_id)
        if not found:
            raise ProblemError(404, "nothing was posted, or it has been kept long enough")
        return Response(found, mimetype="application/json")

    return routes
