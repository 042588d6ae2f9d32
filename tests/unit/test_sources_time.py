"""A stream's own clock on ours: network jitter taken out, jumps and wraps survived."""

import random
import time

import numpy as np
import pytest

from engine.sources.pace import Pacer, Stamp, StreamClock
from engine.sources.sender_clock import SenderClock

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


NOW_NS = 1_800_000_000 * 10**9
MEDIA_S = 55.0


def sender(ahead_s: float) -> SenderClock:
    """A sender whose clock is so far ahead of ours; its media time is 55 s now."""
    clock = SenderClock()
    clock.tell(NOW_NS / 1e9 + ahead_s - MEDIA_S)
    return clock


def test_a_sender_without_reports_tells_nothing() -> None:
    assert SenderClock().age_s(MEDIA_S, NOW_NS) is None
    assert sender(0.0).age_s(None, NOW_NS) is None


@pytest.mark.parametrize("age_s", [0.0, 0.07, 1.5, 2.9])
def test_a_sender_is_believed(age_s: float) -> None:
    assert sender(0.0).age_s(MEDIA_S - age_s, NOW_NS) == pytest.approx(age_s, abs=1e-5)


def test_a_sender_a_little_ahead_is_as_good_as_we() -> None:
    assert sender(0.05).age_s(MEDIA_S, NOW_NS) == 0.0


@pytest.mark.parametrize("ahead_s", [0.2, 3600.0, -3.1, -3600.0, -NOW_NS / 1e9, 1e12])
def test_a_wrong_clock_is_named_once_and_never_believed(
    ahead_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    clock = sender(ahead_s)
    ages = [clock.age_s(MEDIA_S + n * PERIOD_S, NOW_NS + int(n * PERIOD_S * 1e9)) for n in range(9)]
    assert ages == [None] * 9
    assert caplog.text.count("ahead of ours" if ahead_s > 0 else "behind ours") == 1


def test_a_clock_that_is_set_right_is_believed_from_then_on() -> None:
    clock = sender(3600.0)
    assert clock.age_s(MEDIA_S, NOW_NS) is None
    clock.tell(NOW_NS / 1e9 - MEDIA_S - 0.2)
    assert clock.age_s(MEDIA_S, NOW_NS) == pytest.approx(0.2, abs=1e-5)
    clock.tell(NOW_NS / 1e9 - MEDIA_S - 3600.0)
    assert clock.age_s(MEDIA_S, NOW_NS) is None


def test_what_the_network_held_up_is_as_old_as_its_sender_says() -> None:
    clock = sender(0.0)
    assert clock.age_s(MEDIA_S - 0.1, NOW_NS) is not None
    assert clock.age_s(MEDIA_S - 8.0, NOW_NS) == pytest.approx(8.0, abs=1e-5)
    assert clock.age_s(MEDIA_S - 21.0, NOW_NS) is None


def test_the_senders_word_goes_before_arrival_but_never_back() -> None:
    clock = StreamClock()
    first = clock.captured(10.0, Stamp(NOW_NS, 10**9))
    second = clock.captured(10.04, Stamp(NOW_NS + 4 * 10**7, 104 * 10**7), 0.5)
    assert second.monotonic_ns == first.monotonic_ns + 1
    third = clock.captured(11.0, Stamp(NOW_NS + 10**9, 2 * 10**9), 0.5)
    assert third.unix_ns == NOW_NS + 10**9 - 5 * 10**8
