"""The motion gate: still cameras are skipped, nothing that moves is."""

import numpy as np
import pytest

from engine.motion import MotionGate
from engine.sources.planes import shrink
from engine.sources.scene import DemoScene

FPS = 15.0


def noisy(picture, noise, sigma):
    """Return the preview of a picture as a noisy camera sees it."""
    seen = picture + noise.standard_normal(picture.shape, np.float32) * sigma
    return shrink(np.clip(np.round(seen), 0, 255).astype(np.uint8))


@pytest.fixture
def noise(seed):
    return np.random.default_rng(seed)


@pytest.fixture
def street(noise):
    """A still, textured picture of 640x360."""
    blocks = noise.integers(40, 200, (45, 80)).astype(np.float32)
    return np.kron(blocks, np.ones((8, 8), np.float32))


@pytest.mark.parametrize("sigma", [0.0, 2.0, 6.0])
def test_a_still_camera_is_skipped(street, noise, sigma):
    gate = MotionGate(afterglow_s=0.5)
    passed = [gate.changed(noisy(street, noise, sigma), i / FPS) for i in range(90)]
    assert passed[0]
    assert not any(passed[30:])


def test_light_that_changes_slowly_is_no_motion(street, noise):
    gate = MotionGate(afterglow_s=0.2)
    dawn = [noisy(street + i * 0.2, noise, 2.0) for i in range(120)]
    passed = [gate.changed(preview, i / FPS) for i, preview in enumerate(dawn)]
    assert sum(passed[15:]) <= 5


@pytest.mark.parametrize("speed_px", [0.25, 1, 5])
def test_a_small_plate_that_moves_always_passes(street, noise, speed_px):
    gate = MotionGate(afterglow_s=0.0)
    for i in range(45):
        gate.changed(noisy(street, noise, 3.0), i / FPS)
    passed, travelled = [], []
    for i in range(60):
        picture = street.copy()
        x = 50 + round(i * speed_px)
        picture[200:209, x : x + 40] = 230
        picture[202:207, x + 3 : x + 37 : 5] = 20
        passed.append(gate.changed(noisy(picture, noise, 3.0), (45 + i) / FPS))
        travelled.append(i * speed_px)
    assert passed[0]
    # Between two frames that pass, the plate has gone less than a tenth of its width.
    places = [at for at, let_through in zip(travelled, passed, strict=True) if let_through]
    assert max(np.diff([*places, travelled[-1]])) <= max(4, speed_px)


def test_after_a_change_frames_pass_for_a_while(street, noise):
    gate = MotionGate(afterglow_s=1.0)
    for i in range(60):
        gate.changed(noisy(street, noise, 2.0), i / FPS)
    stopped = street.copy()
    stopped[150:250, 200:350] = 220
    passed = [gate.changed(noisy(stopped, noise, 2.0), (60 + i) / FPS) for i in range(30)]
    assert all(passed[:15])
    assert not any(passed[16:])


def test_another_size_is_a_change(street, noise):
    gate = MotionGate(afterglow_s=0.0)
    assert gate.changed(noisy(street, noise, 0.0), 0.0)
    assert not gate.changed(noisy(street, noise, 0.0), 1.0)
    assert gate.changed(noisy(street[:, :320], noise, 0.0), 2.0)


@pytest.mark.parametrize("sensitivity", [0.0, -1.0, 1.5])
def test_impossible_sensitivities_are_refused(sensitivity):
    with pytest.raises(ValueError, match="sensitivity"):
        MotionGate(sensitivity=sensitivity)


def test_in_the_demo_no_legible_frame_is_lost_and_quiet_ones_are_saved(record_property):
    """A quiet road (a vehicle every minute or so): the share skipped is shown as a property."""
    scene = DemoScene(seed=5, width_px=640, height_px=360, density=0.05)
    gate, skipped, lost = MotionGate(), 0, []
    legible = [(v.legible_from_s, v.legible_to_s) for v in scene.truth(200.0)]
    times = np.arange(60 * FPS) / FPS
    for t_s in times:
        if not gate.changed(shrink(scene.luma(t_s)), t_s):
            skipped += 1
            if any(start <= t_s <= end for start, end in legible):
                lost.append(t_s)
    share = skipped / len(times)
    record_property("share_skipped", round(share, 3))
    assert any(end < 60 for _, end in legible), "the scene must have vehicles"
    assert not lost
    assert share > 0.2
