"""The training of the built-in recognizer: what is rendered, and that a network learns from it."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from scenes import mount, plate, street

from engine.plates import Pattern, patterns_of, region_codes, regions_of
from engine.recognizers.builtin.detector import _decode
from engine.recognizers.builtin.geometry import blocks, flatten
from engine.recognizers.builtin.training.flat import HEIGHT_PX, draw_plate
from engine.recognizers.builtin.training.photographs import cut, kept_back, load_photographs
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
def test_plate_has_the_lines_asked_for(typefaces, seed, two_lines):
    rng = np.random.default_rng(seed)
    for _ in range(20):
        drawn = draw_plate(rng, typefaces, two_lines=two_lines)
        assert len(drawn.lines) == 1 + two_lines
        assert drawn.picture.shape == drawn.opacity.shape
        assert drawn.picture.min() >= 0
        assert drawn.picture.max() <= 255
        assert np.ptp(drawn.corners[:, 1]) == HEIGHT_PX
        assert all(re.fullmatch("[0-9A-Z]+", line) for line in drawn.lines)


def test_same_seed_same_samples(typefaces, seed):
    ones, others = CropMaker(typefaces, seed), CropMaker(typefaces, seed)
    for _ in range(5):
        one, other = ones.draw(), others.draw()
        assert one.lines == other.lines
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


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of photographs: here drawn streets, each with one plate whose text is known."""
    folder = tmp_path_factory.mktemp("photographs")
    rows = ["file,x,y,w,h,plate"]
    for number in range(12):
        scene = street(seed=number)
        low = mount(scene, plate("XJ73PLM"), (500, 400), width=160).min(axis=0).astype(int)
        cv2.imwrite(str(folder / f"{number}.png"), scene)
        rows.append(f"{number}.png,{low[0]},{low[1]},160,36,XJ73PLM")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder / "labels.csv"


def test_some_photographs_are_kept_back(table):
    loaded = load_photographs([table])
    names = [f"{number}.png" for number in range(12)]
    assert len(loaded) == sum(not kept_back(name) for name in names)
    assert 0 < len(loaded) < 12
    assert all(photograph.texts == ("XJ73PLM",) for photograph in loaded)


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    name = next(f"{n}.png" for n in range(99) if not kept_back(f"{n}.png"))
    (tmp_path / "labels.csv").write_text(f"file,x,y,w,h\n{name},1,2,3,4\n")
    with pytest.raises(ValueError, match=re.escape(name)):
        load_photographs([tmp_path / "labels.csv"])


def test_a_cut_keeps_corners_on_their_plate(table, seed):
    """Wherever a cut lies, its quad shows the plate the right way up, mirrored or not."""
    (photograph, *_) = load_photographs([table])
    rng = np.random.default_rng(seed)
    upright = flatten(photograph.luma, photograph.quads[0], (96, 24)).astype(np.float32)
    seen = 0
    for _ in range(300):
        picture, quads = cut(photograph, 320, rng)
        for quad in quads:
            if np.ptp(quad[:, 0]) < 80 or quad.min() < 2 or quad.max() > 318:
                continue
            flat = flatten(picture.astype(np.uint8), quad, (96, 24)).astype(np.float32)
            alike = max(
                np.corrcoef(upright.ravel(), side.ravel())[0, 1] for side in (flat, flat[:, ::-1])
            )
            assert alike > 0.7
            seen += 1
    assert seen > 25


def test_photographs_become_scenes_and_crops(table, typefaces, seed):
    photographs = load_photographs([table])
    scenes = SceneMaker(typefaces, seed, photographs)
    assert all(scenes.draw().luma.shape == (320, 320) for _ in range(30))
    crops = CropMaker(typefaces, seed, photographs)
    drawn = [crops.draw() for _ in range(120)]
    assert {crop.luma.shape for crop in drawn} == {(48, 128)}
    assert 0 < sum(crop.lines == ("XJ73PLM",) for crop in drawn) < 60


@pytest.mark.parametrize(("what", "steps", "batch"), [("reader", 100, 6), ("detector", 100, 2)])
def test_a_short_training_learns_and_its_weights_run(fonts, table, tmp_path, what, steps, batch):
    if importlib.util.find_spec("torch") is None:
        pytest.skip("needs the extra training (torch)")
    out = tmp_path / "weights.onnx"
    command = [sys.executable, "-m", "engine.recognizers.builtin.training.learn", what]
    command += ["--fonts", str(fonts[0]), "--out", str(out), "--steps", str(steps)]
    command += ["--batch", str(batch), "--processes", "0", "--photographs", str(table)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    early, late = (float(loss) for loss in re.findall(r"loss ([0-9.]+)", done.stdout))
    assert late < early
    assert out.with_suffix(".pt").is_file()
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    shapes = {
        "reader": (np.zeros((3, 24, 64, 4), np.uint8), (3, 37, 2, 32)),
        "detector": (np.zeros((1, 16, 24, 16), np.uint8), (1, 13, 8, 12)),
    }
    given, expected = shapes[what]
    (answer,) = session.run(None, {"x": given})
    assert answer.shape == expected
    assert np.isfinite(answer).all()


def test_a_teacher_is_content_with_its_own_answers(table):
    torch = pytest.importorskip("torch", reason="needs the extra training")
    training = importlib.import_module("engine.recognizers.builtin.training.teacher")
    weights = Path(training.__file__).parents[1] / "weights" / "det.onnx"
    teacher = training.Teacher(weights, 112, 64.0)
    street_px = cv2.imread(str(table.parent / "0.png"), cv2.IMREAD_GRAYSCALE)[240:560, 340:660]
    pictures = torch.from_numpy((street_px[None, None].astype(np.float32) - 112) / 64)
    batch = (pictures, torch.zeros(1, 13, 40, 40), torch.zeros(1, 40, 40))
    own = teacher.answer(pictures)
    assert torch.sigmoid(own[:, 0]).max() > 0.5
    assert teacher.loss(own, batch) == 0
    assert teacher.loss(own + 0.1, batch) > 0
    unlikely = own.clone()
    unlikely[:, 0] = -9
    assert teacher.loss(unlikely, batch) > teacher.loss(own + 0.1, batch)
    missed = torch.ones(1, 13, 40, 40)
    blind = torch.where(torch.sigmoid(own[:, :1]) < 0.5, own + 9, own)
    assert teacher.loss(blind, (pictures, missed, batch[2])) < teacher.loss(blind, batch)


def convolve(picture: np.ndarray, weights: np.ndarray, stride: int, before: int, after: int):
    """Plain convolution of a (c, h, w) picture, zeros before and after each side."""
    sides = ((0, 0), (before, after), (before, after))
    padded = np.pad(picture, sides)
    size = weights.shape[2:]
    seen = np.lib.stride_tricks.sliding_window_view(padded, size, axis=(1, 2))
    return np.einsum("chwkl,nckl->nhw", seen[:, ::stride, ::stride], weights)


def blocks_of(picture: np.ndarray, side: int) -> np.ndarray:
    """Return (c, h, w) as (side * side * c, h / side, w / side), rows before columns."""
    channels, height, width = picture.shape
    split = picture.reshape(channels, height // side, side, width // side, side)
    return split.transpose(2, 4, 0, 1, 3).reshape(-1, height // side, width // side)


@pytest.mark.skipif(importlib.util.find_spec("onnx") is None, reason="needs the extra training")
def test_convolutions_of_blocks_answer_the_same(seed):
    training = importlib.import_module("engine.recognizers.builtin.training.blocks")
    rng = np.random.default_rng(seed)
    picture = rng.integers(-9, 9, (1, 24, 32))
    first, second = rng.integers(-9, 9, (5, 1, 3, 3)), rng.integers(-9, 9, (7, 5, 3, 3))
    plain = convolve(picture, first, 1, 1, 1)
    fast = convolve(blocks_of(picture, 2), training._four_places(first), 1, 1, 1)
    np.testing.assert_array_equal(fast, blocks_of(plain, 2))
    again = convolve(fast, training._of_four_places(second), 1, 1, 0)
    np.testing.assert_array_equal(again, convolve(plain, second, 2, 1, 0))
    whole = rng.integers(-9, 9, (5, 1, 8, 8))
    fast = convolve(blocks_of(picture, 4), training._one_place(whole), 1, 1, 0)
    np.testing.assert_array_equal(fast, convolve(picture, whole, 4, 4, 0))


@pytest.mark.parametrize("side", [2, 4])
def test_blocks_of_pixels_are_channels_row_by_row(seed, side):
    picture = np.random.default_rng(seed).integers(0, 255, (16, 24), np.uint8)
    expected = blocks_of(picture[None], side).transpose(1, 2, 0)[None]
    np.testing.assert_array_equal(blocks(picture, side), expected)
