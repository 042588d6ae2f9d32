"""A stream's own clock on ours: network jitter taken out, jumps and wraps survived."""

import random
import time

import numpy as np
import pytest

from engine.sources.pace import Pacer, Stamp, StreamClock

PERIOD_S = 1 / 25
WRAP_S = 2**33 / 90_000


def play(captures_s, pts_s, delays_s):
    """Return how late each stamp is against the true capture; delays may pile frames up."""
    clock, errors, arrived_s = StreamClock(), [], 0.0
    for captured_s, pts, delay_s in zip(captures_s, pts_s, delays_s, strict=True):
        arrived_s = max(arrived_s + 1e-4, captured_s + delay_s)
        now = Stamp(int((1e9 + arrived_s) * 1e9), int(arrived_s * 1e9))
        stamp = clock.captured(pts, now)
        assert stamp.monotonic_ns <= now.monotonic_ns
        assert now.unix_ns - stamp.unix_ns == now.monotonic_ns - stamp.monotonic_ns
        errors.append(stamp.monotonic_ns / 1e9 - captured_s)
    return np.array(errors)


def times(count, first=100.0):
    return [first + i * PERIOD_S for i in range(count)]


def test_jitter_of_the_network_is_taken_out(rng: random.Random) -> None:
    true = times(2000)
    delays = [0.02 + rng.expovariate(1 / 0.05) for _ in true]
    errors = play(true, [t + 5000 for t in true], delays)
    late = np.array(delays)
    assert np.ptp(errors[200:]) < 0.03
    assert late.max() > 0.2


def test_frames_held_up_keep_their_own_times() -> None:
    true = times(200)
    delays = [0.02] * 100 + [3.0 - i * PERIOD_S for i in range(75)] + [0.02] * 25
    errors = play(true, true, delays)
    assert np.abs(errors - 0.02).max() < 0.01


@pytest.mark.parametrize("jump_s", [-WRAP_S, -3600.0, 50.0, 1e6, -0.5])
def test_a_clock_that_jumps_is_mapped_anew(jump_s: float) -> None:
    true = times(200)
    pts = [t + (jump_s if i >= 100 else 0) for i, t in enumerate(true)]
    errors = play(true, pts, [0.02] * 200)
    assert np.abs(errors - 0.02).max() < 0.01


@pytest.mark.parametrize("speed", [0.9998, 1.0002])
def test_a_clock_that_drifts_is_followed(speed: float) -> None:
    true = times(20_000)
    errors = play(true, [t * speed for t in true], [0.02] * len(true))
    assert np.abs(errors - 0.02).max() < 0.01


def test_without_times_arrival_counts_and_order_is_kept() -> None:
    clock = StreamClock()
    stamps = [clock.captured(None, Stamp(10**18 + t, t)) for t in (5, 9, 9, 12)]
    assert [stamp.monotonic_ns for stamp in stamps] == [5, 9, 9, 12]


def test_a_pacer_waits_for_no_jump_and_plays_a_little_faster() -> None:
    pacer = Pacer(speed=2.0, longest_s=3.0)
    began = time.monotonic()
    for media_s in (0.0, 0.2, 100.0, 100.2):
        assert pacer.wait(media_s, lambda: False) is not None
    assert 0.2 <= time.monotonic() - began < 1.5


def test_captures_never_go_back(rng: random.Random) -> None:
    clock, now_ns, last_ns = StreamClock(), 10**9, 0
    for _ in range(3000):
        now_ns += rng.randrange(10**8)
        pts = rng.choice((None, rng.uniform(-1e6, 1e6), now_ns / 1e9))
        stamp = clock.captured(pts, Stamp(now_ns, now_ns))
        assert last_ns <= stamp.monotonic_ns <= now_ns
        last_ns = stamp.monotonic_ns
