"""The parts of the built-in recognizer: geometry, detector, texts of probabilities, weighing."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import mount, plate, street

from engine.errors import RecognizerError
from engine.plates import ALPHABET
from engine.recognizers.builtin import ctc
from engine.recognizers.builtin.detector import PlateDetector
from engine.recognizers.builtin.geometry import (
    flatten,
    grow,
    height_px,
    inside,
    shrink,
    width_px,
    window,
)
from engine.recognizers.builtin.network import Network
from engine.recognizers.builtin.ranking import (
    confidence,
    guess_region,
    in_any_spelling,
    prior,
    rank,
    twins,
)
from engine.recognizers.builtin.straighten import straighten
from engine.types import Box

SQUARE = np.float32([[10, 20], [110, 20], [110, 60], [10, 60]])

# --- geometry ------------------------------------------------------------------------------------


def test_quads_grow_and_are_surrounded():
    np.testing.assert_allclose(grow(SQUARE, 0.1, 0.25)[[0, 2]], [[0, 10], [120, 70]], atol=1e-4)
    np.testing.assert_allclose(window(SQUARE, 20, 10)[[0, 2]], [[50, 35], [70, 45]])
    corners = np.float32([[0, 0], [1, 0], [1, 1], [0, 1]])
    np.testing.assert_allclose(inside(SQUARE, corners), SQUARE)
    assert (width_px(SQUARE), height_px(SQUARE)) == (100, 40)


def test_flattening_an_upright_quad_is_cutting_it_out():
    frame = np.random.default_rng(1).integers(0, 256, (100, 200), np.uint8)
    np.testing.assert_array_equal(flatten(frame, SQUARE, (100, 40)), frame[20:60, 10:110])


def test_flattening_outside_the_frame_gives_black_or_the_edge():
    frame = np.full((50, 50), 90, np.uint8)
    assert flatten(frame, SQUARE + 500, (64, 32)).max() == 0
    assert (flatten(frame, SQUARE, (64, 32)) == 90).all()


def test_shrinking_never_vanishes():
    assert shrink(np.zeros((1, 1000), np.uint8), 0.1).shape == (1, 100)


@pytest.mark.parametrize(("angle", "shear"), [(5, 0), (-5, 0), (0, 0.2), (4, -0.15)])
def test_tilted_text_is_straightened(angle, shear):
    scene = street()
    corners = mount(scene, plate("XJ73PLM"), (600, 400), width=200, angle=angle, shear=shear)
    upright = window(corners, np.ptp(corners[:, 0]) * 0.98, height_px(corners))
    straight = straighten(scene, upright)

    def slopes(quad: np.ndarray) -> np.ndarray:
        top, side = quad[1] - quad[0], quad[3] - quad[0]
        return np.array((top[1] / top[0], side[0] / side[1]))

    before = np.abs(slopes(upright) - slopes(corners)).max()
    after = np.abs(slopes(straight) - slopes(corners)).max()
    assert after < 0.045 < before


def test_straight_or_empty_quads_stay():
    blank = np.full((100, 200), 120, np.uint8)
    np.testing.assert_array_equal(straighten(blank, SQUARE), SQUARE)


# --- the detector --------------------------------------------------------------------------------


def test_detections_are_bounded_and_the_focus_drops_what_is_no_plate():
    detector = PlateDetector(Network("det.onnx"))
    scene = street()
    corners = mount(scene, plate("LS15EBC"), (500, 300), width=130)
    found = detector.detect(scene, least=0.15, limit=2)
    assert 1 <= len(found) <= 2
    assert [d.probability for d in found] == sorted((d.probability for d in found), reverse=True)
    near = detector.focus(scene, found[0])
    assert near is not None
    assert near.probability > 0.5
    assert np.abs(near.quad - corners).max() < 13
    assert detector.focus(street(seed=2), found[0]) is None
    assert detector.detect(scene, least=0.9999, limit=2) == []


def test_a_part_in_which_no_plate_is_too_wide_is_looked_at_once():
    network = Network("det.onnx")
    seen = []
    run = network.run
    network.run = lambda batch: seen.append(batch.shape[1:3]) or run(batch)
    detector = PlateDetector(network)
    detector.detect(street(), 0.3, 9)
    assert len(seen) == 2
    seen.clear()
    detector.detect(street(), 0.3, 9, within=[Box(600, 300, 200, 100)])
    assert len(seen) == 1


def test_within_a_part_the_same_plates_are_found_for_less():
    detector = PlateDetector(Network("det.onnx"))
    scene = street()
    mount(scene, plate("LS15EBC"), (300, 300), width=130)
    mount(scene, plate("XJ73PLM"), (900, 500), width=140)
    whole = detector.detect(scene, least=0.4, limit=9)
    (part,) = detector.detect(scene, least=0.4, limit=9, within=[Box(850, 450, 100, 100)])
    assert min(np.abs(part.quad - found.quad).max() for found in whole) < 6
    assert detector.detect(scene, least=0.4, limit=9, within=[Box(5000, 0, 10, 10)]) == []
    apart = [Box(850, 450, 100, 100), Box(250, 250, 100, 100)]
    assert len(detector.detect(scene, least=0.4, limit=9, within=apart)) == 2


def test_missing_weights_are_an_error_of_ours():
    with pytest.raises(RecognizerError, match=r"none\.onnx"):
        Network("none.onnx")


# --- texts of probabilities ----------------------------------------------------------------------


def probabilities(columns: int, seed: int, classes: int = 4) -> np.ndarray:
    """Random (columns, 37) rows in which only the first classes are possible."""
    drawn = np.zeros((columns, 37), np.float32)
    drawn[:, :classes] = np.random.default_rng(seed).random((columns, classes)) ** 3
    return drawn / drawn.sum(axis=1, keepdims=True)


def spelled(path: tuple[int, ...]) -> str:
    kept = [now for before, now in zip((0, *path), path, strict=False) if now not in (0, before)]
    return "".join(ALPHABET[index - 1] for index in kept)


def by_enumeration(rows: np.ndarray, classes: int = 4) -> Counter[str]:
    texts: Counter[str] = Counter()
    for path in product(range(classes), repeat=len(rows)):
        likely = np.prod([row[index] for row, index in zip(rows, path, strict=True)])
        texts[spelled(path)] += float(likely)
    return texts


@given(st.integers(0, 10_000))
def test_likelihoods_equal_the_sum_over_all_paths(seed):
    rows = probabilities(5, seed)
    truth = by_enumeration(rows)
    texts = [*list(truth)[:30], "Z", "012012"]
    computed = ctc.likelihoods(rows[None], texts)[0]
    np.testing.assert_allclose(computed, [truth[text] for text in texts], atol=1e-6)


@given(st.integers(0, 10_000))
def test_the_search_finds_the_likeliest_text(seed):
    rows = probabilities(5, seed)
    truth = by_enumeration(rows)
    found = ctc.likely_texts(rows, 60)
    best = next(iter(found))
    assert truth[best] == pytest.approx(max(truth.values()), rel=0.05)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert all(likely <= truth[text] + 1e-6 for text, likely in found.items())
    assert len(found) == len(set(found)) <= 60


def test_greedy_reading_drops_repetitions_and_nothings():
    rows = np.zeros((8, 37), np.float32)
    rows[range(8), [0, 11, 11, 0, 11, 2, 2, 0]] = 1
    assert ctc.greedy(rows) == "AA1"
    assert ctc.likelihoods(rows[None], ["AA1", "A1", ""])[0].tolist() == [1, 0, 0]


def test_softmax_turns_classes_into_rows():
    rows = ctc.softmax(np.zeros((2, 37, 32), np.float32))
    assert rows.shape == (2, 32, 37)
    np.testing.assert_allclose(rows.sum(axis=2), 1, rtol=1e-5)


def test_equal_characters_of_two_lines_are_two():
    line = np.zeros((1, 3, 37), np.float32)
    line[0, range(3), [11, 11, 11]] = 1
    both = ctc.joined(line, line)
    assert both.shape == (1, 7, 37)
    assert ctc.greedy(both[0]) == "AA"


@given(st.integers(0, 10_000))
def test_columns_of_nothing_can_be_left_out(seed):
    rows = np.concatenate([probabilities(3, seed), np.eye(37, dtype=np.float32)[[0, 0, 0, 0]]])
    rows = np.concatenate([rows, probabilities(3, seed + 1)])
    short = ctc.condensed(np.stack([rows, rows]))
    assert short.shape == (2, 7, 37)
    texts = list(ctc.likely_texts(rows, 12))
    np.testing.assert_allclose(
        ctc.likelihoods(short, texts)[0], ctc.likelihoods(rows[None], texts)[0], atol=1e-4
    )


# --- weighing ------------------------------------------------------------------------------------


def test_twins_swap_look_alikes_only():
    assert twins("AB12")[0] == ("AB12", 1.0)
    assert {text for text, _ in twins("O1A")} == {"O1A", "01A", "OIA", "0IA"}
    assert len(twins("0" * 12)) < 400


def test_twins_are_less_likely_where_the_typeface_tells_them_apart():
    assert dict(twins("B1", ("de",)))["BI"] < dict(twins("B1", ("gb",)))["BI"]
    assert twins("B1", ("gb",)) == twins("B1")


def test_patterns_decide_between_twins():
    assert rank({"LSI5EBC": 0.9}, ("gb",))[0][0] == "LS15EBC"
    assert rank({"LSI5EBC": 0.9}, ())[0][0] == "LS15EBC"
    assert rank({"AB00ICD": 0.9}, ("fr",))[0][0] == "AB001CD"


def test_patterns_outweigh_a_little_but_not_all():
    close = {"8L15EBC": 0.5, "BL15EBC": 0.4}
    assert rank(close, ("gb",))[0][0] == "BL15EBC"
    clear = {"8L15EBC": 0.99, "BL15EBC": 0.001}
    assert rank(clear, ("gb",))[0][0] == "8L15EBC"


@given(st.dictionaries(st.text(alphabet="01IOA", max_size=8), st.floats(0, 0.2), max_size=5))
def test_ranked_probabilities_are_sorted_and_sum_to_one_at_most(evidence):
    ranked = rank(evidence, ())
    shares = [share for _, share in ranked]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 1 + 1e-6
    assert "" not in dict(ranked)


def test_a_text_is_as_sure_as_all_that_look_like_it():
    texts = [("0I", 0.4), ("OI", 0.2), ("0J", 0.15), ("01", 0.1), ("O1", 0.05)]
    assert in_any_spelling(texts) == pytest.approx(0.75)
    ranked = rank({"01CC7A0001": 0.98}, ())  # written like no country's plates
    assert ranked[0][0] == "01CC7A0001"
    assert ranked[0][1] < 0.3
    assert in_any_spelling(ranked) > 0.7


def test_the_prior_knows_what_plates_look_like():
    assert prior("LS15EBC", ()) == 1.0
    assert prior("7", ()) < prior("712", ()) < prior("LS15EBC", ())
    assert prior("GWAGEN", ()) < prior("GWAG4N", ())
    assert prior("TOYOTA", ()) == prior("T0Y0TA", ()) < prior("T0Y2TA", ())
    assert prior("AB01CDE", ()) == 1.0  # no word, though its digits look like letters
    assert prior("", ()) == 0.0


def test_regions_are_guessed_only_where_that_is_certain():
    assert guess_region("JH10BP8513", ()) == "in"
    assert guess_region("LS15EBC", ()) == "gb", "LS is no county of Romania, no region of Slovenia"
    assert guess_region("AB123CD", ()) == ""
    assert guess_region("AB123CD", ("it", "fr")) == "it"
    assert guess_region("JH10BP8513", ("gb", "ie")) == "in", "a visitor"
    assert guess_region("AB123CD", ("gb",)) == ""
    assert guess_region("7K7K7K7", ("gb",)) == ""


def test_confidence_rises_with_all_and_stays_in_range():
    shares = np.linspace(0, 1, 21)
    assert all(np.diff([confidence(p, 0.9, 30) for p in shares]) > 0)
    assert all(np.diff([confidence(0.9, p, 30) for p in shares]) >= 0)
    assert confidence(0.9, 0.9, 9) < confidence(0.9, 0.9, 12) < confidence(0.9, 0.9, 30)
    assert confidence(1.0, 0.1, 30) == 0.0
    assert 0 <= confidence(0.0, 1.0, 30) <= confidence(1.0, 1.0, 30) < 100
