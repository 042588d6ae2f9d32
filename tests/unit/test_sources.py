"""What ``open_source`` makes of URLs, and that no password leaves it."""

import contextlib
import errno
import os
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import av.error
import cv2
import numpy as np
import pytest
from clips import h264_clip, picture
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SourceError, SourceUnsupportedError
from engine.sources import SourceOptions, count_frames, open_source, redact
from engine.sources.demo import DemoSource
from engine.sources.images import ImageSource
from engine.sources.libav import STREAM_SCHEMES, libav_options
from engine.sources.video import VideoSource

QUICK = SourceOptions(connect_timeout_s=1.0, read_timeout_s=1.0)


def never() -> bool:
    return False


@pytest.mark.parametrize("scheme", sorted(STREAM_SCHEMES))
def test_streams_are_live_and_endless(scheme):
    source = open_source(f"{scheme}://camera.invalid/1")
    assert isinstance(source, VideoSource)
    assert source.live
    assert source.endless


def test_a_device_is_a_live_camera():
    source = open_source("/dev/video7")
    assert source.live
    assert source.endless
    with pytest.raises(SourceError, match="/dev/video7"):
        next(iter(source.frames(never)))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOENT, "no such device — plug it in"),
        (errno.EACCES, "add it to the group video"),
        (errno.EBUSY, "another program uses it"),
        (errno.ENOTTY, "this is no camera"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_a_device_that_cannot_be_opened_is_an_error_with_its_remedy(monkeypatch, number, words):
    """As libav would say it of a real one; v4l2loopback cannot be had here."""

    def refuse(*_arguments, **_options):
        raise av.error.FFmpegError(number, os.strerror(number))

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(SourceError, match=words):
        next(iter(open_source("/dev/video0").frames(never)))


def test_a_device_that_is_no_camera_is_said_to_be_none(monkeypatch):
    """The real way through libav's V4L2, up to a device that does not know its questions."""
    really = av.open
    monkeypatch.setattr(av, "open", lambda _path, **options: really("/dev/null", **options))
    with pytest.raises(SourceError, match=r"/dev/video0: this is no camera"):
        next(iter(open_source("/dev/video0").frames(never)))


def test_unknown_schemes_are_refused_with_what_there_is():
    with pytest.raises(SourceUnsupportedError) as refused:
        open_source("gopher://me:secret@host/x")
    assert "rtsp" in str(refused.value)
    assert "demo" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_missing_file_is_named():
    with pytest.raises(SourceError, match=r"nowhere\.mp4: no such file"):
        open_source("/nowhere.mp4")


def test_a_file_that_is_no_video_says_so(tmp_path):
    (tmp_path / "notes.mp4").write_text("these are words")
    source = open_source(str(tmp_path / "notes.mp4"))
    with pytest.raises(SourceError, match=r"notes\.mp4"):
        next(iter(source.frames(never)))


def test_relative_paths_start_at_base_dir(tmp_path):
    cv2.imwrite(str(tmp_path / "car.png"), np.zeros((4, 6), np.uint8))
    options = SourceOptions(play="fast", base_dir=str(tmp_path))
    assert [f.width_px for f in open_source("car.png", options).frames(never)] == [6]
    assert count_frames("car.png", options) == 1


def test_file_urls_with_blanks(tmp_path):
    cv2.imwrite(str(tmp_path / "my car.png"), np.zeros((4, 6), np.uint8))
    assert isinstance(open_source((tmp_path / "my car.png").as_uri()), ImageSource)


def test_demo_urls():
    source = open_source("demo://?seed=3&width=320&height=180&fps=5&density=2")
    assert isinstance(source, DemoSource)
    assert (source.settings.seed, source.settings.width, source.settings.fps) == (3, 320, 5.0)
    assert source.live


@pytest.mark.parametrize(
    "query", ["speed=9", "seed=x", "width=10", "fps=0", "density=99", "seed", "width=12.5"]
)
def test_demo_urls_with_mistakes_are_refused(query):
    with pytest.raises(SourceError, match="demo://"):
        open_source(f"demo://?{query}")


def test_nothing_counts_the_frames_of_a_stream():
    assert count_frames("rtsp://camera.invalid/1") is None
    assert count_frames("demo://") is None
    assert count_frames("/dev/video0") is None


# --- passwords ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://admin:s3cret@10.0.0.9:554/ch1", "rtsp://admin:***@10.0.0.9:554/ch1"),
        ("rtsp://admin:s3/c?r#e@t@10.0.0.9/ch1", "rtsp://admin:***@10.0.0.9/ch1"),
        ("rtsp://admin@10.0.0.9/ch1", "rtsp://admin@10.0.0.9/ch1"),
        ("rtsp://10.0.0.9:554/ch1", "rtsp://10.0.0.9:554/ch1"),
        ("http://cam/v?user=a&password=x&res=2", "http://cam/v?user=a&password=***&res=2"),
        ("srt://cam:9?passphrase=abc", "srt://cam:9?passphrase=***"),
        ("srt://cam:9?passphrase=***: it refuses", "srt://cam:9?passphrase=***: it refuses"),
        ("srt://cam:9?passphrase=***abc", "srt://cam:9?passphrase=***"),
        ("http://cam/v?TOKEN=abc#here", "http://cam/v?TOKEN=***#here"),
        ("/videos/a@b:c.mp4", "/videos/a@b:c.mp4"),
    ],
)
def test_redact(url, shown):
    assert redact(url) == shown


@given(st.text(min_size=1).map(lambda s: f"<{s}>"), st.sampled_from(["", "u", "me.too"]))
def test_no_password_survives_redaction(password, user):
    assert password not in redact(f"rtsp://{user}:{password}@host:554/path?x=1")


# --- dead and malicious hosts ------------------------------------------------------------------


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A TCP port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("scheme", ["rtsp", "http", "rtmp"])
def test_a_host_that_never_answers_fails_in_time(silent_port, scheme):
    source = open_source(f"{scheme}://me:topsecret@127.0.0.1:{silent_port}/live", QUICK)
    began = time.monotonic()
    with pytest.raises(SourceError) as failed:
        next(iter(source.frames(never)))
    assert time.monotonic() - began < 3.0
    assert "topsecret" not in str(failed.value)
    assert failed.value.__cause__ is None


def test_a_refused_connection_keeps_the_password(capfd, caplog):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(SourceError, match="refused") as failed:
        next(iter(open_source(f"rtsp://me:topsecret@127.0.0.1:{port}/x", QUICK).frames(never)))
    printed = capfd.readouterr()
    assert "topsecret" not in f"{failed.value}{printed.out}{printed.err}{caplog.text}"


class _Playlist(BaseHTTPRequestHandler):
    """Answers with a playlist of one entry, and to ``.ts`` with the clip itself."""

    target = ""
    clip = b""

    def do_GET(self):
        lines = ("#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", self.target, "#EXT-X-ENDLIST")
        body = self.clip if self.path.endswith(".ts") else "\n".join(lines).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args):
        """Say nothing."""


class _MotionJpeg(BaseHTTPRequestHandler):
    """A web camera that shows forty pictures and then freezes until ``thaw`` is set."""

    thaw = threading.Event()

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for index in range(40):
            jpeg = cv2.imencode(".jpg", picture(index, (320, 240)))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg + b"\r\n")
            time.sleep(0.01)
        self.thaw.wait(10.0)

    def log_message(self, *_args):
        """Say nothing."""


class _SlowMotionJpeg(BaseHTTPRequestHandler):
    """A web camera of five pictures a second; its format has no times."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for index in range(20):
            jpeg = cv2.imencode(".jpg", picture(index, (320, 240)))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg + b"\r\n")
            time.sleep(0.2)

    def log_message(self, *_args):
        """Say nothing."""


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run a web server and yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_web_camera_that_freezes_is_given_up_in_time():
    shown: list[float] = []
    with serving(_MotionJpeg) as address:
        source = open_source(f"{address}/video", QUICK)
        try:
            shown.extend(time.monotonic() for _ in source.frames(never))
        except SourceError as error:
            assert "in time" in str(error)  # noqa: PT017  # the frames before it count, too
            assert time.monotonic() - shown[-1] < 2.5
        else:
            pytest.fail("it must not end quietly")
        finally:
            _MotionJpeg.thaw.set()
    assert len(shown) >= 38


class _Redirecting(BaseHTTPRequestHandler):
    """Sends everybody to where libav cannot go."""

    def do_GET(self):
        self.send_response(302)
        self.send_header("Location", "foo://elsewhere/video")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args):
        """Say nothing."""


@pytest.mark.parametrize("path", ["video", "now.jpg"])
def test_a_redirection_to_nowhere_is_no_reason_never_to_try_again(path):
    with serving(_Redirecting) as address, pytest.raises(SourceError) as failed:
        next(iter(open_source(f"{address}/{path}", QUICK).frames(never)))
    assert not isinstance(failed.value, SourceUnsupportedError)


class _Dripping(BaseHTTPRequestHandler):
    """A web camera that sends its picture byte by byte."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(100):
                self.wfile.write(b"x")
                time.sleep(0.05)

    def log_message(self, *_args):
        """Say nothing."""


def test_a_picture_that_drips_is_given_up_in_time():
    with serving(_Dripping) as address:
        began = time.monotonic()
        with pytest.raises(SourceError, match="not whole after 1 s"):
            next(iter(open_source(f"{address}/now.jpg", QUICK).frames(never)))
        assert time.monotonic() - began < 2.0


def test_a_stream_without_times_goes_by_arrival():
    """libav makes up 25 frames a second for it: captures would fall behind by 0.16 s a frame."""
    ages_s, passed = [], []
    with serving(_SlowMotionJpeg) as address:
        options = SourceOptions(connect_timeout_s=2.0, read_timeout_s=1.0, fps=2.5)
        with contextlib.suppress(SourceError):
            for frame in open_source(f"{address}/video", options).frames(never):
                ages_s.append((time.monotonic_ns() - frame.captured_monotonic_ns) / 1e9)
                passed.append(frame.captured_monotonic_ns / 1e9)
    assert max(ages_s) < 0.2
    assert max(np.diff(passed)) < 0.75
    assert 8 <= len(passed) <= 11


def test_a_playlist_from_the_net_opens_what_is_on_the_net_but_no_local_file(tmp_path: Path):
    clip = h264_clip(tmp_path / "private.ts", frames=10)
    _Playlist.clip = clip.read_bytes()
    with serving(_Playlist) as address:
        source = open_source(f"{address}/live.m3u8", QUICK)
        _Playlist.target = "clip.ts"
        assert next(iter(source.frames(never))).width_px == 160
        _Playlist.target = clip.as_uri()
        with pytest.raises(SourceError):
            next(iter(source.frames(never)))


def test_transport_is_passed_on():
    for transport, expected in (("tcp", "tcp"), ("udp", "udp"), ("auto", None)):
        options = SourceOptions(transport=transport)
        assert libav_options("rtsp://cam/1", options).get("rtsp_transport") == expected
