"""Writes the clips that benchmarks decode: H.264 of gray pictures."""

from collections.abc import Iterable
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
