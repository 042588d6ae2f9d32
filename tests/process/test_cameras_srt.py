"""SRT from a real sender, ffmpeg: called and awaited, encrypted, cut, gone and back."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from decoder_rig import DecoderRig, decoders
from streams import ffmpeg, free_port, wait_s

from engine.board import Fate
from engine.sources.srt import find_libsrt
from engine.types import CameraState

QUICK = {"skip_static": False, "connect_timeout_s": 5.0, "read_timeout_s": 5.0}
BARS = ("-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=15")
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "15")
LONG = pytest.mark.long
SECRET = "hunter2-hunter2"  # noqa: S105  # what must never be seen
BACK_S = 5.0
"""Frames flow again this long after the sender is back, at the latest."""


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[DecoderRig]:
    if find_libsrt() is None:
        pytest.skip("needs the package libsrt1.5-gnutls")
    with decoders(tmp_path, cameras=2) as running:
        yield running


def sender(url: str) -> list[str]:
    """Return the arguments of an ffmpeg that sends a picture that moves."""
    return [*BARS, *H264, "-f", "mpegts", url]


def addresses(mode: str, secret: str = "") -> tuple[str, str]:
    """Return where the camera looks and where the sender sends; mode: the camera's."""
    port = free_port(socket.SOCK_DGRAM)
    login = f"&passphrase={secret}" if secret else ""
    theirs = "caller" if mode == "listener" else "listener"
    return (
        f"srt://127.0.0.1:{port}?mode={mode}{login}",
        f"srt://127.0.0.1:{port}?mode={theirs}{login}",
    )


@pytest.mark.parametrize("mode", ["caller", pytest.param("listener", marks=LONG)])
def test_plays_and_is_back_soon_after_its_sender(rig: DecoderRig, mode: str) -> None:
    ours, theirs = addresses(mode)
    camera = rig.add(ours, **QUICK)
    with ffmpeg(*sender(theirs)):
        camera.wait_frames(10.0, more=15)
        assert camera.sizes == [(320, 180)]
        assert camera.newest_age_s() < 2.0
    if mode == "listener":  # where the sender calls, it must find us: ffmpeg calls only once
        camera.wait_state(CameraState.LOST, 6.0)
    with ffmpeg(*sender(theirs)):
        assert camera.wait_frames(BACK_S + 2.0) < BACK_S
        camera.wait_state(CameraState.LIVE, 2.0)
    assert CameraState.LOST in [turn[1] for turn in camera.turns]
    assert camera.child.restarts == 0


@LONG
def test_a_sender_that_says_nothing_is_missed_and_welcomed_back(rig: DecoderRig) -> None:
    ours, theirs = addresses("caller")
    with ffmpeg(*sender(theirs)) as process:
        camera = rig.add(ours, **QUICK)
        camera.wait_frames(10.0, more=15)
        process.send_signal(signal.SIGSTOP)
        camera.wait_state(CameraState.DEGRADED, 4.0, "no frame")
        camera.wait_state(CameraState.LOST, 8.0)
    with ffmpeg(*sender(theirs)):
        assert camera.wait_frames(BACK_S + 2.0) < BACK_S


def test_encrypted_and_a_wrong_passphrase(
    rig: DecoderRig, capfd: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = addresses("caller", SECRET)
    with ffmpeg(*sender(theirs)):
        camera = rig.add(ours.replace(SECRET, "hunter3-hunter3"), **QUICK)
        camera.wait_state(CameraState.LOST, 8.0, "refuses the passphrase")
        good = rig.add(ours, **QUICK)
        good.wait_frames(10.0, more=15)
        words = Path(f"/proc/{good.child.pid}/cmdline").read_bytes()
        assert b"hunter" not in words
        wait_s(2.0)
        assert camera.count(Fate.RECONNECTS) == 1, "an account must not be locked by us"
    printed = capfd.readouterr()
    assert "hunter" not in camera.reason + printed.out + printed.err


@LONG
def test_what_is_no_video_is_given_up(rig: DecoderRig) -> None:
    """Bytes come for ever, but nothing to see: the camera says so in time."""
    ours, theirs = addresses("caller")
    sound = ("-re", "-f", "lavfi", "-i", "sine=sample_rate=8000")
    with ffmpeg(*sound, "-f", "s16le", theirs):
        camera = rig.add(ours, **QUICK | {"read_timeout_s": 2.0})
        camera.wait_state(CameraState.LOST, 12.0, "no video in it after 2 s")
    assert camera.captured == 0
