"""Small video clips for tests, made with PyAV: something that moves, in any pixel format."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np

from engine.sources.scene import DemoScene


def picture(index: int, size: tuple[int, int]) -> np.ndarray:
    """Return a colourful moving picture, (H, W, 3) uint8 RGB; size: width, height."""
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    red = (x * 255 // width + 7 * index) % 256
    green = (y * 255 // height) % 256
    blue = np.where((x // 16 + y // 16 + index) % 2, 230, 20)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def make_clip(
    path: Path,
    codec: str,
    pix_fmt: str,
    size: tuple[int, int],
    *,
    frames: int,
    fps: int = 25,
) -> Path:
    """Write a clip and return its path; the container is chosen by the suffix."""
    with _usual_priority(), av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.thread_count = 1
        if codec == "libx264":
            stream.options = {"preset": "ultrafast", "crf": "18"}
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(index, size), format="rgb24")
            container.mux(stream.encode(frame.reformat(format=pix_fmt)))
        container.mux(stream.encode())
    return path


@contextmanager
def _usual_priority() -> Iterator[None]:
    """Take back what SVT-AV1's encoder gives a process of root: SCHED_FIFO, at 99.

    Its children inherit that, and two of them that never sleep leave nobody else a turn.
    """
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, priority)


def h264_clip(path: Path, *, frames: int, fps: int = 25) -> Path:
    """Write a small H.264 clip and return its path."""
    return make_clip(path, "libx264", "yuv420p", (160, 96), frames=frames, fps=fps)


def road_clip(path: Path, scene: DemoScene, *, seconds: int, fps: int = 15) -> Path:
    """Write a road scene with vehicles as H.264, a key frame a second; return its path."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width = scene.projection.width_px
        stream.height = scene.projection.height_px
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "20", "g": str(fps), "bf": "0"}
        for index in range(seconds * fps):
            pixels = np.ascontiguousarray(scene.bgr(index / fps))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "bgr24")))
        container.mux(stream.encode())
    return path
