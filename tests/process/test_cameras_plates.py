"""Plates of a camera on a real RTSP server flow again soon after the server is back."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from clips import road_clip
from engine_run import events_of, running
from polling import wait_until
from streams import rtsp_server

from engine.sources.scene import DemoScene
from engine.types import CameraState

BACK_S = 5.0
AWAY_S = 8.0


@pytest.mark.long
def test_plates_flow_again_soon_after_the_server_is_back(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The road is busy, so that plates are to be seen from its first frame on."""
    scene = DemoScene(7, 960, 540, density=4.0)
    road = road_clip(tmp_path / "road.mp4", scene, seconds=30)
    with rtsp_server(file=road) as server:
        config = (
            f'data_dir = "data"\n[[cameras]]\nname = "gate"\nurl = "{server.url}"\n'
            "[api]\nport = 0\n"
        )
        with running(tmp_path, config) as run, events_of(run) as events:
            wait_until(lambda: len(events.taken) >= 3, 20.0, "plates flow")
            server.kill()
            away = time.monotonic()
            wait_until(lambda: run.camera("gate").state is CameraState.LOST, 8.0, "it is lost")
            wait_until(lambda: time.monotonic() - away > AWAY_S, AWAY_S + 1.0, "time passes")
            server.start()
            began, since_ms = time.monotonic(), time.time() * 1000
            came = wait_until(
                lambda: events.first_captured_after(since_ms), 2 * BACK_S, "plates flow again"
            )
            record_property("plates_back_after_s", round(came - began, 2))
            assert came - began < BACK_S
            run.stop()
