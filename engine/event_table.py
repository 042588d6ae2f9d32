"""What ``platering watch`` shows: a table that moves on a terminal, lines elsewhere, or JSON."""

import sys
import time
from collections import deque
from typing import Final, Protocol, Self, TextIO

import msgspec
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from engine.event_stream import Block, Gap
from engine.types import CameraEvent, Phase, Sighting

LINES: Final = 20
_COLOURS: Final = {Phase.PROVISIONAL: "yellow", Phase.REVISED: "cyan", Phase.FINAL: "green"}

_sightings = msgspec.json.Decoder(Sighting)
_turns = msgspec.json.Decoder(CameraEvent)
_gaps = msgspec.json.Decoder(Gap)


class Line(msgspec.Struct, frozen=True):
    """An event as people read it."""

    unix_ms: int
    camera: str
    what: str
    confidence: str = ""
    phase: str = ""
    note: str = ""
    style: str = ""

    @property
    def time(self) -> str:
        """Its local time; empty where it has none."""
        return time.strftime("%H:%M:%S", time.localtime(self.unix_ms / 1_000)) * bool(self.unix_ms)


class Display(Protocol):
    """Where events go."""

    def show(self, block: Block) -> None:
        """Show an event."""

    def state(self, trouble: str) -> None:
        """Say why nothing comes now; empty: the line is open."""


def line_of(block: Block) -> Line | None:
    """Return an event as a line; None for what only programs want to know."""
    try:
        return _line(block)
    except msgspec.DecodeError:  # the server is of a later version
        return Line(0, "", "an event that cannot be read here", style="dim")


def _line(block: Block) -> Line | None:
    if block.event == "message":
        one = _sightings.decode(block.data)
        hits = ", ".join(f"{hit.list}: {hit.label or hit.plate}" for hit in one.hits)
        note = f"{one.region} {hits}".strip()
        style = "bold red" if one.hits else _COLOURS[one.news]
        return Line(
            one.last_unix_ms, one.camera, one.plate, f"{one.confidence:.1f}", one.news, note, style
        )
    if block.event == "camera":
        turn = _turns.decode(block.data)
        return Line(turn.unix_ms, turn.camera, f"is {turn.state}", note=turn.reason, style="blue")
    if block.event == "gap":
        missed = _gaps.decode(block.data).missed
        lost = "events" if missed is None else f"{missed} events"
        return Line(0, "", f"{lost} are gone", style="bold magenta")
    return None


class JsonLines:
    """One object a line: ``event``, ``id`` to resume behind, ``data`` as the server sent it."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def show(self, block: Block) -> None:
        """Print it."""
        event = "sighting" if block.event == "message" else block.event
        whole = {"event": event, "id": block.id, "data": msgspec.Raw(block.data.encode())}
        self._out.write(msgspec.json.encode(whole).decode() + "\n")
        self._out.flush()

    def state(self, trouble: str) -> None:
        """Say it where it does not disturb."""
        _say_trouble(trouble)


class PlainLines:
    """One line an event, for a pipe or a log."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def show(self, block: Block) -> None:
        """Print it."""
        line = line_of(block)
        if line is not None:
            words = (line.time, line.what, line.confidence, line.camera, line.phase, line.note)
            self._out.write("  ".join(word for word in words if word) + "\n")
            self._out.flush()

    def state(self, trouble: str) -> None:
        """Say it where it does not disturb."""
        _say_trouble(trouble)


class LiveTable:
    """The newest events on a terminal; use it as a context."""

    def __init__(self, console: Console) -> None:
        self._lines: deque[Line] = deque(maxlen=min(LINES, max(1, console.height - 6)))
        self._trouble = "connecting"
        self._count = 0
        self._live = Live(console=console, refresh_per_second=8, get_renderable=self._drawn)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, block: Block) -> None:
        """Put it on top."""
        line = line_of(block)
        if line is not None:
            self._lines.appendleft(line)
            self._count += block.event == "message"

    def state(self, trouble: str) -> None:
        """Show it below the table."""
        self._trouble = trouble

    def _drawn(self) -> Group:
        table = Table("Time", "Plate", "%", "Camera", "Phase", "", box=box.SIMPLE_HEAD)
        for line in self._lines:
            words = (line.time, line.what, line.confidence, line.camera, line.phase, line.note)
            table.add_row(*(Text(word) for word in words), style=line.style)
        state = (
            Text(f"waiting: {self._trouble}", "yellow") if self._trouble else Text("live", "green")
        )
        return Group(table, state + Text(f" · {self._count} events", "dim"))


def _say_trouble(trouble: str) -> None:
    if trouble:
        sys.stderr.write(f"platering: waiting: {trouble}\n")
        sys.stderr.flush()
