"""Labels, matching and figures of ``platering eval``, computed by hand on small cases."""

import random
import re

import numpy as np
import pytest

from engine.errors import ConfigError
from engine.evaluation.figures import figure_rows, figures_of
from engine.evaluation.labels import LabelledFile, LabelledPlate, load_labels
from engine.evaluation.matching import (
    PictureOutcome,
    VideoOutcome,
    edit_distance,
    look_alike,
    match_picture,
    match_video,
)
from engine.evaluation.moved import MovedAreas
from engine.evaluation.sheet import ContactSheet, FigureTable
from engine.footage import Passage
from engine.types import Box, Candidate, Phase, PlateRead, Sighting

PLACE = Box(100, 100, 100, 20)
ELSEWHERE = Box(400, 300, 100, 20)


def read(text: str, box: Box = PLACE, confidence: float = 90.0) -> PlateRead:
    left, top, right, bottom = box.x, box.y, box.x + box.width, box.y + box.height
    return PlateRead(
        plate=text,
        confidence=confidence,
        candidates=(Candidate(text, confidence),),
        corners=((left, top), (right, top), (right, bottom), (left, bottom)),
        recognizer="test",
        elapsed_ms=1.0,
    )


def passage(text: str, first_ms: int = 0) -> Passage:
    sighting = Sighting(
        id=f"{text}-{first_ms}", revision=1, phase=Phase.FINAL, camera="clip", node="", plate=text,
        confidence=80.0, first_unix_ms=first_ms, last_unix_ms=first_ms, best_unix_ms=first_ms,
    )  # fmt: skip
    return Passage(sighting, b"")


def pictures(*outcomes: PictureOutcome):
    return figures_of(outcomes, [])


# --- what moved ----------------------------------------------------------------------------------


class Frame:
    """A frame of 640x360 whose preview is at hand: grey, with one bright square."""

    width_px, height_px = 640, 360

    def __init__(self, x: int, y: int = 40, noise: int = 0) -> None:
        rng = np.random.default_rng(noise)
        self._preview = rng.integers(90, 90 + 2 * noise + 1, (90, 160)).astype(np.uint8)
        self._preview[y : y + 12, x : x + 12] = 220

    def preview(self) -> np.ndarray:
        return self._preview


def test_what_moved_of_late_is_in_rectangles_and_nothing_else():
    moved = MovedAreas()
    assert moved.next(Frame(20)) == (Box(0, 0, 640, 360),)
    assert moved.next(Frame(20)) is None
    left, right = sorted(moved.next(Frame(26)), key=lambda area: area.x)
    assert left.iou(Box(80, 160, 24, 48)) > 0.4, "where it was"
    assert right.iou(Box(128, 160, 24, 48)) > 0.4, "where it is"
    for _ in range(24):
        assert set(moved.next(Frame(26, noise=4))) == {left, right}, "it stopped a moment ago"
    assert moved.next(Frame(26)) is None


def test_a_video_that_changes_its_size_is_searched_everywhere_again():
    moved = MovedAreas()
    moved.next(Frame(20))
    assert moved.next(Frame(20)) is None
    other = Frame(20)
    other._preview = np.zeros((80, 100), np.uint8)
    assert moved.next(other) == (Box(0, 0, 640, 360),)


# --- labels --------------------------------------------------------------------------------------


@pytest.fixture
def labels(tmp_path):
    """Write a label file beside an empty picture and video, and load it."""
    for name in ("a.jpg", "b.png", "clip.mp4"):
        (tmp_path / name).touch()

    def load(text: str | bytes):
        path = tmp_path / "labels.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_labels(path)

    return load


def test_boxes_and_texts_of_several_rows(labels):
    found = labels(
        "file,x,y,w,h,plate\na.jpg,1,2,30,4.5,ab-12 cd\nb.png,,,,,\na.jpg,5,6,70,8,\n"
    ).files
    first, second = found
    assert first.is_picture
    assert first.plates == (
        LabelledPlate("AB12CD", Box(1, 2, 30, 4.5)),
        LabelledPlate(None, Box(5, 6, 70, 8)),
    )
    assert second.plates == (), "a row without box and text says that there is no plate"


def test_boxes_alone_and_texts_alone(labels):
    (boxed,) = labels("file,x,y,w,h\na.jpg,1,2,3,4\n").files
    assert boxed.plates == (LabelledPlate(None, Box(1, 2, 3, 4)),)
    (written,) = labels("\ufefffile,plate\r\na.jpg,AB12\r\n\r\n").files
    assert written.plates == (LabelledPlate("AB12"),)


def test_videos(labels):
    form = 'file,plates,note\nclip.mp4,AB12|CD34,"1280x720, two"\na.jpg,,\n'
    video, empty = labels(form).files
    assert not video.is_picture
    assert [plate.text for plate in video.plates] == ["AB12", "CD34"]
    assert empty.plates == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ", line 1, column file: it is missing"),
        ("a,b\n", ", line 1, column file: it is missing"),
        ("file\na.jpg\n", ", line 1: no column says"),
        ("file,x,y,w\n", ", line 1, column h: it is missing"),
        ("file,plate,plate\n", ", line 1, column plate: it is there twice"),
        ("file,plate,plates\n", ", line 1, column plates: it stands beside"),
        ("file,plate\n", "labels.csv: it labels no file"),
        ("file,plate\na.jpg,A1\nnone.jpg,A1\n", ", line 3, column file: there is no file "),
        ("file,plate\n,A1\n", ", line 2, column file: there is no file "),
        ("file,plate\na.jpg,--\n", ", line 2, column plate: '--' is no plate"),
        ("file,plate\na.jpg\n", ", line 2: 1 cells under a header of 2 columns"),
        ("file,plates\nclip.mp4,AB12||CD34\n", ", line 2, column plates: '' is no plate"),
        ("file,x,y,w,h\na.jpg,1,two,3,4\n", ", line 2, column y: 'two' is no number of pixels"),
        ("file,x,y,w,h\na.jpg,1,2,,4\n", ", line 2, column w: '' is no number of pixels"),
        ("file,x,y,w,h\na.jpg,1,nan,3,4\n", ", line 2, column y: 'nan' is no number of pixels"),
        ("file,x,y,w,h\na.jpg,1,2,3,-4\n", ", line 2, column h: -4 pixels are no size"),
        ("file,x,y,w,h\nclip.mp4,1,2,3,4\n", ", line 2, column x: a video has no boxes"),
        ('file,plate\na.jpg,"A1\n', "it is no CSV"),
        (b"file,plate\na.jpg,\xff\n", "it is no UTF-8 text"),
    ],
)
def test_wrong_labels_name_file_line_and_column(labels, text, message):
    with pytest.raises(ConfigError, match=re.escape(message)) as refused:
        labels(text)
    assert "labels.csv" in str(refused.value)


def test_label_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.csv: No such file"):
        load_labels(tmp_path / "none.csv")


# --- matching ------------------------------------------------------------------------------------


def test_edit_distance_is_levenshtein():
    assert edit_distance("KITTEN", "SITTING") == 3
    assert edit_distance("", "AB1") == edit_distance("AB1", "") == 3
    assert edit_distance("AB12", "AB12") == 0


def test_edit_distance_is_a_distance(rng: random.Random):
    texts = ["".join(rng.choices("AB1", k=rng.randrange(7))) for _ in range(12)]
    for one in texts:
        for other in texts:
            apart = edit_distance(one, other)
            assert apart == edit_distance(other, one)
            assert abs(len(one) - len(other)) <= apart <= max(len(one), len(other))
            assert all(apart <= edit_distance(one, t) + edit_distance(t, other) for t in texts)


def test_only_o_and_i_look_alike():
    assert look_alike("OI0", "0I0")
    assert look_alike("1O", "I0")
    assert not look_alike("B8", "88")


def test_overlap_above_three_tenths_is_a_detection():
    plate = LabelledPlate("AB12", PLACE)
    for shift, found in ((53, True), (54, False)):  # 47/153 and 46/154: on both sides of 0.3
        moved = Box(PLACE.x + shift, PLACE.y, PLACE.width, PLACE.height)
        outcome = match_picture([plate], [read("XYZ99", moved)], 1.0)
        assert outcome.matches[0].detected is found
        assert len(outcome.strays) == (not found)


def test_plate_that_is_found_but_not_read_is_a_detection():
    plate = LabelledPlate("AB12", PLACE)
    found = match_picture([plate], [], 1.0, [ELSEWHERE, PLACE]).matches[0]
    assert found.detected
    assert not found.detected_by_read
    assert not match_picture([plate], [], 1.0, [ELSEWHERE]).matches[0].detected


def test_each_read_is_of_one_plate_and_each_plate_has_one_read():
    near = Box(PLACE.x + 10, PLACE.y, PLACE.width, PLACE.height)
    plates = [LabelledPlate("AB12", PLACE), LabelledPlate("CD34", ELSEWHERE)]
    reads = [read("NEAR1", near), read("AB12"), read("CD34", ELSEWHERE)]
    outcome = match_picture(plates, reads, 1.0)
    assert [match.read.plate for match in outcome.matches] == ["AB12", "CD34"]
    assert [stray.plate for stray in outcome.strays] == ["NEAR1"]


def test_right_text_beside_its_box_is_read_but_not_detected():
    outcome = match_picture([LabelledPlate("AB12", PLACE)], [read("AB12", ELSEWHERE)], 1.0)
    (match,) = outcome.matches
    assert match.exact
    assert not match.detected
    assert not outcome.strays


def test_without_boxes_the_nearest_text_matches():
    plates = [LabelledPlate("LR33TEE"), LabelledPlate("EY59YEV")]
    outcome = match_picture(plates, [read("EY59YEB"), read("LR33TEE"), read("GARAGE")], 1.0)
    assert [match.read.plate for match in outcome.matches] == ["LR33TEE", "EY59YEB"]
    assert [stray.plate for stray in outcome.strays] == ["GARAGE"]


def test_sightings_are_of_the_nearest_vehicle():
    told = [
        passage("34A36837"),
        passage("34A231Z6", 1),
        passage("34A23126", 2),
        passage("HOTEL", 3),
    ]
    told += [passage("34A36837", 4)]
    vehicles, strays = match_video(["34A36837", "34A23126", "89C20339"], told)
    first, second, third = vehicles
    assert [len(first.right), len(first.wrong)] == [2, 0]
    assert [p.sighting.plate for p in second.right] == ["34A23126"]
    assert [p.sighting.plate for p in second.wrong] == ["34A231Z6"]
    assert third.passages == ()
    assert [p.sighting.plate for p in strays] == ["HOTEL"]


def test_vehicle_that_comes_twice_is_labelled_twice():
    vehicles, strays = match_video(["AB12", "AB12"], [passage("AB12"), passage("AB12", 99)])
    assert [len(vehicle.right) for vehicle in vehicles] == [1, 1]
    assert not strays


# --- figures -------------------------------------------------------------------------------------


def test_rates_of_pictures():
    plates = [LabelledPlate("AB12", PLACE), LabelledPlate("CDO4", ELSEWHERE)]
    both = match_picture(plates, [read("AB12"), read("CD04", ELSEWHERE)], 10.0)
    none = match_picture(plates, [read("NOISE", Box(0, 0, 50, 10))], 30.0)
    figures = pictures(both, none)
    assert figures.images == 2
    assert figures.detection == figures.detection_by_reads == 0.5
    assert figures.exact == 0.25
    assert figures.exact_lookalike == 0.5
    assert figures.character_error_rate == pytest.approx(9 / 16, abs=1e-4)
    assert figures.false_per_image == 0.5
    assert (figures.cpu_ms_median, figures.cpu_ms_p90) == (20.0, 28.0)


def test_what_labels_do_not_tell_is_null():
    boxed = pictures(match_picture([LabelledPlate(None, PLACE)], [read("AB12")], 1.0))
    assert boxed.detection == 1.0
    assert boxed.exact is boxed.exact_lookalike is boxed.character_error_rate is None
    assert boxed.calibration_error is None
    assert boxed.expected is boxed.found_once is boxed.false is None
    written = pictures(match_picture([LabelledPlate("AB12")], [read("AB12")], 1.0))
    assert written.detection is None
    assert written.exact == 1.0
    videos = figures_of([], [VideoOutcome((), (), 0, (1.0,))])
    assert videos.false_per_image is None
    assert videos.expected == 0


def test_calibration_error_of_known_reads():
    """Nine of ten right at 90, and one stray at 50: gaps of 0 and 0.5, weighted 10 to 1."""
    right = match_picture([LabelledPlate("AB12", PLACE)], [read("AB12")], 1.0)
    wrong = match_picture([LabelledPlate("AB12", PLACE)], [read("AB17")], 1.0)
    stray = match_picture([], [read("AB12", confidence=50)], 1.0)
    unknown = match_picture([LabelledPlate(None, PLACE)], [read("AB12", confidence=1)], 1.0)
    assert pictures(*[right] * 9, wrong).calibration_error == 0.0
    figures = pictures(*[right] * 9, wrong, stray, unknown)
    assert figures.calibration_error == pytest.approx(0.5 / 11, abs=1e-4)
    assert pictures(match_picture([], [], 1.0)).calibration_error is None


def test_calibration_error_is_small_when_confidence_is_the_chance(rng: random.Random):
    outcomes = []
    for _ in range(4000):
        sure = rng.uniform(0, 100)
        text = "AB12" if rng.random() < sure / 100 else "AB17"
        plate = LabelledPlate("AB12", PLACE)
        outcomes.append(match_picture([plate], [read(text, confidence=sure)], 1.0))
    assert pictures(*outcomes).calibration_error < 0.04


def test_rates_of_videos():
    told = [passage("AB12CD"), passage("AB12CD", 1), passage("GH56IJ", 2), passage("KL78MX", 3)]
    told += [passage("HOTEL", 4)]
    expected = ["AB12CD", "GH56IJ", "KL78MN", "OP90QR"]
    passing = VideoOutcome(*match_video(expected, told), 40, (2.0, 2.0))
    empty = VideoOutcome((), (), 3, (1.0, 1.0, 1.0, 1.0))
    figures = figures_of([], [passing, empty])
    assert figures.expected == 4
    assert figures.found_once == 1, "one vehicle was told of twice, one misread, one missed"
    assert figures.wrong_text == 1
    assert figures.duplicates == 1
    assert figures.false == 1
    assert figures.false_per_frame == 0.75
    assert figures.images == 0


def test_rows_leave_out_what_nobody_knows():
    figures = pictures(match_picture([LabelledPlate("AB12")], [read("AB12")], 1.0))
    rows = {row.name: row.cells for row in figure_rows([figures, figures])}
    assert rows["Read exactly"] == ("100.0 %", "100.0 %")
    assert not any("Vehicles" in name or "found" in name for name in rows)


# --- the sheet -----------------------------------------------------------------------------------


def sheet_of(tmp_path, plate: LabelledPlate, *outcomes: PictureOutcome) -> str:
    names = ("one", "two")[: len(outcomes)]
    sheet = ContactSheet(names)
    luma = np.full((400, 640), 90, np.uint8)
    sheet.add_picture(LabelledFile("<b>.jpg", (plate,)), luma, outcomes)
    rows = figure_rows([pictures(outcome) for outcome in outcomes])
    sheet.write(tmp_path / "misses.html", [FigureTable("Labels & all", tuple(rows))])
    return (tmp_path / "misses.html").read_text()


def test_sheet_shows_what_everyone_read_where_one_missed(tmp_path):
    plate = LabelledPlate("AB12", PLACE)
    good = match_picture([plate], [read("AB12", confidence=88)], 1.0)
    bad = match_picture([plate], [read("AX1", confidence=44)], 1.0)
    page = sheet_of(tmp_path, plate, good, bad)
    assert page.count('<li class="tile misread">') == 1
    assert page.count("data:image/jpeg;base64,") == 1
    assert "<code>A<mark>X</mark>1<mark>·</mark></code><small>44</small>" in page
    assert '<dd class="right"><code>AB12</code><small>88</small>' in page
    assert "&lt;b&gt;.jpg" in page
    assert "<b>.jpg" not in page
    assert "Labels &amp; all" in page
    assert "$" not in page
    assert not re.search(r'(?:src|href)="(?!data:)|url\(|@import', page), "needs no other file"


def test_sheet_tells_unread_from_not_found(tmp_path):
    plate = LabelledPlate("AB12", PLACE)
    found = match_picture([plate], [], 1.0, [PLACE])
    page = sheet_of(tmp_path, plate, found, match_picture([plate], [read("AB12")], 1.0))
    assert '<li class="tile unread">' in page
    assert '<dd class="nothing">found, not read</dd>' in page
    assert "one and two" in page


def test_sheet_without_misses_says_so(tmp_path):
    plate = LabelledPlate("AB12", PLACE)
    page = sheet_of(tmp_path, plate, match_picture([plate], [read("AB12")], 1.0))
    assert "Nothing went wrong" in page
    assert "<li" not in page


def test_sheet_tells_misses_strays_and_videos_apart(tmp_path):
    sheet = ContactSheet(("one",))
    luma = np.full((400, 640), 90, np.uint8)
    plates = (LabelledPlate(None, PLACE), LabelledPlate("CD34"))
    outcome = match_picture(plates, [read("NOISE", ELSEWHERE)], 1.0)
    sheet.add_picture(LabelledFile("a.jpg", plates), luma, [outcome])
    told = [passage("EF56"), passage("EF56", 1), passage("EF5X", 2), passage("HOTEL99", 3)]
    video = VideoOutcome(*match_video(["EF56", "KLM78"], told), 4, (1.0,))
    sheet.add_video(LabelledFile("clip.mp4", ()), [video])
    sheet.write(tmp_path / "misses.html", [])
    page = (tmp_path / "misses.html").read_text()
    kinds = re.findall(r'<li class="tile (\w+)">', page)
    assert page.count("found, not read") == 0
    assert sorted(kinds) == ["again", "false", "false", "misread", "missed", "missed", "missed"]
