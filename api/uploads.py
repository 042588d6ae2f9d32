"""Uploads: a picture or a video is handed in, read by the pool, and told of as it is read.

The file is checked in a process of its own (``engine.upload_check``), queued by the supervisor,
decoded by a process of its own, recognized behind all live cameras, and deleted after a while.
What is found lies in files, so that any API process answers for any upload.
"""

import contextlib
import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Final, cast

import gevent
import msgspec
from flask import Blueprint, Response, g, request, send_file
from gevent.lock import BoundedSemaphore

from api.endpoints import endpoint
from api.engine_link import EngineLink
from api.problems import ProblemError
from api.upload_files import UploadFiles
from engine.control import ask
from engine.errors import ControlError
from engine.scopes import Scope
from engine.uploads import (
    EVENTS,
    Upload,
    UploadDone,
    UploadFailed,
    UploadPlate,
    UploadProgress,
    decode_event,
    read_about,
)

AT_ONCE: Final = 4
"""Bodies that one process takes at the same time, each of which fills disk and is then checked."""
LOOK_S: Final = 0.15
"""How often a follower looks for new lines."""
HEARTBEAT_S: Final = 10.0
FOLLOWED_S: Final = 3_600.0
"""A follower is let go after so long; it comes back by its last id."""
QUEUED_WITHIN_S: Final = 5.0
"""A new upload is known to the engine after so long; until then it is believed to wait."""
SWEEP_S: Final = 60.0
_LINE: Final = re.compile(r"\d{1,18}", re.ASCII)
INTERRUPTED: Final = "the engine was restarted meanwhile — upload it again"

SSE_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}

log = logging.getLogger(__name__)


class UploadState(msgspec.Struct, frozen=True, kw_only=True):
    """An upload and what was found in it so far."""

    upload: Upload
    state: str
    """``waiting``, ``reading``, ``done`` or ``failed``."""
    progress: float
    """0 to 1."""
    reason: str = ""
    """Why it failed."""
    plates: tuple[UploadPlate, ...] = ()
    deleted_unix_ms: int
    """When it will be deleted."""


class UploadList(msgspec.Struct, frozen=True):
    """The uploads that are kept, newest first."""

    uploads: tuple[UploadState, ...]


class Accepted(msgspec.Struct, frozen=True):
    """The id under which an upload is known."""

    id: str


class EventsQuery(msgspec.Struct, frozen=True):
    """Where a follower wants to resume: the number of the last line it saw."""

    since: Annotated[int, msgspec.Meta(ge=0)] = 0


class UploadRoom:
    """What the routes of this room answer with."""

    def __init__(
        self,
        files: UploadFiles,
        engine: EngineLink,
        control_path: str,
        *,
        refusal: str,
        closing: Callable[[], bool],
    ) -> None:
        """``refusal``: why nothing can be uploaded here, empty where it can."""
        self._files = files
        self._engine = engine
        self._control_path = control_path
        self._refusal = refusal
        self._closing = closing
        self._hands = BoundedSemaphore(AT_ONCE)

    def run(self) -> None:
        """Delete what has been kept long enough, for ever."""
        while True:
            try:
                if self._files.ids():
                    busy = frozenset(self._busy() or ())
                    # in a native thread: there may be thousands of folders to look into
                    gevent.get_hub().threadpool.apply(self._files.sweep, (busy,))
            except OSError as error:
                log.warning("old uploads cannot be deleted: %s", error)
            gevent.sleep(SWEEP_S)

    def take(self) -> Accepted:
        """Store, check and queue the body of this request.

        Raises:
            ProblemError: it is nothing that can be read, too large, or cannot be taken here or now.
        """
        if self._refusal:
            raise ProblemError(409, self._refusal)
        if not self._hands.acquire(blocking=False):
            raise ProblemError(503, "too many upload at once", retry_after_s=5)
        try:
            upload = self._files.take(
                request.environ["wsgi.input"],
                name=request.headers.get("X-Filename", ""),
                length=request.content_length,
            )
        finally:
            self._hands.release()
        try:
            ask(self._control_path, "upload.add", upload=upload.id)
        except ControlError as error:
            self._files.delete(upload.id)
            raise ProblemError(503, str(error), retry_after_s=10) from error
        g.what = f"{upload.name or upload.kind} ({upload.id})"
        return Accepted(upload.id)

    def all(self) -> UploadList:
        """Return the uploads that are kept."""
        states = []
        for upload in self._files.ids():
            found = self.state(upload)
            if found is not None:
                states.append(found)
            gevent.sleep(0)  # there may be thousands, and other greenlets go on meanwhile
        states.sort(key=lambda each: -each.upload.created_unix_ms)
        return UploadList(tuple(states))

    def one(self, upload: str) -> UploadState:
        """Return one upload; raises ProblemError where there is none."""
        found = self.state(upload)
        if found is None:
            raise ProblemError(404, "there is no such upload, or it has been kept long enough")
        return found

    def state(self, upload: str) -> UploadState | None:
        """Return what is known of an upload, None where there is none."""
        folder = self._files.folder(upload)
        about = read_about(folder)
        if about is None:
            return None
        state, progress, reason = "waiting", 0.0, ""
        plates: dict[int, UploadPlate] = {}
        for line in _lines(folder, 0):
            match decode_event(line):
                case UploadProgress(share=share):
                    state, progress = "reading", share
                case UploadPlate() as plate:
                    plates[plate.number] = plate
                case UploadDone():
                    state, progress = "done", 1.0
                case UploadFailed(reason=why):
                    state, reason = "failed", why
        if state not in {"done", "failed"} and self._is_lost(about):
            state, reason = "failed", INTERRUPTED
        return UploadState(
            upload=about,
            state=state,
            progress=progress,
            reason=reason,
            plates=tuple(plates.values()),
            deleted_unix_ms=about.created_unix_ms + self._files.keep_ms,
        )

    def _is_lost(self, about: Upload) -> bool:
        """Tell whether an unfinished upload is not the engine's any more."""
        busy = self._busy()
        old_ms = time.time_ns() // 1_000_000 - about.created_unix_ms
        if busy is None or about.id in busy or old_ms < 1_000 * QUEUED_WITHIN_S:
            return False
        # It may have ended just now: the publisher writes its last line a second later.
        events = self._files.folder(about.id) / EVENTS
        with contextlib.suppress(OSError):
            return time.time() - events.stat().st_mtime > QUEUED_WITHIN_S
        return True

    def _busy(self) -> tuple[str, ...] | None:
        """Return the uploads that the engine has in hand, None while it does not answer."""
        status = self._engine.status()
        return status.uploads if status is not None else None

    def follow(self, upload: str, since: int) -> Iterator[bytes]:
        """Yield the events of an upload behind a line as an event stream, until it has ended."""
        folder, number = self._files.folder(upload), since
        ends = time.monotonic() + FOLLOWED_S
        told, size_bytes = time.monotonic(), 0
        yield b"retry: 1000\n\n"
        while time.monotonic() < ends and not self._closing():
            before, size_bytes = size_bytes, _size_bytes(folder)
            for line in _lines(folder, number) if size_bytes != before else ():
                number += 1
                event = decode_event(line)
                yield _framed(number, event)
                told = time.monotonic()
                if isinstance(event, UploadDone | UploadFailed):
                    return
            found = read_about(folder)
            if found is None or self._is_lost(found):
                yield _framed(number, UploadFailed(reason=INTERRUPTED if found else "deleted"))
                return
            if time.monotonic() - told > HEARTBEAT_S:
                told = time.monotonic()
                yield b": \n\n"
            gevent.sleep(LOOK_S)

    def file(self, upload: str) -> Response:
        """Return the file as it came, whole or in ranges."""
        about = self.one(upload).upload
        path = self._files.folder(upload) / about.file
        return send_file(path, mimetype=about.media_type, conditional=True, max_age=3_600)

    def crop(self, upload: str, number: int) -> Response:
        """Return the picture of a plate."""
        path = self._files.folder(upload) / "crops" / f"{number}.jpg"
        if not path.is_file():
            raise ProblemError(404, "there is no such picture, or it has been kept long enough")
        return send_file(path, mimetype="image/jpeg", conditional=True)

    def delete(self, upload: str) -> None:
        """Stop reading an upload and remove it with all that was found in it."""
        self.one(upload)
        with contextlib.suppress(ControlError):  # without an engine nobody reads it
            ask(self._control_path, "upload.drop", upload=upload)
        self._files.delete(upload)


def _size_bytes(folder: Path) -> int:
    try:
        return (folder / EVENTS).stat().st_size
    except OSError:
        return 0


def _lines(folder: Path, behind: int) -> list[bytes]:
    """Return the whole lines of an upload's events behind the first so many."""
    try:
        text = (folder / EVENTS).read_bytes()
    except OSError:
        return []
    whole, _, _unfinished = text.rpartition(b"\n")
    return whole.split(b"\n")[behind:] if whole else []


def _framed(number: int, event: UploadProgress | UploadPlate | UploadDone | UploadFailed) -> bytes:
    name = cast("str", type(event).__struct_config__.tag)
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (number, name.encode(), msgspec.json.encode(event))


def blueprint(room: UploadRoom) -> Blueprint:
    """Return the routes of this room."""
    routes = Blueprint("uploads", __name__, url_prefix="/api/v1/uploads")

    @routes.post("")
    @endpoint(needs=Scope.OPERATE, takes="application/octet-stream", answers=Accepted, status=202)
    def take() -> Accepted:
        """Hand in a picture or a video as the body; ``X-Filename`` may name it."""
        return room.take()

    @routes.get("")
    @endpoint(needs=Scope.READ, answers=UploadList)
    def uploads() -> UploadList:
        """The uploads that are kept, newest first."""
        return room.all()

    @routes.get("/<upload>")
    @endpoint(needs=Scope.READ, answers=UploadState)
    def one(upload: str) -> UploadState:
        """One upload, how far it is read, and the plates found so far."""
        return room.one(upload)

    @routes.get("/<upload>/events")
    @endpoint(needs=Scope.READ, query=EventsQuery, answers="text/event-stream")
    def events(upload: str, query: EventsQuery) -> Response:
        """What is found, as it is found: ``progress``, ``plate``, ``done``, ``failed``."""
        room.one(upload)
        last = request.headers.get("Last-Event-ID", "")
        since = int(last) if _LINE.fullmatch(last) else query.since
        return Response(room.follow(upload, since), headers=SSE_HEADERS)

    @routes.get("/<upload>/file")
    @endpoint(needs=Scope.READ, answers="application/octet-stream")
    def file(upload: str) -> Response:
        """The file as it came, whole or in ranges, as players ask for it."""
        return room.file(upload)

    @routes.get("/<upload>/crops/<int:number>.jpg")
    @endpoint(needs=Scope.READ, answers="image/jpeg")
    def crop(upload: str, number: int) -> Response:
        """The picture of a plate."""
        return room.crop(upload, number)

    @routes.delete("/<upload>")
    @endpoint(needs=Scope.OPERATE, status=204)
    def delete(upload: str) -> None:
        """Delete an upload and all that was found in it."""
        room.delete(upload)

    return routes
