"""Images as a camera: single files, folders, globs, damaged ones, pacing."""

import itertools

import cv2
import numpy as np
import pytest

from engine.errors import SourceError
from engine.sources import SourceOptions, count_frames, open_source

FAST = SourceOptions(play="fast")


def never() -> bool:
    return False


@pytest.fixture
def folder(tmp_path, rng):
    """Three images of different sizes, odd ones too, and a file that is none."""
    noise = np.random.default_rng(rng.randrange(2**32))
    for name, size in (("b.png", (31, 47)), ("a.png", (20, 30)), ("c.bmp", (64, 96))):
        cv2.imwrite(str(tmp_path / name), noise.integers(0, 256, (*size, 3), np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def sizes(url, options=FAST):
    return [(f.width_px, f.height_px) for f in open_source(str(url), options).frames(never)]


def test_a_folder_shows_its_images_by_name(folder):
    assert sizes(folder) == [(30, 20), (47, 31), (96, 64)]
    assert count_frames(str(folder)) == 3


def test_a_glob_shows_what_it_names(folder):
    assert sizes(folder / "*.png") == [(30, 20), (47, 31)]
    assert sizes(folder / "[bc].*") == [(47, 31), (96, 64)]
    assert count_frames(str(folder / "*.png")) == 2


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no images"):
        open_source(str(tmp_path))
    with pytest.raises(SourceError, match="no images"):
        open_source(str(tmp_path / "*.png"))


@pytest.mark.parametrize("name", ["a.png", "b.png", "c.bmp"])
def test_pixels_are_opencvs(folder, name):
    expected = cv2.imread(str(folder / name))
    height, width = expected.shape[:2]
    (frame,) = open_source(str(folder / name), FAST).frames(never)
    luma, bgr = np.empty((height, width), np.uint8), np.empty((height, width, 3), np.uint8)
    frame.write_luma(luma)
    frame.write_bgr(bgr)
    np.testing.assert_array_equal(bgr, expected)
    np.testing.assert_array_equal(luma, cv2.cvtColor(expected, cv2.COLOR_BGR2GRAY))
    slot = np.empty(((height & ~1) * 3 // 2, width & ~1), np.uint8)
    frame.write_i420(slot)
    even = np.ascontiguousarray(expected[: height & ~1, : width & ~1])
    np.testing.assert_array_equal(slot, cv2.cvtColor(even, cv2.COLOR_BGR2YUV_I420))
    assert frame.preview().shape == (height, width)


def test_a_photo_lying_on_its_side_is_turned(tmp_path):
    path = tmp_path / "phone.jpg"
    encoded = cv2.imencode(".jpg", np.zeros((40, 60, 3), np.uint8))[1].tobytes()
    # An EXIF block with one entry: orientation 6, "turn right to see it upright".
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    body = b"Exif\0\0" + tiff
    exif = b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body
    path.write_bytes(encoded[:2] + exif + encoded[2:])
    assert sizes(path) == [(40, 60)]


def test_one_damaged_image_is_an_error(tmp_path):
    (tmp_path / "car.jpg").write_bytes(b"\xff\xd8 half a photo")
    with pytest.raises(SourceError, match=r"car\.jpg: not an image"):
        next(iter(open_source(str(tmp_path / "car.jpg"), FAST).frames(never)))


def test_a_damaged_image_among_others_is_left_out(folder, caplog):
    (folder / "b.png").write_bytes(b"")
    assert sizes(folder) == [(30, 20), (96, 64)]
    assert "b.png" in caplog.text


def test_too_large_images_are_refused_or_left_out(folder, caplog):
    small = SourceOptions(play="fast", max_megapixels=0.002)
    assert sizes(folder, small) == [(30, 20), (47, 31)]
    assert "96×64 is more than max_megapixels" in caplog.text
    with pytest.raises(SourceError, match="96×64 is more than max_megapixels"):
        sizes(folder / "c.bmp", small)


@pytest.mark.parametrize("pattern", ["", "*.png", "*/x*.png"])
def test_a_watched_folder_that_vanishes_is_an_error_with_a_remedy(folder, pattern):
    """A share that is no longer mounted must not look like a quiet camera."""
    inner = folder / "inner"
    inner.mkdir()
    looks = []

    def vanish():
        looks.append(1)
        if len(looks) == 3:
            inner.rmdir()
        return len(looks) > 20

    source = open_source(str(inner / pattern), SourceOptions(watch=True))
    with pytest.raises(SourceError, match=r"inner: the folder is gone"):
        list(source.frames(vanish))


def test_a_loop_of_damaged_images_ends(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    assert sizes(tmp_path, SourceOptions(play="fast", loop=True)) == []


def test_slides_wait_for_us_and_follow_the_rate(folder):
    source = open_source(str(folder), SourceOptions(fps=20, loop=True))
    assert not source.live
    frames = source.frames(never)
    stamps = [frame.captured_monotonic_ns for frame in itertools.islice(frames, 9)]
    frames.close()
    assert np.diff(stamps) == pytest.approx(np.full(8, 50e6), rel=1e-3)
