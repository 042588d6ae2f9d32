"""A decoder process: one camera's frames from its source into its ring, and nothing else.

Run as ``python -m engine.decoder FD``. The main thread reads the source; a second thread hears the
supervisor, so that a source that blocks for seconds delays no order. Both use the rings under one
lock. A source that fails is opened again, forever, with growing pauses.
"""

import logging
import os
import random
import resource
import threading
import time
from pathlib import Path
from typing import Final

import msgspec

from engine.appetite import (
    FAST_STEPS,
    YIELDED_STEPS,
    Appetite,
    main_threads_schedule,
    yield_to_others,
)
from engine.board import (
    CAMERA,
    LAST_FRAME_UNIX_NS,
    STATE,
    Fate,
    Kind,
    Stage,
)
from engine.clip_channel import ClipGiver
from engine.errors import SourceDeniedError, SourceError, SourceUnsupportedError
from engine.health import Health
from engine.held_rings import BEAT_S, HeldRings
from engine.judge import Judge
from engine.logs import log_camera
from engine.messages import (
    AttachClips,
    CameraTurned,
    GrantRing,
    Pause,
    Ready,
    Reclaim,
    RefuseRing,
    RenewRing,
    Stop,
    TakeStock,
    ToChild,
)
from engine.process import Child, LinkEndedError, run_child
from engine.ring import RingWriter
from engine.sections import DecoderSection
from engine.slot_formats import write_frame
from engine.source_settings import source_options
from engine.sources import open_source
from engine.sources.base import Source, SourceFrame, SourceOptions
from engine.sources.pace import MediaClock
from engine.types import CameraState
from engine.uploads import upload_of

DRAIN_S: Final = 1.0
"""How long a stopping decoder waits for leased frames to come back."""
LAST_WORDS_S: Final = 1.5
"""How long a source that blocks may delay the end of its process."""
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 2.0
"""A camera that is back shows frames within 5 s, however long it was away."""
DENIED_PAUSE_S: Final = 30.0
"""Cameras lock accounts that fail to log in too often."""
SETTLED_S: Final = 10.0
"""A connection that held for this long is followed by the shortest pause again."""
GREED: Final = (
    "decoding takes all that it gets of a core, others go first: let the camera send less, or set "
    "fps, scale, skip_loop_filter or hwaccel"
)
STATES: Final = tuple(CameraState)

log = logging.getLogger(__name__)


class Decoder:
    """One camera's source, ring and state."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._row = child.row
        self._link = child.link
        self._section = msgspec.json.decode(child.section, type=DecoderSection)
        self._camera = self._section.settings
        self._index = self._section.index
        self._row.words[CAMERA] = self._index
        log_camera(self._camera.name)
        self._changed = threading.Condition()
        """Guards all below; notified when the supervisor said something."""
        self._rings = HeldRings(child, self._section, self._changed, self._is_stopping)
        self._paused = False
        self._stopped = False
        self._capped = self._spoilt = 0
        self._media = MediaClock() if upload_of(self._camera.name) else None
        """Uploads go by their own time, from 0."""
        self._health: Health | None = None
        """Of the camera while it is connected; None for what comes to an end by itself."""
        self._appetite = Appetite()
        self._is_watched = False
        """Whether a stream plays, of which more may come than can be borne."""
        self._shown: tuple[CameraState, str] | None = None
        camera = self._camera
        self._clips = ClipGiver(self._row, camera.clip_after_s, camera.name)
        self._judge = Judge(camera, child.board, self._index)

    def limit(self) -> None:
        """Bound what a hostile stream can make this process take; no dump of its memory either.

        What counts is memory of its own: rings are shared, and drivers of hardware that decodes
        reserve more addresses than there is memory.
        """
        own_pages = int(Path("/proc/self/statm").read_text().split()[5])
        limit_bytes = own_pages * resource.getpagesize() + (self._camera.memory_mib << 20)
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if self._camera.play == "fast":
            yield_to_others(FAST_STEPS)

    # --- main thread: the source ---------------------------------------------------------------

    def run(self) -> None:
        """Capture until told to stop, then take back what nobody read."""
        threading.Thread(target=self._listen, name="link", daemon=True).start()
        self._link.send(Ready())
        pause_s = FIRST_PAUSE_S
        while not self._is_stopping():
            if self._paused:
                self._turn(CameraState.PAUSED)
                self._wait(BEAT_S)
                continue
            started = time.monotonic()
            longest_s = self._capture()
            if longest_s is None:
                self._turn(CameraState.ENDED)
                self._wait_until_stopped_or_paused()
                continue
            if self._is_interrupted():
                pause_s = FIRST_PAUSE_S
                continue
            if longest_s > LONGEST_PAUSE_S:
                pause_s = longest_s
            elif time.monotonic() - started > SETTLED_S:
                pause_s = FIRST_PAUSE_S
            pause_s = min(pause_s, longest_s)
            self._row.fate(self._index, Fate.RECONNECTS)
            self._rest(pause_s * random.uniform(0.75, 1.25))
            pause_s *= 2
        self._drain()

    def _capture(self) -> float | None:
        """Play the source once; return None at its end, else the longest pause to the next try."""
        if self._shown is None or self._shown[0] is not CameraState.LOST:
            self._turn(CameraState.CONNECTING)
        try:
            source = open_source(self._camera.url, self._options())
        except SourceUnsupportedError:
            raise
        except SourceError as error:
            self._turn(CameraState.LOST, str(error))
            return LONGEST_PAUSE_S
        try:
            self._play(source)
        except SourceUnsupportedError:
            raise
        except SourceDeniedError as error:
            self._turn(CameraState.LOST, str(error))
            return DENIED_PAUSE_S
        except SourceError as error:
            self._turn(CameraState.LOST, str(error))
            return LONGEST_PAUSE_S
        finally:
            source.close()
        if self._is_interrupted():
            return LONGEST_PAUSE_S
        if source.endless:
            self._turn(CameraState.LOST, "the stream ended")
            return LONGEST_PAUSE_S
        return None

    def _play(self, source: Source) -> None:
        """Handle every frame of a source, and watch over its health."""
        self._capped = self._spoilt = 0
        self._clips.preroll = source.preroll
        if source.endless and not source.live:  # a folder is there, whether pictures come or not
            self._turn(CameraState.LIVE)
        watched = source.endless and source.live
        with self._changed:
            self._appetite.forget()
            self._is_watched = watched
        health = Health(time.monotonic(), self._camera.frozen_after_s) if watched else None
        try:
            for frame in source.frames(self._is_interrupted):
                spoilt = self._count_spoilt(source)
                if health is None:
                    self._turn(CameraState.LIVE)
                else:
                    self._examine(health, spoilt, frame)
                self._count_capped(source)
                self._handle(frame, lossless=not source.live)
        finally:
            self._count_spoilt(source)
            with self._changed:
                self._health, self._is_watched = None, False

    def _examine(self, health: Health, spoilt: int, frame: SourceFrame) -> None:
        """Tell the health of a frame and of what was spoilt since the last one."""
        wanted = health.wants_look(time.monotonic())
        preview = self._judge.preview(frame) if wanted else None
        now_s = time.monotonic()  # only now: a first preview may take as long as a stall
        with self._changed:
            health.frame(now_s)
            if spoilt:
                health.spoilt(now_s, spoilt)
            if preview is not None:
                health.look(preview, now_s)
            self._health = health
            self._turn(*health.verdict(now_s))

    def _options(self) -> SourceOptions:
        engines = f"/proc/{os.getppid()}/fd/0"  # a child has no standard input of its own
        return source_options(self._camera, base_dir=self._section.base_dir, stdin=engines)

    def _handle(self, frame: SourceFrame, *, lossless: bool) -> None:
        """Decide a frame's fate: skipped, dropped, or written into a slot and announced."""
        self._rings.drain()
        self._clips.turn()
        verdict = self._judge.judge(frame, lossless=lossless)
        if verdict.skip is not None:
            self._pass_by(verdict.skip)
            return
        found = self._slot_for(frame, lossless=lossless)
        if isinstance(found, Fate):
            self._pass_by(found)
            return
        writer, slot = found
        captured_unix_ns = frame.captured_unix_ns
        if self._media is not None:
            captured_unix_ns = int(self._media.advance(frame.pts_s) * 1e9)
        target = writer.memory.frame(slot)
        write_frame(frame, target, writer.handle.format, self._judge.masks)
        with self._changed:
            writer.publish(slot, captured_unix_ns, frame.captured_monotonic_ns, verdict.areas)
        self._row.fate(self._index, Fate.BYTES, target.nbytes)
        self._row.words[LAST_FRAME_UNIX_NS] = captured_unix_ns
        self._row.observe(Stage.CAPTURE_TO_SLOT, time.monotonic_ns() - frame.captured_monotonic_ns)

    def _pass_by(self, fate: Fate) -> None:
        """Count a frame that gets no slot; under the lock, for the journal has one writer."""
        with self._changed:
            self._row.pass_by(self._index, fate)

    def _count_capped(self, source: Source) -> None:
        """Account for the frames that the ``fps`` cap left out since the last one."""
        for _ in range(source.capped - self._capped):
            self._pass_by(Fate.SKIPPED_RATE)
        self._capped = source.capped

    def _count_spoilt(self, source: Source) -> int:
        """Count what could not be decoded since the last time, and return it."""
        spoilt, self._spoilt = source.spoilt - self._spoilt, source.spoilt
        with self._changed:
            self._row.fate(self._index, Fate.DECODE_ERRORS, spoilt)
        return spoilt

    def _slot_for(self, frame: SourceFrame, *, lossless: bool) -> tuple[RingWriter, int] | Fate:
        """Return a free slot in the frame's ring, or why it gets none; a lossless camera waits."""
        while True:
            writer = self._rings.ring_for(frame, lossless=lossless)
            if writer is None:
                if not lossless or self._is_interrupted():
                    return Fate.DROPPED_NO_RING
                self._wait(BEAT_S)
                continue
            with self._changed:  # the ring may have been left since, for a larger one
                is_left = writer is not self._rings.present
                slot = None if is_left else writer.acquire()
            if slot is not None:
                return writer, slot
            if not is_left:
                if not lossless or self._is_interrupted():
                    return Fate.DROPPED_LEASED
                writer.wait_for_return(BEAT_S)

    def _turn(self, state: CameraState, reason: str = "") -> None:
        """Change the camera's state or its reason, once, for everybody to see."""
        with self._changed:
            if state is CameraState.LIVE and (trouble := self._rings.refusal or self._greed()):
                state, reason = CameraState.DEGRADED, trouble
            before = self._shown
            if before == (state, reason):
                return
            self._shown = (state, reason)
        self._row.words[STATE] = STATES.index(state) + 1
        grave = state in {CameraState.LOST, CameraState.DEGRADED, CameraState.FROZEN}
        known = before is not None and before[0] is state
        level = logging.WARNING if grave and not known else logging.INFO
        said = f"{state}: {reason}" if reason else str(state)
        log.log(level, "%s", said)
        self._link.send(CameraTurned(state=state, reason=reason))

    def _is_stopping(self) -> bool:
        return self._stopped or self._child.stopping()

    def _is_interrupted(self) -> bool:
        return self._is_stopping() or self._paused

    def _wait(self, seconds: float) -> None:
        """Sleep until the time is over or the supervisor said something; empty left rings."""
        self._rings.drain()
        self._clips.turn()
        with self._changed:
            self._changed.wait(seconds)

    def _rest(self, seconds: float) -> None:
        """Wait until the time is over or the camera is stopped or paused, whatever else is said."""
        ends = time.monotonic() + seconds
        while not self._is_interrupted() and (left_s := ends - time.monotonic()) > 0:
            self._wait(left_s)

    def _wait_until_stopped_or_paused(self) -> None:
        while not self._is_interrupted():
            self._wait(BEAT_S)

    def _drain(self) -> None:
        """Take back unread frames, wait for leased ones as long as ``DRAIN_S``."""
        self._rings.leave()
        deadline = time.monotonic() + DRAIN_S
        while self._rings.drain() and time.monotonic() < deadline:
            self._wait(0.02)

    # --- second thread: the supervisor ---------------------------------------------------------

    def _listen(self) -> None:
        """Hear the supervisor until it ends; then end this process, too."""
        try:
            while True:
                received = self._link.receive(timeout_s=BEAT_S)
                self._row.beat(time.monotonic_ns())
                if received is not None:
                    with self._changed:
                        self._obey(*received)
                        self._changed.notify_all()
                self._watch_over()
                if self._is_stopping():
                    break
        except LinkEndedError:
            with self._changed:
                self._stopped = True
                self._changed.notify_all()
        time.sleep(LAST_WORDS_S)  # the main thread ends the process, unless its source blocks
        os._exit(0)

    def _greed(self) -> str:
        """Say that decoding takes too much, "" while it does not."""
        return GREED if self._appetite.is_greedy else ""

    def _watch_over(self) -> None:
        """Show that a camera stalls: the main thread waits for its next frame; let others go first.

        A stream that sends more than can be decoded must not take from the other cameras.
        """
        with self._changed:
            if self._is_watched:
                self._appetite.note(time.monotonic(), main_threads_schedule())
                if self._appetite.is_greedy:
                    yield_to_others(YIELDED_STEPS)
            if self._health is not None:
                self._turn(*self._health.verdict(time.monotonic()))

    def _obey(self, message: ToChild, fds: list[int]) -> None:
        """Do what one message says; called with the lock held."""
        match message:
            case GrantRing() | RefuseRing() | TakeStock() | Reclaim() | RenewRing():
                self._rings.obey(message, fds)
            case AttachClips():
                self._clips.attach(fds[0])
            case Pause(paused=paused):
                self._paused = paused
            case Stop():
                self._stopped = True
            case _:
                log.warning("ignored %s", type(message).__name__)


def main(child: Child) -> None:
    """Run a decoder."""
    decoder = Decoder(child)
    decoder.limit()
    decoder.run()


if __name__ == "__main__":
    run_child(Kind.DECODER, main)
