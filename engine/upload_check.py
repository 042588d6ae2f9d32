"""What a file is that somebody handed in: ``python -m engine.upload_check FILE MAX_MEGAPIXELS``.

A process of its own, because it opens what strangers made: it may crash, hang or eat memory, and
nothing else is harmed. Prints a ``Checked`` as JSON; exit code 1 and a sentence where it is nothing
that can be read.
"""

import contextlib
import resource
import sys
from pathlib import Path
from typing import Final

import av
import msgspec

from engine.errors import EXIT_FAILED, SourceError
from engine.sources import SourceOptions, count_frames, open_source
from engine.sources.images import IMAGE_SUFFIXES
from engine.sources.libav import open_container
from engine.uploads import Checked

MEMORY_BYTES: Final = 2 << 30
CPU_S: Final = 20


def check(path: str, max_megapixels: float) -> Checked:
    """Decode the first picture and read how long the rest is.

    Raises:
        SourceError: it cannot be read.
    """
    options = SourceOptions(play="fast", max_megapixels=max_megapixels)
    with contextlib.closing(open_source(path, options)) as source:
        first = next(iter(source.frames(lambda: False)), None)
        if first is None:
            raise SourceError("there is no picture in it")
        width_px, height_px = first.width_px, first.height_px
    is_picture = Path(path).suffix in IMAGE_SUFFIXES
    return Checked(
        width_px=width_px,
        height_px=height_px,
        frames=count_frames(path, options) or 0,
        duration_s=0.0 if is_picture else _duration_s(path, options),
    )


def _duration_s(path: str, options: SourceOptions) -> float:
    with open_container(path, options) as container:
        return round((container.duration or 0) / av.time_base, 3)


def main(path: str, max_megapixels: str) -> int:
    """Check one file; return the exit code."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        seen = check(path, float(max_megapixels))
    except SourceError as error:
        sys.stdout.write(str(error).removeprefix(f"{path}: "))
        return EXIT_FAILED
    sys.stdout.buffer.write(msgspec.json.encode(seen))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
