"""The frame plane of a running engine: kills at random, no shared memory left, a damaged ring."""

import logging
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import engine_run
import pytest
from engine_run import EngineRun, imbalance, running
from polling import wait_until

from engine.board import LEASE_BASE, LEASE_WORDS, MAX_BATCH, Board
from engine.messages import CameraStatus, ProcessStatus
from engine.ring_memory import STATE, RingMemory, SlotState
from engine.types import CameraState

log = logging.getLogger(__name__)

RECLAIMED_S = 1.0
BACK_S = 45.0
"""A child that died often waits up to 30 s before its next start."""
SIZE = "&width=320&height=240&fps=10"


def cameras(count: int, rest: str = "") -> str:
    """Return the configuration of an engine with so many small cameras."""
    blocks = [
        f'[[cameras]]\nname = "cam{number}"\nurl = "demo://?seed={number}{SIZE}"\n'
        "skip_static = false\nmin_reads = 1"
        for number in range(count)
    ]
    return "\n".join(['data_dir = "data"', *blocks, rest, ""])


def recognized(run: EngineRun) -> dict[str, int]:
    return {camera.name: camera.ledger["recognized"] for camera in run.status().cameras}


def flow_again(run: EngineRun, timeout_s: float) -> None:
    """Wait until frames of every camera are recognized that were not when this was called."""
    before = recognized(run)

    def all_flow() -> bool:
        return all(count > before[name] + 1 for name, count in recognized(run).items())

    wait_until(all_flow, timeout_s, f"every camera's frames are recognized; {run.status()}")


def rest(run: EngineRun) -> list[CameraStatus]:
    """Pause every camera; return what is counted once nothing is in flight."""
    for camera in run.status().cameras:
        run.ask("camera.pause", name=camera.name)

    def is_at_rest() -> bool:
        return all(
            camera.state is CameraState.PAUSED and camera.in_flight == 0
            for camera in run.status().cameras
        )

    wait_until(is_at_rest, 10.0, f"the cameras rest; {run.status()}")
    return list(run.status().cameras)


def stop_without_a_lost_slot(run: EngineRun) -> None:
    """Stop a run at rest; assert that every decoder got every slot back and all was counted."""
    statuses = rest(run)
    assert all(imbalance(camera) == 0 for camera in statuses), statuses
    memories = [RingMemory.attach(camera.ring) for camera in statuses if camera.ring is not None]
    assert len(memories) == len(statuses)
    run.stop()  # decoders collect what came back; we still see the memory
    for memory in memories:
        states = [memory.word(slot, STATE) for slot in range(memory.handle.slots)]
        memory.close()
        assert set(states) == {SlotState.FREE}, (memory.handle, states)


class Reaper:
    """Kills children of a run and sees that nothing stays with the dead."""

    def __init__(self, run: EngineRun, rng: random.Random) -> None:
        self._run, self._rng = run, rng
        (board,) = (path.name for path in run.segments() if path.name.endswith("board"))
        self._board = Board.attach(board)
        self.killed: dict[str, int] = {}
        self.longest_s = 0.0

    def kill_one(self) -> None:
        """Kill one of those that are up, at a random moment; wait until what it held is back."""
        threading.Event().wait(self._rng.expovariate(8))
        up = wait_until(self._victims, BACK_S, "somebody to kill is up")
        victim = self._rng.choice(up)
        kind = victim.name.partition("-")[0]
        self.killed[kind] = self.killed.get(kind, 0) + 1
        os.kill(victim.pid, signal.SIGKILL)
        began = time.monotonic()
        wait_until(lambda: self._is_reclaimed(victim), 10.0, f"{victim.name} is reclaimed")
        self.longest_s = max(self.longest_s, time.monotonic() - began)

    def _victims(self) -> list[ProcessStatus]:
        names = ("worker", "decoder", "publisher")
        return [
            one for one in self._run.status().processes if one.up and one.name.startswith(names)
        ]

    def _is_reclaimed(self, dead: ProcessStatus) -> bool:
        """Tell whether the death is noticed and the dead process's lease lines are empty."""
        now = next(one for one in self._run.status().processes if one.name == dead.name)
        words = self._board.processes()[dead.row, LEASE_BASE:].tolist()
        lines = words[: LEASE_WORDS * MAX_BATCH : LEASE_WORDS]
        return now.restarts > dead.restarts and (now.up or not any(lines))

    def close(self) -> None:
        self._board.close()


def _survive(folder: Path, rng: random.Random, kills: int, seed: int) -> None:
    config = cameras(3, "[recognizers]\ncount = 3\nbatch = 2\nbatch_wait_ms = 5.0")
    with running(folder, config, "engine") as run:
        flow_again(run, 20.0)
        reaper = Reaper(run, rng)
        for _ in range(kills):
            reaper.kill_one()
        story = f"seed {seed}: {reaper.killed}, reclaimed after {reaper.longest_s:.3f} s at most"
        log.info("%s", story)
        reaper.close()
        assert reaper.longest_s < RECLAIMED_S, story
        flow_again(run, BACK_S)
        stop_without_a_lost_slot(run)


def test_kills_at_random_lose_no_slot(tmp_path: Path, rng: random.Random, seed: int) -> None:
    _survive(tmp_path, rng, 9, seed)


@pytest.mark.long
def test_two_hundred_kills_at_random_lose_no_slot(
    tmp_path: Path, rng: random.Random, seed: int
) -> None:
    _survive(tmp_path, rng, 200, seed)


def test_a_ring_with_a_damaged_header_is_re_made(tmp_path: Path) -> None:
    with running(tmp_path, cameras(2, "[recognizers]\ncount = 1"), "engine") as run:
        flow_again(run, 20.0)
        for victim in ("worker-0", "decoder-cam0"):
            ring = run.camera("cam0").ring
            assert ring is not None
            segment = Path("/dev/shm") / ring.segment  # noqa: S108  # where rings are
            with segment.open("r+b") as file:
                file.write(b"\xff" * 64)
            other = run.camera("cam1").ring
            os.kill(run.pids()[victim], signal.SIGKILL)
            wait_until(
                lambda old=ring.ring: getattr(run.camera("cam0").ring, "ring", old) != old,
                BACK_S,
                f"the ring is re-made; {run.said()}",
            )
            flow_again(run, BACK_S)
            assert run.camera("cam1").ring == other
            wait_until(lambda old=segment: not old.exists(), 5.0, "the damaged ring is removed")
        assert "corrupted" in run.said()
        stop_without_a_lost_slot(run)


@pytest.fixture
def small_shm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines get a /dev/shm of their own of 8 MiB."""
    enter = "unshare -m" if os.geteuid() == 0 else "unshare -Urm"
    mount = "mount -t tmpfs -o size=8m tmpfs /dev/shm"
    if subprocess.run(["sh", "-c", f"{enter} sh -c '{mount}'"], check=False).returncode:
        pytest.skip("needs a kernel that allows a /dev/shm of one's own (unshare -m)")
    script = tmp_path / "platering"
    inner = f'{mount} && exec {engine_run.PLATERING} "$@"'
    script.write_text(f"#!/bin/sh\nexec {enter} sh -c '{inner}' platering \"$@\"\n")
    script.chmod(0o755)
    monkeypatch.setattr(engine_run, "PLATERING", str(script))


@pytest.mark.usefixtures("small_shm")
def test_shared_memory_that_is_full_in_mid_run_stops_nobody_else(tmp_path: Path) -> None:
    with running(tmp_path, cameras(1, "[recognizers]\ncount = 1"), "engine") as run:
        flow_again(run, 20.0)
        filler = Path(f"/proc/{run.pid}/root/dev/shm/filler")
        with filler.open("wb") as file:
            left = os.statvfs(filler).f_bavail * os.statvfs(filler).f_frsize
            os.posix_fallocate(file.fileno(), 0, left - (64 << 10))
        late = {"name": "late", "url": f"demo://?seed=9{SIZE}", "skip_static": False}
        run.ask("camera.add", camera=late)
        wait_until(lambda: "free" in run.camera("late").reason, 20.0, f"{run.status()}")
        late_now = run.camera("late")
        assert late_now.state is CameraState.DEGRADED
        assert "MiB" in late_now.reason
        before = recognized(run)["cam0"]
        wait_until(lambda: recognized(run)["cam0"] > before + 3, 5.0, "the other camera goes on")
        filler.unlink()
        flow_again(run, 10.0)
        assert run.camera("late").state is CameraState.LIVE
        statuses = rest(run)
        assert all(imbalance(camera) == 0 for camera in statuses), statuses
        assert next(c for c in statuses if c.name == "late").ledger["dropped_no_ring"] > 0
        assert next(c for c in statuses if c.name == "cam0").ledger["dropped_no_ring"] == 0
        run.stop()
