"""The cap before decoding: the same frames as without it, each counted, and less work."""

import time

import av
import numpy as np
import pytest
from clips import make_clip, picture

from engine.sources import SourceOptions, open_source

FRAMES = 120


def never() -> bool:
    return False


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Clips of 120 frames, 25 a second: of frames that stand alone, and with B frames."""
    folder = tmp_path_factory.mktemp("thrift")
    alone = make_clip(folder / "alone.avi", "mjpeg", "yuvj420p", (640, 360), frames=FRAMES)
    needed = folder / "needed.mp4"
    with av.open(str(needed), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        stream.options = {"preset": "veryfast", "bf": "3", "b-pyramid": "none", "g": "50"}
        for index in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(picture(index, (640, 360)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return {"alone": alone, "needed": needed}


def played(path, fps):
    """Return times and luma of the frames that the cap lets through, and how many it did not."""
    source = open_source(str(path), SourceOptions(play="fast", fps=fps))
    times, lumas = [], []
    for frame in source.frames(never):
        luma = np.empty((frame.height_px, frame.width_px), np.uint8)
        frame.write_luma(luma)
        times.append(frame.pts_s)
        lumas.append(luma)
    return times, lumas, source.capped


def cpu_s(path, fps):
    began = time.process_time()
    source = open_source(str(path), SourceOptions(play="fast", fps=fps))
    assert sum(1 for _ in source.frames(never))
    return time.process_time() - began


@pytest.mark.parametrize("kind", ["alone", "needed"])
@pytest.mark.parametrize("fps", [20.0, 10.0, 5.0, 1.0])
def test_the_same_pixels_at_an_even_pace_and_every_frame_counted(clips, kind, fps):
    every, wanted, none = played(clips[kind], 0.0)
    assert (len(every), none) == (FRAMES, 0)
    times, lumas, capped = played(clips[kind], fps)
    assert len(times) + capped == FRAMES
    assert len(times) == pytest.approx(FRAMES / 25 * fps, abs=1.5)
    assert max(np.diff(times)) < 1 / fps + 0.05
    for at, luma in zip(times, lumas, strict=True):
        np.testing.assert_array_equal(luma, wanted[every.index(at)])


@pytest.mark.parametrize(("kind", "share"), [("alone", 0.5), ("needed", 0.95)])
def test_what_is_left_out_costs_less(clips, kind, share, record_property):
    """Every other round, so that a machine that slows down slows both."""
    rounds = [(cpu_s(clips[kind], 2.0), cpu_s(clips[kind], 0.0)) for _ in range(7)]
    saved = float(np.median([capped / whole for capped, whole in rounds]))
    record_property(f"cpu_of_2_fps_over_all_{kind}", round(saved, 2))
    assert saved < share


def test_a_rare_frame_of_those_that_stand_alone_keeps_its_distance(tmp_path):
    slow = make_clip(tmp_path / "slow.avi", "mjpeg", "yuvj420p", (160, 96), frames=120, fps=2)
    times, _, capped = played(slow, 0.05)
    assert times == pytest.approx([0.0, 20.0, 40.0], abs=0.6)
    assert capped == 117
