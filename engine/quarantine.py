"""Frames that killed their recognizer, kept for inspection: a picture and its facts, bounded."""

import contextlib
import json
import logging
from datetime import UTC, datetime
from pathlib import Path

import cv2

from engine.ring_memory import RingMemory

log = logging.getLogger(__name__)


class Quarantine:
    """A folder of at most ``keep`` frames; the oldest go first."""

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self.keep = keep

    def save(self, memory: RingMemory, slot: int, reason: str) -> Path | None:
        """Save a slot's luma as PNG with its stamp beside it; return the picture's path.

        None when nothing is kept, or the disk refuses (which is logged, never raised: a full
        disk must not stop the supervisor).
        """
        if self.keep == 0:
            return None
        stamp = memory.stamp(slot)
        when = datetime.fromtimestamp(stamp.captured_unix_ns / 1e9, UTC)
        name = f"{when:%Y%m%dT%H%M%S.%f}-{stamp.camera}-{stamp.generation}"
        picture = self._folder / f"{name}.png"
        facts = {
            "camera": stamp.camera,
            "captured": when.isoformat(timespec="milliseconds"),
            "generation": stamp.generation,
            "width_px": stamp.width_px,
            "height_px": stamp.height_px,
            "format": memory.handle.format,
            "reason": reason,
        }
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(picture), memory.luma(slot))
            picture.with_suffix(".json").write_text(json.dumps(facts, indent=2), encoding="utf-8")
            self._forget_oldest()
        except (OSError, cv2.error) as error:
            log.warning("could not keep the frame that killed a recognizer: %s", error)
            return None
        return picture

    def _forget_oldest(self) -> None:
        """Remove what is beyond the bound."""
        for picture in sorted(self._folder.glob("*.png"))[: -self.keep]:
            for path in (picture, picture.with_suffix(".json")):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
