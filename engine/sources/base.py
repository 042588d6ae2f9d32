"""What every source promises: frames that write themselves into memory the caller owns.

The decoder process opens one source per camera and hands each frame a ring slot to write into,
so the pixels are copied once, from the codec's buffer (or the renderer's) into shared memory.
"""

from collections.abc import Callable, Iterator
from typing import Literal, Protocol

import msgspec

from engine.sources.preroll import Preroll
from engine.types import Bgr, Luma

PREVIEW_WIDTH_PX = 160
"""The widest preview a frame makes; the motion gate needs no more."""


class SourceOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to play a source; the decoder fills it from the camera's section.

    ``play``: ``realtime`` paces a file like a camera, ``fast`` gives every frame as quickly as it
    is taken. ``fps`` caps the frame rate (0: all frames). ``base_dir`` is where relative file
    paths start ("" for the working directory).
    """

    play: Literal["realtime", "fast"] = "realtime"
    loop: bool = False
    fps: float = 0.0
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 5.0
    transport: Literal["auto", "tcp", "udp"] = "auto"
    camera_clock: bool = True
    """Streams: believe the sender's own clock where it tells one that can be right."""
    base_dir: str = ""
    crop: tuple[float, ...] = ()
    """x, y, width, height of the part to keep, as shares of the upright picture; () for all."""
    scale: int = 1
    """Pictures are made this many times smaller while they are written, by area."""
    deinterlace: bool = False
    hwaccel: str = "none"
    skip_loop_filter: Literal["none", "nonref", "all"] = "none"
    skip_frame: Literal["none", "nonref", "nonkey"] = "none"
    max_megapixels: float = 36.0
    """Larger pictures are refused before their memory is asked for, as far as libav lets us."""
    poll_s: float = 0.0
    """http only: above 0, a single picture is fetched so often."""
    watch: bool = False
    """Folders only: wait for images that come later, instead of showing those that are there."""
    stdin: str = "pipe:0"
    """What to open for standard input."""
    clip_s: float = 0.0
    """Keep the packets of so many seconds for clips; 0 for none."""
    clip_bytes: int = 0
    """Memory that those packets take at most."""


class SourceFrame(Protocol):
    """One picture; valid until the next one is taken from ``frames()``.

    Times are stamped once: when the picture became available (live), or when it was due (a file
    played in real time). ``pts_s`` is the media's own time in seconds, None where it has none.
    """

    @property
    def width_px(self) -> int:
        """Width of the picture in pixels."""

    @property
    def height_px(self) -> int:
        """Height of the picture in pixels."""

    @property
    def captured_unix_ns(self) -> int:
        """Wall clock at capture, nanoseconds since 1970."""

    @property
    def captured_monotonic_ns(self) -> int:
        """``time.monotonic_ns`` at capture."""

    @property
    def pts_s(self) -> float | None:
        """The media's own time."""

    def write_luma(self, target: Luma) -> None:
        """Write the luma plane as it was coded (limited range stays limited).

        target: (H, W) uint8, C-contiguous; the caller's, every byte is overwritten.
        """

    def write_i420(self, target: Luma) -> None:
        """Write planar 4:2:0: luma, then U, then V.

        target: (H' * 3 // 2, W') uint8, C-contiguous, with H' and W' the height and width
        rounded down to even; an odd last row or column is left out.
        """

    def write_bgr(self, target: Bgr) -> None:
        """Write blue, green, red; target: (H, W, 3) uint8, C-contiguous."""

    def preview(self) -> Luma:
        """Return a luma copy at most ``PREVIEW_WIDTH_PX`` wide; the caller's."""


class Source(Protocol):
    """A camera, stream, file or scene that yields frames; one thread uses it."""

    @property
    def live(self) -> bool:
        """True: never waits for us, late frames are dropped. False: lossless, it waits."""

    @property
    def endless(self) -> bool:
        """True: a camera or stream; its end is a loss, worth connecting again. False: it ends."""

    @property
    def capped(self) -> int:
        """How many frames the ``fps`` cap has left out so far."""

    @property
    def spoilt(self) -> int:
        """How many packets could not be decoded, and frames are damaged, so far."""

    @property
    def preroll(self) -> Preroll | None:
        """The packets kept for clips; None where none are wanted, or the source has no packets."""

    def frames(self, stop: Callable[[], bool]) -> Iterator[SourceFrame]:
        """Yield frames until the end of the stream or until ``stop()`` is true.

        Raises:
            SourceError: it cannot be read (any more); the text never holds a password.
        """

    def close(self) -> None:
        """Let go of connections and files; ``frames()`` ends. Safe to call twice."""
