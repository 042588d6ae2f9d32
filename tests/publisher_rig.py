"""A real publisher process as its supervisor would run it, and makers of reads."""

import contextlib
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from polling import wait_until

from engine.board import Board, Count, Row, Seat
from engine.config import LogSettings, RedisSettings, SpoolSettings, TrackerSettings
from engine.messages import (
    DECODE,
    AttachClips,
    AttachReads,
    Message,
    ReadsRecord,
    Ready,
    Start,
    Stop,
    UseCamera,
    encode,
)
from engine.process import log_section
from engine.sections import PublishedCamera, PublisherSection
from engine.types import Candidate, FrameReads, FrameStamp, PlateRead

CAMERA = "gate"
EPOCH_NS = 1_790_000_000_000_000_000


def plate_read(
    plate: str,
    x: float = 100,
    y: float = 100,
    confidence: float = 90,
    size: tuple[float, float] = (100, 25),
) -> PlateRead:
    """A read of a plate of 100 by 25 pixels whose top left corner is at x, y."""
    width, height = size
    return PlateRead(
        plate=plate,
        confidence=confidence,
        candidates=(Candidate(plate, confidence),),
        corners=((x, y), (x + width, y), (x + width, y + height), (x, y + height)),
        recognizer="test",
        elapsed_ms=1,
    )


def frame(
    at_ms: float, *reads: PlateRead, camera: str = CAMERA, base_ns: int = EPOCH_NS
) -> FrameReads:
    """What one frame of a camera showed, so many milliseconds after the base time."""
    at_ns = int(at_ms * 1e6)
    stamp = FrameStamp(
        camera=camera,
        generation=1,
        captured_unix_ns=base_ns + at_ns,
        captured_monotonic_ns=at_ns,
        width_px=1920,
        height_px=1080,
    )
    return FrameReads(
        stamp=stamp,
        reads=reads,
        crops=tuple(b"crop of " + read.plate.encode() for read in reads),
        frame_jpeg=b"frame",
    )


class Worker:
    """The worker's end of reads channels: keeps what is not acknowledged, as a real one does."""

    def __init__(self, name: str = "worker-1", incarnation: int = 1) -> None:
        self.name, self.incarnation = name, incarnation
        self.unacknowledged: list[ReadsRecord] = []
        self._sequence = 0
        self._end: socket.socket | None = None

    def attach(self, end: socket.socket) -> None:
        """Go on over a fresh channel."""
        self.close()
        self._end = end
        end.settimeout(5.0)
        for record in self.unacknowledged:
            self._send(record)

    def send(self, reads: FrameReads) -> None:
        """Send one frame's reads."""
        self._sequence += 1
        record = ReadsRecord(sequence=self._sequence, camera_index=0, reads=reads)
        self.unacknowledged.append(record)
        self._send(record)

    def settled(self) -> bool:
        """Take in acknowledgements; true when everything was committed."""
        assert self._end is not None
        self._end.setblocking(False)
        with contextlib.suppress(BlockingIOError, OSError):
            while packet := self._end.recv(256):
                ack = DECODE.from_publisher.decode(packet)
                self.unacknowledged = [
                    record for record in self.unacknowledged if record.sequence > ack.sequence
                ]
        self._end.settimeout(5.0)
        return not self.unacknowledged

    def close(self) -> None:
        """Close the channel."""
        if self._end is not None:
            self._end.close()

    def _send(self, record: ReadsRecord) -> None:
        with contextlib.suppress(OSError):  # a dead publisher: the next channel gets it
            if self._end is not None:
                self._end.send(encode(record))


class PublisherRig:
    """Plays the supervisor of one publisher: starts it, hands it channels, kills it."""

    def __init__(self, folder: Path, redis_url: str, **tracker: float) -> None:
        self.folder = folder
        self.incarnation = 0
        self.prefix: tuple[str, ...] = ()
        """What the process is started by, like ``unshare``."""
        self.board = Board.create(f"platering.test{secrets.token_hex(4)}.board", 2, 1)
        self.row: Row = self.board.row(0)
        self.process: subprocess.Popen[bytes] | None = None
        self.section = PublisherSection(
            run="run-1",
            node="node-a",
            directory=folder / "engine",
            cameras=(PublishedCamera(name=CAMERA, index=0, min_confidence=60, min_reads=2),),
            tracker=TrackerSettings(**tracker),
            redis=RedisSettings(url=redis_url),
            spool=SpoolSettings(),
        )
        self._link: socket.socket | None = None
        self.sockets = Path(tempfile.mkdtemp(prefix="plt-"))
        self.ingest_path = self.sockets / "ingest.sock"
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(self.ingest_path))
        self.listener.listen()

    def start(self) -> None:
        """Start the process and wait until it is ready."""
        self.incarnation += 1
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "engine.publisher", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
            )
        self._link = ours
        ours.settimeout(20.0)
        start = Start(
            seat=Seat(self.board.name, 0, self.incarnation),
            name="publisher",
            section=self.section.encode(),
            log=log_section(LogSettings(level="warning")),
        )
        self._tell(start, self.listener.fileno())
        assert isinstance(DECODE.to_supervisor.decode(ours.recv(65536)), Ready)

    def attach(self, worker: Worker) -> None:
        """Give a worker a fresh channel to the publisher."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            message = AttachReads(worker=worker.name, incarnation=worker.incarnation)
            self._tell(message, theirs.fileno())
        worker.attach(ours)

    def attach_clips(self, **terms: object) -> socket.socket:
        """Return the decoder's end of a socket for clips of the camera."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        known = {"camera": CAMERA, "wanted": "all", "after_s": 0.0, "most_bytes": 1 << 20}
        with theirs:
            self._tell(AttachClips(**(known | terms)), theirs.fileno())
        return ours

    def use_camera(self, camera: PublishedCamera) -> None:
        """Tell of a camera that was added or changed."""
        self._tell(UseCamera(camera=camera.encode()))

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.process is not None
        assert self._link is not None
        self.process.kill()
        self.process.wait()
        self._link.close()

    def stop(self) -> int:
        """Tell it to stop; return its exit code."""
        assert self.process is not None
        assert self._link is not None
        self._tell(Stop())
        code = self.process.wait(10.0)
        self._link.close()
        return code

    def orphan(self) -> int:
        """Close the link, as the death of the supervisor would; return the exit code."""
        assert self.process is not None
        assert self._link is not None
        self._link.close()
        return self.process.wait(10.0)

    def total(self, which: Count) -> int:
        """A counter of the publisher."""
        return self.row.total(which)

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        if self._link is not None:
            self._link.close()
        self.listener.close()
        self.ingest_path.unlink()
        self.sockets.rmdir()
        self.row.release()
        self.board.unlink()
        self.board.close()

    def _tell(self, message: Message, *fds: int) -> None:
        assert self._link is not None
        socket.send_fds(self._link, [encode(message)], list(fds))


@contextlib.contextmanager
def running(folder: Path, redis_url: str, **tracker: float) -> Iterator[PublisherRig]:
    """A running publisher, ended and cleaned away in the end."""
    rig = PublisherRig(folder, redis_url, **tracker)
    try:
        rig.start()
        yield rig
    finally:
        rig.close()


def settle(worker: Worker, deadline_s: float = 5.0) -> None:
    """Wait until the publisher has committed all that the worker sent."""
    wait_until(worker.settled, deadline_s, "all reads are committed")


def report(figures: object) -> None:
    """Say what was measured; seen with ``pytest -s``."""
    sys.stdout.write(f"\n{figures}\n")
