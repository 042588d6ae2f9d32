"""SIGKILL of real decoders and workers on one ring, hundreds of times, at random moments."""

import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from polling import wait_until
from ring_rig import Rig, rigged

from engine.board import INCARNATION, INTENT, LEASE_BASE, Fate
from engine.reaper import OwnedRing, Sweep, reap_worker
from engine.ring_memory import (
    SETTLED,
    STATE,
    RingMemory,
    SlotState,
    Tokens,
    read_descriptor,
)

RECLAIMED_S = 1.0
WORKERS = 2
CHILD = Path(__file__).resolve().parents[1] / "ring_child.py"


class Keeper:
    """The supervisor's part: spawns, kills, reaps, sweeps."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.met: Counter[str] = Counter()
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(20.0)
        fds = [*rig.owned.writer_fds, rig.tokens[1], theirs.fileno()]
        fds += [*rig.owned.taker_fds, *rig.tokens]
        handle = msgspec.json.encode(rig.handle).decode()
        words = ["nursery", rig.board.name, "0", handle, *map(str, fds)]
        self.nursery = subprocess.Popen(
            [sys.executable, str(CHILD), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=fds,
            text=True,
        )
        theirs.close()
        self.nursery.stdout.readline()
        self.decoder = self._fork("write")
        self.workers = [self._fork(f"take {1 + worker}") for worker in range(WORKERS)]

    def _fork(self, line: str) -> int:
        """Start a child; return its pid."""
        self.nursery.stdin.write(line + "\n")
        self.nursery.stdin.flush()
        return int(self.nursery.stdout.readline().split()[0])

    def kill(self, pid: int) -> None:
        """Kill a child of the nursery and wait until it is gone."""
        fd = os.pidfd_open(pid)
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        assert select.select([fd], [], [], 10.0)[0]
        os.close(fd)

    def ask(self, word: str, slots: object = None) -> object:
        """Say a word to the decoder; answers to what its dead predecessor was asked are skipped."""
        self.control.send(json.dumps([word, slots]).encode())
        while True:
            answered, result = json.loads(self.control.recv(1 << 16))
            if answered == word:
                return result

    def kill_worker(self, worker: int) -> None:
        """Kill a worker, give back what it held, start its heir."""
        row = self.rig.rows[1 + worker]
        self.kill(self.workers[worker])
        line = row.words[LEASE_BASE]
        self.met["in a take" if row.words[INTENT] else "with a lease" if line else "free"] += 1
        taking_from = reap_worker(row, {self.rig.handle.ring: self.rig.owned}, self._count_killed)
        if taking_from is not None:
            self.sweep()
        row.words[INCARNATION] += 1
        self.workers[worker] = self._fork(f"take {1 + worker}")
        Tokens(self.rig.tokens[1]).put()

    def kill_decoder(self) -> None:
        """Kill the decoder, start its heir, sweep what was lost between the two."""
        self.kill(self.decoder)
        states = [self.rig.memory.word(slot, STATE) for slot in range(self.rig.handle.slots)]
        self.met["in a frame" if SlotState.WRITING in states else "between frames"] += 1
        self.rig.reap_decoder()
        self.decoder = self._fork("write")
        self.sweep()

    def _count_killed(self, ring: OwnedRing, *_: int) -> None:
        self.rig.supervisor_row.fate(ring.handle.camera, Fate.FAILED_KILLED)

    def sweep(self) -> None:
        """Give back what is in nobody's hands."""
        living = self.rig.rows[1 : 1 + WORKERS]
        stock = [tuple(held) for held in self.ask("stock")]
        sweep = Sweep(self.rig.handle.ring, stock, living)
        wait_until(sweep.is_ready, 5.0, "every worker is past its intent")
        self.ask("reclaim", sweep.unclaimed(living))

    def rest(self) -> None:
        """Let the decoder pause and the workers finish; then every slot is free."""
        self.ask("rest")
        wait_until(lambda: self.rig.memory.in_flight() == 0, 5.0, "every frame is settled")
        wait_until(lambda: self.ask("drain"), 5.0, "every slot is free")

    def end(self) -> None:
        """End every process."""
        for pid in (self.decoder, *self.workers):
            self.kill(pid)
        self.nursery.communicate()
        self.control.close()


@pytest.fixture(params=[False, True], ids=["live", "lossless"])
def keeper(request: pytest.FixtureRequest) -> Iterator[Keeper]:
    with rigged((320, 240), slots=4, lossless=request.param, workers=WORKERS) as rig:
        keeper = Keeper(rig)
        yield keeper
        keeper.end()


def _run(keeper: Keeper, rng: random.Random, kills: int) -> float:
    """Kill that often; return the longest time until everything was reclaimed."""
    longest_s, moment = 0.0, threading.Event()
    for _ in range(kills):
        moment.wait(rng.expovariate(250))
        began = time.monotonic()
        victim = rng.randrange(1 + WORKERS)
        if victim < WORKERS:
            keeper.kill_worker(victim)
        else:
            keeper.kill_decoder()
        longest_s = max(longest_s, time.monotonic() - began)
    return longest_s


def test_two_hundred_kills_lose_no_slot_and_keep_the_ledger_exact(keeper, rng, seed):
    rig = keeper.rig
    longest_s = _run(keeper, rng, 200)
    keeper.rest()
    fates = rig.fates()
    story = f"seed {seed}: {dict(keeper.met)}, {longest_s * 1e3:.0f} ms at the longest, {fates}"
    assert rig.imbalance() == 0, story
    assert longest_s < RECLAIMED_S, story
    assert keeper.met["with a lease"] > 5, story
    assert fates[Fate.RECOGNIZED] > 200, story
    assert 0 < fates[Fate.FAILED_KILLED] <= keeper.met["with a lease"], story
    assert fates.get(Fate.DROPPED_REPLACED, 0) == 0 or not rig.handle.lossless, story


@pytest.mark.long
def test_two_thousand_kills(keeper, rng):
    assert _run(keeper, rng, 2000) < RECLAIMED_S
    keeper.rest()
    assert keeper.rig.imbalance() == 0


def test_a_stopped_worker_is_never_robbed_and_finishes_when_it_goes_on(keeper, rng):
    rig, moment, holding = keeper.rig, threading.Event(), 0
    for _ in range(40):
        moment.wait(rng.expovariate(250))
        stopped = keeper.workers[0]
        os.kill(stopped, signal.SIGSTOP)
        wait_until(lambda pid=stopped: _is_stopped(pid), 5.0, "it has stopped")
        words = rig.rows[1].words
        ring, slot, generation = words[LEASE_BASE : LEASE_BASE + 3].tolist()
        holds = ring and rig.owned.is_held(slot, generation)
        holds = holds and rig.memory.word(slot, SETTLED) != generation
        if not words[INTENT]:  # else the sweep waits for it, see the next test
            keeper.kill_worker(1)
        if holds:
            holding += 1
            assert rig.owned.is_held(slot, generation)  # nobody wrote over its frame
        os.kill(stopped, signal.SIGCONT)
    assert holding > 0
    keeper.rest()
    assert rig.imbalance() == 0


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_worker_stopped_between_reading_and_signing_holds_the_sweep_up(rng):
    """The test plays the stopped worker by hand, word for word as ``RingTaker.take`` does."""
    with rigged(slots=4, lossless=True) as rig:
        writer, dead, slow = rig.started_writer(), rig.rows[1], rig.rows[2]
        generations = [_offer(writer) for _ in range(3)]
        descriptors = []
        for row in (dead, slow):
            row.words[INTENT] = rig.handle.ring
            descriptors.append(read_descriptor(rig.owned.ready_read))
        assert [generation for _slot, generation in descriptors] == generations[:2]
        assert reap_worker(dead, {1: rig.owned}, lambda *_: pytest.fail("no line")) == 1
        sweep = Sweep(1, writer.outstanding(), [slow])
        for _ in range(rng.randrange(2, 50)):
            assert not sweep.is_ready()
        slot, generation = descriptors[1]
        slow.words[LEASE_BASE + 1], slow.words[LEASE_BASE + 2] = slot, generation
        slow.words[LEASE_BASE] = rig.handle.ring
        slow.words[INTENT] = 0
        assert sweep.is_ready()
        assert sweep.unclaimed([slow]) == (descriptors[0],)
        assert writer.reclaim(sweep.unclaimed([slow])) == 1
        assert rig.imbalance() == 0
        assert rig.memory.in_flight() == 2  # one is leased, one waits
        slow.words[LEASE_BASE] = 0


def _offer(writer) -> int:
    slot = writer.acquire()
    writer.publish(slot, 1, 1)
    memory: RingMemory = writer.memory
    return memory.stamp(slot).generation
