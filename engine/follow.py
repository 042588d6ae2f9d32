"""``platering watch``: follows the live events of a front, near or far, in a terminal.

Like ``engine.cli``, which adds it: everything beyond the parser is imported when it runs.
"""

import argparse
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.errors import ConfigError

if TYPE_CHECKING:
    from engine.event_stream import EventStream
    from engine.event_table import Display

WATCH_ABOUT: Final = """\
Follows the live events of a web front until Ctrl-C: a table on a terminal, lines elsewhere. When
the connection or the server goes away it comes back and resumes where it was; what the server no
longer has is told as a gap with its count. With --json every line is one object: event (sighting,
gap, camera, end), id, data; --since ID goes on behind such an id."""

_FILTERS: Final = ("camera", "plate", "list", "min_confidence", "phase", "since")


def add_watch(command: argparse.ArgumentParser) -> None:
    """Fill in ``platering watch``."""
    command.add_argument(
        "--url", default="http://127.0.0.1:8080", help="of the front; default: %(default)s"
    )
    command.add_argument(
        "--key", default="", help="its key, better as '${NAME}' or file:PATH than in plain"
    )
    command.add_argument(
        "--ca-file", type=Path, metavar="FILE", help="certificates to trust instead of the system's"
    )
    command.add_argument("--camera", default="", help="only this camera")
    command.add_argument("--plate", default="", help="only plates like AB* (* any rest, ? one)")
    command.add_argument("--list", default="", help="only plates on this watchlist")
    command.add_argument(
        "--min-confidence", type=float, default=0.0, metavar="N", help="only from here, 0 to 100"
    )
    command.add_argument(
        "--phase", choices=("provisional", "revised", "final"), default="",
        help="only this; final: one event per vehicle",
    )  # fmt: skip
    command.add_argument("--cameras", action="store_true", help="also how cameras turn")
    command.add_argument(
        "--since", default="", metavar="ID", help="from behind this event; 0: all that is kept"
    )
    command.set_defaults(command=watch)


def watch(options: argparse.Namespace) -> int:
    """Follow the events until Ctrl-C.

    Raises:
        ConfigError: an option makes no sense.
        ControlError: the server refuses what is asked.
    """
    from rich.console import Console  # noqa: PLC0415  # lazy, see the module's docstring

    from engine.event_stream import EventStream  # noqa: PLC0415  # same
    from engine.event_table import JsonLines, LiveTable, PlainLines  # noqa: PLC0415  # same

    wishes = {name: str(getattr(options, name) or "") for name in _FILTERS}
    wishes["cameras"] = "1" if options.cameras else ""
    stream = EventStream(options.url, wishes, key=_revealed(options.key))
    if options.ca_file is not None:
        if not options.ca_file.is_file():
            raise ConfigError("--ca-file", f"there is no {options.ca_file}")
        stream.trust(options.ca_file)
    console = Console(highlight=False)
    if options.json:
        _show(stream, JsonLines(sys.stdout))
    elif not console.is_terminal:
        _show(stream, PlainLines(sys.stdout))
    else:
        with LiveTable(console) as table:
            _show(stream, table)
    return 0


def _show(stream: "EventStream", display: "Display") -> None:
    with closing(stream.follow(display.state)) as blocks:
        for block in blocks:
            display.show(block)


def _revealed(key: str) -> str:
    """Return the key itself, as of secrets in the configuration."""
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415  # lazy, see above

    from engine.section import Secret  # noqa: PLC0415  # same

    try:
        return TypeAdapter(Secret).validate_python(key)
    except ValidationError as error:
        raise ConfigError("--key", error.errors()[0]["msg"]) from error
