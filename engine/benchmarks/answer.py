"""How every benchmark prints its figures: a line each for people, one object for programs."""

import sys
from typing import Final

import msgspec

_NAME_COLUMNS: Final = 26


def print_figures(figures: msgspec.Struct, *, as_json: bool) -> int:
    """Print a group's figures; return the exit code 0."""
    found = {name: _rounded(value) for name, value in msgspec.structs.asdict(figures).items()}
    if as_json:
        sys.stdout.write(msgspec.json.encode({"figures": found}).decode() + "\n")
    else:
        for name, value in found.items():
            shown = "–" if value is None else str(value)
            sys.stdout.write(f"{name:<{_NAME_COLUMNS}} {shown:>12}\n")
    sys.stdout.flush()
    return 0


def _rounded(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value


def say(what: str) -> None:
    """Tell on standard error what goes on."""
    sys.stderr.write(f"measuring {what} …\n")
    sys.stderr.flush()
