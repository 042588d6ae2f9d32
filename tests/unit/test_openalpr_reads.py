"""OpenALPR's JSON as reads, and the countries it is asked for."""

import json

import pytest

from engine.config import CameraOpenAlprSettings
from engine.errors import RecognizerError
from engine.recognizers.base import RecognizeHints
from engine.recognizers.openalpr_reads import openalpr_countries, plate_reads
from engine.types import Candidate

SHAPE = (720, 1280)
CORNERS = [{"x": 10, "y": 20}, {"x": 110, "y": 22}, {"x": 111, "y": 52}, {"x": 9, "y": 50}]


def result(*texts: tuple[str, float], **others: object) -> dict[str, object]:
    """One plate as OpenALPR prints it; the first text is its best."""
    candidates = [{"plate": p, "confidence": c, "matches_template": 0} for p, c in texts]
    found = {"plate": texts[0][0], "confidence": texts[0][1], "matches_template": 0}
    place = {"coordinates": CORNERS, "region": "", "region_confidence": 0}
    return {**found, **place, "candidates": candidates, **others}


def payload(*results: dict[str, object], shape: tuple[int, int] = SHAPE) -> bytes:
    """The whole answer about one frame."""
    head = {"version": 2, "data_type": "alpr_results", "epoch_time": 1_795_368_353_049}
    size = {"img_width": shape[1], "img_height": shape[0], "processing_time_ms": 250.2}
    return json.dumps({**head, **size, "results": results}).encode()


def test_a_result_becomes_a_read():
    answer = payload(result(("abc-12 3", 88.0), ("A8C123", 70.5)))
    (read,) = plate_reads(answer, SHAPE)
    assert read.plate == "ABC123"
    assert read.confidence == 88.0
    assert read.candidates == (Candidate("ABC123", 88.0), Candidate("A8C123", 70.5))
    assert read.corners == ((10.0, 20.0), (110.0, 22.0), (111.0, 52.0), (9.0, 50.0))
    assert read.elapsed_ms == 250.2
    assert (read.recognizer, read.region) == ("openalpr", "")


@pytest.mark.shared
def test_the_example_of_the_open_source_library(shared_data):
    answer = (shared_data / "webhooks/alpr_results.json").read_bytes()
    (read,) = plate_reads(answer, (750, 1000))
    assert (read.plate, read.confidence) == ("M5XSX", 90.655113)
    assert read.corners == ((410.0, 341.0), (601.0, 341.0), (601.0, 380.0), (410.0, 380.0))
    assert [c.plate for c in read.candidates] == ["M5XSX", "MSXSX", "M5X8X", "M5X5X", "MSX8X"]


def test_rows_that_were_cut_off_above_are_added_again():
    (read,) = plate_reads(payload(result(("AB1", 80.0))), SHAPE, top=300)
    assert read.corners[0] == (10.0, 320.0)


def test_the_most_confident_plate_comes_first():
    answer = payload(result(("LOW1", 61.0)), result(("HIGH1", 93.0)), result(("MID1", 80.0)))
    assert [read.plate for read in plate_reads(answer, SHAPE)] == ["HIGH1", "MID1", "LOW1"]


def test_topn_bounds_the_candidates():
    texts = [(f"AB{number}", 90.0 - number) for number in range(10)]
    (read,) = plate_reads(payload(result(*texts)), SHAPE, RecognizeHints(topn=3))
    assert [c.plate for c in read.candidates] == ["AB0", "AB1", "AB2"]


def test_the_librarys_choice_stays_first_although_another_text_is_surer():
    plate = result(("RO51GFJ", 81.4), plate="RO51GFJ", confidence=81.4)
    plate["candidates"] = [
        {"plate": p, "confidence": c, "matches_template": m}
        for p, c, m in (("R51GFJ", 84.2, 0), ("R051GFJ", 82.7, 0), ("RO51GFJ", 81.4, 1))
    ]
    (read,) = plate_reads(payload(plate), SHAPE)
    assert [c.plate for c in read.candidates] == ["RO51GFJ", "R51GFJ", "R051GFJ"]
    assert read.confidence == 81.4


def test_a_plate_of_brazil_is_the_first_candidate_that_is_written_like_one():
    texts = (("A8C1Z34", 90.0), ("ABCI234", 85.0), ("ABC1234", 82.0), ("ABC1Z34", 80.0))
    (read,) = plate_reads(payload(result(*texts)), SHAPE, RecognizeHints(regions=("br",)))
    assert read.plate == "ABC1234"
    assert read.confidence == 82.0
    assert read.region == "br"
    assert [c.plate for c in read.candidates][1:] == ["A8C1Z34", "ABCI234", "ABC1Z34"]


def test_patterns_of_the_camera_choose_before_its_regions_do():
    texts = (("A8C1Z34", 90.0), ("ABC1234", 82.0), ("AB12CDE", 80.0))
    own = CameraOpenAlprSettings(patterns=("XY*", "@@##*"))
    (read,) = plate_reads(payload(result(*texts)), SHAPE, RecognizeHints(("br",), openalpr=own))
    assert read.plate == "AB12CDE"


def test_where_no_candidate_fits_the_regions_the_librarys_choice_remains():
    texts = (("A8C1Z34X", 90.0), ("ABCI", 85.0))
    (read,) = plate_reads(payload(result(*texts)), SHAPE, RecognizeHints(regions=("br",)))
    assert (read.plate, read.region) == ("A8C1Z34X", "")


def test_texts_that_are_the_same_plate_are_one_candidate():
    (read,) = plate_reads(payload(result(("AB\n12", 80.0), ("AB12", 79.0), ("ab 12", 70))), SHAPE)
    assert read.candidates == (Candidate("AB12", 80.0),)


def test_a_result_without_letters_or_digits_is_no_read():
    assert plate_reads(payload(result(("가나", 80.0))), SHAPE) == []


def test_confidence_stays_within_0_and_100():
    reads = plate_reads(payload(result(("AB1", 100.4)), result(("AB2", -3.0))), SHAPE)
    assert [read.confidence for read in reads] == [100.0, 0.0]


@pytest.mark.parametrize(
    ("country", "others", "region"),
    [
        ("us", {"region": "ca", "region_confidence": 80}, "us-ca"),
        ("us", {"region": "ca", "matches_template": 1}, "us-ca"),
        ("us", {"region": "ca"}, ""),
        ("eu", {"region": "de", "matches_template": 1}, "de"),
        ("gb", {"region": "gb", "matches_template": 1}, "gb"),
        ("eu,gb", {"region": "gb", "matches_template": 1}, "gb"),
        ("us,mx", {"region": "ca", "matches_template": 1}, ""),
    ],
)
def test_the_region_is_the_librarys_when_it_means_something(country, others, region):
    (read,) = plate_reads(payload(result(("AB12", 80.0), **others)), SHAPE, country=country)
    assert read.region == region


def test_a_frame_without_plates_gives_no_reads():
    assert plate_reads(payload(), SHAPE) == []


def test_an_answer_about_no_picture_means_that_the_library_failed():
    with pytest.raises(RecognizerError, match="failed on this frame"):
        plate_reads(payload(shape=(0, 0)), SHAPE)


@pytest.mark.parametrize("answer", [b"", b"[]", payload()[:-2], b'{"img_width": "1"}'])
def test_a_malformed_answer_is_an_error(answer):
    with pytest.raises(RecognizerError, match="cannot be read"):
        plate_reads(answer, SHAPE)


KNOWN = frozenset({"eu", "gb", "us", "br", "au", "vn2", "in"})


@pytest.mark.parametrize(
    ("regions", "countries"),
    [
        ((), ""),
        (("de", "fr", "nl"), "eu"),
        (("eu",), "eu"),
        (("uk",), "gb"),
        (("gb", "ie"), "gb,eu"),
        (("us-ca", "ca"), "us"),
        (("nz",), "au"),
        (("vn",), "vn2"),
        (("ua",), "eu"),
        (("kr",), ""),  # its data is not there
        (("il",), ""),  # the library has no such country
        (("br", "ar"), "br"),
    ],
)
def test_regions_become_countries_of_the_library(regions, countries):
    assert openalpr_countries(regions, KNOWN) == countries


def test_where_the_runtime_data_does_not_tell_every_country_is_tried():
    assert openalpr_countries(("kr", "sg"), frozenset()) == "kr,sg"
