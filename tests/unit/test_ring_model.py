"""The ring against a model, with a death possible between any two bytecodes of every role."""

import itertools
from collections import deque

import hypothesis
import pytest
from conftest import SEED
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from ring_rig import Rig, is_whole, offer
from stepwise import run_until

from engine.board import INCARNATION, Fate
from engine.reaper import OwnedRing, Sweep, reap_worker
from engine.ring import Lease, RingReader, RingTaker, RingWriter

WORKERS = 3
STEPS = st.none() | st.integers(0, 400)
"""Where to die: never, or before this bytecode (an action has at most about 350)."""


class RingMachine(RuleBasedStateMachine):
    """One decoder and three workers on one ring; the model is a deque and a table of hands."""

    @initialize(
        slots=st.integers(2, 6), lossless=st.booleans(), unread=st.integers(1, 3), odd=st.booleans()
    )
    def lay_out(self, *, slots: int, lossless: bool, unread: int, odd: bool) -> None:
        size = (7, 5) if odd else (8, 6)
        self.rig = Rig(size, slots=slots, lossless=lossless, workers=WORKERS, max_unread=unread)
        self.unread = unread
        self.writer: RingWriter = self.rig.started_writer()
        self.takers: list[RingTaker] = [self.rig.taker(worker) for worker in range(WORKERS)]
        self.reader = RingReader(self.rig.handle)
        self.waiting: deque[int] = deque()
        """Generations announced and not taken, oldest first."""
        self.hands: dict[tuple[int, int], Lease] = {}
        """What each (worker, line) holds."""
        self.newest = 0
        self.deaths = 0

    # --- the decoder ---------------------------------------------------------------------------

    @rule(step=STEPS)
    def capture(self, step: int | None) -> None:
        free = self.rig.handle.slots - len(self.waiting) - len(self.hands)
        generation, died = run_until(step, lambda: offer(self.writer))
        if died:
            self._replace_decoder()
            return
        if self.rig.handle.lossless:
            assert (generation is not None) == (free > 0)
        else:
            assert (generation is not None) == (free > 0 or bool(self.waiting))
            if generation is not None and (
                len(self.waiting) >= self.unread or (self.waiting and not free)
            ):
                self.waiting.popleft()
        if generation is not None:
            assert generation > self.newest
            self.newest = generation
            self.waiting.append(generation)

    @rule(step=STEPS)
    def abandon(self, step: int | None) -> None:
        def acquire_and_abandon() -> None:
            slot = self.writer.acquire()
            if slot is not None:
                assert slot not in {lease.slot for lease in self.hands.values()}
                self.writer.memory.frame(slot)[0] = 0
                self.writer.abandon(slot)

        _none, died = run_until(step, acquire_and_abandon)
        if died:
            self._replace_decoder()
        self._look_at_the_pipe()

    @rule(step=STEPS)
    def skip(self, step: int | None) -> None:
        row = self.rig.rows[0]
        _none, died = run_until(step, lambda: row.pass_by(0, Fate.SKIPPED_STATIC))
        if died:
            self._replace_decoder()

    @rule(step=STEPS, take_back=st.booleans())
    def drain(self, step: int | None, *, take_back: bool = True) -> None:
        empty, died = run_until(step, lambda: self.writer.drain(take_back=take_back))
        if died:
            self._replace_decoder()
            return
        if take_back:
            self.waiting.clear()
        assert empty == (not self.hands and not self.waiting)

    @rule(step=STEPS)
    def take_stock(self, step: int | None) -> None:
        held, died = run_until(step, self.writer.outstanding)
        if died:
            self._replace_decoder()
            return
        assert set(held) == {(lease.slot, lease.generation) for lease in self.hands.values()}

    def _replace_decoder(self) -> None:
        """Start heirs until one lives long enough, then let the supervisor sweep."""
        self.deaths += 1
        self.rig.forget(self.writer)
        self.writer = self.rig.writer()
        self.rig.reap_decoder()
        self.writer.adopt()
        self._sweep()
        self._look_at_the_pipe()

    # --- the workers ---------------------------------------------------------------------------

    @rule(worker=st.integers(0, WORKERS - 1), line=st.integers(0, 2), step=STEPS)
    def take(self, worker: int, line: int, step: int | None) -> None:
        if (worker, line) in self.hands:
            return
        lease, died = run_until(step, lambda: self.takers[worker].take(line))
        if died:
            self._replace_worker(worker)
            return
        assert (lease is None) == (not self.waiting)
        if lease is None:
            return
        assert lease.generation == self.waiting.popleft()  # first in, first out
        assert lease.slot not in {held.slot for held in self.hands.values()}
        assert is_whole(lease.luma, lease.generation)
        self.hands[worker, line] = lease

    @precondition(lambda self: self.hands)
    @rule(choice=st.integers(0, 99), step=STEPS, fate=st.sampled_from([Fate.RECOGNIZED]))
    def give_back(self, choice: int, step: int | None, fate: Fate) -> None:
        worker, line = sorted(self.hands)[choice % len(self.hands)]
        lease = self.hands[worker, line]
        assert is_whole(lease.luma, lease.generation)  # nobody wrote while it was held
        _none, died = run_until(step, lambda: self.takers[worker].give_back(lease, fate))
        if died:
            self._replace_worker(worker)
        else:
            del self.hands[worker, line]

    @rule(worker=st.integers(0, WORKERS - 1))
    def kill_idle_or_recognizing(self, worker: int) -> None:
        self._replace_worker(worker)

    def _replace_worker(self, worker: int) -> None:
        """Reap a dead worker as the supervisor does, then start its heir."""
        self.deaths += 1
        row = self.rig.rows[1 + worker]
        self.rig.forget(self.takers[worker])
        taking_from = reap_worker(row, {self.rig.handle.ring: self.rig.owned}, self._killed)
        self.hands = {key: lease for key, lease in self.hands.items() if key[0] != worker}
        if taking_from is not None:
            self._sweep()
        row.words[INCARNATION] += 1
        self.takers[worker] = self.rig.taker(worker)
        self._look_at_the_pipe()

    def _killed(self, ring: OwnedRing, *_: int) -> None:
        self.rig.supervisor_row.fate(ring.handle.camera, Fate.FAILED_KILLED)

    # --- the supervisor ------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Ask what is outstanding, give back what is in nobody's line."""
        living = self.rig.rows[1 : 1 + WORKERS]
        sweep = Sweep(self.rig.handle.ring, self.writer.outstanding(), living)
        assert sweep.is_ready()
        self.writer.reclaim(sweep.unclaimed(living))

    def _look_at_the_pipe(self) -> None:
        """After a death the model learns what got as far as the pipe; it may only lose frames."""
        found = [generation for _slot, generation in self.rig.announced()]
        assert found == sorted(found)
        self.newest = max([self.newest, *found])
        self.waiting = deque(found)

    # --- always --------------------------------------------------------------------------------

    @invariant()
    def the_ledger_is_exact(self) -> None:
        assert self.rig.imbalance() == 0
        assert self.rig.memory.in_flight() == len(self.waiting) + len(self.hands)

    @invariant()
    def no_slot_is_in_two_hands(self) -> None:
        held = [lease.slot for lease in self.hands.values()]
        held += [slot for slot, _generation in self.rig.announced()]
        assert len(held) == len(set(held))

    @invariant()
    def snapshots_are_whole(self) -> None:
        snapshot = self.reader.snapshot()
        if snapshot is not None:
            luma, stamp = snapshot
            assert is_whole(luma, stamp.generation)

    @invariant()
    def a_waiting_frame_is_seen(self) -> None:
        if self.waiting:
            assert self.takers[0].waited_ns(2**62) > 0

    def teardown(self) -> None:
        if not hasattr(self, "rig"):
            return
        for (worker, _line), lease in sorted(self.hands.items()):
            self.takers[worker].give_back(lease, Fate.RECOGNIZED)
        assert self.writer.drain(take_back=True)  # every slot is free: none was lost
        assert self.rig.imbalance() == 0
        assert self.rig.memory.in_flight() == 0
        self.hands.clear()
        self.reader.close()
        self.rig.close()


def test_the_ring_is_its_model_whoever_dies_when():
    machine = hypothesis.seed(SEED)(RingMachine)
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=150, stateful_step_count=40, deadline=None, print_blob=True),
    )


def _machine(*, lossless: bool, unread: int) -> RingMachine:
    """Return a machine in whose ring one frame is leased and, if it may, another one waits."""
    machine = RingMachine()
    machine.lay_out(slots=3, lossless=lossless, unread=unread, odd=False)
    machine.capture(None)
    machine.take(0, 1, None)
    machine.capture(None)
    return machine


ACTIONS = {
    "capture": lambda machine, step: machine.capture(step),
    "abandon": lambda machine, step: machine.abandon(step),
    "skip": lambda machine, step: machine.skip(step),
    "drain": lambda machine, step: machine.drain(step),
    "take stock": lambda machine, step: machine.take_stock(step),
    "take": lambda machine, step: machine.take(1, 2, step),
    "give back": lambda machine, step: machine.give_back(0, step, Fate.RECOGNIZED),
}


@pytest.mark.parametrize("lossless", [False, True], ids=["live", "lossless"])
@pytest.mark.parametrize("action", ACTIONS)
def test_a_death_before_each_single_step_of_an_action_loses_nothing(action, lossless):
    deaths = 0
    for step in itertools.count():
        machine = _machine(lossless=lossless, unread=1)
        before = machine.deaths
        ACTIONS[action](machine, step)
        _check(machine)
        for worker in range(WORKERS):
            machine.take(worker, 0, None)
            _check(machine)
        machine.capture(None)
        _check(machine)
        machine.teardown()
        if machine.deaths == before:
            break
        deaths += 1
    assert deaths > 30


def _check(machine: RingMachine) -> None:
    machine.the_ledger_is_exact()
    machine.no_slot_is_in_two_hands()
    machine.snapshots_are_whole()
    machine.a_waiting_frame_is_seen()
