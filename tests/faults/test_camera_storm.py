"""Streams that send as much as they can, as many as there are cores: others are not robbed."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from clips import make_clip
from decoder_rig import Camera, decoders, share_of_pairs
from streams import nginx

from engine.appetite import YIELDED_STEPS
from engine.messages import Pause
from engine.types import CameraState

QUIET = "demo://?width=320&height=180"
STORMS = len(os.sched_getaffinity(0))
WINDOWS, WINDOW_FRAMES = 5, 30
NO_EFFECT = 0.95
NICEST = 19
NOTICED_S = 40.0
"""On a machine that others use too, a storm may at first get too little to be one."""


def nice(camera: Camera) -> int:
    """Return how far back a camera's decoder stands."""
    return os.getpriority(os.PRIO_PROCESS, camera.child.pid)


def let(storms: list[Camera], number: int) -> None:
    """Stop the decoders of storms where they are, or let them go on."""
    for storm in storms:
        storm.child.signal(number)


@pytest.mark.long
def test_streams_that_send_all_they_can_rob_nobody(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    web = tmp_path / "web"
    web.mkdir()
    clip = make_clip(tmp_path / "clip.ts", "libx264", "yuv420p", (640, 360), frames=100)
    (web / "storm.ts").write_bytes(clip.read_bytes() * 100)
    with nginx(web) as port, decoders(tmp_path, 2 + STORMS) as rig:
        neighbour = rig.add(QUIET, skip_static=False)
        benign = rig.add(QUIET, skip_static=False)
        url = f"http://127.0.0.1:{port}/storm.ts"
        storms = [rig.add(url, skip_static=False) for _ in range(STORMS)]
        for storm in storms:
            storm.wait_state(CameraState.DEGRADED, NOTICED_S, "takes all that it gets")
            yielded = nice(storm) - nice(neighbour)
            assert yielded == YIELDED_STEPS or nice(storm) == NICEST
        beside_benign, beside_storms = [], []
        for _ in range(WINDOWS):
            let(storms, signal.SIGSTOP)
            benign.child.send(Pause(paused=False))
            beside_benign.append(neighbour.fps_of_next(WINDOW_FRAMES))
            let(storms, signal.SIGCONT)
            benign.child.send(Pause(paused=True))
            beside_storms.append(neighbour.fps_of_next(WINDOW_FRAMES))
        share = share_of_pairs(beside_storms, beside_benign)
        record_property("fps_beside_storms", [round(fps, 2) for fps in beside_storms])
        record_property("fps_beside_benign", [round(fps, 2) for fps in beside_benign])
        record_property("neighbour_share", round(share, 3))
        assert share > NO_EFFECT
        assert neighbour.state is CameraState.LIVE
