"""How clips of sightings get from decoders to the publisher: a socket pair for each camera.

The publisher asks by the id of a sighting; the decoder waits until what comes after is there, too,
makes the clip and sends it as a descriptor of anonymous memory: no file is left behind, whoever
dies. A decoder plays what strangers send, so the publisher takes no more than it allows for.
"""

import contextlib
import logging
import os
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Collection, Iterator
from typing import Final

import msgspec

from engine.board import Count, Row
from engine.errors import SourceError
from engine.messages import DECODE, AttachClips, ClipCut, WantClip, encode
from engine.sources.preroll import Preroll
from engine.types import Sighting

_PACKET_BYTES: Final = 4_096
_MOST_WAITING: Final = 64
"""Requests that a decoder keeps, and the publisher has open of one camera."""
_ANSWERS_WITHIN_S: Final = 30.0
"""Beside ``clip_after_s``; a camera that is away answers late."""
_REMEMBERED: Final = 4_096
"""Sightings that have been asked for, each once."""

log = logging.getLogger(__name__)


class ClipGiver:
    """The decoder's end; ``attach`` may be called from another thread than ``turn``."""

    def __init__(self, row: Row, after_s: float, camera: str) -> None:
        self._row, self._after_s, self._camera = row, after_s, camera
        self._end: socket.socket | None = None
        self._fresh: deque[socket.socket] = deque()
        """Given by the other thread, not looked at yet."""
        self._due: dict[str, float] = {}
        self._told = ""
        self.preroll: Preroll | None = None
        """Of the newest connection."""

    def attach(self, fd: int) -> None:
        """Answer over a fresh socket; who asked over the last one is gone."""
        end = socket.socket(fileno=fd)
        end.setblocking(False)
        self._fresh.append(end)

    def turn(self) -> None:
        """Take requests, answer those whose time has come; never waits."""
        while self._fresh:
            if self._end is not None:
                self._end.close()
            self._end = self._fresh.popleft()
        end, now_s = self._end, time.monotonic()
        if end is None:
            return
        while (request := self._request(end)) is not None:
            if len(self._due) < _MOST_WAITING:
                self._due.setdefault(request.sighting, now_s + self._after_s)
        for sighting in [one for one, due_s in self._due.items() if due_s <= now_s]:
            del self._due[sighting]
            self._answer(end, sighting)
        if self.preroll is not None:
            self._row.gauge(Count.CLIP_KEPT_BYTES, self.preroll.kept_bytes)

    def close(self) -> None:
        """Close the socket."""
        ends = [*self._fresh, *([self._end] if self._end is not None else [])]
        for end in ends:
            end.close()
        self._fresh.clear()
        self._end = None

    def _request(self, end: socket.socket) -> WantClip | None:
        try:
            packet = end.recv(_PACKET_BYTES)
        except OSError:  # nothing there, or the publisher is gone; its heir's socket is on the way
            return None
        return DECODE.to_clip_giver.decode(packet) if packet else None

    def _answer(self, end: socket.socket, sighting: str) -> None:
        """Make the clip and send it, or say why there is none."""
        try:
            if self.preroll is None:
                raise SourceError("there are no packets to keep: it sends single pictures")  # noqa: TRY301  # said like all other reasons
            clip = self.preroll.clip()
        except SourceError as error:
            self._refuse(end, sighting, str(error))
            return
        with os.fdopen(os.memfd_create("platering-clip"), "wb") as memory:
            memory.write(clip)
            memory.flush()
            with contextlib.suppress(OSError):  # the publisher is gone, or full of clips
                socket.send_fds(end, [encode(ClipCut(sighting=sighting))], [memory.fileno()])

    def _refuse(self, end: socket.socket, sighting: str, reason: str) -> None:
        if reason != self._told:
            self._told = reason
            log.warning("no clip: %s", reason, extra={"camera": self._camera, "sighting": sighting})
        with contextlib.suppress(OSError):
            end.send(encode(ClipCut(sighting=sighting, error=reason)))


class Clip(msgspec.Struct, frozen=True):
    """A clip of a sighting as it was last told."""

    sighting: Sighting
    video: bytes


class _Giver(msgspec.Struct, eq=False):
    """A camera that gives clips."""

    end: socket.socket
    terms: AttachClips
    open: dict[str, tuple[Sighting, float]] = {}
    """Sightings that were asked for, as they were last told, and until when."""


class ClipTaker:
    """The publisher's end of all sockets; one thread, never waits."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self._givers: dict[str, _Giver] = {}
        self._asked: OrderedDict[str, None] = OrderedDict()

    def attach(self, terms: AttachClips, fd: int) -> None:
        """Take clips of one more camera, or of a new decoder of it."""
        end = socket.socket(fileno=fd)
        end.setblocking(False)
        self._drop(terms.camera)
        self._givers[terms.camera] = _Giver(end, terms)

    def want(self, sighting: Sighting) -> None:
        """Ask for the clip of a sighting, once, if its camera gives one."""
        giver = self._givers.get(sighting.camera)
        if giver is None or sighting.origin != "camera":
            return
        if sighting.id in giver.open:
            giver.open[sighting.id] = sighting, giver.open[sighting.id][1]
        if sighting.has_clip or sighting.id in self._asked:
            return
        if giver.terms.wanted == "hits" and not sighting.hits:
            return
        self._asked[sighting.id] = None
        while len(self._asked) > _REMEMBERED:
            self._asked.popitem(last=False)
        if len(giver.open) >= _MOST_WAITING:
            self._row.count(Count.CLIPS_FAILED)
            return
        try:
            giver.end.send(encode(WantClip(sighting=sighting.id)))
        except OSError:
            self._row.count(Count.CLIPS_FAILED)
            return
        until_s = time.monotonic() + giver.terms.after_s + _ANSWERS_WITHIN_S
        giver.open[sighting.id] = sighting, until_s

    def take(self) -> Iterator[Clip]:
        """Yield the clips that have come; those that will not come are counted."""
        now_s = time.monotonic()
        for camera, giver in list(self._givers.items()):
            while (answer := self._answer(giver)) is not None:
                yield answer
            for sighting in [one for one, (_, until_s) in giver.open.items() if until_s < now_s]:
                del giver.open[sighting]
                self._row.count(Count.CLIPS_FAILED)
            if giver.end.fileno() < 0:
                self._drop(camera)

    def forget(self, plates: Collection[str]) -> None:
        """Take no clip of sightings of these texts, be it on its way."""
        for giver in self._givers.values():
            giver.open = {
                one: (sighting, until_s)
                for one, (sighting, until_s) in giver.open.items()
                if sighting.plate not in plates
            }

    def close(self) -> None:
        """Close all sockets; what was asked for will not come."""
        for camera in list(self._givers):
            self._drop(camera)

    def _answer(self, giver: _Giver) -> Clip | None:
        """Return the next clip of a camera, None where none waits or the decoder is gone."""
        while giver.end.fileno() >= 0:
            try:
                packet, fds, _flags, _address = socket.recv_fds(giver.end, _PACKET_BYTES, 1)
            except BlockingIOError:
                return None
            except OSError:
                packet, fds = b"", []
            video = _read(fds, giver.terms.most_bytes) if fds else b""
            cut = _decoded(packet)
            if cut is None:
                giver.end.close()
                return None
            sighting, _until_s = giver.open.pop(cut.sighting, (None, 0.0))
            if sighting is not None and video:
                return Clip(sighting, video)
            self._row.count(Count.CLIPS_FAILED)
        return None

    def _drop(self, camera: str) -> None:
        """Forget a camera whose decoder is gone; what was asked of it will not come."""
        giver = self._givers.pop(camera, None)
        if giver is not None:
            self._row.count(Count.CLIPS_FAILED, len(giver.open))
            giver.end.close()


def _decoded(packet: bytes) -> ClipCut | None:
    """Return an answer, None where the decoder is gone or has lost its mind."""
    try:
        return DECODE.from_clip_giver.decode(packet) if packet else None
    except msgspec.DecodeError as error:
        log.error("a decoder's answer cannot be read: %s", error)  # noqa: TRY400  # expected, one line
        return None


def _read(fds: list[int], most_bytes: int) -> bytes:
    """Return what is in the first of the descriptors, nothing where it is too much; close all."""
    try:
        size = os.fstat(fds[0]).st_size
        return os.pread(fds[0], size, 0) if size <= most_bytes else b""
    finally:
        for fd in fds:
            os.close(fd)
