"""The frame plane: which rings exist, who is attached to them, and what the dead left in them.

The supervisor's part of the hand-off; all methods are called from its one loop.
"""

import logging
import time
from collections.abc import Iterable

import msgspec

from engine.attention import Savings
from engine.board import Count, Fate, Row
from engine.children import ChildProcess
from engine.config import CameraSettings, RecognizersSettings
from engine.errors import PreflightError
from engine.messages import (
    AttachRing,
    CameraStatus,
    DetachRing,
    GrantRing,
    Outstanding,
    Pause,
    Reclaim,
    RefuseRing,
    RenewRing,
    RingDrained,
    RingHandle,
    TakeStock,
    WantRing,
)
from engine.quarantine import Quarantine
from engine.reaper import OwnedRing, Sweep, fate_of_killed, leased, reap_decoder, reap_worker
from engine.ring_memory import Tokens, ring_bytes
from engine.shm import RunLock
from engine.types import CameraEvent, CameraState

log = logging.getLogger(__name__)


class CameraPlace:
    """A camera's place in the plane: its cell, its decoder, its present ring."""

    def __init__(self, settings: CameraSettings, index: int, decoder: ChildProcess) -> None:
        self.settings = settings
        self.index = index
        self.decoder = decoder
        self.ring: OwnedRing | None = None
        self.state = CameraState.CONNECTING
        self.reason = ""
        self.is_paused = False
        self.turned: CameraEvent | None = None
        """Its newest turn; None before the first one."""

    def turn(self, state: CameraState, reason: str, node: str) -> None:
        """Note what it is doing now."""
        self.turned = CameraEvent(
            camera=self.settings.name,
            node=node,
            state=state,
            reason=reason,
            before=self.state,
            unix_ms=time.time_ns() // 1_000_000,
        )
        self.state, self.reason = state, reason

    def status(self, ledger: dict[str, int], flight: "Flight") -> CameraStatus:
        """Return what outsiders may know."""
        return CameraStatus(
            name=self.settings.name,
            index=self.index,
            state=self.state,
            reason=self.reason,
            ring=self.ring.handle if self.ring is not None else None,
            ledger=ledger,
            in_flight=flight.frames,
            oldest_unix_ms=flight.oldest_unix_ns // 1_000_000,
            ring_bytes=flight.ring_bytes,
        )


class Flight(msgspec.Struct, frozen=True):
    """A camera's frames whose fate is still open, counted from the slots themselves."""

    frames: int
    oldest_unix_ns: int
    """When the oldest of them was captured; 0: there is none."""
    ring_bytes: int


class Pool(msgspec.Struct, frozen=True):
    """The recognizers that the plane serves."""

    workers: list[ChildProcess]
    """The roster's own list: it grows and shrinks."""
    tokens_write: int
    batch: int


class FramePlane:
    """Creates, attaches, reaps, sweeps and removes rings."""

    def __init__(
        self,
        lock: RunLock,
        row: Row,
        pool: Pool,
        quarantine: Quarantine,
    ) -> None:
        """Take the supervisor's own row (fates are counted here) and the pool it serves."""
        self._workers = pool.workers
        self._lock = lock
        self._row = row
        self._quarantine = quarantine
        self._tokens_write = pool.tokens_write
        self._tokens = Tokens(pool.tokens_write)
        self._batch = pool.batch
        self._rings: dict[int, OwnedRing] = {}
        self._places: dict[int, CameraPlace] = {}
        self._sweeps: list[Sweep] = []
        self._leaving: set[int] = set()
        """Rings of dismissed cameras: they go when the last lease on them has ended."""
        self._newest = 0

    def go_by(self, pool: RecognizersSettings) -> None:
        """Serve recognizers that are configured like this; rings are made so from now on."""
        self._batch = pool.batch
        self._quarantine.keep = pool.quarantine

    # --- rings come and go ---------------------------------------------------------------------

    def grant(self, place: CameraPlace, wanted: WantRing) -> None:
        """Give a decoder the ring it asks for, or say why not when there is no room."""
        handle = self._handle(place, wanted)
        try:
            ring = OwnedRing(handle)
        except PreflightError as error:
            log.warning("%s", error, extra={"camera": place.settings.name})
            place.decoder.send(RefuseRing(reason=str(error)))
            return
        self._rings[handle.ring] = ring
        self._places[handle.ring] = place
        place.ring = ring
        for worker in self._workers:
            self._attach(worker, ring)
        self._grant(place, ring)

    def _handle(self, place: CameraPlace, wanted: WantRing) -> RingHandle:
        self._newest += 1
        camera = place.settings
        return RingHandle(
            ring=self._newest,
            segment=self._lock.name(f"ring{self._newest}"),
            camera=place.index,
            camera_name=camera.name,
            width_px=wanted.width_px,
            height_px=wanted.height_px,
            format=camera.format,
            slots=self._slots(camera),
            lossless=wanted.lossless,
        )

    def _slots(self, camera: CameraSettings) -> int:
        """Enough for every worker's leases, the unread frames and the one being written."""
        if camera.slots != "auto":
            return camera.slots
        return max(1, len(self._workers)) * self._batch + self._batch + 1

    def _grant(self, place: CameraPlace, ring: OwnedRing) -> None:
        grant = GrantRing(handle=ring.handle, draining=ring is not place.ring)
        place.decoder.send(grant, [*ring.writer_fds, self._tokens_write])

    def renew_small(self) -> None:
        """Have rings re-made that have too few slots for the pool as it is now."""
        for ring in self._rings.values():
            place = self._places[ring.handle.ring]
            wanted = self._slots(place.settings)
            if ring is place.ring and ring.handle.slots < wanted:
                self._renew(ring)

    def drained(self, drained: RingDrained) -> None:
        """Remove a ring that its decoder has left and emptied."""
        self._remove(drained.ring)

    def forget_camera(self, place: CameraPlace) -> None:
        """Remove the rings of a camera whose decoder has ended for good, once nobody reads them."""
        place.ring = None
        self._leaving |= {ring for ring, owner in self._places.items() if owner is place}

    def _remove(self, number: int) -> None:
        ring = self._rings.pop(number, None)
        if ring is None:
            return
        place = self._places.pop(number)
        if place.ring is ring:
            place.ring = None
        self._sweeps = [sweep for sweep in self._sweeps if sweep.ring != number]
        for worker in self._workers:
            worker.send(DetachRing(ring=number))
        open_frames = ring.remove()
        if open_frames:
            self._row.fate(place.index, Fate.FAILED_LOST, open_frames)

    # --- processes come and go ---------------------------------------------------------------

    def worker_started(self, worker: ChildProcess) -> None:
        """Attach a new worker incarnation to every ring."""
        for ring in self._rings.values():
            if self._was_damaged(ring):
                self._renew(ring)
            self._attach(worker, ring)

    def _was_damaged(self, ring: OwnedRing) -> bool:
        """Make a ring fit to be attached; return True if somebody wrote over its header."""
        damaged = ring.memory.restore_identity()
        if damaged:
            camera = ring.handle.camera_name
            log.error("the header of a ring was corrupted: re-making it", extra={"camera": camera})
        return damaged

    def _renew(self, ring: OwnedRing) -> None:
        self._places[ring.handle.ring].decoder.send(RenewRing(ring=ring.handle.ring))

    def _attach(self, worker: ChildProcess, ring: OwnedRing) -> None:
        camera = self._places[ring.handle.ring].settings
        savings = Savings.of(camera, lossless=ring.handle.lossless)
        worker.send(
            AttachRing(
                handle=ring.handle,
                weight=camera.weight,
                regions=camera.regions,
                topn=camera.topn,
                openalpr=camera.openalpr.model_dump_json(exclude_defaults=True),
                reread_s=savings.reread_s,
            ),
            ring.taker_fds,
        )

    def worker_died(self, worker: ChildProcess, reason: str, *, stuck: bool) -> None:
        """Give back what a dead worker held; its frames are set aside, not tried again."""

        def set_aside(
            ring: OwnedRing,
            slot: int,
            in_work: bool,  # noqa: FBT001  # a callback is called by position
        ) -> None:
            if not in_work:
                self._row.fate(ring.handle.camera, Fate.FAILED_LOST)
                return
            self._row.fate(ring.handle.camera, fate_of_killed(stuck=stuck))
            picture = self._quarantine.save(ring.memory, slot, reason)
            if picture is not None:
                self._row.count(Count.QUARANTINED)
                log.error("%s; its frame is kept in %s", reason, picture)

        taking_from = reap_worker(worker.row, self._rings, set_aside)
        self._tokens.put()  # it may have died with the wake-up of frames that still wait
        if taking_from is not None:
            self._take_stock(self._rings[taking_from])

    def decoder_died(self, place: CameraPlace) -> None:
        """Complete the step that a decoder died in."""
        memories = {ring.handle.ring: ring.memory for ring in self._rings_of(place)}
        lost = reap_decoder(place.decoder.row, place.index, memories)
        self._row.fate(place.index, Fate.FAILED_LOST, lost)

    def decoder_started(self, place: CameraPlace) -> None:
        """Hand a new decoder incarnation the rings of its dead predecessor."""
        if place.is_paused:
            place.decoder.send(Pause(paused=True))
        for ring in self._rings_of(place):
            damaged = self._was_damaged(ring)
            self._grant(place, ring)
            self._take_stock(ring)
            if damaged:
                self._renew(ring)

    def _take_stock(self, ring: OwnedRing) -> None:
        place = self._places[ring.handle.ring]
        place.decoder.send(TakeStock(ring=ring.handle.ring))

    def outstanding(self, answer: Outstanding) -> None:
        """Start a sweep of what a decoder says is outstanding."""
        if answer.slots and answer.ring in self._rings:
            self._sweeps.append(Sweep(answer.ring, answer.slots, self._living()))

    def sweep(self) -> bool:
        """Finish the sweeps that are ready and remove what is left; True while some are not."""
        waiting = []
        for sweep in self._sweeps:
            if not sweep.is_ready():
                waiting.append(sweep)
                continue
            unclaimed = sweep.unclaimed(self._living())
            if unclaimed:
                decoder = self._places[sweep.ring].decoder
                decoder.send(Reclaim(ring=sweep.ring, slots=unclaimed))
        self._sweeps = waiting
        for number in [ring for ring in self._leaving if not leased(ring, self._living())]:
            self._leaving.discard(number)
            self._remove(number)
        return bool(waiting or self._leaving)

    def _living(self) -> list[Row]:
        return [worker.row for worker in self._workers if worker.is_up]

    def _rings_of(self, place: CameraPlace) -> list[OwnedRing]:
        return [ring for number, ring in self._rings.items() if self._places[number] is place]

    # --- figures -----------------------------------------------------------------------------

    def frames_in_flight(self, place: CameraPlace) -> int:
        """Return how many frames of a camera are on their way or being recognized."""
        return self.flight(place).frames

    def flight(self, place: CameraPlace) -> Flight:
        """Look at what lies in a camera's rings now."""
        rings = self._rings_of(place)
        return Flight(
            frames=sum(ring.memory.in_flight() for ring in rings),
            oldest_unix_ns=min(filter(None, (r.memory.oldest_unix_ns() for r in rings)), default=0),
            ring_bytes=sum(ring_bytes(ring.handle) for ring in rings),
        )

    def close(self, places: Iterable[CameraPlace]) -> None:
        """Remove everything at the end of the run."""
        for place in places:
            self.forget_camera(place)
        for number in list(self._rings):
            self._remove(number)
