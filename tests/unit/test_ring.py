import os
import signal
import threading
import time

import msgspec
import numpy as np
import pytest
from polling import wait_until
from ring_rig import ChildRole, is_whole, offer, rigged

from engine.board import INTENT, LEASE_BASE, Count, Fate
from engine.errors import RingError
from engine.ring import RingReader
from engine.ring_memory import (
    DESCRIPTOR,
    GENERATION,
    SETTLED,
    STATE,
    TAKEN,
    RingMemory,
    SlotState,
    ring_bytes,
)


@pytest.fixture
def rig():
    with rigged() as rig:
        yield rig


# --- memory ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size_px", [(1, 1), (33, 17), (1919, 1079), (4096, 1), (640, 480)])
def test_gray_frames_of_any_size_are_separate_views_of_shared_memory(size_px):
    with rigged(size_px, slots=3) as rig:
        other = RingMemory.attach(rig.handle)
        for slot in range(3):
            rig.memory.frame(slot)[:] = slot + 1
        for slot in range(3):
            frame = other.frame(slot)
            assert frame.shape == size_px[::-1]
            assert frame.dtype == np.uint8
            assert frame.flags.c_contiguous
            assert frame.ctypes.data % 4096 == 0
            assert (frame == slot + 1).all()
            del frame
        other.close()


def test_i420_holds_luma_first_and_luma_is_no_copy():
    with rigged((64, 48), form="i420") as rig:
        frame, luma = rig.memory.frame(1), rig.memory.luma(1)
        assert frame.shape == (72, 64)
        assert luma.shape == (48, 64)
        frame[:48], frame[48:] = 9, 5
        assert (luma == 9).all()
        assert np.shares_memory(frame, luma)
        del frame, luma


def test_gray_luma_is_the_whole_frame(rig):
    assert np.shares_memory(rig.memory.frame(0), rig.memory.luma(0))
    assert rig.memory.frame(0).shape == rig.memory.luma(0).shape


@pytest.mark.parametrize("size_px", [(33, 16), (32, 17)])
def test_i420_of_an_odd_size_is_refused_before_anything_is_made(size_px):
    with rigged() as rig:
        handle = msgspec.structs.replace(
            rig.handle,
            segment=rig.lock.name("odd"),
            format="i420",
            width_px=size_px[0],
            height_px=size_px[1],
        )
        with pytest.raises(RingError, match="even"):
            RingMemory.create(handle)


def test_an_unknown_format_is_refused(rig):
    with pytest.raises(RingError, match="gray or i420 or bgr24, not rgb48"):
        RingMemory.create(msgspec.structs.replace(rig.handle, format="rgb48"))


@pytest.mark.parametrize("word", range(8))
def test_a_corrupted_header_is_an_error_that_names_the_camera(rig, word):
    rig.memory.header[word] ^= 1 << 40
    with pytest.raises(RingError, match=r"gate.*corrupted"):
        RingMemory.attach(rig.handle)


def test_a_segment_that_is_too_small_or_gone_is_an_error(rig):
    more = msgspec.structs.replace(rig.handle, slots=400)
    with pytest.raises(RingError, match=f"not {ring_bytes(more)}"):
        RingMemory.attach(more)
    with pytest.raises(RingError, match="gone"):
        RingMemory.attach(msgspec.structs.replace(rig.handle, segment=rig.lock.name("none")))


def test_close_under_a_living_view_raises_and_works_once_it_is_gone(rig):
    memory = RingMemory.attach(rig.handle)
    view = memory.luma(2)
    with pytest.raises(BufferError):
        memory.close()
    view[:] = 7  # the view did not dangle
    assert rig.memory.luma(2).max() == 7
    del view
    memory.close()


# --- hand-off ----------------------------------------------------------------------------------


def test_a_frame_travels_with_its_stamp_and_pixels(rig):
    writer, taker = rig.started_writer(), rig.taker()
    slot = writer.acquire()
    writer.memory.frame(slot)[:] = np.arange(33, dtype=np.uint8)
    writer.publish(slot, 1_700_000_000_000_000_123, 77)
    lease = taker.take(3)
    assert lease.slot == slot
    assert lease.stamp.camera == "gate"
    assert lease.stamp.captured_unix_ns == 1_700_000_000_000_000_123
    assert lease.stamp.captured_monotonic_ns == 77
    assert (lease.stamp.width_px, lease.stamp.height_px) == (33, 17)
    assert (lease.luma == np.arange(33)).all()
    assert 0 < lease.offered_ns <= time.monotonic_ns()
    line = rig.rows[1].words[LEASE_BASE + 12 : LEASE_BASE + 16].tolist()
    assert line[:3] == [rig.handle.ring, slot, lease.generation]
    assert rig.memory.in_flight() == 1
    taker.give_back(lease, Fate.RECOGNIZED)
    assert rig.rows[1].words[LEASE_BASE + 12] == 0
    assert rig.memory.in_flight() == 0
    assert rig.fates() == {Fate.CAPTURED: 1, Fate.RECOGNIZED: 1}
    assert writer.drain(take_back=True)


def test_a_take_from_an_empty_ring_leaves_no_trace(rig):
    taker = rig.taker()
    assert taker.take(0) is None
    assert rig.rows[1].words[INTENT] == 0
    assert rig.rows[1].words[LEASE_BASE] == 0
    assert taker.waited_ns(time.monotonic_ns()) == 0


def test_the_hottest_slot_is_written_again(rig):
    writer, taker = rig.started_writer(), rig.taker()
    used = set()
    for _ in range(20):
        assert offer(writer)
        lease = taker.take(0)
        used.add(lease.slot)
        taker.give_back(lease, Fate.RECOGNIZED)
    assert len(used) == 1


def test_lossless_is_first_in_first_out_and_waits_for_slots():
    with rigged(slots=3, lossless=True) as rig:
        writer, taker = rig.started_writer(), rig.taker()
        offered, taken = [], []
        for _ in range(50):
            while (generation := offer(writer)) is not None:
                offered.append(generation)
            assert rig.memory.in_flight() == 3
            lease = taker.take(0)
            assert is_whole(lease.luma, lease.generation)
            taken.append(lease.generation)
            taker.give_back(lease, Fate.RECOGNIZED)
        while (lease := taker.take(0)) is not None:
            taken.append(lease.generation)
            taker.give_back(lease, Fate.RECOGNIZED)
        assert taken == offered
        assert rig.fates() == {Fate.CAPTURED: 52, Fate.RECOGNIZED: 52}


@pytest.mark.parametrize("unread", [1, 2, 3])
def test_live_keeps_only_the_newest_unread_frames_and_counts_the_replaced(unread):
    with rigged(slots=6, max_unread=unread) as rig:
        writer, taker = rig.started_writer(), rig.taker()
        offered = [offer(writer) for _ in range(10)]
        assert None not in offered
        assert rig.fates() == {Fate.CAPTURED: 10, Fate.DROPPED_REPLACED: 10 - unread}
        leases = [taker.take(line) for line in range(unread)]
        assert [lease.generation for lease in leases] == offered[-unread:]
        assert taker.take(unread) is None
        for lease in leases:
            taker.give_back(lease, Fate.RECOGNIZED)
        assert rig.imbalance() == 0


def test_live_never_waits_when_every_slot_is_leased():
    with rigged(slots=2) as rig:
        writer, taker = rig.started_writer(), rig.taker()
        leases = []
        for line in range(2):
            offer(writer)
            leases.append(taker.take(line))
        assert writer.acquire() is None
        taker.give_back(leases[0], Fate.RECOGNIZED)
        assert writer.acquire() == leases[0].slot


def test_live_with_its_last_slot_unread_replaces_it():
    with rigged(slots=2, max_unread=2) as rig:
        writer, taker = rig.started_writer(), rig.taker()
        first, second = offer(writer), offer(writer)
        assert taker.take(0).generation == first
        third = offer(writer)
        assert third is not None
        assert taker.take(1).generation == third > second
        assert rig.fates() == {Fate.CAPTURED: 3, Fate.DROPPED_REPLACED: 1}


def test_an_abandoned_slot_is_free_again_and_shows_nothing(rig):
    writer, reader = rig.started_writer(), RingReader(rig.handle)
    for _ in range(10):
        slot = writer.acquire()
        writer.memory.frame(slot)[:3] = 99
        writer.abandon(slot)
    assert rig.fates() == {}
    assert reader.snapshot() is None
    reader.close()
    assert writer.drain(take_back=True)


def test_drain_takes_back_the_unread_and_waits_for_the_leased():
    with rigged(lossless=True) as rig:
        writer, taker = rig.started_writer(), rig.taker()
        for _ in range(3):
            offer(writer)
        lease = taker.take(0)
        assert not writer.drain(take_back=True)
        assert taker.waited_ns(time.monotonic_ns()) == 0
        taker.give_back(lease, Fate.RECOGNIZED)
        assert writer.drain(take_back=True)
        assert rig.fates() == {Fate.CAPTURED: 3, Fate.DROPPED_ENDED: 2, Fate.RECOGNIZED: 1}


def test_a_drain_may_leave_the_unread_to_their_readers():
    with rigged(lossless=True) as rig:
        writer, taker = rig.started_writer(), rig.taker()
        for _ in range(3):
            offer(writer)
        for _ in range(3):
            assert not writer.drain(take_back=False)
            assert taker.waited_ns(time.monotonic_ns()) > 0
            taker.give_back(taker.take(0), Fate.RECOGNIZED)
        assert writer.drain(take_back=False)
        assert rig.fates() == {Fate.CAPTURED: 3, Fate.RECOGNIZED: 3}


def test_a_late_return_of_an_older_generation_is_discarded(rig):
    writer, taker = rig.started_writer(), rig.taker()
    offer(writer)
    old = taker.take(0)
    taker.give_back(old, Fate.RECOGNIZED)
    newer = offer(writer)
    os.write(rig.owned.return_write, DESCRIPTOR.pack(old.slot, old.generation))
    lease = taker.take(0)
    assert (lease.slot, lease.generation) == (old.slot, newer)
    assert {writer.acquire() for _ in range(4)} == {None, *range(4)} - {lease.slot}


@pytest.mark.parametrize("word", [GENERATION, STATE])
def test_a_stale_descriptor_is_dropped_after_signing_and_counted(rig, word):
    writer, taker = rig.started_writer(), rig.taker()
    offer(writer)
    (slot, _generation), *_none = rig.announced()
    rig.memory.put(slot, word, 0)
    assert taker.take(0) is None
    assert rig.rows[1].words[LEASE_BASE] == 0
    assert rig.rows[1].total(Count.STALE_DESCRIPTORS) == 1


# --- waiting and waking --------------------------------------------------------------------------


def test_one_token_wakes_for_many_announcements():
    with rigged(slots=8, lossless=True) as rig:
        writer = rig.started_writer()
        for _ in range(8):
            offer(writer)
        assert rig.tokens_waiting() == 1
        os.read(rig.tokens[0], 1)
        offered = offer(writer)
        assert offered is None
        assert rig.tokens_waiting() == 0


def test_a_full_token_pipe_does_not_stop_the_decoder(rig, monkeypatch):
    writer = rig.started_writer()
    monkeypatch.setattr("engine.ring_memory.bytes_in", lambda _fd: 0)
    with pytest.raises(BlockingIOError):
        rig.fill_token_pipe()
    assert offer(writer)


def test_waiting_counts_from_the_first_frame_nobody_took_and_is_weighted(rig):
    writer, light, heavy = rig.started_writer(), rig.taker(0), rig.taker(1, weight=3.0)
    offer(writer)
    began = light.waited_ns(2**62)
    for _ in range(5):
        offer(writer)
    assert light.waited_ns(2**62) == began  # replaced frames do not send it to the end of the line
    assert heavy.waited_ns(2**62) == pytest.approx(3 * began)
    light.give_back(light.take(0), Fate.RECOGNIZED)
    assert light.waited_ns(2**62) == 0
    offer(writer)
    assert 0 < light.waited_ns(2**62) < began


def test_a_hint_written_late_only_costs_a_look_into_an_empty_pipe():
    with rigged(lossless=True) as rig:
        writer, taker = rig.started_writer(), rig.taker()
        first, second = offer(writer), offer(writer)
        leases = [taker.take(0), taker.take(1)]
        rig.memory.header[TAKEN] = first  # the slower worker's store came last
        assert [lease.generation for lease in leases] == [first, second]
        assert taker.waited_ns(time.monotonic_ns()) > 0
        assert taker.take(2) is None
        third = offer(writer)
        assert taker.waited_ns(time.monotonic_ns()) > 0
        assert taker.take(2).generation == third
        assert taker.waited_ns(time.monotonic_ns()) == 0


def test_a_decoder_waits_for_a_return_without_polling():
    with rigged(slots=2, lossless=True) as rig:
        writer, taker = rig.started_writer(), rig.taker()
        leases = [taker.take(line) for line in range(2) if offer(writer)]
        returned = threading.Timer(0.05, taker.give_back, (leases[0], Fate.RECOGNIZED))
        returned.start()
        began = time.monotonic()
        writer.wait_for_return(5.0)
        assert time.monotonic() - began < 4.0
        assert writer.acquire() == leases[0].slot
        returned.join()


# --- after a decoder's death ---------------------------------------------------------------------


def test_an_heir_frees_what_was_being_written_and_keeps_what_is_announced_or_leased():
    with rigged(slots=5, lossless=True) as rig:
        writer, taker = rig.started_writer(), rig.taker()
        offer(writer)
        lease = taker.take(0)
        unread = offer(writer)
        writer.memory.frame(writer.acquire())[:4] = 1  # dies here, in the middle of the pixels
        heir = rig.writer()
        rig.reap_decoder()
        heir.adopt()
        assert heir.outstanding() == [(lease.slot, lease.generation)]
        assert rig.imbalance() == 0
        second = taker.take(1)
        assert second.generation == unread
        taker.give_back(second, Fate.RECOGNIZED)
        taker.give_back(lease, Fate.RECOGNIZED)
        assert offer(heir) > unread + 1  # generations are never given out twice
        assert len({heir.acquire() for _ in range(4)} - {None}) == 4
        assert heir.acquire() is None


def test_reclaim_frees_only_what_is_still_held_and_counts_the_lost():
    with rigged(slots=4, lossless=True) as rig:
        writer, taker = rig.started_writer(), rig.taker()
        for _ in range(3):
            offer(writer)
        lost, counted, returned = (taker.take(line) for line in range(3))
        rig.memory.put(counted.slot, SETTLED, counted.generation)
        rig.rows[1].fate(0, Fate.FAILED_KILLED)
        outstanding = writer.outstanding()
        assert len(outstanding) == 3
        taker.give_back(returned, Fate.RECOGNIZED)
        offer(writer)
        assert writer.reclaim(outstanding) == 1
        assert rig.fates()[Fate.FAILED_LOST] == 1
        assert rig.imbalance() == 0
        assert rig.memory.word(lost.slot, STATE) == SlotState.FREE
        assert rig.memory.in_flight() == 1


# --- snapshots -----------------------------------------------------------------------------------


def test_a_snapshot_is_the_newest_whole_frame_in_every_state_of_its_slot(rig):
    writer, taker, reader = rig.started_writer(), rig.taker(), RingReader(rig.handle)
    assert reader.snapshot() is None
    for _ in range(3):
        generation = offer(writer)
        assert _seen(reader) == generation  # READY
        lease = taker.take(0)
        assert _seen(reader) == generation  # leased
        taker.give_back(lease, Fate.RECOGNIZED)
        assert _seen(reader) == generation  # FREE, or still on its way
    older = offer(writer)
    taker.give_back(taker.take(0), Fate.RECOGNIZED)
    slot = writer.acquire()
    writer.memory.frame(slot)[:9] = 250  # half written: another slot's older frame, or none
    assert _seen(reader) in {older, None, *range(older)}
    reader.close()


def test_a_snapshot_is_a_copy_that_outlives_the_ring():
    with rigged() as rig:
        writer, reader = rig.started_writer(), RingReader(rig.handle)
        generation = offer(writer)
        luma, _stamp = reader.snapshot()
        reader.close()
    assert is_whole(luma, generation)


def _seen(reader: RingReader) -> int | None:
    snapshot = reader.snapshot(attempts=500)
    if snapshot is None:
        return None
    luma, stamp = snapshot
    assert is_whole(luma, stamp.generation)
    return stamp.generation


def test_snapshots_are_never_torn_while_another_process_writes():
    with rigged((1280, 720), slots=3) as rig, ChildRole(rig, "write") as child:
        reader = RingReader(rig.handle)
        wait_until(lambda: reader.snapshot(attempts=500), 10.0, "the first frame")
        seen, began = {0}, time.monotonic()
        while time.monotonic() < began + (1.5 if len(seen) > 20 and max(seen) > 200 else 20.0):
            generation = _seen(reader)
            if generation is not None:
                seen.add(generation)
        reader.close()
        assert child.poll() is None
        assert len(seen) > 20
        assert max(seen) > 200


def test_a_reader_that_sees_a_frame_overwritten_in_mid_copy_gives_none(rig):
    writer, reader = rig.started_writer(), RingReader(rig.handle)
    offer(writer)
    copies = []
    luma_of = reader.memory.luma

    def luma_and_overwrite(slot: int) -> np.ndarray:
        """Return the luma; the decoder goes round before it can be copied to the end."""
        copies.append(slot)
        for _ in range(2):
            offer(writer)
        return luma_of(slot)

    reader.memory.luma = luma_and_overwrite
    assert reader.snapshot(attempts=4) is None
    assert len(copies) == 4
    reader.close()


# --- several processes ---------------------------------------------------------------------------


def test_processes_lose_no_frame_and_see_none_torn():
    with (
        rigged((320, 240), slots=4, lossless=True, workers=2) as rig,
        ChildRole(rig, "take", 0),
        ChildRole(rig, "take", 1),
    ):
        writer = rig.started_writer()
        wait_until(lambda: rig.rows[1].turn and rig.rows[2].turn, 20.0, "both take")
        for _ in range(1500):
            while offer(writer) is None:
                writer.wait_for_return(5.0)
        wait_until(lambda: rig.memory.in_flight() == 0, 10.0, "every frame is settled")
        assert rig.fates() == {Fate.CAPTURED: 1500, Fate.RECOGNIZED: 1500}
        wait_until(lambda: writer.drain(take_back=True), 5.0, "every slot is free")
        shares = [rig.rows[row].fate_so_far(0, Fate.RECOGNIZED) for row in (1, 2)]
        assert min(shares) > 0


def test_a_stopped_worker_keeps_its_frame_and_holds_nobody_up():
    with (
        rigged((64, 48), slots=4, workers=2) as rig,
        ChildRole(rig, "take", 0) as stopped,
        ChildRole(rig, "take", 1),
    ):
        writer = rig.started_writer()
        wait_until(lambda: offer(writer) and rig.rows[1].turn > 5, 20.0, "the worker works")
        stopped.send_signal(signal.SIGSTOP)
        before = rig.rows[2].fate_so_far(0, Fate.RECOGNIZED)
        wait_until(
            lambda: offer(writer) and rig.rows[2].fate_so_far(0, Fate.RECOGNIZED) > before + 20,
            10.0,
            "the other one goes on",
        )
        stopped.send_signal(signal.SIGCONT)
        wait_until(lambda: rig.memory.in_flight() == 0, 5.0, "all settled")
        wait_until(lambda: writer.drain(take_back=True), 5.0, "every slot is free")
        assert rig.imbalance() == 0
