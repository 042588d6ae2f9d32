"""The typed messages between the supervisor, its children, the CLI and the API.

All are tagged MessagePack structs. A child holds one socket to the supervisor (``engine.process``);
descriptors travel beside a message with SCM_RIGHTS, in the order its docstring gives.
The public control socket (``control.sock`` in ``data_dir``) carries ``Request`` and ``Reply``.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Literal, TypeAlias

import msgspec

from engine.board import Kind, Seat
from engine.types import CameraEvent, CameraState, Evidence, FrameReads, Sighting


class Message(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Anything that crosses a socket of ours."""


# --- supervisor to child -------------------------------------------------------------------


class Start(Message, frozen=True, kw_only=True):
    """First message to every child: its seat, its section of the configuration, and who it is.

    ``section`` is the JSON of the section class that the child's main names. Descriptors: the API's
    listener for ``Kind.API``, the ingest listener for ``Kind.PUBLISHER``, none for the others.
    """

    seat: Seat
    name: str
    section: bytes
    log: bytes


class RingHandle(msgspec.Struct, frozen=True, kw_only=True):
    """All that is needed to map a ring: small, and worthless once its supervisor has ended."""

    ring: int
    """Unique in a run, from 1."""
    segment: str
    camera: int
    """Index of the camera's cells on the board."""
    camera_name: str
    width_px: int
    height_px: int
    format: str
    slots: int
    lossless: bool


class GrantRing(Message, frozen=True, kw_only=True):
    """To a decoder: write here. Descriptors: ready read, ready write, return read, tokens write.

    With ``draining`` it is an older ring that a dead predecessor had not emptied yet.
    """

    handle: RingHandle
    draining: bool = False


class RefuseRing(Message, frozen=True, kw_only=True):
    """To a decoder: there is no ring for it now, and why; it may ask again later."""

    reason: str


class AttachRing(Message, frozen=True, kw_only=True):
    """To a worker: take frames from here. Descriptors: ready read, return write."""

    handle: RingHandle
    weight: float
    regions: tuple[str, ...] = ()
    topn: int = 5
    openalpr: str = "{}"
    """The camera's ``[cameras.openalpr]`` table as JSON."""
    reread_s: float = 0.0
    """A plate known with certainty needs reading again after so long; 0: always."""


class DetachRing(Message, frozen=True, kw_only=True):
    """To a worker or API process: let go of this ring."""

    ring: int


class AttachReads(Message, frozen=True, kw_only=True):
    """A new reads channel. Descriptor: one end of it. To a worker its own, to the publisher each.

    ``worker`` and ``incarnation`` name the sender, so that the publisher knows repeats.
    """

    worker: str
    incarnation: int


class AttachClips(Message, frozen=True, kw_only=True):
    """A socket for clips. Descriptor: one end of it, to a decoder and to the publisher."""

    camera: str
    wanted: Literal["hits", "all"]
    """Of which sightings."""
    after_s: float
    """A clip goes on for so long after it was asked for."""
    most_bytes: int


class TakeStock(Message, frozen=True, kw_only=True):
    """To a decoder: a worker died while taking a frame; say which slots are outstanding."""

    ring: int


class Reclaim(Message, frozen=True, kw_only=True):
    """To a decoder: these (slot, generation) are in nobody's hands; free those not announced."""

    ring: int
    slots: tuple[tuple[int, int], ...]


class RenewRing(Message, frozen=True, kw_only=True):
    """To a decoder: leave this ring and ask for another; the pool has grown."""

    ring: int


class Pause(Message, frozen=True, kw_only=True):
    """To a decoder: stop or go on capturing."""

    paused: bool


class UseCamera(Message, frozen=True, kw_only=True):
    """To the publisher: a camera was added while running.

    ``camera`` is the JSON of ``engine.sections.PublishedCamera``.
    """

    camera: bytes


class TellCamera(Message, frozen=True, kw_only=True):
    """To the publisher: a camera turned; a publisher that was restarted hears all of them again."""

    event: CameraEvent


class EndUpload(Message, frozen=True, kw_only=True):
    """To the publisher: all frames of an upload are recognized, or ``failure`` says why not."""

    upload: str
    failure: str = ""


class UseLog(Message, frozen=True, kw_only=True):
    """To every child: log like this from now on. ``log`` is what ``Start.log`` is."""

    log: bytes


class Stop(Message, frozen=True, kw_only=True):
    """Finish what you hold, then end with exit code 0."""

    grace_s: float = 0.0
    """What is under way may take so long; 0: as long as the child itself thinks right."""


# --- child to supervisor -------------------------------------------------------------------


class Ready(Message, frozen=True, kw_only=True):
    """The child works; ``detail`` is one readable sentence for the start-up lines."""

    detail: str = ""


class WantRing(Message, frozen=True, kw_only=True):
    """A decoder knows its frames: make a ring for them; ``GrantRing`` or ``RefuseRing`` answers."""

    width_px: int
    height_px: int
    lossless: bool


class Outstanding(Message, frozen=True, kw_only=True):
    """A decoder's answer to ``TakeStock``: (slot, generation) that are READY, not announced."""

    ring: int
    slots: tuple[tuple[int, int], ...]


class RingDrained(Message, frozen=True, kw_only=True):
    """A decoder left this ring and every slot of it is free: remove it."""

    ring: int


class CameraTurned(Message, frozen=True, kw_only=True):
    """A decoder's camera changed its state; ``reason`` is readable and holds no secret."""

    state: CameraState
    reason: str = ""


class SinkFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How a sink is; counts are since the start of the publisher."""

    name: str
    """Of its place in the spool: ``redis``, ``kafka``, ``webhook:NAME`` …; never a URL."""
    waiting: int = 0
    """Events in the spool that it has not taken."""
    oldest_unix_ms: int = 0
    """When the oldest of them was written; 0: none waits."""
    away: bool = False
    taken: int = 0
    retries: int = 0
    failures: int = 0
    """Times it went away."""
    dead_letters: int = 0


class TellSinks(Message, frozen=True, kw_only=True):
    """The publisher's word, every second, on how its sinks are."""

    sinks: tuple[SinkFigures, ...]


class Failed(Message, frozen=True, kw_only=True):
    """The child cannot go on; said just before it exits with a code that names why."""

    reason: str


# --- public control socket -----------------------------------------------------------------


class Request(Message, frozen=True, kw_only=True):
    """A command to the supervisor: ``verb`` and its arguments."""

    verb: str
    arguments: dict[str, Any] = {}


class Reply(Message, frozen=True, kw_only=True):
    """The answer: ``error`` is empty when it was done."""

    error: str = ""
    result: Any = None


class CameraStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the supervisor knows of a camera: one item of the answer to ``status``."""

    name: str
    index: int
    """Of its cells on the board."""
    state: CameraState
    reason: str = ""
    """Why it is lost or connecting; readable, holds no secret."""
    ring: RingHandle | None = None
    ledger: dict[str, int] = {}
    """Frames (and findings) by fate, ``engine.board.Fate`` in lower case."""
    in_flight: int = 0
    """Frames whose fate is still open, counted from the slots."""
    oldest_unix_ms: int = 0
    """Capture time of the oldest of them; 0: none."""
    ring_bytes: int = 0
    """Shared memory that its rings take."""


class RestartReason(StrEnum):
    """Why a child had to be started again."""

    FAILED = "failed"
    """It ended by itself, with an exit code."""
    KILLED = "killed"
    """A signal from outside ended it, like the kernel's for want of memory."""
    STUCK = "stuck"
    """The supervisor killed it: it was silent, or beyond its deadline."""
    ORDERED = "ordered"
    """It was told to: by ``platering restart``, or for a change of the configuration."""

    @classmethod
    def of(cls, code: int, *, stuck: bool) -> "RestartReason":
        """Judge by the exit code, negative for a signal, and whether we sent that."""
        if stuck:
            return cls.STUCK
        return cls.FAILED if code >= 0 else cls.KILLED


class ProcessStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A child of the supervisor: one item of the answer to ``status``."""

    name: str
    kind: int
    """``engine.board.Kind``."""
    row: int
    pid: int = 0
    up: bool = True
    restarts: int = 0
    reasons: dict[RestartReason, int] = {}
    """The restarts by reason."""


class ReloadFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How often the configuration was read again, by what came of it."""

    applied: int = 0
    refused: int = 0
    """The file was wrong; the configuration stayed."""
    reverted: int = 0
    """A process could not work by it; the configuration of before was taken again."""
    applied_unix_ms: int = 0
    """When the present configuration was read."""


class ReloadReport(msgspec.Struct, frozen=True, kw_only=True):
    """The ``result`` of a ``reload`` request."""

    changes: tuple[str, ...] = ()
    """A readable line each; hold no secret."""


class EngineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The ``result`` of a ``status`` request, as builtins; further fields may stand beside."""

    node: str
    started_unix_ms: int = 0
    pid: int = 0
    """Of the supervisor."""
    redis_pid: int = 0
    """Of the embedded Redis; 0: there is none, or it is down."""
    recognizer: str = ""
    privacy: str = ""
    """These two as configured."""
    cameras: tuple[CameraStatus, ...] = ()
    processes: tuple[ProcessStatus, ...] = ()
    sinks: tuple[SinkFigures, ...] = ()
    uploads: tuple[str, ...] = ()
    """Ids of those that are read or wait."""
    renewing: tuple[str, ...] = ()
    """Processes and cameras that are to be replaced, the present one first, or to start."""
    renewal_failure: str = ""
    """Why the last replacement ended early; empty: it did not."""
    reloads: ReloadFigures = ReloadFigures()

    def running(self) -> Iterator[tuple[int, str, Kind]]:
        """Yield pid, name and kind of every process that is up; Redis's is ``Kind.FREE``."""
        if self.pid:
            yield self.pid, "supervisor", Kind.SUPERVISOR
        if self.redis_pid:
            yield self.redis_pid, "redis", Kind.FREE
        for process in self.processes:
            if process.up and process.pid:
                yield process.pid, process.name, Kind(process.kind)


# --- reads channel: worker to publisher and back ----------------------------------------------


class ReadsRecord(Message, frozen=True, kw_only=True):
    """One frame's reads with the worker's own sequence number, from 1 in each incarnation."""

    sequence: int
    camera_index: int
    reads: FrameReads
    recognized_monotonic_ns: int = 0
    """When recognition ended; 0 where the sender does not say."""
    offered_monotonic_ns: int = 0
    """When the frame was in its slot; 0 where the sender does not say."""
    begun_monotonic_ns: int = 0
    """When its recognition began."""


class ReadsAck(Message, frozen=True, kw_only=True):
    """The publisher has committed everything up to this sequence number."""

    sequence: int


# --- clip channel: publisher to decoder and back ----------------------------------------------


class WantClip(Message, frozen=True, kw_only=True):
    """Make a clip of the last seconds, and of the next few, for this sighting."""

    sighting: str


class ClipCut(Message, frozen=True, kw_only=True):
    """Here it is. Descriptor: memory that holds the file; none where ``error`` says why."""

    sighting: str
    error: str = ""


# --- ingest channel: API to publisher -----------------------------------------------------------


class IngestReads(Message, frozen=True, kw_only=True):
    """Reads of a foreign recognizer, to go through the tracker (``alpr_results``)."""

    request: int
    uuid: str
    reads: FrameReads


class IngestSighting(Message, frozen=True, kw_only=True):
    """A finished sighting (a bare plate, or an ``alpr_group``); ``uuid`` empty: never a repeat."""

    request: int
    uuid: str
    sighting: Sighting
    evidence: Evidence = Evidence()


class ForgetPlates(Message, frozen=True, kw_only=True):
    """Let go of all that is known of these texts, open tracks and what waits among it.

    It is done only when Redis is sent nothing more of them that was known before.
    """

    request: int
    plates: tuple[str, ...]


class IngestDone(Message, frozen=True, kw_only=True):
    """It is durable (``error`` empty), or refused for this reason."""

    request: int
    error: str = ""
    sighting_id: str = ""
    forgotten: int = 0
    """Events that waited in the spool."""


ToChild: TypeAlias = (
    Start
    | GrantRing
    | RefuseRing
    | AttachRing
    | DetachRing
    | AttachReads
    | AttachClips
    | TakeStock
    | Reclaim
    | RenewRing
    | UseCamera
    | TellCamera
    | EndUpload
    | Pause
    | UseLog
    | Stop
)
ToSupervisor: TypeAlias = (
    Ready | WantRing | Outstanding | RingDrained | CameraTurned | TellSinks | Failed
)
FromApi: TypeAlias = IngestReads | IngestSighting | ForgetPlates
ToPublisher: TypeAlias = ReadsRecord | FromApi
FromPublisher: TypeAlias = ReadsAck | IngestDone
Control: TypeAlias = Request | Reply

_encoder = msgspec.msgpack.Encoder()

encode = _encoder.encode
"""Message to bytes."""


class Decoder(msgspec.Struct, frozen=True):
    """Decoders of the sockets; each refuses what does not belong there (ValidationError)."""

    to_child: msgspec.msgpack.Decoder[ToChild] = msgspec.msgpack.Decoder(ToChild)
    to_supervisor: msgspec.msgpack.Decoder[ToSupervisor] = msgspec.msgpack.Decoder(ToSupervisor)
    to_publisher: msgspec.msgpack.Decoder[ToPublisher] = msgspec.msgpack.Decoder(ToPublisher)
    from_publisher: msgspec.msgpack.Decoder[FromPublisher] = msgspec.msgpack.Decoder(FromPublisher)
    control: msgspec.msgpack.Decoder[Control] = msgspec.msgpack.Decoder(Control)
    to_clip_giver: msgspec.msgpack.Decoder[WantClip] = msgspec.msgpack.Decoder(WantClip)
    from_clip_giver: msgspec.msgpack.Decoder[ClipCut] = msgspec.msgpack.Decoder(ClipCut)


DECODE = Decoder()
