"""Video files: every pixel format, sizes, pacing, loops; compared with what PyAV itself says."""

import itertools
import time

import av
import numpy as np
import pytest
from clips import h264_clip, make_clip, picture

from engine.errors import SourceError
from engine.sources import SourceOptions, count_frames, open_source
from engine.sources.base import PREVIEW_WIDTH_PX
from engine.sources.pace import RateCap

FAST = SourceOptions(play="fast")

CLIPS = [
    ("libx264", "yuv420p", (320, 180), "mp4"),
    ("libx264", "yuv420p", (322, 182), "mp4"),
    ("libx264", "yuv422p10le", (320, 180), "mp4"),
    ("libx264", "yuv420p10le", (320, 180), "mp4"),
    ("libx264", "yuv444p", (321, 181), "mp4"),
    ("libx264", "nv12", (320, 180), "mp4"),
    ("libx264", "gray", (320, 180), "mp4"),
    ("libx265", "yuv420p", (320, 180), "ts"),
    ("libx265", "yuv420p10le", (320, 180), "ts"),
    ("libsvtav1", "yuv420p", (320, 180), "mp4"),
    ("libsvtav1", "yuv420p10le", (320, 180), "mp4"),
    ("mpeg4", "yuv420p", (318, 178), "avi"),
    ("mjpeg", "yuvj420p", (333, 177), "avi"),
    ("mjpeg", "yuvj422p", (320, 180), "avi"),
    ("ffv1", "yuv420p", (321, 181), "mkv"),
    ("ffv1", "gray", (321, 181), "mkv"),
    ("ffv1", "gray10le", (320, 180), "mkv"),
    ("ffv1", "yuv422p10le", (323, 181), "mkv"),
    ("rawvideo", "yuyv422", (320, 180), "avi"),
    ("rawvideo", "uyvy422", (320, 180), "nut"),
    ("rawvideo", "p010le", (320, 180), "nut"),
    ("rawvideo", "nv12", (320, 180), "nut"),
    ("rawvideo", "bgr24", (320, 180), "nut"),
    ("ffv1", "bgr0", (320, 180), "mkv"),
]


def never() -> bool:
    return False


def reference_luma(frame: av.VideoFrame) -> np.ndarray:
    """Return luma by PyAV's own copying, plane by plane, independent of our view of memory."""
    width, height, name = frame.width, frame.height, frame.format.name
    if name in {"yuyv422", "uyvy422"}:
        raw, line = bytes(frame.planes[0]), frame.planes[0].line_size
        pairs = [raw[y * line :][: 2 * width] for y in range(height)]
        packed = np.frombuffer(b"".join(pairs), np.uint8).reshape(height, width, 2)
        return packed[:, :, 0 if name == "yuyv422" else 1]
    if frame.format.is_rgb:
        return frame.to_ndarray(format="gray")
    plane = frame.planes[0]
    deep = frame.format.components[0].bits > 8
    row = width * (2 if deep else 1)
    raw = bytes(plane)
    rows = b"".join(raw[y * plane.line_size :][:row] for y in range(height))
    samples = np.frombuffer(rows, "<u2" if deep else np.uint8).reshape(height, width)
    if not deep:
        return samples
    shift = 8 if name.startswith("p0") else frame.format.components[0].bits - 8
    return (samples // 2**shift).astype(np.uint8)


def decoded(path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


@pytest.mark.parametrize(("codec", "pix_fmt", "size", "suffix"), CLIPS)
def test_luma_is_the_decoders_luma(tmp_path, codec, pix_fmt, size, suffix):
    clip = make_clip(tmp_path / f"clip.{suffix}", codec, pix_fmt, size, frames=4)
    expected = decoded(clip)
    count = 0
    for frame, wanted in itertools.zip_longest(
        open_source(str(clip), FAST).frames(never), expected
    ):
        assert (frame.width_px, frame.height_px) == (wanted.width, wanted.height) == size
        slot = np.full((size[1], size[0]), 77, np.uint8)
        frame.write_luma(slot)
        np.testing.assert_array_equal(slot, reference_luma(wanted))
        count += 1
    assert count == len(expected) == 4
    assert np.ptp(slot) > 100, "the clip must show something"


@pytest.mark.parametrize(("codec", "pix_fmt", "size", "suffix"), CLIPS)
def test_i420_and_bgr_are_what_pyav_converts_to(tmp_path, codec, pix_fmt, size, suffix):
    clip = make_clip(tmp_path / f"clip.{suffix}", codec, pix_fmt, size, frames=1)
    (wanted,) = decoded(clip)
    (frame,) = open_source(str(clip), FAST).frames(never)
    width, height = size
    bgr = np.zeros((height, width, 3), np.uint8)
    frame.write_bgr(bgr)
    np.testing.assert_array_equal(bgr, wanted.to_ndarray(format="bgr24"))
    even_width, even_height = width & ~1, height & ~1
    slot = np.zeros((even_height * 3 // 2, even_width), np.uint8)
    frame.write_i420(slot)
    planar = wanted if pix_fmt in {"yuv420p", "yuvj420p"} else wanted.reformat(format="yuv420p")
    planes = [
        np.frombuffer(bytes(p), np.uint8).reshape(-1, p.line_size)
        for p in planar.planes
    ]  # fmt: skip
    np.testing.assert_array_equal(slot[:even_height], planes[0][:even_height, :even_width])
    chroma = slot[even_height:].reshape(2, even_height // 2, even_width // 2)
    for index in (0, 1):
        expected = planes[index + 1][: even_height // 2, : even_width // 2]
        np.testing.assert_array_equal(chroma[index], expected)


def test_luma_goes_straight_into_a_slot_of_a_larger_segment(tmp_path):
    clip = make_clip(tmp_path / "clip.mkv", "ffv1", "yuv420p", (320, 180), frames=1)
    segment = np.full(3 * 320 * 180, 9, np.uint8)
    (frame,) = open_source(str(clip), FAST).frames(never)
    frame.write_luma(segment[320 * 180 : 2 * 320 * 180].reshape(180, 320))
    assert (segment[: 320 * 180] == 9).all()
    assert (segment[2 * 320 * 180 :] == 9).all()
    assert np.ptp(segment[320 * 180 : 2 * 320 * 180]) > 100


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "gray"])
def test_preview_is_the_picture_made_small(tmp_path, pix_fmt):
    clip = make_clip(tmp_path / "clip.mkv", "ffv1", pix_fmt, (1280, 720), frames=1)
    (frame,) = open_source(str(clip), FAST).frames(never)
    preview = frame.preview()
    assert preview.shape == (90, PREVIEW_WIDTH_PX)
    full = np.empty((720, 1280), np.uint8)
    frame.write_luma(full)
    averaged = full.reshape(90, 8, 160, 8).mean(axis=(1, 3))
    assert np.abs(preview - averaged).mean() < 4


def test_damaged_packets_are_passed_over(tmp_path):
    clip = make_clip(tmp_path / "clip.avi", "mjpeg", "yuvj420p", (320, 180), frames=12)
    spoilt = bytearray(clip.read_bytes())
    middle = len(spoilt) // 2
    spoilt[middle : middle + 3000] = b"\0" * 3000
    clip.write_bytes(spoilt)
    shown = sum(1 for _ in open_source(str(clip), FAST).frames(never))
    assert 6 <= shown <= 12


def test_a_stream_that_begins_later_spoils_nothing(tmp_path):
    """PyAV may look for it at the end, and knows only those that were there at first."""
    first, later = tmp_path / "first.ts", tmp_path / "later.ts"
    make_clip(first, "libx264", "yuv420p", (320, 180), frames=50)
    with av.open(str(later), "w", options={"tables_version": "3"}) as container:
        streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for index in range(50):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(picture(index, (320, 180)), format="rgb24")
                container.mux(stream.encode(frame.reformat(format="yuv420p")))
        for stream in streams:
            container.mux(stream.encode())
    first.write_bytes(first.read_bytes() + later.read_bytes())
    for _ in range(5):
        assert sum(1 for _ in open_source(str(first), FAST).frames(never)) >= 50


def test_a_sound_file_has_no_video(tmp_path):
    path = tmp_path / "beep.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(SourceError, match="no video"):
        next(iter(open_source(str(path), FAST).frames(never)))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_count_frames_estimates(tmp_path, suffix):
    clip = h264_clip(tmp_path / f"clip.{suffix}", frames=30)
    assert count_frames(str(clip)) == pytest.approx(30, abs=2)


# --- time --------------------------------------------------------------------------------------


def test_fast_is_faster_than_the_clip_and_lossless(tmp_path):
    clip = h264_clip(tmp_path / "clip.mp4", frames=50, fps=10)
    source = open_source(str(clip), FAST)
    began = time.monotonic()
    times = [frame.pts_s for frame in source.frames(never)]
    assert time.monotonic() - began < 2.5, "the clip is 5 s long"
    assert times == pytest.approx([i / 10 for i in range(50)])
    assert not source.live
    assert not source.endless


def test_real_time_follows_the_clips_own_clock(tmp_path):
    clip = h264_clip(tmp_path / "clip.mp4", frames=11, fps=20)
    source = open_source(str(clip))
    assert not source.live, "a file waits for its readers"
    assert not source.endless
    stamps, lateness_ms = [], []
    for frame in source.frames(never):
        stamps.append(frame.captured_monotonic_ns)
        lateness_ms.append((time.monotonic_ns() - frame.captured_monotonic_ns) / 1e6)
        assert abs(frame.captured_unix_ns - time.time_ns()) < 1e9
    assert np.diff(stamps) == pytest.approx(np.full(10, 50e6), rel=1e-3)
    assert min(lateness_ms) >= 0
    assert np.median(lateness_ms) < 25


def test_stop_ends_the_wait_for_a_frame_soon(tmp_path):
    clip = h264_clip(tmp_path / "clip.mp4", frames=3, fps=1)
    began = time.monotonic()
    shown = sum(1 for _ in open_source(str(clip)).frames(lambda: time.monotonic() - began > 0.2))
    assert shown == 1
    assert time.monotonic() - began < 0.5


def test_a_loop_goes_on_in_time(tmp_path):
    clip = h264_clip(tmp_path / "clip.mp4", frames=4, fps=40)
    frames = open_source(str(clip), SourceOptions(loop=True)).frames(never)
    taken = list(itertools.islice(frames, 10))
    gaps = np.diff([frame.captured_monotonic_ns for frame in taken])
    assert gaps == pytest.approx(np.full(9, 25e6), rel=1e-3)
    assert [round(frame.pts_s * 40) for frame in taken] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    frames.close()


def test_a_slow_reader_does_not_fall_behind_for_ever(tmp_path):
    clip = h264_clip(tmp_path / "clip.mp4", frames=60, fps=20)
    began, ages_s = time.monotonic(), []
    for frame in open_source(str(clip)).frames(lambda: time.monotonic() - began > 3.5):
        ages_s.append((time.monotonic_ns() - frame.captured_monotonic_ns) / 1e9)
        busy_until = time.monotonic() + 0.15
        while time.monotonic() < busy_until:
            pass
    assert max(ages_s) < 1.2


@pytest.mark.parametrize(("fps", "expected"), [(0, 50), (10, 20), (25, 50), (24, 48), (5, 10)])
def test_the_cap_leaves_frames_out_evenly(tmp_path, fps, expected):
    clip = h264_clip(tmp_path / "clip.mp4", frames=50, fps=25)
    source = open_source(str(clip), SourceOptions(play="fast", fps=fps))
    times = [frame.pts_s for frame in source.frames(never)]
    assert len(times) == pytest.approx(expected, abs=1)
    assert len(times) + source.capped == 50
    if fps == 10:
        assert max(np.diff(times)) < 0.13


def test_the_cap_recovers_after_a_gap():
    cap = RateCap(2.0)
    times = [0.0, 0.1, 0.5, 10.0, 10.1, 10.5]
    assert [cap.passes(t) for t in times] == [True, False, True, True, False, True]
