"""Slot formats: sizes, shapes, and the pixels that come out again as luma and as pictures."""

import cv2
import numpy as np
import pytest
from clips import make_clip
from ring_rig import rigged

from engine.errors import RingError
from engine.evidence import crop_jpeg, frame_jpeg
from engine.ring import RingReader
from engine.slot_formats import FORMATS, as_frame, fitting_size, frame_bytes, luma_of, write_frame
from engine.sources import SourceOptions, open_source
from engine.types import Box


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("slots") / "clip.mkv"
    return make_clip(path, "ffv1", "yuv420p", (321, 181), frames=1)


def slot_of(clip, form):
    """Return a frame of the clip as it lies in a slot, and its height."""
    (frame,) = open_source(str(clip), SourceOptions(play="fast")).frames(lambda: False)
    width, height = fitting_size(frame.width_px, frame.height_px, form)
    flat = np.zeros(frame_bytes(width, height, form), np.uint8)
    slot = as_frame(flat, width, form)
    write_frame(frame, slot, form, None)
    assert np.shares_memory(slot, flat)
    return slot, height


@pytest.mark.parametrize(
    ("form", "size", "shape"),
    [
        ("gray", (321, 181), (181, 321)),
        ("i420", (320, 180), (270, 320)),
        ("bgr24", (321, 181), (181, 321, 3)),
    ],
)
def test_sizes_and_shapes(clip, form, size, shape):
    assert fitting_size(321, 181, form) == size
    slot, _ = slot_of(clip, form)
    assert slot.shape == shape
    assert slot.nbytes == frame_bytes(*size, form)


def test_luma_is_the_same_in_all_formats(clip):
    (gray, _), (i420, i420_height), (bgr, height) = (slot_of(clip, form) for form in FORMATS)
    assert luma_of(gray, 181) is not None
    np.testing.assert_array_equal(luma_of(i420, i420_height), gray[:180, :320])
    assert np.shares_memory(luma_of(i420, i420_height), i420)
    # From BGR it comes in full range.
    limited = luma_of(bgr, height).astype(float) * 219 / 255 + 16
    assert np.abs(limited - gray).mean() < 2


@pytest.mark.parametrize("form", ["i420", "bgr24"])
def test_pictures_of_sightings_have_colour(clip, form):
    slot, height = slot_of(clip, form)
    box = Box(100, 60, 80, 40)
    whole = cv2.imdecode(np.frombuffer(frame_jpeg(slot, height), np.uint8), cv2.IMREAD_COLOR)
    part = cv2.imdecode(np.frombuffer(crop_jpeg(slot, height, box), np.uint8), cv2.IMREAD_COLOR)
    assert whole.shape[:2] == (height, slot.shape[1])
    assert part.shape[:2] == (62, 122)
    assert np.abs(whole[50:112, 80:202].astype(int) - part).mean() < 6
    assert np.ptp(part.astype(int), axis=2).mean() > 30, "it is not gray"


def test_no_other_format_and_no_odd_size():
    with pytest.raises(RingError, match="gray or i420 or bgr24, not rgb"):
        frame_bytes(2, 2, "rgb")
    with pytest.raises(RingError, match="even sizes"):
        frame_bytes(3, 2, "i420")


def test_bgr24_holds_colour_and_readers_without_a_lease_get_luma():
    with rigged((33, 17), form="bgr24") as rig:
        writer, reader = rig.started_writer(), RingReader(rig.handle)
        slot = writer.acquire()
        frame = writer.memory.frame(slot)
        assert frame.shape == (17, 33, 3)
        frame[:] = (0, 255, 0)
        del frame
        writer.publish(slot, 1, 1)
        luma, stamp = reader.snapshot()
        assert luma.shape == (17, 33)
        assert (luma == 150).all()
        assert stamp.generation == 1
        reader.close()
