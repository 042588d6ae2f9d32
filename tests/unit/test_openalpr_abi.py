"""The C interfaces of OpenALPR, checked against a C library of our own that records its callers."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from openalpr_stand_in import KINDS, StandIn

from engine.config import CameraOpenAlprSettings, OpenAlprSettings
from engine.errors import RecognizerError
from engine.recognizers import openalpr_library
from engine.recognizers.base import ColourReader, RecognizeHints
from engine.recognizers.openalpr import OpenAlprRecognizer
from engine.recognizers.openalpr_library import Area, Instance, Library, find_library
from engine.types import Box

AFTER_AN_EXCEPTION, NULL, GARBAGE = 1, 2, 3


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {}, tmp_path_factory


@pytest.fixture(params=KINDS)
def stand_in(request, folders):
    made, factory = folders
    if request.param not in made:
        made[request.param] = StandIn(request.param, factory.mktemp("openalpr"))
    stand_in = made[request.param]
    stand_in.c.stand_in_forget()
    yield stand_in
    record = stand_in.record
    assert (record.live_texts, record.live_instances, record.violations) == (0, 0, 0)


@pytest.fixture
def recognizer(stand_in):
    recognizer = OpenAlprRecognizer(stand_in.settings())
    yield recognizer
    recognizer.close()


def picture(width: int = 320, height: int = 200) -> np.ndarray:
    """A dark luma frame with one bright plate of distinct pixels at (100, 120), 60x20."""
    frame = np.full((height, width), 30, np.uint8)
    frame[120:140, 100:160] = np.arange(60, dtype=np.uint8) % 40 + 200
    return frame


PLATE_CORNERS = ((100.0, 120.0), (159.0, 120.0), (159.0, 139.0), (100.0, 139.0))


def test_the_library_is_given_the_address_of_the_frame_itself(stand_in, recognizer):
    frame = picture()
    (read,) = recognizer.recognize(frame)
    record = stand_in.record
    assert record.pixels == frame.ctypes.data
    assert (record.bytes_per_pixel, record.width, record.height) == (1, 320, 200)
    assert list(record.area) == [0, 0, 320, 200]
    assert read.corners == PLATE_CORNERS
    assert recognizer.compacted == 0


def test_a_read_only_view_of_shared_memory_is_not_copied_either(stand_in, recognizer):
    slot = bytearray(64 + 320 * 200)
    view = np.frombuffer(slot, np.uint8, offset=64).reshape(200, 320)
    view[:] = picture()
    view.flags.writeable = False
    assert len(recognizer.recognize(view)) == 1
    assert stand_in.record.pixels == view.ctypes.data
    assert recognizer.compacted == 0


def test_colour_goes_to_the_library_as_it_lies_in_the_slot(stand_in, recognizer):
    gray = picture()
    frame = np.ascontiguousarray(np.stack([gray, gray // 2, gray // 3], axis=-1))
    (expected,) = recognizer.recognize(gray)
    (read,) = recognizer.recognize_colour(frame)
    record = stand_in.record
    assert record.pixels == frame.ctypes.data
    assert (record.bytes_per_pixel, record.width, record.height) == (3, 320, 200)
    assert (read.plate, read.corners) == (expected.plate, PLATE_CORNERS)
    area = RecognizeHints(areas=(Box(90, 110, 80, 40),))
    assert recognizer.recognize_colour(frame, area)[0].corners == PLATE_CORNERS
    assert isinstance(recognizer, ColourReader)
    assert recognizer.compacted == 0


def test_rows_with_gaps_are_compacted_and_counted(stand_in, recognizer):
    frame = picture()
    wide = np.zeros((200, 384), np.uint8)
    wide[:, :320] = frame
    (expected,) = recognizer.recognize(frame)
    (read,) = recognizer.recognize(wide[:, :320])
    assert (read.plate, read.corners) == (expected.plate, expected.corners)
    assert recognizer.compacted == 1
    assert stand_in.record.width == 320


def test_an_instance_refuses_rows_with_gaps_and_areas_of_nothing(stand_in):
    settings = stand_in.settings()
    instance = Instance(Library(find_library(settings)), "eu", settings)
    with pytest.raises(ValueError, match="gaps"):
        instance.recognize(picture()[:, :100], Area(0, 0, 100, 200))
    for area in (Area(0, 0, 0, 0), Area(5, 5, 321, 9), Area(-1, 0, 9, 9), Area(5, 9, 7, 9)):
        with pytest.raises(ValueError, match="no part of 320x200"):
            instance.recognize(picture(), area)
    instance.close()
    instance.close()
    assert stand_in.record.calls == 0


def test_every_text_is_freed(stand_in, recognizer):
    for _ in range(50):
        recognizer.recognize(picture())
        assert stand_in.record.live_texts == 0
    assert stand_in.record.calls == 50


def test_the_version_is_the_librarys_own_where_it_tells_one(stand_in, recognizer):
    versions = {"openalprpy": "9.8.7", "openalpr.2": "2", "commercial": "4.1.1"}
    assert recognizer.version == versions[stand_in.kind]
    assert recognizer.name == "openalpr"


def test_settings_reach_the_library(stand_in):
    recognizer = OpenAlprRecognizer(
        stand_in.settings(
            country="us", default_region="ca", detect_region=True, prewarp="planar,1", topn=7
        )
    )
    record = stand_in.record
    assert record.country == b"us"
    assert record.default_region == b"ca"
    assert record.prewarp == b"planar,1"
    assert (record.detect_region, record.topn) == (1, 7)
    recognizer.recognize(picture(), RecognizeHints(topn=12))
    assert stand_in.record.topn == 12
    recognizer.close()


def test_settings_of_a_camera_reach_an_instance_of_its_own(stand_in, recognizer):
    frame, record = picture(), stand_in.record
    own = CameraOpenAlprSettings(
        country="us", default_region="ca", detect_region=True, prewarp="planar,2", topn=9
    )
    recognizer.recognize(frame, RecognizeHints(regions=("br",), openalpr=own))
    assert (record.country, record.default_region, record.prewarp) == (b"us", b"ca", b"planar,2")
    assert (record.detect_region, record.topn, record.live_instances) == (1, 9, 2)
    recognizer.recognize(frame, RecognizeHints(openalpr=own))
    recognizer.recognize(frame, RecognizeHints(regions=("br",)))
    assert (record.country, record.live_instances) == (b"br", 3)


def test_portrait_frames_are_not_shrunk_to_the_height_of_others(stand_in):
    config = stand_in.folder / "openalpr.conf"
    config.write_text("max_detection_input_height = 720\nprewarp = x\n")
    recognizer = OpenAlprRecognizer(stand_in.settings())
    recognizer.recognize(picture(320, 200))
    assert stand_in.record.config.decode() == str(config)
    (read,) = recognizer.recognize(picture(200, 320))
    assert read.corners == PLATE_CORNERS
    written = stand_in.record.config_text.decode()
    assert written == "max_detection_input_height = 1280\nprewarp = x\n"
    assert stand_in.record.live_instances == 2
    recognizer.close()
    config.write_text("max_detection_input_height = 900\n")
    recognizer = OpenAlprRecognizer(stand_in.settings())
    recognizer.recognize(picture(200, 320))
    assert (
        stand_in.record.config_text.decode().splitlines()[-1] == "max_detection_input_height = 900"
    )
    recognizer.close()


def test_the_licence_key_reaches_only_the_commercial_library(stand_in):
    OpenAlprRecognizer(stand_in.settings(license_key="k-123")).close()
    assert stand_in.record.license_key == (b"k-123" if stand_in.kind == "commercial" else b"")


def test_one_instance_per_country_is_loaded_when_first_needed(stand_in, recognizer):
    assert stand_in.record.live_instances == 1
    for _ in range(2):
        for regions in (("de", "fr"), ("br",), ("us-ca",), ("gb", "nl"), ("kr",)):
            recognizer.recognize(picture(), RecognizeHints(regions=regions))
    assert stand_in.record.live_instances == 4  # eu, br, us, gb+eu; kr has no runtime data: eu
    recognizer.close()
    assert stand_in.record.live_instances == 0


def test_only_the_surroundings_of_an_area_are_searched_without_a_copy(stand_in, recognizer):
    frame = picture()
    areas = (Box(90, 110, 80, 40),)
    (read,) = recognizer.recognize(frame, RecognizeHints(areas=areas))
    record = stand_in.record
    assert read.corners == PLATE_CORNERS
    assert record.pixels == frame[70:].ctypes.data  # 110 less 1/8 of 320
    assert (record.width, record.height) == (320, 121)
    wide = [0, 0, 320, 121] if stand_in.kind == "openalprpy" else [50, 0, 161, 121]
    assert list(record.area) == wide
    assert recognizer.compacted == 0


def test_areas_that_are_far_apart_are_searched_one_by_one(stand_in, recognizer):
    frame = picture(1600, 900)
    frame[820:840, 1500:1560] = frame[120:140, 100:160]
    far = (Box(90, 110, 80, 40), Box(1490, 810, 80, 40), Box(150, 100, 60, 60))
    reads = recognizer.recognize(frame, RecognizeHints(areas=far))
    assert {read.corners[0] for read in reads} == {(100.0, 120.0), (1500.0, 820.0)}
    assert stand_in.record.calls == 2
    recognizer.recognize(frame, RecognizeHints(areas=(*far, Box(300, 200, 1200, 600))))
    assert stand_in.record.calls == 3


def test_a_country_of_a_camera_that_does_not_load_is_tried_once(recognizer):
    hints = RecognizeHints(openalpr=CameraOpenAlprSettings(country="zz"))
    for _ in range(2):
        with pytest.raises(RecognizerError, match="cannot load the country 'zz'"):
            recognizer.recognize(picture(), hints)
    assert len(recognizer._refused) == 1
    assert len(recognizer.recognize(picture())) == 1


def test_a_plate_whose_middle_is_in_no_area_does_not_count(recognizer):
    assert recognizer.recognize(picture(), RecognizeHints(areas=(Box(0, 0, 110, 200),))) == []


def test_an_area_outside_the_frame_is_no_reason_to_ask(stand_in, recognizer):
    assert recognizer.recognize(picture(), RecognizeHints(areas=(Box(900, 10, 50, 50),))) == []
    assert stand_in.record.calls == 0


@pytest.mark.shared
def test_behind_our_detector_each_plate_is_read_in_place_as_an_area(stand_in, shared_data):
    settings = stand_in.settings(detector="builtin")
    if stand_in.kind == "openalprpy":
        with pytest.raises(RecognizerError, match=r"needs the library libopenalpr\.so\.2 beside"):
            OpenAlprRecognizer(settings)
        return
    frame = cv2.imread(str(shared_data / "images_eu/eu1.jpg"), cv2.IMREAD_GRAYSCALE)
    recognizer = OpenAlprRecognizer(settings)
    reads = recognizer.recognize(frame)
    record = stand_in.record
    left, top, width, height = record.area
    assert record.pixels == frame.ctypes.data
    assert (record.width, record.height) == frame.shape[::-1]
    assert Box(left, top, width, height).iou(Box(396, 340, 203, 46)) > 0.5  # as labelled
    assert len(reads) == record.calls == 1
    away = RecognizeHints(areas=(Box(0, 0, 100, 100),))
    assert recognizer.recognize(frame, away) == []
    assert stand_in.record.calls == 1
    recognizer.close()


def test_behind_our_detector_the_library_is_told_to_skip_its_own(stand_in):
    if stand_in.kind == "openalprpy":
        return
    (stand_in.folder / "openalpr.conf").write_text("skip_detection = 0\nprewarp = x\n")
    recognizer = OpenAlprRecognizer(stand_in.settings(detector="builtin"))
    config = stand_in.record.config.decode()
    assert stand_in.record.config_text.decode() == "skip_detection = 1\nprewarp = x\n"
    assert not Path(config).exists()
    assert recognizer.recognize(np.zeros((72, 128), np.uint8)) == []
    assert stand_in.record.calls == 0
    recognizer.close()


def test_another_thread_is_refused_before_the_library_crashes(stand_in, recognizer):
    refused = []

    def call() -> None:
        try:
            recognizer.recognize(picture())
        except RecognizerError as error:
            refused.append(str(error))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert len(refused) == 1
    assert "thread" in refused[0]
    assert stand_in.record.calls == 0


@pytest.mark.parametrize(
    ("answer", "message"),
    [(AFTER_AN_EXCEPTION, "failed on this frame"), (NULL, "no result"), (GARBAGE, "read")],
)
def test_a_failure_inside_the_library_is_an_error_and_the_next_frame_is_read(
    stand_in, recognizer, answer, message
):
    stand_in.c.stand_in_answer_next(answer)
    with pytest.raises(RecognizerError, match=message):
        recognizer.recognize(picture())
    assert len(recognizer.recognize(picture())) == 1


def test_a_country_that_does_not_load_is_named_and_never_used(stand_in):
    stand_in.add_country("au", "; broken\nocr_language = lau\n")
    try:
        with pytest.raises(RecognizerError, match="did not load the country 'au'"):
            OpenAlprRecognizer(stand_in.settings(country="au"))
    finally:
        (stand_in.folder / "runtime_data/config/au.conf").unlink()
    assert stand_in.record.live_instances == 0


def test_a_country_without_runtime_data_is_named_with_those_there_are(stand_in):
    with pytest.raises(RecognizerError, match=r"'zz'.* knows br, eu, gb, us\."):
        OpenAlprRecognizer(stand_in.settings(country="zz"))


def test_missing_letters_of_a_country_are_named(stand_in):
    if stand_in.kind == "commercial":
        return  # its runtime data need not hold any
    stand_in.add_country("in", "; broken\nocr_language = lnone\n")
    try:
        with pytest.raises(RecognizerError, match=r"lnone\.traineddata is missing"):
            OpenAlprRecognizer(stand_in.settings(country="in"))
    finally:
        (stand_in.folder / "runtime_data/config/in.conf").unlink()


@pytest.mark.parametrize("key", ["library", "config", "runtime_data"])
def test_a_path_in_the_settings_that_is_not_there_is_named(stand_in, key, tmp_path):
    with pytest.raises(RecognizerError, match=f"openalpr.{key}: .*absent does not exist"):
        find_library(stand_in.settings(**{key: str(tmp_path / "absent")}))


def test_the_library_is_found_in_a_folder_and_on_the_loaders_path(stand_in, monkeypatch):
    named = find_library(stand_in.settings())
    assert named.config == str(stand_in.folder / "openalpr.conf")
    assert named.runtime_data == str(stand_in.folder / "runtime_data")
    assert find_library(stand_in.settings(library=str(stand_in.folder))) == named
    monkeypatch.setenv("LD_LIBRARY_PATH", f":{stand_in.folder}")
    assert find_library(OpenAlprSettings()) == named


def test_the_configuration_file_says_where_the_runtime_data_is(stand_in, tmp_path):
    config = tmp_path / "openalpr.conf"
    config.write_text(f"; comment\nruntime_dir =  {tmp_path}  \n")
    assert find_library(stand_in.settings(config=str(config))).runtime_data == str(tmp_path)


def test_a_library_without_configuration_or_runtime_data_is_refused(stand_in, tmp_path):
    alone = tmp_path / "a/b/c" / stand_in.library.name
    alone.parent.mkdir(parents=True)
    shutil.copy(stand_in.library, alone)
    settings = OpenAlprSettings(library=str(alone))
    found = find_library(settings)
    if found.config or found.runtime_data:
        pytest.skip("OpenALPR is installed on this machine")
    with pytest.raises(RecognizerError, match=r"no configuration file: name it in openalpr\.conf"):
        OpenAlprRecognizer(settings)
    (alone.parent / "openalpr.conf").touch()
    with pytest.raises(RecognizerError, match=r"no runtime data: name it in openalpr\.runtime"):
        OpenAlprRecognizer(settings)


def test_the_package_openalpr_gets_the_same_answer_from_the_stand_in_with_a_copy(stand_in):
    """Proves that the stand-in speaks the real interface, and why the package is not used."""
    if stand_in.kind != "openalprpy":
        return
    runtime, config = stand_in.folder / "runtime_data", stand_in.folder / "openalpr.conf"
    frame = picture()
    script = (
        "import ctypes, json, sys, numpy, openalpr\n"
        f"alpr = openalpr.Alpr('eu', {str(config)!r}, {str(runtime)!r})\n"
        "frame = numpy.frombuffer(sys.stdin.buffer.read(), numpy.uint8).reshape(200, 320)\n"
        "answer = alpr.recognize_ndarray(frame)\n"
        "record = alpr._openalprpy_lib.stand_in_record\n"
        "record.restype = ctypes.POINTER(ctypes.c_void_p)\n"
        "same = record().contents.value == frame.ctypes.data\n"
        "print(json.dumps([alpr.get_version(), answer['results'][0]['plate'], same]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=frame.tobytes(),
        env={**os.environ, "LD_LIBRARY_PATH": str(stand_in.folder)},
        capture_output=True,
        check=True,
    )
    recognizer = OpenAlprRecognizer(stand_in.settings())
    (read,) = recognizer.recognize(frame)
    assert json.loads(done.stdout) == [recognizer.version, read.plate, False]
    recognizer.close()


def test_no_library_at_all_is_one_clear_sentence(monkeypatch):
    monkeypatch.setattr(openalpr_library, "_loader_folders", list)
    assert find_library(OpenAlprSettings()) is None
    with pytest.raises(RecognizerError, match=r"No OpenALPR library .* openalpr\.library\."):
        OpenAlprRecognizer(OpenAlprSettings())


def test_a_folder_without_a_library_is_named(tmp_path):
    with pytest.raises(RecognizerError, match="no OpenALPR library in"):
        find_library(OpenAlprSettings(library=str(tmp_path)))


def test_a_file_that_is_no_library_is_an_error(tmp_path):
    (tmp_path / "libopenalprpy.so").write_text("not a library")
    (tmp_path / "openalpr.conf").touch()
    (tmp_path / "runtime_data").mkdir()
    with pytest.raises(RecognizerError, match="cannot be loaded"):
        OpenAlprRecognizer(OpenAlprSettings(library=str(tmp_path)))


def test_another_library_under_the_name_is_an_error(stand_in, tmp_path):
    other = {"openalprpy": "libopenalpr.so.2"}.get(stand_in.kind, "libopenalprpy.so")
    for part in ("runtime_data", "openalpr.conf"):
        (tmp_path / part).symlink_to(stand_in.folder / part)
    shutil.copy(stand_in.library, tmp_path / other)
    with pytest.raises(RecognizerError, match="has no function"):
        OpenAlprRecognizer(OpenAlprSettings(library=str(tmp_path / other)))
