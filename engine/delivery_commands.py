"""The commands about what is delivered: ``platering deadletters``, ``lists`` and ``schema``.

Like ``engine.cli``, which adds them: everything beyond the parser is imported when it runs.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from engine.errors import EXIT_FAILED, ConfigError, PayloadError, SinkError

if TYPE_CHECKING:
    from engine.config import Settings
    from engine.deadletters import DeadLetters, Letter
    from engine.watchlists.entries import Watchlists

_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  # what add_subparsers returns

_HALF: Final = "engine"
_EXTRAS: Final = 'install it: pip install "platering[webhooks,mqtt,rabbitmq,kafka]"'

DEADLETTERS_ABOUT: Final = """\
Shows, sends again or drops the sightings that a sink refused for good: a webhook that answered with
an error, Redis where another program uses the key, a broker that allows no such topic. resend sends
them in their order and stops at the first one that fails; what was delivered is no dead letter any
longer. Without IDs it is about all of them, or all of --target."""

LISTS_ABOUT: Final = """\
Imports, exports and shows the watchlists. A CSV has a header with the column plate and any of:
  match     exact, confusable (O is 0, B is 8), near (one character wrong), pattern; default: exact
  label     what hits say of it
  severity  info, warning, alarm; default: info
  schedule  when it counts, in local time, like "mon-fri 08:00-18:00; sat"; default: always
  expires   a day or a moment like 2026-12-31; default: never
A plate with * ? @ # [ or { is a pattern: * is any rest, ? one character, @ a letter, # a digit.
A running engine goes by every change within a second, by a million new entries within seconds."""

SCHEMA_ABOUT: Final = """\
Prints the JSON schema of a sighting, which is what Redis, webhooks, Kafka, RabbitMQ and MQTT get.
Fields may be added in later versions, none is removed or changes its meaning."""


def show_schema(_options: argparse.Namespace) -> int:
    """Print the JSON schema of a sighting."""
    import msgspec  # noqa: PLC0415  # lazy, see the module's docstring

    from engine.types import Sighting  # noqa: PLC0415  # same

    schema = msgspec.json.encode(msgspec.json.schema(Sighting))
    sys.stdout.write(msgspec.json.format(schema, indent=2).decode() + "\n")
    return 0


def add_deadletters(command: argparse.ArgumentParser, config: Callable[..., None]) -> None:
    """Fill in ``platering deadletters``."""
    actions = command.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, short, run in (
        ("list", "show them", _list_letters),
        ("resend", "send them again", _resend),
        ("drop", "forget them", _drop),
    ):
        action = actions.add_parser(name, help=short)
        config(action)
        action.add_argument("--target", metavar="NAME", help="only those of this webhook or sink")
        if name == "list":
            action.add_argument("--json", action="store_true", help="one JSON object per line")
        else:
            action.add_argument("ids", nargs="*", type=int, metavar="ID", help="default: all")
        action.set_defaults(command=run)


def add_lists(command: argparse.ArgumentParser, config: Callable[..., None]) -> None:
    """Fill in ``platering lists``."""
    actions: _Commands = command.add_subparsers(title="actions", metavar="ACTION", required=True)
    load = actions.add_parser("import", help="add the entries of a CSV to a list")
    load.add_argument("name", metavar="LIST")
    load.add_argument("file", metavar="FILE", help="- for standard input")
    load.add_argument("--replace", action="store_true", help="what is not in the CSV goes")
    save = actions.add_parser("export", help="write a list as CSV")
    save.add_argument("name", metavar="LIST")
    save.add_argument("file", nargs="?", default="-", metavar="FILE", help="default: the terminal")
    show = actions.add_parser("show", help="how many entries each list has, or those of one")
    show.add_argument("name", nargs="?", metavar="LIST")
    remove = actions.add_parser("remove", help="remove a list, or one plate of it")
    remove.add_argument("name", metavar="LIST")
    remove.add_argument("plate", nargs="?", metavar="PLATE")
    for action, run in ((load, _import), (save, _export), (show, _show), (remove, _remove)):
        config(action)
        action.set_defaults(command=run)


# --- dead letters ---------------------------------------------------------------------------------


@contextmanager
def _letters(options: argparse.Namespace) -> Iterator[tuple["Settings", "DeadLetters"]]:
    from engine.config import load_settings  # noqa: PLC0415  # lazy, see the module's docstring
    from engine.deadletters import FILE_NAME, DeadLetters  # noqa: PLC0415  # same

    settings = load_settings(options.config)
    with closing(DeadLetters(settings.data_dir / _HALF / FILE_NAME)) as letters:
        yield settings, letters


def _chosen(options: argparse.Namespace, letters: "DeadLetters") -> Iterator["Letter"]:
    """Yield the letters that the command line asks for, oldest first."""
    after, ids = 0, set(getattr(options, "ids", ()))
    while some := letters.letters(options.target, after):
        after = some[-1].id
        yield from (letter for letter in some if not ids or letter.id in ids)


def _list_letters(options: argparse.Namespace) -> int:
    import msgspec  # noqa: PLC0415  # lazy, see the module's docstring

    with _letters(options) as (_settings, letters):
        for letter in _chosen(options, letters):
            sighting = letter.event.sighting
            if options.json:
                line = msgspec.json.encode(
                    {
                        "id": letter.id,
                        "target": letter.target,
                        "unix_ms": letter.unix_ms,
                        "reason": letter.reason,
                        "sighting": sighting,
                    }
                ).decode()
            else:
                line = (
                    f"{letter.id:>6}  {_moment(letter.unix_ms)}  {letter.target:<16} "
                    f"{sighting.plate:<10} {sighting.camera:<16} {letter.reason}"
                )
            sys.stdout.write(f"{line}\n")
    return 0


def _resend(options: argparse.Namespace) -> int:
    from engine.sinks.resend import Resender  # noqa: PLC0415  # lazy, see the module's docstring

    sent = 0
    with _letters(options) as (settings, letters), closing(Resender(settings)) as resender:
        for letter in _chosen(options, letters):
            try:
                resender.send(letter)
            except SinkError as error:
                sys.stdout.write(f"{sent} sent again; {letter.id} to {letter.target}: {error}\n")
                return EXIT_FAILED
            except ImportError as error:
                key = f"sinks.{letter.target}"
                raise ConfigError(key, "its library is not installed", _EXTRAS) from error
            letters.drop(letter.id)
            sent += 1
    sys.stdout.write(f"{sent} sent again\n")
    return 0


def _drop(options: argparse.Namespace) -> int:
    with _letters(options) as (_settings, letters):
        dropped = sum(letters.drop(letter.id) for letter in _chosen(options, letters))
    sys.stdout.write(f"{dropped} dropped\n")
    return 0


def _moment(unix_ms: int) -> str:
    from datetime import datetime  # noqa: PLC0415  # lazy, see the module's docstring

    return datetime.fromtimestamp(unix_ms / 1_000).astimezone().isoformat(" ", "seconds")


# --- watchlists -----------------------------------------------------------------------------------


@contextmanager
def _lists(options: argparse.Namespace) -> Iterator["Watchlists"]:
    from engine.config import load_settings  # noqa: PLC0415  # lazy, see the module's docstring
    from engine.watchlists.entries import FILE_NAME, Watchlists  # noqa: PLC0415  # same

    settings = load_settings(options.config)
    with closing(Watchlists(settings.data_dir / _HALF / FILE_NAME)) as lists:
        yield lists


def _import(options: argparse.Namespace) -> int:
    from engine.watchlists.entries import read_csv  # noqa: PLC0415  # lazy, see above

    with _lists(options) as lists:
        instead_of = options.name if options.replace else None
        try:
            if options.file == "-":
                count = lists.put(read_csv(options.name, sys.stdin), instead_of=instead_of)
            else:
                with Path(options.file).open(encoding="utf-8-sig", newline="") as lines:
                    count = lists.put(read_csv(options.name, lines), instead_of=instead_of)
        except (PayloadError, UnicodeDecodeError) as error:
            raise ConfigError(options.file, str(error), "nothing was imported") from error
        total = lists.sizes().get(options.name, 0)
    sys.stdout.write(f"{count} imported, {options.name} has {total} entries\n")
    return 0


def _export(options: argparse.Namespace) -> int:
    from engine.watchlists.entries import write_csv  # noqa: PLC0415  # lazy, see above

    with _lists(options) as lists:
        _must_be_there(lists, options.name)
        if options.file == "-":
            write_csv(lists.entries(options.name), sys.stdout)
            return 0
        with Path(options.file).open("w", encoding="utf-8", newline="") as out:
            count = write_csv(lists.entries(options.name), out)
    sys.stdout.write(f"{count} exported\n")
    return 0


def _show(options: argparse.Namespace) -> int:
    with _lists(options) as lists:
        if options.name is None:
            for name, size in lists.sizes().items():
                sys.stdout.write(f"{name:<24} {size:>9} entries\n")
            return 0
        _must_be_there(lists, options.name)
        for entry in lists.entries(options.name):
            until = f"until {_moment(entry.expires_unix_ms)}" if entry.expires_unix_ms else ""
            words = (entry.match, entry.severity, entry.label, entry.schedule, until)
            said = "  ".join(word for word in words if word)
            sys.stdout.write(f"{entry.plate:<16} {said}\n")
    return 0


def _remove(options: argparse.Namespace) -> int:
    from engine.plates import normalise  # noqa: PLC0415  # lazy, see the module's docstring

    with _lists(options) as lists:
        _must_be_there(lists, options.name)
        if options.plate is None:
            removed = lists.remove(options.name)
        else:
            given = options.plate.upper()
            removed = lists.remove(options.name, given) or lists.remove(
                options.name, normalise(given)
            )
    sys.stdout.write(f"{removed} removed\n")
    return 0


def _must_be_there(lists: "Watchlists", name: str) -> None:
    sizes = lists.sizes()
    if name not in sizes:
        known = ", ".join(sizes) or "none at all"
        raise ConfigError(name, "there is no such list", f"lists are: {known}")
