"""What a recognizer worker bears: here, publishers that die one after the other."""

import os
import select
import socket
import time
from types import SimpleNamespace

import pytest
from ring_rig import rigged
from worker_rig import worker_at

import engine.worker
from engine.board import Count
from engine.messages import DECODE, AttachReads, ReadsRecord, encode
from engine.recognizers.registry import Opened
from engine.types import FrameReads, FrameStamp

STAMP = FrameStamp(
    camera="gate",
    generation=1,
    captured_unix_ns=1,
    captured_monotonic_ns=1,
    width_px=64,
    height_px=36,
)
READS = FrameReads(stamp=STAMP, reads=())


def test_a_publisher_that_dies_again_at_once_takes_no_worker_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blind = SimpleNamespace(name="builtin", version="1", close=lambda: None)
    monkeypatch.setattr(engine.worker, "open_recognizer", lambda *_: Opened(blind, "a stand-in"))
    with rigged((64, 36)) as rig, worker_at(rig) as (worker, supervisor):
        worker._sender.send(0, READS, 0)  # nobody takes it yet

        def connect(*, dead: bool) -> socket.socket:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            if dead:
                ours.close()
            attach = encode(AttachReads(worker="worker-0", incarnation=1))
            socket.send_fds(supervisor, [attach], [theirs.fileno()])
            theirs.close()
            worker._hear_supervisor()
            return ours

        connect(dead=True)
        assert worker._sender.fileno() < 0
        worker._attend(wait=False)
        with connect(dead=False) as publisher:
            record = DECODE.to_publisher.decode(publisher.recv(1 << 16))
            assert isinstance(record, ReadsRecord)
            assert record.reads == READS
        worker._attend(wait=False)  # that one is gone, too
        assert worker._sender.fileno() < 0


def test_reads_that_nobody_takes_are_counted_as_lost_once_and_in_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    blind = SimpleNamespace(name="builtin", version="1", close=lambda: None)
    monkeypatch.setattr(engine.worker, "open_recognizer", lambda *_: Opened(blind, "a stand-in"))
    monkeypatch.setattr(engine.worker, "SETTLE_S", 0.35)
    with rigged((64, 36)) as rig, worker_at(rig) as (worker, _supervisor):
        while select.select([worker._tokens_read], [], [], 0)[0]:
            os.read(worker._tokens_read, 4096)
        for _ in range(3):
            worker._sender.send(0, READS, 0)
        worker._tokens.put()
        began_s = time.monotonic()
        worker._settle()
        assert time.monotonic() - began_s < 0.35 + 0.25  # it is killed not long after that
        assert worker._row.total(Count.READS_LOST) == 3
        assert worker._sender.give_up() == 0
        assert "did not confirm the reads of 3 frames" in caplog.text
        assert select.select([worker._tokens_read], [], [], 0)[0]  # left to those who still read
