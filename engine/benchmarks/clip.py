"""Writes the clips that benchmarks decode: H.264 of gray pictures."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from engine.types import Luma


def write_clip(path: Path, lumas: Iterable[Luma], fps: int, crf: int = 23) -> Path:
    """Encode pictures of one size, (H, W) uint8 each, as a camera would; return the path."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "veryfast", "crf": str(crf)}
        for luma in lumas:
            if not stream.codec_context.is_open:
                stream.height, stream.width = luma.shape
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(luma), format="gray")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())
    return path


def play_at(clip: Path, fps: float, path: Path) -> Path:
    """Write a clip's packets to ``path`` so that they play at another rate; return it."""
    with av.open(str(clip)) as old, av.open(str(path), "w") as new:
        source = old.streams.video[0]
        stream = new.add_stream_from_template(source)
        slower = Fraction(source.average_rate or 1) / Fraction(fps)
        for packet in old.demux(source):
            if packet.dts is None or packet.pts is None:  # the end
                continue
            packet.pts, packet.dts = round(packet.pts * slower), round(packet.dts * slower)
            packet.duration = round((packet.duration or 0) * slower)
            packet.stream = stream
            new.mux(packet)
    return path
