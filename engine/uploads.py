"""Uploads: pictures and videos that people hand in, and what is found in them, as files.

::

    data_dir/uploads/ID/upload.json    what it is (``Upload``), written once
                        media.mp4      the file as it came; the suffix tells its kind
                        events.jsonl   what was found, one ``UploadEvent`` a line, as it is found
                        crops/1.jpg    the plate of number 1

While it is read, an upload is a camera whose name begins with ``UPLOAD_PREFIX``: lossless, of low
weight, never restarted. Its frames are stamped with media time, its reads never reach the sinks.
"""

import re
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from engine.types import Box, Candidate, Hit

UPLOAD_PREFIX: Final = "upload."
"""How the names of such cameras begin; no camera of the configuration may be named so."""
MEDIA: Final = "media"
EVENTS: Final = "events.jsonl"
_ABOUT: Final = "upload.json"
_ID: Final = re.compile(r"[0-9a-f]{16}")


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """What was handed in."""

    id: str
    name: str
    """As its sender called the file."""
    kind: Literal["picture", "video"]
    media_type: str
    file: str
    size_bytes: int
    width_px: int
    height_px: int
    frames: int
    """0 where the file does not tell."""
    duration_s: float
    created_unix_ms: int


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What ``engine.upload_check`` saw of a file; 0 is what the file does not tell."""

    width_px: int
    height_px: int
    frames: int
    duration_s: float


class PlaceAt(msgspec.Struct, frozen=True):
    """Where a plate was at one time of the video."""

    at_s: float
    box: Box


class UploadProgress(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="progress"):
    """How far reading has come: 0 to 1."""

    share: float
    frames: int
    at_s: float


class UploadPlate(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="plate"):
    """One vehicle of a video or one plate of a picture; a later line of its number revises it.

    Times are seconds from the first frame, boxes pixels of the picture.
    """

    number: int
    plate: str
    confidence: float
    region: str = ""
    candidates: tuple[Candidate, ...] = ()
    first_s: float = 0.0
    last_s: float = 0.0
    at_s: float = 0.0
    """When it was read best."""
    box: Box
    path: tuple[PlaceAt, ...] = ()
    reads: int = 1
    has_crop: bool = False
    hits: tuple[Hit, ...] = ()


class UploadDone(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="done"):
    """All of it was read."""

    frames: int
    plates: int


class UploadFailed(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="failed"):
    """Reading ended before its time; what was found until then stays."""

    reason: str


UploadEvent: TypeAlias = UploadProgress | UploadPlate | UploadDone | UploadFailed

decode_event = msgspec.json.Decoder(UploadEvent).decode
"""Line of ``events.jsonl`` to event."""


def camera_of(upload: str) -> str:
    """Return the name of the camera that an upload is while it is read."""
    return UPLOAD_PREFIX + upload


def upload_of(camera: str) -> str:
    """Return the id of the upload that a camera is, empty for a camera of flesh and glass."""
    return camera.removeprefix(UPLOAD_PREFIX) if camera.startswith(UPLOAD_PREFIX) else ""


def uploads_dir(data_dir: Path) -> Path:
    """Return where uploads are kept."""
    return data_dir / "uploads"


def folder_of(root: Path, upload: str) -> Path | None:
    """Return an upload's folder below ``root``; None for what is no id."""
    return root / upload if _ID.fullmatch(upload) else None


def write_about(folder: Path, upload: Upload) -> None:
    """Write what an upload is.

    Raises:
        OSError: the disk refuses.
    """
    beside = folder / f"{_ABOUT}.new"
    beside.write_bytes(msgspec.json.encode(upload))
    beside.replace(folder / _ABOUT)


def read_about(folder: Path) -> Upload | None:
    """Return what an upload is, None where there is none, or not yet."""
    try:
        return msgspec.json.decode((folder / _ABOUT).read_bytes(), type=Upload)
    except (OSError, msgspec.DecodeError):
        return None
