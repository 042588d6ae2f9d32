"""What the publisher does with reads of uploads: track them by media time and write them down.

Nothing of it reaches the spool, the sinks or the live stream: no camera saw it.
"""

import contextlib
import logging
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from engine.board import Count, Row
from engine.config import CameraSettings, TrackerSettings
from engine.filters import Rules
from engine.track import Event
from engine.tracker import SightingIds, Tracker
from engine.types import FrameReads, Hit, Phase, Sighting
from engine.uploads import (
    EVENTS,
    PlaceAt,
    Upload,
    UploadDone,
    UploadEvent,
    UploadFailed,
    UploadPlate,
    UploadProgress,
    camera_of,
    folder_of,
    read_about,
)

PROGRESS_S: Final = 0.25
"""Progress is told so often at most."""
QUIET_S: Final = 1.0
"""Once all frames are recognized, the last reads have arrived after so long without a new one."""
_MS: Final = 1_000_000

log = logging.getLogger(__name__)


class UploadDesk:
    """Takes reads of uploads: of the one that is read, and of the one before, whose last come."""

    def __init__(self, root: Path, settings: TrackerSettings, row: Row) -> None:
        """Take the folder of all uploads, and how reads become sightings."""
        self._root = root
        self._row = row
        self._settings = settings
        self._works: dict[str, _Work] = {}

    def begin(self, upload: str, marked: Callable[[Sighting], Sighting]) -> None:
        """Expect reads of an upload; ``marked`` tells what the watchlists say of a sighting."""
        folder = folder_of(self._root, upload)
        about = read_about(folder) if folder is not None else None
        if folder is not None and about is not None:  # else it was deleted meanwhile
            self._works[upload] = _Work(folder, about, self._settings, marked)

    def hear(self, upload: str, reads: FrameReads) -> None:
        """Take what was read in one frame, maybe nothing."""
        if upload in self._works:
            self._works[upload].feed(reads)

    def all_recognized(self, upload: str, failure: str) -> None:
        """Finish an upload once its last reads have come; ``failure``: why it ended early."""
        if upload in self._works:
            self._works[upload].ends(failure)

    def tick(self) -> None:
        """Finish what has become quiet."""
        for upload in [upload for upload, work in self._works.items() if work.is_over()]:
            whole = self._works.pop(upload).finish()
            self._row.count(Count.UPLOADS_READ if whole else Count.UPLOADS_FAILED)


class _Work:
    """One upload under way."""

    def __init__(
        self,
        folder: Path,
        about: Upload,
        settings: TrackerSettings,
        marked: Callable[[Sighting], Sighting],
    ) -> None:
        name = camera_of(about.id)
        rules = Rules.of(CameraSettings(name=name, url="-"))
        ids = SightingIds("", random.Random(0))
        self.about = about
        self._folder = folder
        self._marked = marked
        self._gap_ns = int((settings.max_gap_s + 1) * 1e9)
        self._tracker = Tracker({name: rules}, settings, "", ids)
        self._least = rules.min_confidence
        self._numbers: dict[str, int] = {}
        self._pictured: set[int] = set()
        self._frames = self._now_ns = 0
        self._heard_s = self._told_s = 0.0
        self._ending: str | None = None

    def feed(self, reads: FrameReads) -> None:
        """Take one frame's reads."""
        self._heard_s = time.monotonic()
        self._frames += 1
        self._now_ns = max(self._now_ns, reads.stamp.captured_unix_ns)
        if self.about.kind == "picture":
            self._take_picture(reads)
        else:
            self._take(self._tracker.feed(reads, self._now_ns).events)
        if self._heard_s - self._told_s >= PROGRESS_S:
            self._told_s = self._heard_s
            expected = max(self.about.frames, self._frames + 1)
            self.write(
                UploadProgress(
                    share=round(self._frames / expected, 3),
                    frames=self._frames,
                    at_s=round(self._now_ns / 1e9, 3),
                )
            )

    def ends(self, failure: str) -> None:
        """Note that no more frames come."""
        self._ending = failure
        self._heard_s = time.monotonic()

    def is_over(self) -> bool:
        """Tell whether the last reads have arrived."""
        return self._ending is not None and time.monotonic() - self._heard_s >= QUIET_S

    def finish(self) -> bool:
        """Close the tracks and say how it ended; return whether all of it was read."""
        self._take(self._tracker.tick(self._now_ns + self._gap_ns))
        if self._ending:
            self.write(UploadFailed(reason=self._ending))
        else:
            self.write(UploadDone(frames=self._frames, plates=len(self._numbers)))
        return not self._ending

    def _take_picture(self, reads: FrameReads) -> None:
        """Take every plate of a picture as it is: nothing else will say more of it."""
        crops = (*reads.crops, *(b"" for _ in reads.reads))
        for read, crop in zip(reads.reads, crops, strict=False):
            if read.confidence < self._least:
                continue
            number = self._number(f"{read.plate} {read.box.x:.0f},{read.box.y:.0f}")
            sighting = Sighting(
                id=str(number),
                revision=1,
                phase=Phase.FINAL,
                camera=reads.stamp.camera,
                node="",
                plate=read.plate,
                confidence=read.confidence,
                first_unix_ms=0,
                last_unix_ms=0,
                best_unix_ms=0,
            )
            self.write(
                UploadPlate(
                    number=number,
                    plate=read.plate,
                    confidence=round(read.confidence, 1),
                    region=read.region,
                    candidates=read.candidates,
                    box=read.box,
                    has_crop=self._keep_crop(number, crop),
                    hits=self._hits(sighting),
                )
            )

    def _take(self, events: list[Event]) -> None:
        """Write down what became of tracks."""
        for event in events:
            found = event.sighting
            number = self._number(found.id)
            crop = event.evidence.crop_jpeg if event.evidence else b""
            best = min(found.path, key=lambda at: abs(at.unix_ms - found.best_unix_ms))
            self.write(
                UploadPlate(
                    number=number,
                    plate=found.plate,
                    confidence=round(found.confidence, 1),
                    region=found.region,
                    candidates=found.candidates,
                    first_s=found.first_unix_ms / 1000,
                    last_s=found.last_unix_ms / 1000,
                    at_s=found.best_unix_ms / 1000,
                    box=best.box,
                    path=tuple(PlaceAt(at.unix_ms / 1000, at.box) for at in found.path),
                    reads=found.reads,
                    has_crop=self._keep_crop(number, crop),
                    hits=self._hits(found),
                )
            )

    def _hits(self, sighting: Sighting) -> tuple[Hit, ...]:
        """Return the entries of watchlists that match today, whenever the video was made."""
        now_ms = time.time_ns() // _MS
        return self._marked(msgspec.structs.replace(sighting, last_unix_ms=now_ms)).hits

    def _number(self, key: str) -> int:
        return self._numbers.setdefault(key, len(self._numbers) + 1)

    def _keep_crop(self, number: int, jpeg: bytes) -> bool:
        """Keep a plate's newest picture; return whether there is one."""
        if jpeg:
            with contextlib.suppress(OSError):  # a full disk, or deleted meanwhile
                crops = self._folder / "crops"
                crops.mkdir(exist_ok=True)
                (crops / f"{number}.jpg").write_bytes(jpeg)
                self._pictured.add(number)
        return number in self._pictured

    def write(self, event: UploadEvent) -> None:
        """Add a line for those who follow it."""
        try:
            with (self._folder / EVENTS).open("ab") as lines:
                lines.write(msgspec.json.encode(event) + b"\n")
        except OSError as error:
            log.warning("upload %s: %s", self.about.id, error.strerror)
