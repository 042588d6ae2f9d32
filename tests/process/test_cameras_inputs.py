"""Every kind of input through a real decoder process, from real servers and senders."""

import contextlib
import os
import random
import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import make_clip, picture
from decoder_rig import Camera, DecoderRig, decoders
from polling import wait_until
from streams import ffmpeg, free_port, nginx, wait_s

from engine.board import Fate
from engine.ring_memory import STATE, SlotState
from engine.types import CameraState

PLAIN = {"skip_static": False, "connect_timeout_s": 5.0, "read_timeout_s": 5.0}
BARS = ("-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=15")
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "15")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[DecoderRig]:
    with decoders(tmp_path, cameras=3) as running:
        yield running


def jpeg(level: int) -> bytes:
    """Return a picture of 200x120 of this brightness."""
    return cv2.imencode(".jpg", np.full((120, 200), level, np.uint8))[1].tobytes()


class Snapshots(BaseHTTPRequestHandler):
    """A camera with one picture, another one each time, behind a name and a password."""

    taken = 0

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != "Basic Z2F0ZTpodW50ZXIy":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        Snapshots.taken += 1
        body = jpeg(40 + 20 * (Snapshots.taken % 10))
        if self.path == "/video":
            self._stream(body)
            return
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, body: bytes) -> None:
        """Send pictures one after the other, as MJPEG cameras do."""
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for level in range(40, 240):
            body = jpeg(level)
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
            self.wfile.write(head.encode() + body + b"\r\n")
            wait_s(0.05)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        """Bear a client that goes away."""
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True


@pytest.fixture
def snapshots() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Snapshots)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def test_pictures_polled_and_mjpeg_over_http(rig: DecoderRig, snapshots: int) -> None:
    place = f"gate:hunter2@127.0.0.1:{snapshots}"
    polled = rig.add(f"http://{place}/now.jpg", poll_s=0.1, **PLAIN)
    moving = rig.add(f"http://{place}/video", **PLAIN)
    denied = rig.add(f"http://gate:hunter3@127.0.0.1:{snapshots}/now.jpg", **PLAIN)
    polled.wait_frames(10.0, more=5)
    moving.wait_frames(10.0, more=5)
    assert polled.sizes == moving.sizes == [(200, 120)]
    denied.wait_state(CameraState.LOST, 5.0, "refuses the name and password")
    assert "hunter" not in denied.reason


def test_hls_from_nginx(rig: DecoderRig, tmp_path: Path) -> None:
    web = tmp_path / "web"
    web.mkdir()
    hls = ("-f", "hls", "-hls_time", "1", "-hls_list_size", "4", str(web / "cam.m3u8"))
    with ffmpeg(*BARS, *H264, *hls), nginx(web) as port:
        camera = rig.add(f"http://127.0.0.1:{port}/cam.m3u8", **PLAIN)
        camera.wait_frames(15.0, more=30)
        assert camera.sizes == [(320, 180)]
        assert 8.0 < camera.fps_over(3.0) < 25.0


def test_hls_flows_evenly_although_it_comes_in_segments(rig: DecoderRig, tmp_path: Path) -> None:
    """Unpaced, 3 s of frames would pass in a moment, unread, and then none for 3 s."""
    web = tmp_path / "web"
    web.mkdir()
    hls = ("-g", "45", "-f", "hls", "-hls_time", "3", "-hls_list_size", "4", str(web / "cam.m3u8"))
    with ffmpeg(*BARS, *H264[:-2], *hls), nginx(web) as port:
        wait_until(lambda: len(list(web.glob("*.ts"))) >= 4, 20.0, "some segments are there")
        camera = rig.add(f"http://127.0.0.1:{port}/cam.m3u8", **PLAIN)
        camera.wait_frames(15.0, more=10)
        rates = [camera.fps_over(0.75) for _ in range(14)]
        assert min(rates) > 5.0, rates
        assert 13.0 < sum(rates) / len(rates) < 17.0
        assert camera.newest_age_s() < 10.0
        assert [turn[1] for turn in camera.turns][-1] is CameraState.LIVE
        assert CameraState.DEGRADED not in [turn[1] for turn in camera.turns]


def test_a_remote_playlist_reaches_no_local_file(rig: DecoderRig, tmp_path: Path) -> None:
    web = tmp_path / "web"
    web.mkdir()
    secret = make_clip(tmp_path / "secret.ts", "libx264", "yuv420p", (160, 96), frames=50)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    (web / "cam.m3u8").write_text(playlist)
    with nginx(web) as port:
        camera = rig.add(f"http://127.0.0.1:{port}/cam.m3u8", **PLAIN)
        camera.wait_state(CameraState.LOST, 10.0)
        assert camera.captured == 0


LONG = pytest.mark.long


@pytest.mark.parametrize(
    "kind", ["udp", pytest.param("rtmp", marks=LONG), pytest.param("mpjpeg", marks=LONG)]
)
def test_what_ffmpeg_sends(rig: DecoderRig, kind: str) -> None:
    if kind == "udp":
        url = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
        with ffmpeg(*BARS, *H264, "-f", "mpegts", url):
            camera = rig.add(url, **PLAIN)
            camera.wait_frames(10.0, more=20)
    elif kind == "mpjpeg":
        url = f"http://127.0.0.1:{free_port()}/cam"
        with ffmpeg(*BARS, "-q:v", "5", "-f", "mpjpeg", "-listen", "1", url):
            camera = rig.add(url, **PLAIN)
            camera.wait_frames(10.0, more=20)
            assert camera.newest_age_s() < 1.0
    else:
        url = f"rtmp://127.0.0.1:{free_port()}/live/cam"
        with ffmpeg(*BARS, *H264, "-f", "flv", "-listen", "1", url):
            camera = rig.add(url, **PLAIN)
            camera.wait_frames(10.0, more=20)
    assert camera.sizes == [(320, 180)]


class LossyRelay(threading.Thread):
    """Hands datagrams on from one port to another and loses a share of them."""

    def __init__(self, to_port: int, rng: random.Random) -> None:
        super().__init__()
        self.share = 0.0
        self.ended = False
        self._rng, self._to = rng, ("127.0.0.1", to_port)
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self._sock.settimeout(0.1)
        self.port = int(self._sock.getsockname()[1])

    def run(self) -> None:
        with self._sock:
            while not self.ended:
                with contextlib.suppress(TimeoutError, ConnectionRefusedError):
                    datagram = self._sock.recv(65536)
                    if self._rng.random() >= self.share:
                        self._sock.sendto(datagram, self._to)


@pytest.mark.long
def test_lost_packets_degrade_a_camera_and_no_other(rig: DecoderRig, rng: random.Random) -> None:
    port = free_port(socket.SOCK_DGRAM)
    relay = LossyRelay(port, rng)
    relay.start()
    try:
        with ffmpeg(*BARS, *H264, "-f", "mpegts", f"udp://127.0.0.1:{relay.port}?pkt_size=1316"):
            camera = rig.add(f"udp://127.0.0.1:{port}", **PLAIN)
            neighbour = rig.add("demo://?width=320&height=180", skip_static=False)
            camera.wait_state(CameraState.LIVE, 10.0)
            neighbour.wait_frames(10.0)
            relay.share = 0.3
            camera.wait_state(CameraState.DEGRADED, 10.0, "cannot be decoded")
            assert camera.count(Fate.DECODE_ERRORS) >= 5
            assert neighbour.fps_over(2.0) > 12.0
            relay.share = 0.0
            camera.wait_state(CameraState.LIVE, 14.0)
    finally:
        relay.ended = True
        relay.join()


def test_a_device_that_is_not_there_is_named_and_tried_again(rig: DecoderRig) -> None:
    camera = rig.add("/dev/video77", **PLAIN)
    camera.wait_state(CameraState.LOST, 8.0, "/dev/video77: no such device")
    assert "plug it in" in camera.reason
    before = camera.count(Fate.RECONNECTS)
    wait_until(lambda: camera.count(Fate.RECONNECTS) > before, 8.0, "it may be plugged in later")


def test_the_engines_standard_input(rig: DecoderRig, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.ts", "libx264", "yuv420p", (320, 180), frames=20)
    read_end, write_end = os.pipe()
    saved = os.dup(0)
    try:
        os.dup2(read_end, 0)
        camera = rig.add("-", **PLAIN)
        os.write(write_end, clip.read_bytes()[:60_000])
        os.close(write_end)
        camera.wait_state(CameraState.ENDED, 10.0)
        assert camera.captured > 5
    finally:
        os.dup2(saved, 0)
        for fd in (saved, read_end):
            os.close(fd)


def test_a_watched_folder_shows_what_comes(rig: DecoderRig, tmp_path: Path) -> None:
    folder = tmp_path / "upload"
    folder.mkdir()
    (folder / "old.jpg").write_bytes(jpeg(50))
    camera = rig.add(str(folder), watch=True, slots=16, **PLAIN)
    camera.wait_state(CameraState.LIVE, 15.0)
    wait_s(1.0)
    assert camera.captured == 0, "what was there before is not shown"
    (folder / "part.jpg").write_bytes(jpeg(60)[:500])
    for number in range(3):
        (folder / f"new{number}.jpg").write_bytes(jpeg(70))
    camera.wait_frames(5.0, more=3)
    assert camera.captured == 3
    (folder / "part.jpg").write_bytes(jpeg(60))
    camera.wait_frames(5.0, more=1)
    (folder / "new0.jpg").write_bytes(jpeg(90))
    camera.wait_frames(5.0, more=1)
    assert camera.captured == 5
    assert camera.state is CameraState.LIVE
    shutil.rmtree(folder)
    camera.wait_state(CameraState.LOST, 8.0, "the folder is gone")
    folder.mkdir()
    camera.wait_state(CameraState.LIVE, 8.0)


def test_pictures_that_come_together_are_all_recognized(rig: DecoderRig, tmp_path: Path) -> None:
    """However soon after each other: none shows what another one does."""
    folder = tmp_path / "upload"
    folder.mkdir()
    camera = rig.add(str(folder), watch=True, slots=16)
    wait_until(lambda: camera.state and camera.turns, 30.0, "the decoder says that it connects")
    wait_s(1.5)
    rng = np.random.default_rng(3)
    for number in range(6):
        picture = np.kron(rng.integers(0, 255, (6, 10), np.uint8), np.ones((20, 20), np.uint8))
        cv2.imwrite(str(folder / f"{number}.png"), picture)
    camera.wait_frames(10.0, more=6)
    assert camera.count(Fate.SKIPPED_PACED) == camera.count(Fate.SKIPPED_STATIC) == 0


def ready_slot(camera: Camera) -> int:
    """Return a slot that holds a frame nobody has read."""
    memory = camera.memory()
    slots = range(memory.handle.slots)
    return next(slot for slot in slots if memory.word(slot, STATE) == SlotState.READY)


def test_masked_places_are_black_in_the_slot(rig: DecoderRig, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", "libx264", "yuv420p", (320, 180), frames=3)
    triangle = [[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]]
    for form in ("gray", "i420", "bgr24"):
        camera = rig.add(str(clip), masks=[triangle], format=form, slots=8, play="fast", **PLAIN)
        camera.wait_frames(10.0, more=3)
        memory, slot = camera.memory(), ready_slot(camera)
        luma = memory.luma(slot)
        hidden = np.add.outer(np.arange(180) / 90, np.arange(320) / 160) < 1
        assert (luma[hidden] == (0 if form == "bgr24" else 16)).all()
        shown = np.add.outer(np.arange(180) / 90, np.arange(320) / 160) > 1.1
        assert np.ptp(luma[shown]) > 100
        if form == "i420":
            chroma = memory.frame(slot)[180:].reshape(2, 90, 160)
            assert (chroma[:, hidden[::2, ::2]] == 128).all()
        if form == "bgr24":
            colour = memory.frame(slot)
            assert colour.shape == (180, 320, 3)
            assert (colour[hidden] == 0).all()
            assert np.ptp(colour[shown].astype(int).max(axis=-1)) > 100
        assert camera.count(Fate.CAPTURED) == 3


def test_a_cropped_camera_has_a_smaller_ring(rig: DecoderRig, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", "ffv1", "yuv420p", (320, 180), frames=2)
    camera = rig.add(str(clip), crop=[0.25, 0.5, 0.5, 0.25], slots=4, play="fast", **PLAIN)
    camera.wait_frames(10.0, more=2)
    assert camera.sizes == [(160, 45)]
    luma = camera.memory().luma(ready_slot(camera)).astype(float)
    wholes = [picture(index, (320, 180)) @ np.array([0.299, 0.587, 0.114]) for index in (0, 1)]
    parts = [whole[90:135, 80:240].ravel() for whole in wholes]
    assert max(np.corrcoef(luma.ravel(), part)[0, 1] for part in parts) > 0.98


def test_damaged_packets_of_a_clip_are_counted(rig: DecoderRig, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.avi", "mjpeg", "yuvj420p", (320, 180), frames=60)
    spoilt = bytearray(clip.read_bytes())
    middle = len(spoilt) // 2
    for at in range(middle, middle + 8_000, 37):
        spoilt[at] ^= 0xFF
    clip.write_bytes(spoilt)
    camera = rig.add(str(clip), play="fast", slots=64, **PLAIN)
    camera.wait_state(CameraState.ENDED, 10.0)
    assert camera.count(Fate.DECODE_ERRORS) >= 1
    assert camera.captured >= 20


def test_too_large_pictures_are_refused_in_words(rig: DecoderRig, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", "libx264", "yuv420p", (640, 360), frames=3)
    camera = rig.add(str(clip), max_megapixels=0.2, **PLAIN)
    camera.wait_state(CameraState.LOST, 8.0, "640×360 is more than max_megapixels = 0.2")
    assert camera.captured == 0
