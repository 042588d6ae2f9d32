"""The built-in recognizer on pictures drawn here and on the labelled ones beside the checkout."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from scenes import mount, plate, street

from engine.plates import as_seen, normalise
from engine.recognizers.base import RecognizeHints
from engine.recognizers.builtin import VERSION, BuiltinRecognizer
from engine.types import Box


@pytest.fixture(scope="module")
def recognizer():
    opened = BuiltinRecognizer()
    yield opened
    opened.close()


@pytest.mark.parametrize("width", [90, 140, 300])
@pytest.mark.parametrize(("text", "angle"), [("XJ73PLM", 0), ("RK492AU", 7), ("34A36837", -6)])
def test_a_drawn_plate_is_read_and_its_corners_are_found(recognizer, text, angle, width):
    scene = street()
    corners = mount(scene, plate(text), (600, 400), width=width, angle=angle, shear=0.1)
    (read,) = recognizer.recognize(scene)
    assert read.plate == text
    assert read.confidence > 90
    assert read.recognizer == "builtin"
    assert read.elapsed_ms > 0
    assert np.abs(np.array(read.corners) - corners).max() < 0.1 * width


def test_every_plate_of_a_frame_is_read_once(recognizer):
    scene = street()
    mount(scene, plate("LS15EBC"), (200, 200), width=110)
    mount(scene, plate("XJ73PLM"), (900, 500), width=150, angle=4)
    mount(scene, plate("RK492AU"), (300, 600), width=90, angle=-4)
    reads = recognizer.recognize(scene)
    assert sorted(read.plate for read in reads) == ["LS15EBC", "RK492AU", "XJ73PLM"]
    assert [r.confidence for r in reads] == sorted((r.confidence for r in reads), reverse=True)


def test_plates_are_located_without_being_read(recognizer):
    scene = street()
    corners = mount(scene, plate("LS15EBC"), (200, 200), width=110)
    smeared = mount(scene, plate("XJ73PLM"), (900, 500), width=150)
    left, top = smeared.min(axis=0).astype(int)
    right, bottom = smeared.max(axis=0).astype(int)
    text = scene[top + 8 : bottom - 8, left + 12 : right - 12]
    text[:] = cv2.blur(text, (9, 9))
    assert [read.plate for read in recognizer.recognize(scene)][:1] == ["LS15EBC"]
    places = [Box.around(place) for place in recognizer.locate(scene)]
    for drawn in (corners, smeared):
        box = Box.around(tuple(map(tuple, drawn)))
        assert max(place.iou(box) for place in places) > 0.6
    assert recognizer.locate(np.full((360, 640), 90, np.uint8)) == []


def test_two_lines_are_read_as_one_text(recognizer):
    scene = street()
    mount(scene, plate("KA03", "MW2817"), (600, 400), width=110)
    (read,) = recognizer.recognize(scene)
    assert read.plate == "KA03MW2817"


def test_candidates_are_ranked_and_bounded(recognizer):
    scene = street()
    mount(scene, plate("ABC1D23"), (600, 400), width=140)
    (read,) = recognizer.recognize(scene, RecognizeHints(topn=3))
    assert 1 < len(read.candidates) <= 3
    assert read.candidates[0].plate == read.plate
    assert read.candidates[0].confidence == read.confidence
    confidences = [candidate.confidence for candidate in read.candidates]
    assert confidences == sorted(confidences, reverse=True)
    assert all(normalise(candidate.plate) == candidate.plate for candidate in read.candidates)
    (alone,) = recognizer.recognize(scene, RecognizeHints(topn=1))
    assert len(alone.candidates) == 1


def test_regions_decide_what_the_glyphs_leave_open(recognizer):
    scene = street()
    mount(scene, plate("AB010CD"), (600, 400), width=140)
    (french,) = recognizer.recognize(scene, RecognizeHints(regions=("fr",)))
    (british,) = recognizer.recognize(scene, RecognizeHints(regions=("gb",)))
    assert (french.plate, french.region) == ("AB010CD", "fr")
    assert (british.plate, british.region) == ("AB01OCD", "gb")


def test_unknown_regions_and_unknown_forms_are_still_read(recognizer):
    scene = street()
    mount(scene, plate("7K7K7K7"), (600, 400), width=140)
    (read,) = recognizer.recognize(scene, RecognizeHints(regions=("xx",)))
    assert (read.plate, read.region) == ("7K7K7K7", "")


def test_only_plates_in_the_areas_count(recognizer):
    scene = street()
    mount(scene, plate("LS15EBC"), (300, 300), width=140)
    mount(scene, plate("XJ73PLM"), (900, 500), width=140)
    right = RecognizeHints(areas=(Box(640, 0, 640, 720),))
    assert [read.plate for read in recognizer.recognize(scene, right)] == ["XJ73PLM"]
    assert recognizer.recognize(scene, RecognizeHints(areas=(Box(0, 650, 50, 50),))) == []


def test_plates_that_are_known_are_not_read(recognizer):
    scene = street()
    mount(scene, plate("LS15EBC"), (300, 300), width=140)
    mount(scene, plate("XJ73PLM"), (900, 500), width=140)
    known = RecognizeHints(known=(Box(230, 250, 140, 100),))
    assert [read.plate for read in recognizer.recognize(scene, known)] == ["XJ73PLM"]


def test_a_cut_out_of_a_read_only_frame_is_read_in_place(recognizer):
    scene = street()
    mount(scene, plate("XJ73PLM"), (600, 400), width=140)
    padded = np.full((760, 1500), 17, np.uint8)
    padded[20:740, 30:1310] = scene
    before = padded.copy()
    view = padded[20:740, 30:1310]
    view.flags.writeable = False
    assert not view.flags.c_contiguous
    assert recognizer.recognize(view)[0].corners == recognizer.recognize(scene)[0].corners
    np.testing.assert_array_equal(padded, before)


@pytest.mark.parametrize(
    "shape",
    [(0, 0), (0, 5), (1, 1), (3, 3), (1, 500), (8, 2000), (2000, 8), (33, 31), (2160, 3840)],
)
@pytest.mark.parametrize("fill", ["black", "white", "noise"])
def test_odd_frames_hold_no_plate_and_break_nothing(recognizer, shape, fill):
    frame = np.full(shape, 255 if fill == "white" else 0, np.uint8)
    if fill == "noise":
        frame = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    frame.flags.writeable = False
    assert [read for read in recognizer.recognize(frame) if read.confidence >= 60] == []


def test_a_plate_that_fills_a_small_picture_is_read(recognizer):
    picture = cv2.resize(plate("XJ73PLM"), (160, 40), interpolation=cv2.INTER_AREA)
    picture = cv2.copyMakeBorder(picture, 12, 12, 12, 12, cv2.BORDER_CONSTANT, value=60)
    assert [read.plate for read in recognizer.recognize(picture)] == ["XJ73PLM"]


def test_a_plate_at_the_edge_of_a_4k_frame_is_read(recognizer):
    scene = street(2160, 3840)
    mount(scene, plate("XJ73PLM"), (3600, 2060), width=330)
    assert [read.plate for read in recognizer.recognize(scene)] == ["XJ73PLM"]


def test_the_same_frame_reads_the_same_twice(recognizer):
    scene = street()
    mount(scene, plate("LS15EBC"), (600, 400), width=120)
    first, second = (recognizer.recognize(scene) for _ in range(2))
    assert [read.candidates for read in first] == [read.candidates for read in second]


def test_its_weights_have_a_card():
    card = Path(__file__).parents[2] / "engine/recognizers/builtin/weights/MODEL_CARD.md"
    assert VERSION in card.read_text(encoding="utf-8")


# --- labelled pictures ---------------------------------------------------------------------------


def labels(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


@pytest.mark.shared
def test_nearly_all_labelled_european_plates_are_read(recognizer, shared_data):
    rows = labels(shared_data, "images_eu.csv")
    right = located = 0
    for row in rows:
        frame = cv2.imread(str(shared_data / row["file"]), cv2.IMREAD_GRAYSCALE)
        reads = recognizer.recognize(frame, RecognizeHints(regions=("eu",)))
        truth = Box(*(float(row[key]) for key in "xywh"))
        at_truth = [read for read in reads if read.box.iou(truth) > 0.3]
        located += bool(at_truth)
        right += any(as_seen(read.plate) == as_seen(row["plate"]) for read in at_truth)
    assert located >= 0.99 * len(rows)
    assert right >= 0.95 * len(rows)


@pytest.mark.shared
def test_nearly_all_labelled_british_plates_are_read(recognizer, shared_data):
    rows = labels(shared_data, "images_uk.csv")
    right = 0
    for row in rows:
        frame = cv2.imread(str(shared_data / row["file"]), cv2.IMREAD_GRAYSCALE)
        reads = recognizer.recognize(frame, RecognizeHints(regions=("gb",)))
        right += row["plate"] in {read.plate for read in reads}
    assert right >= len(rows) - 1


def confident_reads(recognizer, clip: Path, every: int) -> list[str]:
    video = cv2.VideoCapture(str(clip))
    found: list[str] = []
    index = 0
    while video.grab():
        index += 1
        if index % every == 0:
            _, picture = video.retrieve()
            reads = recognizer.recognize(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))
            found += [read.plate for read in reads if read.confidence >= 60]
    video.release()
    assert index > 50
    return found


@pytest.mark.shared
@pytest.mark.parametrize(
    ("clip", "plates"),
    [
        ("uk_junction_aiguys.mp4", {"LS15EBC"}),
        ("in_keshavoct.mp4", {"JH10BP8513"}),
        ("vn_tollgate_parkpow.mp4", {"34A36837", "34A23126", "89C20339"}),
    ],
)
def test_passing_plates_are_read_several_times(recognizer, shared_data, clip, plates):
    found = confident_reads(recognizer, shared_data / "video" / clip, 4)
    assert all(found.count(text) >= 3 for text in plates), found


@pytest.mark.shared
def test_a_clip_without_plates_gives_no_confident_read(recognizer, shared_data):
    clip = shared_data / "video" / "neg_intel_car-detection.mp4"
    assert confident_reads(recognizer, clip, 5) == []
