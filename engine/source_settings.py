"""How a camera's settings say that its source is to be played."""

from engine.config import CameraSettings
from engine.sources import SourceOptions


def source_options(
    camera: CameraSettings, *, base_dir: str = "", stdin: str = "pipe:0"
) -> SourceOptions:
    """Return a camera's options; ``stdin`` is where the engine's standard input is found."""
    clip_s = camera.clip_before_s + camera.clip_after_s if camera.clip != "none" else 0.0
    return SourceOptions(
        play=camera.play,
        loop=camera.loop,
        fps=camera.fps,
        connect_timeout_s=camera.connect_timeout_s,
        read_timeout_s=camera.read_timeout_s,
        transport=camera.transport,
        camera_clock=camera.camera_clock,
        base_dir=base_dir,
        crop=camera.crop,
        scale=camera.scale,
        deinterlace=camera.deinterlace,
        hwaccel=camera.hwaccel,
        skip_loop_filter=camera.skip_loop_filter,
        skip_frame=camera.skip_frame,
        max_megapixels=camera.max_megapixels,
        poll_s=camera.poll_s,
        watch=camera.watch,
        stdin=stdin,
        clip_s=clip_s,
        clip_bytes=camera.clip_mib << 20,
    )
