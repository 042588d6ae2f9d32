"""A camera behind a real cable, in a network namespace of its own: pulled, and packets dropped."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cable import Cable, laid
from decoder_rig import DecoderRig, decoders
from streams import RtspServer, needs_gstreamer

from engine.types import CameraState

QUICK = {"connect_timeout_s": 5.0, "read_timeout_s": 6.0, "skip_static": False}
BACK_S = 5.0


@pytest.fixture
def cable() -> Iterator[Cable]:
    needs_gstreamer()
    with laid() as one:
        yield one


@pytest.fixture
def server(cable: Cable) -> Iterator[RtspServer]:
    running = RtspServer()
    running.address, running.prefix = cable.theirs, cable.prefix()
    try:
        running.start()
        yield running
    finally:
        running.kill()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[DecoderRig]:
    with decoders(tmp_path, cameras=2) as running:
        yield running


@pytest.mark.long
@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("way", ["pulled", "dropped"])
def test_a_cut_cable_is_shown_and_frames_flow_soon_after_it_is_mended(
    cable: Cable, server: RtspServer, rig: DecoderRig, way: str, transport: str
) -> None:
    camera = rig.add(server.url, transport=transport, **QUICK)
    neighbour = rig.add("demo://?width=320&height=180", skip_static=False)
    camera.wait_frames(10.0)
    neighbour.wait_frames(10.0)
    began, before = time.monotonic(), neighbour.captured
    (cable.pull if way == "pulled" else cable.drop_all)()
    camera.wait_state(CameraState.DEGRADED, 4.0, "no frame")
    camera.wait_state(CameraState.LOST, 10.0)
    assert rig.watch_fps([camera], 4.0) == [0.0]
    assert (neighbour.captured - before) / (time.monotonic() - began) > 12.0
    (cable.plug if way == "pulled" else cable.drop_none)()
    assert camera.wait_frames(BACK_S + 2.0) < BACK_S
    camera.wait_state(CameraState.LIVE, 2.0)
    assert camera.child.restarts == 0
