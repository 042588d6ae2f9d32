"""Where uploads are kept: taking a body into a file, checking it, deleting it in time."""

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from gevent.lock import BoundedSemaphore

from api.patience import SlowClientError
from api.problems import ProblemError
from engine.upload_settings import UploadsSettings
from engine.uploads import MEDIA, Checked, Upload, folder_of, read_about, write_about

CHUNK_BYTES: Final = 1 << 18
CHECKED_WITHIN_S: Final = 30.0
CHECKS_AT_ONCE: Final = 2
"""Each may take a core for 20 s and 2 GiB of memory (``engine.upload_check``)."""
TURN_WITHIN_S: Final = 30.0
"""Waited for a check's turn."""
LEFT_OVER_S: Final = 3_600.0
"""A folder without an upload in it is a body that broke off; it goes after so long."""
MIB: Final = 1 << 20
_NAME_CHARS: Final = 120


class Form(msgspec.Struct, frozen=True):
    """A kind of file, known by how it begins."""

    suffix: str
    media_type: str
    kind: Literal["picture", "video"]


_JPEG = Form(".jpg", "image/jpeg", "picture")
_PNG = Form(".png", "image/png", "picture")
_WEBP = Form(".webp", "image/webp", "picture")
_BMP = Form(".bmp", "image/bmp", "picture")
_TIFF = Form(".tiff", "image/tiff", "picture")
_MP4 = Form(".mp4", "video/mp4", "video")
_MOV = Form(".mov", "video/quicktime", "video")
_MATROSKA = Form(".mkv", "video/x-matroska", "video")
_WEBM = Form(".webm", "video/webm", "video")
_AVI = Form(".avi", "video/x-msvideo", "video")
_TS = Form(".ts", "video/mp2t", "video")


def form_of(head: bytes) -> Form | None:
    """Return what a file is by its first bytes, whatever its sender calls it; None: unknown."""
    if head.startswith(b"RIFF"):
        return {b"WEBP": _WEBP, b"AVI ": _AVI}.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _MOV if head[8:10] == b"qt" else _MP4
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return _WEBM if b"webm" in head[:64] else _MATROSKA
    if head[:1] == head[188:189] == b"G":
        return _TS
    begins = {
        b"\xff\xd8\xff": _JPEG,
        b"\x89PNG\r\n\x1a\n": _PNG,
        b"BM": _BMP,
        b"II*\0": _TIFF,
        b"MM\0*": _TIFF,
    }
    return next((form for magic, form in begins.items() if head.startswith(magic)), None)


def _chunks(body: Any) -> Iterator[bytes]:
    """Yield a body piece by piece.

    Raises:
        ProblemError: the client hung up.
    """
    while True:
        try:
            chunk = body.read(CHUNK_BYTES)
        except SlowClientError:
            raise
        except OSError as error:
            raise ProblemError(400, "the body ended too early", field="body") from error
        if not chunk:
            return
        yield chunk


@contextlib.contextmanager
def _turn_of(turns: BoundedSemaphore, within_s: float) -> Iterator[None]:
    """Take one of so many turns while the block runs.

    Raises:
        ProblemError: none is free within the time.
    """
    if not turns.acquire(timeout=within_s):
        raise ProblemError(503, "too many are handed in at once", retry_after_s=10)
    try:
        yield
    finally:
        turns.release()


class UploadFiles:
    """The folder of all uploads."""

    def __init__(self, root: Path, settings: UploadsSettings) -> None:
        self._root = root
        self._settings = settings
        self._max_bytes = settings.max_mib * MIB
        self._bodies = BoundedSemaphore(settings.max_waiting)
        self._checks = BoundedSemaphore(CHECKS_AT_ONCE)

    @property
    def keep_ms(self) -> int:
        """How long an upload is kept."""
        return int(self._settings.keep_hours * 3_600_000)

    def ids(self) -> list[str]:
        """Return the ids of all uploads."""
        try:
            return [entry.name for entry in os.scandir(self._root) if entry.is_dir()]
        except FileNotFoundError:
            return []

    def folder(self, upload: str) -> Path:
        """Return an upload's folder, whether it is there or not.

        Raises:
            ProblemError: this is no id.
        """
        folder = folder_of(self._root, upload)
        if folder is None:
            raise ProblemError(404, "there is no such upload, or it has been kept long enough")
        return folder

    def take(self, body: Any, *, name: str, length: int | None) -> Upload:
        """Store a body, find out what it is, and return it.

        Raises:
            ProblemError: it is too large, too long, or no picture or video, or too many come at
                once; nothing is left of it.
        """
        if length is not None and length > self._max_bytes:
            raise self._too_large()
        with _turn_of(self._bodies, 0.0):
            return self._kept(body, name)

    def _kept(self, body: Any, name: str) -> Upload:
        """Store a body in a folder of its own, of which nothing is left where it is no good."""
        upload = secrets.token_hex(8)
        folder = self.folder(upload)
        try:
            folder.mkdir(parents=True, mode=0o700)
            return self._taken(upload, folder, body, name)
        except (ProblemError, SlowClientError):
            self.delete(upload)
            raise
        except OSError as error:
            self.delete(upload)
            problem = f"it cannot be stored: {error.strerror}"
            raise ProblemError(507, problem, retry_after_s=60) from error

    def _taken(self, upload: str, folder: Path, body: Any, name: str) -> Upload:
        raw = folder / MEDIA
        size_bytes = self._store(raw, body)
        with raw.open("rb") as file:
            form = form_of(file.read(256))
        if form is None:
            raise ProblemError(
                415, "send a JPEG, PNG, WebP, BMP or TIFF picture, or an MP4, MOV, MKV, WebM, AVI "
                "or TS video", field="body",
            )  # fmt: skip
        media = raw.rename(raw.with_suffix(form.suffix))
        seen = self._checked(media)
        upload_of_it = Upload(
            id=upload,
            name="".join(each for each in name if each.isprintable())[:_NAME_CHARS],
            kind=form.kind,
            media_type=form.media_type,
            file=media.name,
            size_bytes=size_bytes,
            width_px=seen.width_px,
            height_px=seen.height_px,
            frames=seen.frames,
            duration_s=seen.duration_s,
            created_unix_ms=time.time_ns() // 1_000_000,
        )
        write_about(folder, upload_of_it)
        return upload_of_it

    def _store(self, path: Path, body: Any) -> int:
        """Write a body into a file; return its size."""
        size_bytes = 0
        with path.open("wb") as file:
            for chunk in _chunks(body):
                size_bytes += len(chunk)
                if size_bytes > self._max_bytes:
                    raise self._too_large()
                file.write(chunk)
        return size_bytes

    def _too_large(self) -> ProblemError:
        return ProblemError(413, f"it is larger than {self._settings.max_mib} MiB", field="body")

    def _checked(self, media: Path) -> Checked:
        """Let a process of its own look at the file.

        Raises:
            ProblemError: it cannot be read, or is too long.
        """
        command = [sys.executable, "-m", "engine.upload_check", str(media)]
        try:
            with _turn_of(self._checks, TURN_WITHIN_S):
                done = subprocess.run(
                    [*command, str(self._settings.max_megapixels)],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=CHECKED_WITHIN_S,
                    check=False,
                )
        except subprocess.TimeoutExpired as error:
            raise ProblemError(422, "looking into it took too long", field="body") from error
        said = done.stdout.decode(errors="replace")
        if done.returncode:
            problem = said if done.returncode > 0 and said else "it cannot be decoded"
            raise ProblemError(422, problem[:200], field="body")
        seen = msgspec.json.decode(done.stdout, type=Checked)
        if seen.duration_s > 60 * self._settings.max_minutes:
            raise ProblemError(
                422, f"it is longer than {self._settings.max_minutes:g} minutes", field="body"
            )
        return seen

    def delete(self, upload: str) -> None:
        """Remove an upload and all that belongs to it."""
        shutil.rmtree(self.folder(upload), ignore_errors=True)

    def sweep(self, busy: Iterable[str]) -> None:
        """Delete what was kept long enough, and the oldest where all together are too large."""
        spared = set(busy)
        kept: list[Upload] = []
        now_ms = time.time_ns() // 1_000_000
        for upload in self.ids():
            folder = folder_of(self._root, upload)
            if folder is None or upload in spared:
                continue
            about = read_about(folder)
            if about is None:
                with contextlib.suppress(OSError):
                    if time.time() - folder.stat().st_mtime > LEFT_OVER_S:
                        self.delete(upload)
            elif now_ms > about.created_unix_ms + self.keep_ms:
                self.delete(upload)
            else:
                kept.append(about)
        kept.sort(key=lambda about: -about.created_unix_ms)
        total_bytes = 0
        for about in kept:
            total_bytes += about.size_bytes
            if total_bytes > self._settings.keep_mib * MIB:
                self.delete(about.id)
