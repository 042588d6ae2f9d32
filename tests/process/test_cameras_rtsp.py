"""Cameras on a real RTSP server: they connect, log in, stall, change their size and come back."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from decoder_rig import DecoderRig, decoders
from streams import RtspServer, needs, rtsp_server, wait_s

from engine.board import Fate
from engine.types import CameraState

QUICK = {"connect_timeout_s": 5.0, "read_timeout_s": 6.0, "skip_static": False}
LONG = pytest.mark.long
BACK_S = 5.0
"""Frames flow again this long after the server is back, at the latest."""


@pytest.fixture
def server() -> Iterator[RtspServer]:
    with rtsp_server() as running:
        yield running


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[DecoderRig]:
    with decoders(tmp_path, cameras=2) as running:
        yield running


@pytest.mark.parametrize(
    "transport",
    ["auto", pytest.param("tcp", marks=LONG), pytest.param("udp", marks=LONG)],
)
def test_plays_over_each_transport(server: RtspServer, rig: DecoderRig, transport: str) -> None:
    camera = rig.add(server.url, transport=transport, **QUICK)
    camera.wait_state(CameraState.LIVE, 8.0)
    camera.wait_frames(3.0, more=10)
    assert camera.sizes == [(640, 360)]
    assert camera.newest_age_s() < 1.0
    assert [turn[1] for turn in camera.turns] == [CameraState.CONNECTING, CameraState.LIVE]


def test_logs_in_and_names_a_wrong_password(rig: DecoderRig) -> None:
    with rtsp_server("gate:hunter2") as guarded:
        camera = rig.add(guarded.url, **QUICK)
        camera.wait_state(CameraState.LIVE, 8.0)
        stranger = rig.add(guarded.url.replace("hunter2", "hunter3"), **QUICK)
        stranger.wait_state(CameraState.LOST, 8.0)
        assert "refuses the name and password" in stranger.reason
        assert "hunter" not in stranger.reason
        camera.wait_frames(3.0)
        wait_s(2.0)
        assert stranger.count(Fate.RECONNECTS) == 1, "an account must not be locked by us"


def test_plays_encrypted(rig: DecoderRig, tmp_path: Path) -> None:
    pair = tmp_path / "pair.pem"
    command = [needs("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    subprocess.run([*command, *files, "-subj", "/CN=camera"], check=True, capture_output=True)
    pair.write_bytes((tmp_path / "cert.pem").read_bytes() + (tmp_path / "key.pem").read_bytes())
    with rtsp_server("gate:hunter2", tls=pair) as guarded:
        assert guarded.url.startswith("rtsps://")
        camera = rig.add(guarded.url, **QUICK)
        camera.wait_frames(10.0, more=10)
        assert camera.sizes == [(640, 360)]


@LONG
def test_a_cut_cable_is_shown_and_mended(server: RtspServer, rig: DecoderRig) -> None:
    camera = rig.add(server.url, **QUICK)
    neighbour = rig.add("demo://?width=320&height=180", skip_static=False)
    camera.wait_frames(10.0)
    neighbour.wait_frames(10.0)
    server.cut()
    began, before = time.monotonic(), neighbour.captured
    camera.wait_state(CameraState.DEGRADED, 4.0, "no frame")
    camera.wait_state(CameraState.LOST, 10.0, "no answer in time")
    assert (neighbour.captured - before) / (time.monotonic() - began) > 12.0
    server.mend()
    assert camera.wait_frames(BACK_S + 1.0) < BACK_S
    camera.wait_state(CameraState.LIVE, 2.0)


def test_frames_flow_soon_after_the_server_is_back(server: RtspServer, rig: DecoderRig) -> None:
    camera = rig.add(server.url, **QUICK)
    camera.wait_frames(10.0)
    server.kill()
    camera.wait_state(CameraState.LOST, 5.0)
    camera.wait_state(CameraState.LOST, 5.0, "refused")
    assert rig.watch_fps([camera], 5.0) == [0.0], "long enough for the longest pause"
    server.start()
    assert camera.wait_frames(BACK_S + 1.0) < BACK_S
    camera.wait_state(CameraState.LIVE, 2.0)
    assert camera.count(Fate.RECONNECTS) >= 4
    told = [turn for turn in camera.turns if turn[1] is CameraState.LOST]
    assert len(told) <= 2, "an absence is told once, not with every attempt"


def test_another_resolution_gets_another_ring(server: RtspServer, rig: DecoderRig) -> None:
    camera = rig.add(server.url, **QUICK)
    neighbour = rig.add("demo://?width=320&height=180", skip_static=False)
    camera.wait_frames(10.0)
    neighbour.wait_frames(10.0)
    server.say("size 320 240")
    fps = rig.watch_fps([camera, neighbour], 4.0)
    assert camera.sizes == [(640, 360), (320, 240)]
    assert fps[0] > 10.0
    assert fps[1] > 13.0
    assert (camera.memory().handle.width_px, camera.memory().handle.height_px) == (320, 240)
    assert camera.count(Fate.DROPPED_NO_RING) == 0
    assert camera.child.restarts == 0


@LONG
def test_black_and_frozen_pictures_are_seen(server: RtspServer, rig: DecoderRig) -> None:
    with rtsp_server() as other:
        black, frozen = rig.add(server.url, **QUICK), rig.add(other.url, **QUICK)
        for camera in (black, frozen):
            camera.wait_state(CameraState.LIVE, 8.0)
        server.say("pattern black")
        other.say("pattern red")
        began = time.monotonic()
        black.wait_state(CameraState.DEGRADED, 10.0, "black")
        frozen.wait_state(CameraState.FROZEN, 12.0, "frozen")
        assert time.monotonic() - began < 10.0
        other.say("pattern snow")
        frozen.wait_state(CameraState.LIVE, 3.0)
