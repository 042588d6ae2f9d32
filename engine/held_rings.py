"""A decoder's rings: the one that it writes, and those that it left until they are empty.

Two threads use them under the decoder's lock: one reads the source and alone closes rings, so that
none is closed while it writes there; the other one hears the supervisor.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, TypeAlias

from engine.messages import (
    GrantRing,
    Outstanding,
    Reclaim,
    RefuseRing,
    RenewRing,
    RingDrained,
    TakeStock,
    WantRing,
)
from engine.process import Child
from engine.ring import RingWriter
from engine.ring_memory import RingMemory
from engine.sections import DecoderSection
from engine.slot_formats import fitting_size
from engine.sources.base import SourceFrame

BEAT_S: Final = 0.25
GRANT_S: Final = 15.0
"""How long a decoder waits for its ring before it tries again."""
ASK_AGAIN_S: Final = 1.0
"""How long a decoder waits after it was refused a ring."""

RingOrder: TypeAlias = GrantRing | RefuseRing | TakeStock | Reclaim | RenewRing

log = logging.getLogger(__name__)


class HeldRings:
    """The rings of one camera."""

    def __init__(
        self,
        child: Child,
        section: DecoderSection,
        changed: threading.Condition,
        is_stopping: Callable[[], bool],
    ) -> None:
        """Take the decoder's lock ``changed``, which is notified when the supervisor spoke."""
        self._row, self._link = child.row, child.link
        self._form, self._max_unread = section.settings.format, section.max_unread
        self._changed, self._is_stopping = changed, is_stopping
        self.present: RingWriter | None = None
        """The one to write; None before it was granted, and once it is left."""
        self.refusal = ""
        """Why there is none; empty where nobody refused."""
        self._left: list[RingWriter] = []
        self._is_asking = False
        """A ring is wanted, and no answer has come yet."""
        self._ask_at_s = 0.0

    def ring_for(self, frame: SourceFrame, *, lossless: bool) -> RingWriter | None:
        """Return the ring for frames of this size; a change of size gets a new ring."""
        width_px, height_px = fitting_size(frame.width_px, frame.height_px, self._form)
        wanted = (width_px, height_px, lossless)
        writer = self.present
        if writer is not None and _shape(writer) == wanted:
            return writer
        if time.monotonic() < self._ask_at_s:
            return None
        with self._changed:
            self._leave()
            self._is_asking = True
        self.drain()
        self._link.send(WantRing(width_px=width_px, height_px=height_px, lossless=lossless))
        deadline = time.monotonic() + GRANT_S
        with self._changed:
            while self._is_asking and not self._is_stopping() and time.monotonic() < deadline:
                self._changed.wait(BEAT_S)
            granted = self.present
        return granted if granted is not None and _shape(granted) == wanted else None

    def leave(self) -> None:
        """Write nothing any more."""
        with self._changed:
            self._leave()

    def drain(self) -> bool:
        """Empty the rings that are left behind; return True while one is not empty."""
        if not self._left:
            return False
        with self._changed:
            for writer in list(self._left):
                if writer.drain(take_back=not writer.handle.lossless or self._is_stopping()):
                    self._left.remove(writer)
                    writer.close()
                    self._link.send(RingDrained(ring=writer.handle.ring))
            return bool(self._left)

    def obey(self, order: RingOrder, fds: list[int]) -> None:
        """Do what the supervisor says; called with the lock held."""
        match order:
            case GrantRing():
                self._adopt(order, fds)
            case RefuseRing(reason=reason):
                self._is_asking, self.refusal = False, reason
                self._ask_at_s = time.monotonic() + ASK_AGAIN_S
            case _:
                held = [*self._left, *([self.present] if self.present is not None else [])]
                for writer in held:
                    if writer.handle.ring == order.ring:
                        self._mend(writer, order)

    def _leave(self) -> None:
        if self.present is not None:
            self._left.append(self.present)
            self.present = None

    def _adopt(self, grant: GrantRing, fds: list[int]) -> None:
        """Take a ring, new or of a dead predecessor."""
        memory = RingMemory.attach(grant.handle)
        writer = RingWriter(memory, self._row, fds, self._max_unread)
        writer.adopt()
        if grant.draining:
            self._left.append(writer)
            return
        self._leave()  # there is one only where it was asked for twice: the answer was late
        self.present, self._is_asking, self.refusal = writer, False, ""

    def _mend(self, writer: RingWriter, order: TakeStock | Reclaim | RenewRing) -> None:
        """Account for, free, or leave a ring."""
        match order:
            case TakeStock(ring=ring):
                self._link.send(Outstanding(ring=ring, slots=tuple(writer.outstanding())))
            case Reclaim(slots=slots):
                writer.reclaim(slots)
            case RenewRing() if writer is self.present:
                self._leave()
            case _:
                log.debug("ring %d is being left already", writer.handle.ring)


def _shape(writer: RingWriter) -> tuple[int, int, bool]:
    handle = writer.handle
    return handle.width_px, handle.height_px, handle.lossless
