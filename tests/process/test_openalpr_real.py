"""A real OpenALPR library behind the adapter: the same plates as through its own file interface.

Set PLATERING_TEST_OPENALPR to the library (or its folder); skipped where there is none.
"""

import csv
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.config import OpenAlprSettings
from engine.errors import RecognizerError
from engine.plates import as_seen
from engine.recognizers.base import RecognizeHints, Recognizer
from engine.recognizers.openalpr import OpenAlprRecognizer
from engine.recognizers.openalpr_library import Area, FoundLibrary, find_library
from engine.recognizers.registry import open_recognizer
from engine.types import Box

pytestmark = pytest.mark.openalpr

_FLAVOURS = ("libopenalprpy.so", "libopenalpr.so.2")
_SAMPLE = 8
"""Pictures of each set that are compared; `pytest -m long` takes all."""

_THROUGH_THE_FILE_INTERFACE = """
import json, sys, openalpr
country, config, runtime, *paths = sys.argv[1:]
alpr = openalpr.Alpr(country, config, runtime)
assert alpr.is_loaded()
alpr.set_top_n(10)
print(json.dumps([alpr.recognize_file(path)["results"] for path in paths]))
alpr.unload()
"""


def _found(library: str = "") -> FoundLibrary:
    """Return the library under test, or the sibling of it that is asked for."""
    named = os.environ.get("PLATERING_TEST_OPENALPR", "")
    found = find_library(OpenAlprSettings(library=named))
    if found is None:
        pytest.skip("needs OpenALPR: name its library in PLATERING_TEST_OPENALPR")
    if not library:
        return found
    path = Path(found.path).with_name(library)
    if not path.exists():
        pytest.skip(f"needs {library} beside {Path(found.path).name}")
    return find_library(OpenAlprSettings(library=str(path)))


def _settings(found: FoundLibrary, **others: object) -> OpenAlprSettings:
    paths = {"config": found.config, "runtime_data": found.runtime_data}
    return OpenAlprSettings.model_validate({"library": found.path, **paths, **others})


@pytest.fixture(params=_FLAVOURS)
def found(request):
    return _found(request.param)


@pytest.fixture
def open_for(found):
    opened = []

    def open_recognizer(country: str) -> OpenAlprRecognizer:
        opened.append(OpenAlprRecognizer(_settings(found, country=country)))
        return opened[-1]

    yield open_recognizer
    for recognizer in opened:
        recognizer.close()


def _by_file(country: str, paths: list[Path]) -> list[list[dict]]:
    """Ask the library itself, through the package ``openalpr``, in a process of its own."""
    found = _found("libopenalprpy.so")
    where = (country, found.config, found.runtime_data)
    done = subprocess.run(
        [sys.executable, "-c", _THROUGH_THE_FILE_INTERFACE, *where, *map(str, paths)],
        env={**os.environ, "LD_LIBRARY_PATH": str(Path(found.path).parent)},
        capture_output=True,
        check=True,
    )
    return json.loads(done.stdout)


def _compare(recognizer: OpenAlprRecognizer, country: str, pictures: list[Path], tmp: Path) -> None:
    """Assert that the slot's luma and a lossless file of it give the very same plates."""
    lumas = [_luma(path) for path in pictures]
    files = [tmp / f"{number}.png" for number in range(len(lumas))]
    for file, luma in zip(files, lumas, strict=True):
        cv2.imwrite(str(file), luma)
    for path, luma, results in zip(pictures, lumas, _by_file(country, files), strict=True):
        reads = recognizer.recognize(luma, RecognizeHints(topn=10))
        ours = {
            (r.plate, round(r.confidence, 3), r.corners): {
                (c.plate, round(c.confidence, 3)) for c in r.candidates
            }
            for r in reads
        }
        theirs = {
            (
                r["plate"],
                round(r["confidence"], 3),
                tuple((float(p["x"]), float(p["y"])) for p in r["coordinates"]),
            ): {(c["plate"], round(c["confidence"], 3)) for c in r["candidates"]}
            for r in results
        }
        assert ours == theirs, path.name
    assert recognizer.compacted == 0


@pytest.mark.shared
@pytest.mark.parametrize(("country", "folder"), [("eu", "images_eu"), ("gb", "images_uk")])
def test_the_same_plates_as_through_its_own_file_interface(
    open_for, shared_data, tmp_path, country, folder
):
    pictures = sorted((shared_data / folder).glob("*.jpg"))[:_SAMPLE]
    _compare(open_for(country), country, pictures, tmp_path)


@pytest.mark.long
@pytest.mark.shared
@pytest.mark.parametrize(("country", "folder"), [("eu", "images_eu"), ("gb", "images_uk")])
def test_the_same_plates_on_every_picture(open_for, shared_data, tmp_path, country, folder):
    pictures = sorted((shared_data / folder).glob("*.jpg"))
    _compare(open_for(country), country, pictures, tmp_path)


@pytest.mark.shared
def test_an_area_finds_the_plate_at_the_same_place(open_for, shared_data):
    recognizer = open_for("eu")
    luma = _luma(shared_data / "images_eu/eu1.jpg")
    (whole,) = recognizer.recognize(luma)
    box = whole.box
    near = Box(box.x - 10, box.y - 10, box.width + 20, box.height + 20)
    (read,) = recognizer.recognize(luma, RecognizeHints(areas=(near,)))
    assert read.plate == whole.plate
    assert read.box.iou(box) > 0.8
    away = Box(0, 0, luma.shape[1], box.y - 1)
    assert recognizer.recognize(luma, RecognizeHints(areas=(away,))) == []


@pytest.mark.shared
def test_behind_our_detector_it_reads_as_many_plates(found, shared_data):
    right = {}
    for detector in ("openalpr", "builtin"):
        recognizer = OpenAlprRecognizer(_settings(found, detector=detector))
        right[detector] = sum(
            plate
            in {as_seen(read.plate) for read in recognizer.recognize(_luma(shared_data / name))}
            for name, plate in _truths(shared_data)[: 3 * _SAMPLE]
        )
        recognizer.close()
    assert right["builtin"] >= right["openalpr"] > 0


@pytest.mark.shared
def test_frames_cost_a_fraction_of_its_cpu_time(found, shared_data):
    """Of the junction clip, each recognizer alone: 13 and 28 times less, where it was built."""
    frames = _frames(shared_data / "video/uk_junction_aiguys.mp4", every=12)
    ms = {}
    for name, choice, detector in (
        ("alone", "openalpr", "openalpr"),
        ("behind our detector", "openalpr", "builtin"),
        ("built in", "builtin", "openalpr"),
    ):
        recognizer = open_recognizer(choice, _settings(found, detector=detector)).recognizer
        recognizer.recognize(frames[0])
        ms[name] = statistics.median(_cpu_ms(recognizer, frame) for frame in frames)
        recognizer.close()
    assert ms["alone"] >= 8 * ms["behind our detector"], ms
    assert ms["alone"] >= 20 * ms["built in"], ms


def _frames(clip: Path, every: int) -> list[np.ndarray]:
    video, frames = cv2.VideoCapture(str(clip)), []
    while (picture := video.read()[1]) is not None:
        frames.append(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))
    return frames[::every]


def _cpu_ms(recognizer: Recognizer, frame: np.ndarray) -> float:
    began_s = time.process_time()
    recognizer.recognize(frame)
    return 1e3 * (time.process_time() - began_s)


@pytest.mark.long
@pytest.mark.shared
def test_luma_reads_as_many_plates_as_colour_does(open_for, shared_data):
    """95 against 96 of 108; on 11 pictures they read something different."""
    truths = _truths(shared_data)
    colour = _by_file("eu", [shared_data / name for name, _plate in truths])
    recognizer = open_for("eu")
    right = {"luma": 0, "colour": 0}
    for (name, plate), results in zip(truths, colour, strict=True):
        reads = recognizer.recognize(_luma(shared_data / name))
        right["luma"] += plate in {as_seen(read.plate) for read in reads}
        right["colour"] += plate in {as_seen(result["plate"]) for result in results}
    assert right["luma"] >= 0.97 * right["colour"] > 0


@pytest.mark.shared
def test_plates_in_portrait_and_in_large_frames_are_found(open_for, shared_data):
    """The library shrinks both; portrait frames less than it would, areas of large ones not."""
    recognizer = open_for("eu")
    found = {"portrait": 0, "shrunk": 0, "large": 0}
    limited = recognizer._settings.model_copy(update={"detector": "openalpr"})
    for name, plate in _truths(shared_data)[-2 * _SAMPLE :]:
        luma = _luma(shared_data / name)
        height, width = luma.shape
        portrait = _padded(luma[:, :1080], 1920, 1080)
        near = RecognizeHints(areas=(Box(0, 0, width, height),))
        instance = recognizer._instance(limited, "eu", portrait=False)
        shrunk = instance.recognize(portrait, Area(0, 0, 1080, 1920))
        plates = [result["plate"] for result in json.loads(shrunk)["results"]]
        found["shrunk"] += plate in map(as_seen, plates)
        plates = [read.plate for read in recognizer.recognize(portrait)]
        found["portrait"] += plate in map(as_seen, plates)
        if recognizer._library.found.flavour == "openalpr.2":
            large = recognizer.recognize(_padded(luma, 2160, 3840), near)
            found["large"] += plate in {as_seen(read.plate) for read in large}
    assert found["portrait"] >= 2 * max(1, found["shrunk"])
    if recognizer._library.found.flavour == "openalpr.2":
        assert found["large"] >= found["portrait"]


def _padded(luma: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a picture of this size with another one in its upper left."""
    padded = np.full((height, width), 90, np.uint8)
    padded[: luma.shape[0], : luma.shape[1]] = luma
    return padded


def _truths(shared_data: Path) -> list[tuple[str, str]]:
    """Return the pictures of Europe and their plates, look-alikes made one."""
    with (shared_data / "images_eu.csv").open() as file:
        return [(row["file"], as_seen(row["plate"])) for row in csv.DictReader(file)]


def _luma(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)


def test_frames_without_plates_and_odd_shapes_give_nothing(open_for):
    recognizer = open_for("eu")
    for height, width in ((720, 1280), (1280, 720), (37, 501), (1, 1), (20, 60)):
        assert recognizer.recognize(np.zeros((height, width), np.uint8)) == []


def test_countries_are_loaded_beside_each_other(open_for):
    recognizer = open_for("eu")
    frame = np.zeros((120, 160), np.uint8)
    for regions in ((), ("gb",), ("us-ca",), ("br",), ("de", "gb"), ("fr",)):
        assert recognizer.recognize(frame, RecognizeHints(regions=regions)) == []


def test_a_country_that_it_does_not_know_is_one_clear_sentence(found):
    with pytest.raises(RecognizerError, match=r"cannot load the country 'zz': .* knows .*eu"):
        OpenAlprRecognizer(_settings(found, country="zz"))


def test_an_empty_configuration_file_is_used_and_a_missing_one_is_an_error(found, tmp_path):
    config = tmp_path / "openalpr.conf"
    with pytest.raises(RecognizerError, match=r"openalpr\.config: .* does not exist"):
        OpenAlprRecognizer(_settings(found, config=str(config)))
    config.touch()
    OpenAlprRecognizer(_settings(found, config=str(config))).close()


def test_missing_runtime_data_is_one_clear_sentence(found, tmp_path):
    with pytest.raises(RecognizerError, match=r"cannot load the country 'eu': .* knows none"):
        OpenAlprRecognizer(_settings(found, runtime_data=str(tmp_path)))
