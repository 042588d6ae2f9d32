"""Hostile files through a real decoder: the neighbour is not disturbed, memory stays bounded.

Each decoder plays a list of mutated files one after the other through the very source that the
engine uses. Every file is counted under one outcome.
"""

import contextlib
import random
import signal
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar, NamedTuple

import cv2
import numpy as np
import pytest
from clips import make_clip
from decoder_rig import DecoderRig, decoders, share_of_pairs

from engine.board import Kind
from engine.children import MODULES
from engine.messages import Pause

KINDS = [
    ("h264.mp4", "libx264", "yuv420p"),
    ("h264.ts", "libx264", "yuv420p"),
    ("h265.ts", "libx265", "yuv420p10le"),
    ("mjpeg.avi", "mjpeg", "yuvj422p"),
    ("mpeg4.avi", "mpeg4", "yuv420p"),
    ("ffv1.mkv", "ffv1", "yuv422p10le"),
]
MEMORY_MIB = 1024
HOSTILE = {
    "memory_mib": MEMORY_MIB,
    "skip_static": False,
    "play": "fast",
    "clip": "all",
    "connect_timeout_s": 2.0,
    "read_timeout_s": 2.0,
}
EACH_S = 10.0
"""A file that keeps its decoder for longer hangs it."""
QUIET = "demo://?width=320&height=180"
WINDOW_FRAMES = 20
LEAST_WINDOWS, MANY_WINDOWS = 3, 20
NO_EFFECT = 0.95
"""Of the rate beside a good camera: less would be more than chance."""
FEW_WINDOWS = 0.85
"""The same where a run is too short for chance to even out."""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Whole clips of several codecs and containers."""
    folder = tmp_path_factory.mktemp("good")
    clips = [
        make_clip(folder / name, codec, pix_fmt, (160, 96), frames=12)
        for name, codec, pix_fmt in KINDS
    ]
    bomb = folder / "bomb.png"
    bomb.write_bytes(png_bomb(30_000, 30_000))
    return [*clips, bomb]


def png_bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that claims to be huge."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(3 * width + 1) * 100, 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def mutated(whole: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Return how a file was spoilt, and the file."""
    way = rng.choice(("truncated", "flipped", "swapped", "sizes", "zeros", "doubled"))
    spoilt = bytearray(whole)
    match way:
        case "truncated":
            del spoilt[rng.randrange(len(spoilt)) :]
        case "flipped":
            for _ in range(rng.choice((1, 10, 200))):
                spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
        case "swapped":
            one, other, size = (rng.randrange(len(spoilt)) for _ in range(3))
            piece = spoilt[one : one + size % 4096]
            spoilt[other : other + len(piece)] = piece
        case "sizes":
            at = rng.randrange(min(2000, len(spoilt)))
            huge = rng.choice((0xFFFFFFFF, 0x7FFFFFFF, 0, 0xFFFF, 0x00100000))
            spoilt[at : at + 4] = struct.pack(rng.choice("<>") + "I", huge)
        case "zeros":
            at = rng.randrange(len(spoilt))
            spoilt[at : at + 2000] = bytes(len(spoilt[at : at + 2000]))
        case _:
            spoilt += spoilt[rng.randrange(len(spoilt)) :]
    return way, bytes(spoilt)


def spoil(good: list[Path], folder: Path, count: int, rng: random.Random) -> Counter[str]:
    """Write that many mutated files, and each good one whole; return how they were spoilt."""
    ways: Counter[str] = Counter()
    for number, whole in enumerate(good):
        (folder / f"{number}{whole.suffix}").write_bytes(whole.read_bytes())
    for number in range(len(good), count):
        whole = rng.choice(good)
        way, spoilt = mutated(whole.read_bytes(), rng)
        ways[way] += 1
        (folder / f"{number}{whole.suffix}").write_bytes(spoilt)
    return ways


def outcomes(log: Path) -> Counter[str]:
    """Return what became of the files, each counted once."""
    begun: dict[str, str] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        verb, name, *rest = line.split(maxsplit=3)
        if verb != "all":
            begun[name] = "died" if verb == "begin" else rest[0]
    return Counter(begun.values())


class Strain(NamedTuple):
    """What playing the files did."""

    deaths: int
    highest_mib: float
    neighbour_deaths: int
    beside_benign: list[float]
    """Frame rates of the neighbour while a good camera plays beside it, and no hostile one."""
    beside_hostile: list[float]
    """Those in between, while the hostile one plays instead."""

    @property
    def neighbour_share(self) -> float:
        """Return the neighbour's rate beside the hostile camera, as a share of the other."""
        return share_of_pairs(self.beside_hostile, self.beside_benign)

    @property
    def bearable_share(self) -> float:
        """Return what is no effect, as far as so many windows can tell."""
        return NO_EFFECT if len(self.beside_hostile) >= MANY_WINDOWS else FEW_WINDOWS


class Fuzz:
    """A hostile camera and a good one that take turns beside a neighbour."""

    def __init__(self, rig: DecoderRig, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.neighbour = rig.add(QUIET, skip_static=False)
        self.benign = rig.add(QUIET, skip_static=False)
        for camera in (self.neighbour, self.benign):
            camera.wait_frames(15.0)
        self.log = folder / "log"
        self.log.touch()
        patch.setitem(MODULES, Kind.DECODER, "fuzz_decoder")
        self.hostile = rig.add(str(folder), **HOSTILE)
        self.highest_mib = 0.0
        self._seen, self._seen_at = 0, time.monotonic()

    def is_over(self) -> bool:
        """Tell whether all files were played."""
        return self.log.read_text().endswith("all done\n")

    def neighbours_fps(self, *, hostile: bool) -> float:
        """Return the neighbour's rate over its next frames while one of the two plays."""
        self.benign.child.send(Pause(paused=hostile))
        self._seen_at = time.monotonic()
        if hostile:
            return self.neighbour.fps_of_next(WINDOW_FRAMES, self._watch)
        rate = self.neighbour.fps_of_next(WINDOW_FRAMES, self._hold)
        self.hostile.child.signal(signal.SIGCONT)
        return rate

    def _hold(self) -> None:
        """Stop the hostile process where it is; it may have been started only now."""
        self.hostile.child.signal(signal.SIGSTOP)

    def _watch(self) -> None:
        if self.hostile.child.is_up:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                self.highest_mib = max(self.highest_mib, self.hostile.peak_mib())
        if self.log.stat().st_size != self._seen or self.is_over():
            self._seen, self._seen_at = self.log.stat().st_size, time.monotonic()
        hangs = time.monotonic() - self._seen_at > EACH_S
        assert not hangs, f"it hangs: {self.log.read_text()[-100:]}"


def fuzz(rig: DecoderRig, folder: Path, patch: pytest.MonkeyPatch) -> Strain:
    """Play a folder beside a good camera, and another good camera in between."""
    played = Fuzz(rig, folder, patch)
    benign, hostile = [], []
    while not played.is_over():
        benign.append(played.neighbours_fps(hostile=False))
        hostile.append(played.neighbours_fps(hostile=True))
    if len(hostile) > LEAST_WINDOWS:
        hostile.pop()  # it was over in the midst of this one
    return Strain(
        played.hostile.child.restarts,
        played.highest_mib,
        played.neighbour.child.restarts,
        benign,
        hostile,
    )


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.long)])
def test_hostile_files_hurt_nobody_else(
    good: list[Path],
    tmp_path: Path,
    rng: random.Random,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    folder = tmp_path / "hostile"
    folder.mkdir()
    ways = spoil(good, folder, count, rng)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    with decoders(tmp_path, cameras=3) as rig:
        strain = fuzz(rig, folder, monkeypatch)
    found = outcomes(folder / "log")
    record_property("ways", str(dict(ways)))
    record_property("outcomes", str(dict(found)))
    record_property("strain", str(strain))
    record_property("neighbour_share", round(strain.neighbour_share, 3))
    assert found.total() == count, "every file is counted"
    assert found["played"] >= len(KINDS)
    assert found["died"] == strain.deaths <= count / 100
    assert strain.highest_mib < MEMORY_MIB
    assert strain.neighbour_deaths == 0
    assert strain.neighbour_share > strain.bearable_share


class HostileServer(BaseHTTPRequestHandler):
    """Serves spoilt streams; a playlist is gone after some requests, for it may be live."""

    bodies: ClassVar[dict[str, tuple[str, bytes]]] = {}
    asked: ClassVar[Counter[str]] = Counter()

    def do_GET(self) -> None:  # as the library calls it
        name = self.path.strip("/").partition("?")[0]
        self.asked[name] += 1
        if name not in self.bodies or (name.endswith("m3u8") and self.asked[name] > 3):
            self.send_error(404)
            return
        kind, body = self.bodies[name]
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        """Bear a decoder that goes away."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            super().handle()


def streams(good: list[Path]) -> dict[str, tuple[str, bytes]]:
    """Return whole streams by the suffix of their address, with their types."""
    jpeg = cv2.imencode(".jpg", np.arange(120 * 200).reshape(120, 200).astype(np.uint8))[1]
    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {jpeg.size}\r\n\r\n".encode()
    by_name = {path.name: path.read_bytes() for path in good}
    playlist = (
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n"
        "#EXTINF:0.48,\nwhole.ts\n#EXTINF:0.48,\nwhole.ts\n#EXT-X-ENDLIST\n"
    )
    return {
        "mjpeg": ("multipart/x-mixed-replace; boundary=frame", (head + jpeg.tobytes()) * 10),
        "ts": ("video/mp2t", by_name["h264.ts"]),
        "mp4": ("video/mp4", by_name["h264.mp4"]),
        "m3u8": ("application/vnd.apple.mpegurl", playlist.encode()),
    }


@pytest.fixture
def hostile(good: list[Path], rng: random.Random) -> Iterator[Callable[[Path, int], None]]:
    """What fills a folder with addresses of hostile streams; the first four are whole."""
    HostileServer.bodies.clear()
    HostileServer.asked.clear()
    whole = streams(good)
    HostileServer.bodies["whole.ts"] = whole["ts"]
    with ThreadingHTTPServer(("127.0.0.1", 0), HostileServer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()

        def fill(folder: Path, count: int) -> None:
            for number in range(count):
                suffix = list(whole)[number] if number < 4 else rng.choice(list(whole))
                kind, body = whole[suffix]
                spoilt = body if number < 4 else mutated(body, rng)[1]
                name = f"{number}.{suffix}"
                HostileServer.bodies[name] = kind, spoilt
                address = f"http://127.0.0.1:{server.server_address[1]}/{name}"
                (folder / f"{number}.url").write_text(address)

        yield fill
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("count", [40, pytest.param(1_000, marks=pytest.mark.long)])
def test_hostile_streams_hurt_nobody_else(
    hostile: Callable[[Path, int], None],
    tmp_path: Path,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    folder = tmp_path / "hostile"
    folder.mkdir()
    hostile(folder, count)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    with decoders(tmp_path, cameras=3) as rig:
        strain = fuzz(rig, folder, monkeypatch)
    found = outcomes(folder / "log")
    record_property("outcomes", str(dict(found)))
    record_property("strain", str(strain))
    record_property("neighbour_share", round(strain.neighbour_share, 3))
    assert found.total() == count, "every stream is counted"
    assert found["broke-off"] >= 4, "streams that were whole were played to their end"
    assert found["died"] == strain.deaths <= count / 100
    assert strain.highest_mib < MEMORY_MIB
    assert strain.neighbour_deaths == 0
    assert strain.neighbour_share > strain.bearable_share
