"""What is kept of a picture: crop, rotation, one field, masks, zones of motion."""

import subprocess

import av
import cv2
import numpy as np
import pytest
from clips import make_clip, picture
from streams import needs

from engine.motion import MotionGate
from engine.sources import SourceError, SourceOptions, open_source
from engine.sources.masks import BLACK, Masks, within
from engine.sources.planes import Cut

FAST = SourceOptions(play="fast")


def first(path, **options):
    """Return luma, BGR, i420 and preview of a clip's first frame."""
    chosen = SourceOptions(play="fast", **options)
    with_close = open_source(str(path), chosen)
    frame = next(iter(with_close.frames(lambda: False)))
    width, height = frame.width_px, frame.height_px
    luma = np.zeros((height, width), np.uint8)
    bgr = np.zeros((height, width, 3), np.uint8)
    i420 = np.zeros(((height & ~1) * 3 // 2, width & ~1), np.uint8)
    frame.write_luma(luma)
    frame.write_bgr(bgr)
    frame.write_i420(i420)
    preview = frame.preview()
    with_close.close()
    return luma, bgr, i420, preview


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(
        tmp_path_factory.mktemp("view") / "clip.mp4", "libx264", "yuv420p", (320, 180), frames=2
    )


def test_a_crop_is_that_part_in_every_format(clip):
    luma, bgr, i420, _ = first(clip)
    crop = (0.25, 0.2, 0.5, 0.6)
    part, part_bgr, part_i420, preview = first(clip, crop=crop)
    assert part.shape == (108, 160)
    np.testing.assert_array_equal(part, luma[36:144, 80:240])
    np.testing.assert_array_equal(part_bgr, bgr[36:144, 80:240])
    np.testing.assert_array_equal(part_i420[:108], part)
    blue = i420[180:].reshape(2, 90, 160)[:, 18:72, 40:120]
    np.testing.assert_array_equal(part_i420[108:].reshape(2, 54, 80), blue)
    assert preview.shape == (108, 160)


def test_a_scaled_picture_is_the_average(clip):
    luma, bgr, i420, _ = first(clip)
    small, small_bgr, small_i420, preview = first(clip, scale=2)
    assert small.shape == (90, 160)
    averaged = luma.reshape(90, 2, 160, 2).mean(axis=(1, 3))
    assert np.abs(small - averaged).max() <= 1
    assert np.abs(small_bgr - bgr.reshape(90, 2, 160, 2, 3).mean(axis=(1, 3))).max() <= 1
    np.testing.assert_array_equal(small_i420[:90], small)
    chroma = i420[180:].reshape(2, 45, 2, 80, 2).mean(axis=(2, 4))
    assert np.abs(small_i420[90:].reshape(2, 45, 80) - chroma).max() <= 1
    assert preview.shape == (90, 160)
    part, *_ = first(clip, scale=3, crop=(0.5, 0.5, 0.5, 0.5))
    assert part.shape == (30, 53)


@pytest.mark.parametrize("crop", [(0, 0, 1, 1), (0.99, 0.99, 0.01, 0.01), (0.3, 0.3, 0.0001, 0.5)])
def test_every_crop_lies_in_the_picture(crop):
    cut = Cut.of(crop, 321, 181)
    assert cut.x % 2 == cut.y % 2 == 0
    assert 0 < cut.width <= 321 - cut.x
    assert 0 < cut.height <= 181 - cut.y


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_metadata_is_followed_as_ffmpeg_does(clip, tmp_path, degrees):
    ffmpeg = needs("ffmpeg", "ffmpeg")
    turned, upright = tmp_path / "turned.mp4", tmp_path / "upright.mkv"
    quiet = [ffmpeg, "-loglevel", "error", "-y"]
    tag = ["-c", "copy", "-metadata:s:v:0", f"rotate={degrees}"]
    subprocess.run([*quiet, "-i", clip, *tag, turned], check=True)
    subprocess.run([*quiet, "-i", turned, "-c:v", "ffv1", upright], check=True)
    with av.open(str(turned)) as container:
        assert next(container.decode(video=0)).rotation % 360 in {degrees, 360 - degrees}
    expected, expected_bgr, expected_i420, _ = first(upright)
    luma, bgr, i420, preview = first(turned)
    np.testing.assert_array_equal(luma, expected)
    np.testing.assert_array_equal(i420, expected_i420)
    assert np.abs(bgr.astype(int) - expected_bgr).mean() < 3
    assert (preview.shape[0] > preview.shape[1]) == (degrees != 180)


def test_an_interlaced_picture_loses_its_comb(tmp_path):
    path = tmp_path / "interlaced.mkv"
    comb = picture(0, (320, 180))
    comb[1::2] = 255 - comb[1::2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "4", "flags": "+ilme+ildct"}
        frame = av.VideoFrame.from_ndarray(comb, format="rgb24").reformat(format="yuv420p")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    luma, *_ = first(path)
    calm, *_ = first(path, deinterlace=True)
    assert np.abs(np.diff(luma.astype(int), axis=0)).mean() > 40
    np.testing.assert_array_equal(calm[::2], luma[::2])
    np.testing.assert_array_equal(calm[1::2], luma[::2])


def test_a_progressive_picture_is_left_alone(clip):
    np.testing.assert_array_equal(first(clip, deinterlace=True)[0], first(clip)[0])


@pytest.mark.parametrize("hwaccel", ["auto", "cuda", "vaapi"])
def test_without_the_hardware_software_decodes(clip, hwaccel, caplog):
    np.testing.assert_array_equal(first(clip, hwaccel=hwaccel)[0], first(clip)[0])
    if hwaccel == "vaapi":
        assert "cannot work here, decoding in software" in caplog.text


def test_skipping_gives_fewer_frames(tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", "libx264", "yuv420p", (320, 180), frames=30)

    def count(**options):
        return sum(1 for _ in open_source(str(clip), SourceOptions(play="fast", **options)).frames(
            lambda: False))  # fmt: skip

    assert count() == count(skip_loop_filter="all") == 30
    assert count(skip_frame="nonkey") < 5
    assert first(clip, skip_loop_filter="all")[0].shape == (180, 320)


def test_without_its_loop_filter_a_picture_is_blockier(tmp_path):
    """H.265's filter smooths the edges between blocks of 8 pixels; without it they show."""
    clip = make_clip(tmp_path / "clip.ts", "libx265", "yuv420p", (320, 180), frames=3)

    def steps(**options):
        edges = np.abs(np.diff(first(clip, **options)[0].astype(int), axis=1))
        return edges[:, 7::8].mean() / edges.mean()

    assert steps(skip_loop_filter="all") > 1.1 * steps()
    assert steps(skip_loop_filter="none") == steps()


def test_too_large_pictures_are_refused(clip):
    source = open_source(str(clip), SourceOptions(play="fast", max_megapixels=0.05))
    with pytest.raises(SourceError, match=r"320×180 is more than max_megapixels = 0\.05"):
        next(iter(source.frames(lambda: False)))


# --- masks and zones -----------------------------------------------------------------------------


def test_masks_hide_all_of_their_polygon_and_little_more():
    slot = np.full((270, 320), 200, np.uint8)
    Masks([[(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)]]).i420(slot)
    luma, chroma = slot[:180], slot[180:].reshape(2, 90, 160)
    assert (luma[45:135, 80:240] == BLACK).all()
    assert (chroma[:, 23:67, 40:120] == 128).all()
    assert (luma == 200).sum() > 0.7 * luma.size
    assert (luma[:40] == 200).all()


def test_masks_follow_the_crop():
    (polygon,) = within([[(0.5, 0.5), (1.0, 0.5), (1.0, 1.0)]], (0.5, 0.0, 0.5, 1.0))
    assert polygon == [(0.0, 0.5), (1.0, 0.5), (1.0, 1.0)]
    slot = np.full((100, 100), 200, np.uint8)
    Masks(within([[(0.0, 0.0), (0.1, 0.0), (0.0, 0.1)]], (0.5, 0.5, 0.5, 0.5))).luma(slot)
    assert (slot == 200).all(), "what is cropped away hides nothing"


def test_motion_outside_of_the_zones_is_none():
    left = [[(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)]]
    still = np.full((90, 160), 100, np.uint8)
    passed = {}
    for name, x in (("inside", 20), ("outside", 120)):
        gate = MotionGate(afterglow_s=0.0, zones=left)
        gate.changed(still, 0.0)
        assert not gate.changed(still.copy(), 1.0)
        moved = still.copy()
        cv2.rectangle(moved, (x, 30), (x + 20, 50), 220, -1)
        passed[name] = gate.changed(moved, 2.0)
    assert passed == {"inside": True, "outside": False}
