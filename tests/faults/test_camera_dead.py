"""Dead cameras: they cost almost nothing, and a decoder that dies takes nobody along."""

import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from decoder_rig import decoders
from polling import wait_until
from streams import free_port

from engine.board import Fate
from engine.messages import Pause
from engine.types import CameraState

WATCHED_S = 4.0
CPU_SHARE_PER_CAMERA = 0.004
"""Of one core; 50 dead cameras take less than a fifth of a core."""


@pytest.mark.parametrize("count", [6, pytest.param(50, marks=pytest.mark.long)])
def test_dead_cameras_cost_almost_no_cpu(
    tmp_path: Path, count: int, record_property: Callable[[str, object], None]
) -> None:
    """A third refuses, a third never answers, a third is a file that is not there."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as silent,
        decoders(tmp_path, count) as rig,
    ):
        urls = [
            f"rtsp://127.0.0.1:{free_port()}/cam",
            f"rtsp://127.0.0.1:{silent.getsockname()[1]}/cam",
            str(tmp_path / "nowhere.mp4"),
        ]
        cameras = [rig.add(urls[n % 3], connect_timeout_s=1.0) for n in range(count)]
        for camera in cameras:
            camera.wait_state(CameraState.LOST, 60.0)
        before = [camera.cpu_s() for camera in cameras]
        began = time.monotonic()
        rig.watch_fps(cameras, WATCHED_S)
        spent_s = sum(c.cpu_s() - b for c, b in zip(cameras, before, strict=True))
        share = spent_s / (time.monotonic() - began) / count
        record_property("cpu_share_of_a_core_per_camera", round(share, 5))
        assert share < CPU_SHARE_PER_CAMERA
        assert [camera.child.restarts for camera in cameras] == [0] * count
        assert [camera.count(Fate.DECODE_ERRORS) for camera in cameras] == [0] * count


def test_a_dead_camera_is_not_asked_more_often_because_we_talk(tmp_path: Path) -> None:
    """Its decoder hears the supervisor all the time, and rests all the same."""
    with decoders(tmp_path, 1) as rig:
        camera = rig.add(f"rtsp://127.0.0.1:{free_port()}/cam")
        wait_until(lambda: camera.state and camera.count(Fate.RECONNECTS) >= 4, 15.0, "it tries")
        before, began = camera.count(Fate.RECONNECTS), time.monotonic()
        while time.monotonic() - began < 4.0:
            camera.child.send(Pause(paused=False))
            rig.watch_fps([camera], 0.05)
        assert camera.count(Fate.RECONNECTS) - before <= 3


def test_a_pause_is_no_reconnection(tmp_path: Path) -> None:
    with decoders(tmp_path, 1) as rig:
        camera = rig.add("demo://?width=320&height=180", skip_static=False)
        camera.wait_frames(10.0)
        for paused, state in ((True, CameraState.PAUSED), (False, CameraState.LIVE)) * 2:
            camera.child.send(Pause(paused=paused))
            camera.wait_state(state, 5.0)
        assert camera.count(Fate.RECONNECTS) == 0


def test_a_killed_decoder_comes_back_and_its_camera_says_so(tmp_path: Path) -> None:
    with decoders(tmp_path, 2) as rig:
        camera = rig.add("demo://?width=320&height=180", skip_static=False)
        neighbour = rig.add("demo://?width=320&height=180", skip_static=False)
        camera.wait_frames(10.0)
        neighbour.wait_frames(10.0)
        before, began = neighbour.captured, time.monotonic()
        camera.child.signal(signal.SIGKILL)
        wait_until(lambda: camera.state is CameraState.LOST, 3.0, "it is shown as lost")
        assert "ended with" in camera.reason
        camera.wait_frames(8.0)
        assert camera.state is CameraState.LIVE
        rig.watch_fps([camera], 2.0)
        assert (neighbour.captured - before) / (time.monotonic() - began) > 12.0


def test_a_decoder_that_bloats_ends_and_is_started_again(tmp_path: Path) -> None:
    """A picture larger than its memory limit allows: refused, or the process ends and says why."""
    with decoders(tmp_path, 1) as rig:
        camera = rig.add(
            "demo://?width=7680&height=4320", memory_mib=256, format="i420", skip_static=False
        )
        camera.wait_state(CameraState.LOST, 20.0)
        wait_until(lambda: camera.state and camera.child.restarts, 20.0, "it was started again")
        assert "memory" in camera.reason.lower() or "alloc" in camera.reason.lower(), camera.reason
