"""A recognizer worker: takes the frame of the camera that waited longest, reads it in place.

Run as ``python -m engine.worker FD``. ``Start`` brings the descriptors of the token pipe (read,
write); rings and the reads channel come and go over the link while it works.
"""

import contextlib
import logging
import os
import select
import socket
import time
from typing import Final

import msgspec

from engine.attention import known_plates
from engine.board import BUSY, BUSY_NS, RECOGNIZERS, STATE, Fate, Kind, Stage
from engine.config import CameraOpenAlprSettings
from engine.errors import PreflightError, RecognizerError, RingError
from engine.evidence import crop_jpeg, frame_jpeg
from engine.feedback import Feedback
from engine.messages import AttachReads, AttachRing, DetachRing, Ready, Stop
from engine.process import Child, run_child
from engine.reads_channel import ReadsSender
from engine.recognizers.base import ColourReader, RecognizeHints, Recognizer
from engine.recognizers.registry import Opened, open_recognizer
from engine.ring import Lease, RingTaker
from engine.ring_memory import OFFERED, TAKEN, RingMemory, Tokens
from engine.sections import WorkerSection
from engine.types import Box, FrameReads, PlateRead
from engine.uploads import upload_of

IDLE_S: Final = 0.5
"""An idle worker completes a turn at least this often."""
ATTEND_NS: Final = 2_000_000
"""A busy worker hears the supervisor and the publisher at least this often between frames."""
SETTLE_S: Final = 3.5
"""How long a stopping worker waits for the publisher to commit its last reads: one that was just
killed must come back for them. Less than the worker's own phase in ``engine.ending``."""
FRAME_GAIN: Final = 3.0
"""A frame picture is encoded again when the plate's confidence beats the last one by this."""
REMEMBERED_PLATES: Final = 256

log = logging.getLogger(__name__)


class _Guide(msgspec.Struct, frozen=True):
    """What is known of a ring's camera."""

    hints: RecognizeHints
    feedback: Feedback
    reread_ns: int


class Worker:
    """The loop of one worker; single-threaded, so that a lease line has one writer."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._row = child.row
        self._link = child.link
        self._section = msgspec.json.decode(child.section, type=WorkerSection)
        opened = self._opened()
        self._recognizer: Recognizer = opened.recognizer
        name = opened.recognizer.name
        child.row.words[STATE] = 1 + RECOGNIZERS.index(name) if name in RECOGNIZERS else 0
        if opened.problem:
            log.warning("%s", opened.problem)
        self._sender = ReadsSender(child.row)
        self._rings: dict[int, RingTaker] = {}
        self._takers: list[RingTaker] = []
        """Those of ``_rings``, to be looked through for every frame."""
        self._guides: dict[int, _Guide] = {}
        self._pictured: dict[tuple[int, str], float] = {}
        self._attend_at_ns = 0
        self._stopping = False
        self._tokens_read, tokens_write = child.fds
        self._tokens = Tokens(tokens_write)
        self._control = select.epoll()
        self._control.register(self._link, select.EPOLLIN)
        self._idle = select.epoll()
        self._idle.register(self._control, select.EPOLLIN)
        self._idle.register(self._tokens_read, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        self._link.send(Ready(detail=opened.why))

    def _opened(self) -> Opened:
        """Open the recognizer; what cannot start at the first time will not start later, either.

        Raises:
            PreflightError: at the first start: the run ends.
            RecognizerError: at a later one, when it has worked before: it is tried again.
        """
        try:
            section = self._section
            return open_recognizer(section.recognizer, section.openalpr_settings, section.provider)
        except RecognizerError as error:
            if self._child.incarnation > 1:
                raise
            raise PreflightError(f"recognizer: {error}") from error

    def run(self) -> None:
        """Work until told to stop; then settle what is held."""
        while not (self._stopping or self._child.stopping()):
            leases = self._take_batch()
            self._row.words[BUSY] = bool(leases)
            for lease in leases:
                self._recognize(lease)
            self._row.words[BUSY] = 0
            now_ns = time.monotonic_ns()
            self._row.beat(now_ns)
            if not leases or now_ns >= self._attend_at_ns:
                self._attend_at_ns = now_ns + ATTEND_NS
                self._attend(wait=not leases)
        self._settle()

    def _take_batch(self) -> list[Lease]:
        """Lease up to a batch of frames, those of the longest waiting cameras first."""
        first = self._take_longest_waiting(0)
        if first is None:
            return []
        leases = [first]
        if self._section.batch > 1:
            self._fill_batch(leases)
        return leases

    def _fill_batch(self, leases: list[Lease]) -> None:
        """Lease more frames until the batch is full or has been open for too long."""
        deadline_ns = time.monotonic_ns() + int(self._section.batch_wait_ms * 1e6)
        while len(leases) < self._section.batch:
            lease = self._take_longest_waiting(len(leases))
            left_ns = deadline_ns - time.monotonic_ns()
            if lease is not None:
                leases.append(lease)
            elif left_ns <= 0:
                break
            else:
                select.select([self._tokens_read], [], [], left_ns / 1e9)
                self._consume_token()

    def _take_longest_waiting(self, line: int) -> Lease | None:
        """Lease the next frame, or None; if other cameras wait, too, another worker is woken."""
        waiting = [ring for ring in self._takers if ring.words[TAKEN] < ring.words[OFFERED]]
        if len(waiting) > 1:
            now_ns = time.monotonic_ns()
            waiting.sort(key=lambda ring: ring.waited_ns(now_ns), reverse=True)
        for ring in waiting:
            lease = ring.take(line)
            if lease is not None:
                if len(waiting) > 1 or ring.words[TAKEN] < ring.words[OFFERED]:
                    self._tokens.put()
                return lease
        return None

    def _recognize(self, lease: Lease) -> None:
        """Read one leased frame in place, hand its reads over, give the slot back."""
        ring, started_ns = lease.ring, time.monotonic_ns()
        ring.begin(lease, started_ns)
        self._row.observe(Stage.SLOT_TO_LEASE, started_ns - lease.offered_ns)
        fate = Fate.RECOGNIZED
        try:
            hints = self._hints(lease, self._guides[ring.handle.ring])
            reads = self._read(lease, hints)
        except RecognizerError as error:
            log.warning("%s", error, extra={"camera": ring.handle.camera_name})
            reads, fate = [], Fate.FAILED_ERROR
        recognized_ns = time.monotonic_ns()
        elapsed_ns = recognized_ns - started_ns
        self._row.observe(Stage.RECOGNIZE, elapsed_ns)
        self._row.words[BUSY_NS] += elapsed_ns
        for read in reads:
            self._row.add_confidence(read.confidence)
        if reads or upload_of(ring.handle.camera_name):  # those who wait for it see it advance
            self._row.fate(ring.handle.camera, Fate.PLATE_READS, len(reads))
            told, offered_ns = self._with_evidence(lease, reads), lease.offered_ns
            self._sender.send(
                ring.handle.camera, told, recognized_ns, offered_ns=offered_ns, begun_ns=started_ns
            )
        if fate is Fate.RECOGNIZED:
            lag_ns = max(recognized_ns - lease.stamp.captured_monotonic_ns, 0)
            self._row.fate(ring.handle.camera, Fate.LAG_US, lag_ns // 1_000)
        ring.give_back(lease, fate)

    def _read(self, lease: Lease, hints: RecognizeHints) -> list[PlateRead]:
        """Return the plates of a frame; colour goes to recognizers that take it as it lies."""
        if lease.ring.handle.format == "bgr24" and isinstance(self._recognizer, ColourReader):
            return self._recognizer.recognize_colour(lease.ring.memory.frame(lease.slot), hints)
        return self._recognizer.recognize(lease.luma, hints)

    def _hints(self, lease: Lease, guide: "_Guide") -> RecognizeHints:
        """Say where to look in this frame, and which plates are known with certainty."""
        areas, camera = lease.areas, lease.ring.handle.camera
        known: tuple[Box, ...] = ()
        if guide.reread_ns:
            unix_ns = lease.stamp.captured_unix_ns
            known = known_plates(guide.feedback.places(), unix_ns, guide.reread_ns)
        if areas:
            self._row.fate(camera, Fate.FRAMES_FOCUSED)
        if known:
            self._row.fate(camera, Fate.PLATES_SPARED, len(known))
        if not (areas or known):
            return guide.hints
        return msgspec.structs.replace(guide.hints, areas=areas, known=known)

    def _with_evidence(self, lease: Lease, reads: list[PlateRead]) -> FrameReads:
        """Put the reads together with their pictures, copied out of the slot."""
        handle = lease.ring.handle
        frame = lease.ring.memory.frame(lease.slot)
        return FrameReads(
            stamp=lease.stamp,
            reads=tuple(reads),
            crops=tuple(crop_jpeg(frame, handle.height_px, read.box) for read in reads),
            frame_jpeg=self._frame_picture(lease, reads),
            recognizer_version=self._recognizer.version,
        )

    def _frame_picture(self, lease: Lease, reads: list[PlateRead]) -> bytes:
        """Encode the frame when a read of it beats what was pictured of that plate before."""
        camera = lease.ring.handle.camera
        better = [
            read
            for read in reads
            if read.confidence > self._pictured.get((camera, read.plate), -FRAME_GAIN) + FRAME_GAIN
        ]
        for read in better:
            self._pictured.pop((camera, read.plate), None)
            self._pictured[camera, read.plate] = read.confidence
        while len(self._pictured) > REMEMBERED_PLATES:
            del self._pictured[next(iter(self._pictured))]
        if not better:
            return b""
        return frame_jpeg(lease.ring.memory.frame(lease.slot), lease.ring.handle.height_px)

    def _attend(self, *, wait: bool) -> None:
        """Hear the supervisor and the publisher; without work, sleep until a token comes."""
        if wait:
            channel = self._sender.fileno()
            if channel >= 0:
                wanted = select.EPOLLIN | (select.EPOLLOUT if self._sender.has_unsent else 0)
                self._control.modify(channel, wanted)
            self._idle.poll(IDLE_S)
            self._consume_token()
        for fd, _event in self._control.poll(0):
            if fd == self._link.fileno():
                self._hear_supervisor()
            else:
                self._sender.receive_acks()
                self._sender.flush()

    def _consume_token(self) -> None:
        """Take one wake-up off the pipe, if another worker was not faster."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._tokens_read, 1)

    def _hear_supervisor(self) -> None:
        """Do what one message says."""
        received = self._link.receive()
        if received is None:
            return
        message, fds = received
        match message:
            case AttachRing():
                self._attach(message, fds)
            case DetachRing(ring=ring):
                self._detach(ring)
            case AttachReads():
                self._sender.attach(socket.socket(fileno=fds[0]))
                if self._sender.fileno() >= 0:  # else that publisher has died, too
                    self._control.register(self._sender, select.EPOLLIN)
            case Stop():
                self._stopping = True
            case _:
                log.warning("ignored %s", type(message).__name__)

    def _detach(self, ring: int) -> None:
        """Let go of a ring, unless it was gone before it could be attached."""
        if ring in self._rings:
            taker = self._rings.pop(ring)
            self._takers.remove(taker)
            taker.close()
            del self._guides[ring]

    def _attach(self, attach: AttachRing, fds: list[int]) -> None:
        """Take frames from one more ring, unless it is gone again already."""
        handle = attach.handle
        try:
            memory = RingMemory.attach(handle)
        except RingError as error:
            log.info("not attached: %s", error, extra={"camera": handle.camera_name})
            for fd in fds:
                os.close(fd)
            return
        taker = RingTaker(memory, self._row, fds[0], fds[1], attach.weight)
        self._rings[handle.ring] = taker
        self._takers.append(taker)
        feedback = Feedback(self._child.board, handle.camera)
        openalpr = CameraOpenAlprSettings.model_validate_json(attach.openalpr)
        hints = RecognizeHints(attach.regions, attach.topn, openalpr=openalpr)
        self._guides[handle.ring] = _Guide(hints, feedback, int(attach.reread_s * 1e9))
        self._tokens.put()

    def _settle(self) -> None:
        """Wait a little for the publisher to commit the last reads."""
        deadline = time.monotonic() + SETTLE_S
        while not self._sender.is_settled and time.monotonic() < deadline:
            self._sender.flush()
            if self._sender.fileno() < 0:  # wake-ups are for those who still read frames
                if select.select([self._link], [], [], 0.1)[0]:
                    self._hear_supervisor()
            else:
                select.select([self._sender], [], [], 0.1)
                self._sender.receive_acks()
        if lost := self._sender.give_up():
            log.warning("the publisher did not confirm the reads of %d frames: taken as lost", lost)
        self._recognizer.close()


def main(child: Child) -> None:
    """Run a worker, on a core of its own where it was given one."""
    section = msgspec.json.decode(child.section, type=WorkerSection)
    if section.core >= 0:
        os.sched_setaffinity(0, {section.core})
    Worker(child).run()


if __name__ == "__main__":
    run_child(Kind.WORKER, main)
