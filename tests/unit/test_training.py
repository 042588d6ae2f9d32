"""The training of the built-in recognizer: what is rendered, and that a network learns from it."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from engine.plates import Pattern, patterns_of, region_codes, regions_of
from engine.recognizers.builtin.detector import _decode
from engine.recognizers.builtin.training.flat import HEIGHT_PX, draw_plate
from engine.recognizers.builtin.training.samples import CropMaker, SceneMaker, detector_target
from engine.recognizers.builtin.training.texts import random_groups, sample
from engine.recognizers.builtin.training.typefaces import CAPITAL_PX, load_typefaces

FONTS = Path("/usr/share/fonts")


@pytest.fixture(scope="module")
def fonts():
    """One bold font of this machine that is drawn like plates."""
    found = sorted(FONTS.rglob("DejaVuSans-Bold.ttf")) + sorted(FONTS.rglob("*Sans*-Bold.ttf"))
    if not found:
        pytest.skip("needs a font: install the package fonts-dejavu-core")
    return found[:1]


@pytest.fixture(scope="module")
def typefaces(fonts):
    return load_typefaces(fonts)


@pytest.mark.parametrize("country", [c for c in region_codes() if regions_of(c) == (c,)])
def test_texts_follow_the_patterns_of_their_country(country, seed):
    rng = np.random.default_rng(seed)
    for source in patterns_of(country):
        pattern = Pattern(source)
        assert all(pattern.matches(sample(source, rng)) for _ in range(20))


def test_groups_are_never_empty(seed):
    rng = np.random.default_rng(seed)
    for _ in range(500):
        groups = random_groups(rng)
        assert groups
        assert all(re.fullmatch("[0-9A-Z]+", group) for group in groups)


def test_what_hangs_below_the_line_is_not_cut_off(typefaces):
    """The tail of Q is what tells it from O."""
    (face,) = typefaces
    for character, mask in face.masks.items():
        assert mask.shape[0] == CAPITAL_PX
        assert 0 < mask.max() <= 1, character
    q, o = face.masks["Q"], face.masks["O"]
    width = min(q.shape[1], o.shape[1])
    assert np.abs(q[:, :width] - o[:, :width]).mean() > 0.03


def test_no_fonts_is_said(tmp_path):
    with pytest.raises(ValueError, match="no fonts"):
        load_typefaces([tmp_path])


@pytest.mark.parametrize("two_lines", [False, True])
def test_plate_shows_its_text_within_its_corners(typefaces, seed, two_lines):
    rng = np.random.default_rng(seed)
    for _ in range(20):
        plate = draw_plate(rng, typefaces, two_lines=two_lines)
        assert len(plate.lines) == 1 + two_lines
        assert plate.picture.shape == plate.opacity.shape
        assert plate.picture.min() >= 0
        assert plate.picture.max() <= 255
        assert np.ptp(plate.corners[:, 1]) == HEIGHT_PX
        for line in plate.lines:
            assert line.text
            assert (line.corners >= plate.corners.min(axis=0) - 0.01).all()
            assert (line.corners <= plate.corners.max(axis=0) + 0.01).all()


def test_same_seed_same_samples(typefaces, seed):
    ones, others = CropMaker(typefaces, seed), CropMaker(typefaces, seed)
    for _ in range(5):
        one, other = ones.draw(), others.draw()
        assert one.text == other.text
        assert np.array_equal(one.luma, other.luma)
    first, second = SceneMaker(typefaces, seed).draw(), SceneMaker(typefaces, seed + 1).draw()
    assert not np.array_equal(first.luma, second.luma)


def test_target_is_what_the_detector_decodes():
    """A perfect answer, decoded as at run time, gives the corners back."""
    quad = np.array(((60, 80), (182, 92), (180, 126), (58, 114)), np.float32)
    values, weights = detector_target([quad])
    assert weights.max() == 1
    values[0] = np.log(
        np.clip(values[0], 1e-4, 1 - 1e-4) / (1 - np.clip(values[0], 1e-4, 1 - 1e-4))
    )
    probabilities, quads = _decode(values)
    best = quads[probabilities.argmax()]
    assert np.abs(best - quad).max() < 0.5
    assert not detector_target([])[1].any()


@pytest.mark.long  # torch is a gigabyte, and nothing needs it at run time
@pytest.mark.parametrize(("what", "steps", "batch"), [("reader", 100, 6), ("detector", 100, 2)])
def test_a_short_training_learns_and_its_weights_run(fonts, tmp_path, what, steps, batch):
    if importlib.util.find_spec("torch") is None:
        pytest.skip("needs the extra training (torch)")
    out = tmp_path / "weights.onnx"
    command = [sys.executable, "-m", "engine.recognizers.builtin.training.learn", what]
    command += ["--fonts", str(fonts[0]), "--out", str(out), "--steps", str(steps)]
    command += ["--batch", str(batch), "--processes", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    early, late = (float(loss) for loss in re.findall(r"loss ([0-9.]+)", done.stdout))
    assert late < early
    assert out.with_suffix(".pt").is_file()
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    shapes = {
        "reader": ((3, 1, 32, 128), (3, 37, 1, 32)),
        "detector": ((1, 1, 64, 96), (1, 13, 8, 12)),
    }
    given, expected = shapes[what]
    (answer,) = session.run(None, {"x": np.zeros(given, np.float32)})
    assert answer.shape == expected
    assert np.isfinite(answer).all()
