"""Pre-roll: what is kept of a stream is bounded, and a clip of it is the same video, remuxed."""

import io
import itertools

import av
import numpy as np
import pytest
from clips import make_clip, picture

from engine.errors import SourceError
from engine.sources import SourceOptions, open_source
from engine.sources.preroll import Preroll

MIB = 1 << 20
GROUP_S = 0.4
CLIPS = [
    ("libx264", "yuv420p", "mp4", "mp4"),
    ("libx264", "yuv422p10le", "ts", "mp4"),
    ("libx265", "yuv420p", "ts", "mp4"),
    ("libsvtav1", "yuv420p", "mkv", "mp4"),
    ("mjpeg", "yuvj422p", "avi", "mp4"),
    ("libvpx", "yuv420p", "webm", "matroska"),
]


def never() -> bool:
    return False


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    """4 s of video whose key frames are 0.4 s apart, with B frames."""
    path = tmp_path_factory.mktemp("preroll") / "groups.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.options = {"g": "10", "keyint_min": "10", "bf": "2", "sc_threshold": "0"}
        for index in range(100):
            frame = av.VideoFrame.from_ndarray(picture(index, (160, 96)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def decoded(video: bytes) -> tuple[str, list[av.VideoFrame]]:
    with av.open(io.BytesIO(video)) as container:
        return container.format.name, list(container.decode(video=0))


def played(path, keep_s=60.0, most_bytes=64 * MIB) -> Preroll:
    """Play a whole file; return what was kept of it."""
    options = SourceOptions(play="fast", clip_s=keep_s, clip_bytes=most_bytes)
    source = open_source(str(path), options)
    assert sum(1 for _ in source.frames(never))
    source.close()
    return source.preroll


@pytest.mark.parametrize(("codec", "pix_fmt", "suffix", "container"), CLIPS)
def test_a_clip_is_the_same_video(tmp_path, codec, pix_fmt, suffix, container):
    path = make_clip(tmp_path / f"clip.{suffix}", codec, pix_fmt, (160, 96), frames=30)
    with av.open(str(path)) as whole:
        wanted = [frame.to_ndarray(format="rgb24").tobytes() for frame in whole.decode(video=0)]
    kind, frames = decoded(played(path).clip())
    assert container in kind
    assert len(frames) == len(wanted) == 30
    assert [frame.to_ndarray(format="rgb24").tobytes() for frame in frames] == wanted
    assert np.diff([frame.time for frame in frames]) == pytest.approx(np.full(29, 0.04), abs=2e-3)


def test_only_the_last_seconds_are_kept_from_a_key_frame_on(groups):
    _, frames = decoded(played(groups, keep_s=1.0).clip())
    assert frames[0].key_frame
    length_s = frames[-1].time - frames[0].time + 0.04
    assert 1.0 <= length_s <= 1.0 + GROUP_S + 0.1
    with av.open(str(groups)) as whole:
        last = list(whole.decode(video=0))[-1]
    np.testing.assert_array_equal(frames[-1].to_ndarray(), last.to_ndarray())


def test_memory_is_bounded_whatever_the_seconds(groups):
    bound = 100_000
    source = open_source(str(groups), SourceOptions(play="fast", clip_s=60.0, clip_bytes=bound))
    most = 0
    for _ in source.frames(never):
        most = max(most, source.preroll.kept_bytes)
    assert bound / 2 < most <= bound
    assert len(source.preroll.clip()) < bound + 20_000
    source.close()


def test_tiny_packets_take_memory_too(groups):
    preroll = Preroll(60.0, 50_000)
    with av.open(str(groups)) as container:
        stream = container.streams.video[0]
        preroll.begin(stream)
        kept = 0
        for number in range(10_000):
            packet = av.Packet(b"x")
            packet.is_keyframe = number % 10 == 0
            preroll.keep(packet, number / 1000)
            kept = max(kept, sum(len(group.packets) for group in preroll._groups))
    assert preroll.kept_bytes <= 50_000
    assert kept < 100


def test_a_group_that_is_too_large_gives_no_clip_but_a_remedy(groups):
    with pytest.raises(SourceError, match="clip_mib"):
        played(groups, most_bytes=1_000).clip()


def test_pictures_without_compression_give_no_clip_but_the_reason(tmp_path):
    path = make_clip(tmp_path / "clip.nut", "rawvideo", "yuyv422", (160, 96), frames=3)
    with pytest.raises(SourceError, match="fits into no file without encoding"):
        played(path).clip()


def test_a_loop_goes_on_in_the_clip(groups):
    options = SourceOptions(play="fast", loop=True, clip_s=60.0, clip_bytes=64 * MIB)
    source = open_source(str(groups), options)
    playing = source.frames(never)
    assert sum(1 for _ in itertools.islice(playing, 250)) == 250
    _, frames = decoded(source.preroll.clip())
    playing.close()
    assert len(frames) >= 250
    assert np.diff([frame.time for frame in frames]).min() > 0
    source.close()


def test_another_connection_forgets_the_last_one(groups, tmp_path):
    preroll = played(groups)
    other = make_clip(tmp_path / "other.mp4", "libx264", "yuv420p", (320, 180), frames=5)
    with av.open(str(other)) as container:
        stream = container.streams.video[0]
        preroll.begin(stream)
        assert preroll.kept_bytes == 0
        for packet in container.demux(stream):
            preroll.keep(packet, packet.dts and float(packet.dts * packet.time_base))
    _, frames = decoded(preroll.clip())
    assert {(frame.width, frame.height) for frame in frames} == {(320, 180)}


@pytest.mark.parametrize("jump_s", [-1e5, 95443.7, None])
def test_times_that_jump_or_are_missing_give_a_clip_that_plays_on(groups, jump_s):
    preroll = Preroll(60.0, 64 * MIB)
    with av.open(str(groups)) as container:
        stream = container.streams.video[0]
        preroll.begin(stream)
        for number, packet in enumerate(container.demux(stream)):
            time_s = number / 25
            if number >= 50:
                time_s = None if jump_s is None else time_s + jump_s
            preroll.keep(packet, time_s)
    _, frames = decoded(preroll.clip())
    assert len(frames) == 100
    assert np.diff([frame.time for frame in frames]).min() > 0
    assert frames[-1].time == pytest.approx(99 / 25, abs=0.1)


def test_what_sends_pictures_has_no_packets(tmp_path):
    for url in ("demo://", "http://camera.invalid/now.jpg"):
        assert open_source(url, SourceOptions(clip_s=5.0, clip_bytes=MIB)).preroll is None
    (tmp_path / "clip.mp4").write_bytes(b"x")
    assert open_source(str(tmp_path / "clip.mp4")).preroll is None, "none are wanted"
