"""A camera's health: every state and hint has its sign, its delay and its end."""

import cv2
import numpy as np
import pytest

from engine.health import BLACK_S, HINT_S, Health
from engine.types import CameraState

FPS = 10.0


class Feed:
    """Feeds pictures at ``FPS`` and keeps the time."""

    def __init__(self, frozen_after_s=8.0):
        self.now_s = 100.0
        self.health = Health(self.now_s, frozen_after_s)

    def show(self, picture, seconds):
        """Show ``picture()`` for so long; return the verdict at the end."""
        for _ in range(round(seconds * FPS)):
            self.now_s += 1 / FPS
            self.health.frame(self.now_s)
            if self.health.wants_look(self.now_s):
                self.health.look(picture(), self.now_s)
        return self.health.verdict(self.now_s)

    def until(self, state, picture, limit_s):
        """Show until the state is reached; return how long it took."""
        began_s = self.now_s
        while self.now_s - began_s < limit_s:
            if self.show(picture, 0.5).state is state:
                return self.now_s - began_s
        pytest.fail(f"not {state} within {limit_s} s")
        return 0.0


@pytest.fixture
def noise(seed):
    return np.random.default_rng(seed)


@pytest.fixture
def street(noise):
    """A noisy view of a street, 160x90."""
    blocks = np.kron(noise.integers(40, 200, (18, 32)), np.ones((5, 5)))
    return lambda: np.clip(blocks + noise.normal(0, 1.5, blocks.shape), 0, 255).astype(np.uint8)


def test_a_good_camera_is_live(street):
    feed = Feed()
    assert feed.show(street, 60) == (CameraState.LIVE, "")


def test_frozen_within_10_s_and_live_at_once_again(street):
    feed = Feed()
    feed.show(street, 20)
    still = street()
    assert feed.until(CameraState.FROZEN, lambda: still, 10) >= 8
    assert "frozen" in feed.health.verdict(feed.now_s).reason
    assert feed.show(street, 1).state is CameraState.LIVE


def test_a_single_pixel_that_changes_is_not_frozen(street):
    feed, still = Feed(), street()

    def nearly_still():
        nonlocal still
        still = still.copy()
        still[3, 4] ^= 1
        return still

    assert feed.show(nearly_still, 30).state is CameraState.LIVE


def test_freezing_can_be_allowed(street):
    feed, still = Feed(frozen_after_s=0.0), street()
    assert feed.show(lambda: still, 60).state is CameraState.LIVE


@pytest.mark.parametrize("level", [0, 16, 25])
def test_black_within_10_s(street, noise, level):
    feed = Feed()
    feed.show(street, 20)

    def dark():
        return np.clip(noise.normal(level, 2, (90, 160)), 0, 255).astype(np.uint8)

    assert feed.until(CameraState.DEGRADED, dark, 10) >= BLACK_S
    assert "black" in feed.health.verdict(feed.now_s).reason
    assert feed.show(street, 1).state is CameraState.LIVE


def test_a_head_lamp_at_night_is_not_black(noise):
    feed = Feed()

    def night():
        picture = np.clip(noise.normal(16, 2, (90, 160)), 0, 255).astype(np.uint8)
        picture[40:50, 60:75] = 250
        return picture

    assert feed.show(night, 30).state is CameraState.LIVE


def test_black_and_frozen_says_both():
    feed = Feed()
    verdict = feed.show(lambda: np.zeros((90, 160), np.uint8), 15)
    assert verdict.state is CameraState.FROZEN
    assert "black" in verdict.reason


def test_a_stall_degrades_before_the_connection_is_given_up(street):
    feed = Feed()
    feed.show(street, 10)
    assert feed.health.verdict(feed.now_s + 1.5).state is CameraState.LIVE
    verdict = feed.health.verdict(feed.now_s + 2.5)
    assert verdict == (CameraState.DEGRADED, "no frame for some seconds")
    feed.now_s += 3.0
    assert feed.show(street, 0.2).state is CameraState.LIVE


def test_a_camera_of_one_frame_in_5_s_does_not_stall(street):
    feed = Feed()
    for _ in range(60):
        feed.now_s += 5.0
        feed.health.frame(feed.now_s)
        feed.health.look(street(), feed.now_s)
        assert feed.health.verdict(feed.now_s + 5.0).state is CameraState.LIVE


def test_many_spoilt_packets_degrade_and_are_forgotten(street):
    feed = Feed()
    feed.show(street, 10)
    feed.health.spoilt(feed.now_s, 4)
    assert feed.health.verdict(feed.now_s).state is CameraState.LIVE
    feed.health.spoilt(feed.now_s, 16)
    assert feed.health.verdict(feed.now_s).reason == "many packets cannot be decoded"
    assert feed.show(street, 11).state is CameraState.LIVE


def test_moved_is_hinted_and_learnt_in_the_end(street, noise):
    feed = Feed()
    feed.show(street, 60)
    elsewhere = np.kron(noise.integers(40, 200, (18, 32)), np.ones((5, 5))).astype(np.uint8)

    def moved():
        return elsewhere + noise.integers(0, 2, elsewhere.shape, np.uint8)

    assert feed.show(moved, HINT_S - 1).reason == ""
    assert feed.show(moved, 3) == (
        CameraState.LIVE,
        "it may have been moved: the picture is another one than usual",
    )
    assert feed.show(moved, 310).reason == ""


def test_out_of_focus_is_hinted_until_it_is_sharp(street):
    feed = Feed()
    feed.show(street, 60)
    blurred = feed.show(lambda: cv2.GaussianBlur(street(), (0, 0), 6.0), HINT_S + 2)
    assert blurred.state is CameraState.LIVE
    assert "out of focus" in blurred.reason
    assert feed.show(street, 1).reason == ""


def test_a_truck_that_passes_is_no_hint(street):
    feed = Feed()
    feed.show(street, 60)

    def truck():
        picture = street()
        picture[10:80, 10:150] = 120
        return picture

    feed.show(truck, 6)
    assert feed.show(street, 6).reason == ""


def test_slow_light_is_no_hint(street):
    feed, dim = Feed(), 1.0

    def dusk():
        nonlocal dim
        dim = max(0.45, dim - 0.003)
        return (street() * dim).astype(np.uint8)

    feed.show(street, 40)
    assert feed.show(dusk, 120) == (CameraState.LIVE, "")
