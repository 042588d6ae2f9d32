"""What a person sees while the engine runs: a few lines at start-up, then a line that moves."""

import contextlib
import logging
import sys
from typing import Final

import msgspec
from rich.console import Console
from rich.live import Live
from rich.logging import RichHandler
from rich.text import Text

log = logging.getLogger(__name__)

PIPE_COLUMNS: Final = 160
QUIET_S: Final = 60.0
"""Without a terminal, how often the state is logged."""


class Pulse(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of the status line."""

    cameras_live: int
    cameras: int
    frames_per_s: float
    recognized_per_s: float
    dropped_per_s: float
    sightings: int
    last_plate: str = ""
    spool: int = 0
    restarts: int = 0


def pulse_text(pulse: Pulse) -> str:
    """Write the figures as one readable line."""
    line = (
        f"cameras {pulse.cameras_live}/{pulse.cameras} live · {pulse.frames_per_s:.0f} frames/s · "
        f"{pulse.recognized_per_s:.0f} recognized/s · {pulse.dropped_per_s:.0f} dropped/s · "
        f"{pulse.sightings} sightings"
    )
    if pulse.spool:
        line += f" · {pulse.spool} spooled"
    if pulse.restarts:
        line += f" · {pulse.restarts} restarts"
    return line


class StatusLine:
    """Shows the pulse on a terminal; elsewhere logs it once a minute."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live: Live | None = None
        self._logged_at = 0.0

    def start(self) -> None:
        """Begin to show; on a terminal, log lines scroll above the status line."""
        if not self._console.is_terminal:
            return
        self._live = Live(Text(""), console=self._console, refresh_per_second=4, transient=True)
        self._live.start()
        root = logging.getLogger()
        rich = RichHandler(console=self._console, show_path=False, markup=False)
        for handler in list(root.handlers):
            root.removeHandler(handler)
            rich.filters += handler.filters
        root.addHandler(rich)

    def show(self, pulse: Pulse, now_s: float) -> None:
        """Show the newest figures."""
        if self._live is not None:
            self._live.update(Text(pulse_text(pulse), style="bold"))
        elif now_s - self._logged_at >= QUIET_S:
            self._logged_at = now_s
            log.info("%s", pulse_text(pulse))

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            with contextlib.suppress(OSError):  # it has been closed
                self._live.stop()
            self._live = None


def say(line: str) -> None:
    """Print one start-up line."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def table_console() -> Console:
    """Return a console for tables on standard output; wide enough where no terminal bounds it."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(width=PIPE_COLUMNS, highlight=False)
