"""A camera behind a real cable, in a network namespace of its own: pulled, and packets dropped."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from decoder_rig import DecoderRig, decoders
from streams import RtspServer, needs, needs_gstreamer

from engine.types import CameraState

QUICK = {"connect_timeout_s": 5.0, "read_timeout_s": 6.0, "skip_static": False}
BACK_S = 5.0
OURS, THEIRS = "10.219.77.1", "10.219.77.2"


class Cable:
    """A pair of virtual network cards, one of them in a namespace."""

    def __init__(self) -> None:
        self._ip = needs("ip", "iproute2")
        self.name = f"plt{os.getpid()}"
        self._near, self._far = f"{self.name}a", f"{self.name}b"

    def lay(self) -> None:
        """Connect the namespace; skips where the machine forbids it."""
        made = subprocess.run(
            [self._ip, "netns", "add", self.name], capture_output=True, text=True, check=False
        )
        if made.returncode:
            pytest.skip(f"needs the right to make network namespaces: {made.stderr.strip()}")
        peer = ("peer", "name", self._far, "netns", self.name)
        self._run("link", "add", self._near, "type", "veth", *peer)
        self._run("addr", "add", f"{OURS}/30", "dev", self._near)
        self._run("link", "set", self._near, "up")
        self.inside("addr", "add", f"{THEIRS}/30", "dev", self._far)
        self.inside("link", "set", self._far, "up")

    def prefix(self) -> tuple[str, ...]:
        """Return what a command is run by, to be at the far end."""
        return (self._ip, "netns", "exec", self.name)

    def pull(self) -> None:
        """The far card is dead."""
        self.inside("link", "set", self._far, "down")

    def plug(self) -> None:
        """And alive again."""
        self.inside("link", "set", self._far, "up")

    def drop_all(self) -> None:
        """Drop every packet from the far end to us; the card stays up."""
        self.inside("route", "add", "blackhole", OURS)

    def drop_none(self) -> None:
        """Let packets pass again."""
        self.inside("route", "del", "blackhole", OURS)

    def remove(self) -> None:
        """Take the namespace away, and both cards with it."""
        for what in (("link", "del", self._near), ("netns", "del", self.name)):
            subprocess.run([self._ip, *what], capture_output=True, check=False)

    def inside(self, *words: str) -> None:
        """Run ``ip`` in the namespace."""
        self._run("-n", self.name, *words)

    def _run(self, *words: str) -> None:
        subprocess.run([self._ip, *words], check=True)


@pytest.fixture
def cable() -> Iterator[Cable]:
    needs_gstreamer()
    laid = Cable()
    try:
        laid.lay()
        yield laid
    finally:
        laid.remove()


@pytest.fixture
def server(cable: Cable) -> Iterator[RtspServer]:
    running = RtspServer()
    running.address, running.prefix = THEIRS, cable.prefix()
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
