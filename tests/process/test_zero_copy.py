"""No copy of pixels after the decoder: what a recognizer is given lies in the ring, by address."""

import contextlib
import ctypes
import os
import socket
import time
from pathlib import Path

import engine_run
import numpy as np
import pytest
from engine_run import demo, running
from openalpr_stand_in import Record, StandIn
from polling import wait_until
from ring_rig import Rig, rigged

import engine.worker
from engine.board import Fate
from engine.config import OpenAlprSettings
from engine.messages import AttachRing, encode
from engine.process import Child, Link
from engine.recognizers.builtin import BuiltinRecognizer
from engine.recognizers.registry import Opened
from engine.sections import WorkerSection
from engine.shm import SHM_DIR
from engine.sources.scene import DemoScene
from engine.types import CameraState

SIZE_PX = (1280, 720)


def mapped(pid: int, name: str) -> list[range]:
    """Return where a process has a file mapped whose path begins like this."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    spans = [line.split(maxsplit=5) for line in lines]
    ends = [span[0].split("-") for span in spans if len(span) == 6 and span[5].startswith(name)]
    return [range(int(start, 16), int(end, 16)) for start, end in ends]


class Witness:
    """The built-in recognizer, and where its frames were; it sees a pixel change under it."""

    def __init__(self, recognizer: BuiltinRecognizer, rig: Rig) -> None:
        self._recognizer, self._rig = recognizer, rig
        self.name, self.version = recognizer.name, recognizer.version
        self.frames: list[range] = []
        self.reads = []

    def recognize(self, frame, hints):
        assert frame.strides == (frame.shape[1], 1)
        self.frames.append(range(frame.ctypes.data, frame.ctypes.data + frame.nbytes))
        ((slot, _generation),) = self._rig.memory.ready_slots()
        ours = self._rig.memory.luma(slot)
        for value in (1, 254):
            ours[5, 7] = value
            assert frame[5, 7] == value
        self.reads += self._recognizer.recognize(frame, hints)
        return self.reads

    def close(self) -> None:
        self._recognizer.close()


@contextlib.contextmanager
def worker_at(rig: Rig):
    """A worker in this process, attached to the rig's ring as the supervisor would."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    section = WorkerSection(
        recognizer="builtin",
        openalpr=OpenAlprSettings().model_dump_json(),
        provider="cpu",
        batch=1,
        batch_wait_ms=0.0,
        core=-1,
    )
    child = Child(
        name="worker-0",
        link=Link(theirs),
        row=rig.rows[1],
        board=rig.board,
        section=section.encode(),
        fds=list(rig.tokens),
        incarnation=1,
        stopping=lambda: False,
    )
    worker = engine.worker.Worker(child)
    socket.send_fds(ours, [encode(AttachRing(handle=rig.handle, weight=1.0))], rig.owned.taker_fds)
    worker._hear_supervisor()
    try:
        yield worker
    finally:
        for taker in worker._rings.values():
            taker.close()
        ours.close()
        theirs.close()


def test_the_built_in_recognizer_reads_in_the_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    with rigged(SIZE_PX) as rig:
        witness = Witness(BuiltinRecognizer(), rig)
        monkeypatch.setattr(
            engine.worker, "open_recognizer", lambda *_: Opened(witness, "a witness")
        )
        with worker_at(rig) as worker:
            writer = rig.started_writer()
            slot = writer.acquire()
            writer.memory.frame(slot)[:] = DemoScene(7).luma(2.5)
            captured_ns = time.monotonic_ns()
            writer.publish(slot, time.time_ns(), captured_ns)
            (lease,) = worker._take_batch()
            worker._recognize(lease)
            age_us = (time.monotonic_ns() - captured_ns) // 1_000
            (seen,) = witness.frames
            (ring,) = worker._rings.values()
            start = np.frombuffer(ring.memory._segment.buffer, np.uint8).ctypes.data
            segment = range(start, start + len(ring.memory._segment.buffer))
            assert segment.start <= seen.start < seen.stop <= segment.stop
            assert segment.start in {
                span.start for span in mapped(os.getpid(), f"{SHM_DIR}/{rig.handle.segment}")
            }
            assert "WP59WWJ" in {read.plate for read in witness.reads}
            assert rig.fates()[Fate.RECOGNIZED] == 1
            assert 0 < rig.fates()[Fate.LAG_US] <= age_us


def test_openalpr_gets_the_address_in_the_ring_in_a_running_engine(tmp_path: Path) -> None:
    stand_in = StandIn("openalprpy", tmp_path)
    rest = '[cameras.openalpr]\ncountry = "us"\ndefault_region = "ca"\ntopn = 7\n'
    rest += f'[recognizers]\ncount = 1\n[openalpr]\nlibrary = "{stand_in.library}"\n'
    config = 'recognizer = "openalpr"\n' + demo(camera="focus = false", rest=rest)
    with running(tmp_path, config) as run:
        assert "OpenALPR 9.8.7, as configured" in run.said()
        wait_until(lambda: run.camera("demo").state is CameraState.LIVE, 20.0, "it is live")
        pid = run.pids()["worker-0"]
        wait_until(lambda: record_of(pid, stand_in).calls >= 3, 10.0, "frames are recognized")
        record = record_of(pid, stand_in)
        ring = run.camera("demo").ring
        assert ring is not None
        spans = mapped(pid, f"{SHM_DIR}/{ring.segment}")
        size = record.width * record.height
        assert (record.width, record.height, record.bytes_per_pixel) == (*SIZE_PX, 1)
        assert any(s.start <= record.pixels and record.pixels + size <= s.stop for s in spans)
        assert (record.country, record.default_region, record.topn) == (b"us", b"ca", 7)
        assert record.violations == 0
        assert run.stop() < engine_run.ENDS_S


def record_of(pid: int, stand_in: StandIn) -> Record:
    """Read the stand-in's record in another process, where its library is mapped."""
    here = ctypes.addressof(stand_in.record)
    library = str(stand_in.library)
    offset = here - mapped(os.getpid(), library)[0].start
    record = Record()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        memory.seek(mapped(pid, library)[0].start + offset)
        memory.readinto(record)
    return record
