"""The commands about who may use the front: ``platering keys`` and ``platering people``.

Like ``engine.cli``, which adds them: everything beyond the parser is imported when it runs.
"""

import argparse
import getpass
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from engine.errors import ConfigError

if TYPE_CHECKING:
    from engine.config import Settings

_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  # what add_subparsers returns

_SCOPES: Final = ("metrics", "stream", "ingest", "read", "operate", "admin")
_ROLES: Final = ("viewer", "operator", "admin")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_MOST_NAME: Final = 64
_MIB: Final = 1 << 20

KEYS_ABOUT: Final = """\
Adds, lists and removes keys of programs. A running front goes by every change from the next request
on; while there is no key and no person, a front on 127.0.0.1 asks nobody for one. Scopes:
  metrics   scrape /metrics
  stream    follow live events, see what cameras see
  ingest    post plates, as agents do
  read      search and see everything but secrets; includes stream and metrics
  operate   read, and correct sightings, change lists, upload, pause cameras
  admin     everything
Programs send it as "Authorization: Bearer KEY" or "X-API-Key: KEY". Those that can send no header
append ?key=KEY to the URL: only with a key of the scope ingest, stream or metrics."""

PEOPLE_ABOUT: Final = """\
Adds, lists and removes the people who log in to the page. Adding a name again changes its role and
password and ends its sessions. The password is asked for, or is the first line of standard input.
Roles are those of the scopes read (viewer), operate (operator) and admin: see platering keys."""


def add_keys(command: argparse.ArgumentParser, config: Callable[..., None]) -> None:
    """Fill in ``platering keys``."""
    actions: _Commands = command.add_subparsers(title="actions", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="make a key and show it, once")
    add.add_argument("--scope", choices=_SCOPES, required=True, help="what it is for")
    add.add_argument("--name", default="", metavar="NAME", help="what you call it")
    show = actions.add_parser("list", help="show which keys there are")
    remove = actions.add_parser("remove", help="remove a key")
    remove.add_argument("id", metavar="ID", help="as platering keys list shows it")
    for action, run in ((add, _add_key), (show, _list_keys), (remove, _remove_key)):
        config(action)
        action.set_defaults(command=run)


def add_people(command: argparse.ArgumentParser, config: Callable[..., None]) -> None:
    """Fill in ``platering people``."""
    actions: _Commands = command.add_subparsers(title="actions", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="add a person, or change role and password")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--role", choices=_ROLES, required=True)
    show = actions.add_parser("list", help="show who may log in")
    remove = actions.add_parser("remove", help="remove a person and end their sessions")
    remove.add_argument("name", metavar="NAME")
    for action, run in ((add, _add_person), (show, _list_people), (remove, _remove_person)):
        config(action)
        action.set_defaults(command=run)


# --- keys -----------------------------------------------------------------------------------------


def _add_key(options: argparse.Namespace) -> int:
    from engine.keys import Keys  # noqa: PLC0415  # lazy, see the module's docstring
    from engine.scopes import Scope  # noqa: PLC0415  # same

    if len(options.name) > _MOST_NAME or not options.name.isprintable():
        raise ConfigError("--name", f"has at most {_MOST_NAME} characters, on one line")
    settings, folder = _access(options)
    key, text = Keys(folder).add(Scope(options.scope), options.name)
    _note(settings, "platering keys add", f"{key.title} of scope {key.scope}")
    sys.stderr.write(f"{key.title}, scope {key.scope}; it is shown this once:\n")
    sys.stdout.write(f"{text}\n")
    return 0


def _list_keys(options: argparse.Namespace) -> int:
    from engine.keys import Keys  # noqa: PLC0415  # lazy, see the module's docstring

    for key in Keys(_access(options)[1]).all():
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(key.made_unix_ms / 1_000))
        sys.stdout.write(f"{key.id}  {key.scope:<8} made {made}  {key.name}\n".rstrip() + "\n")
    return 0


def _remove_key(options: argparse.Namespace) -> int:
    from engine.keys import Keys  # noqa: PLC0415  # lazy, see the module's docstring

    settings, folder = _access(options)
    if not Keys(folder).remove(options.id):
        raise ConfigError(options.id, "there is no key of this id", "platering keys list shows all")
    _note(settings, "platering keys remove", f"key {options.id}")
    sys.stdout.write(f"key {options.id} removed\n")
    return 0


# --- people ---------------------------------------------------------------------------------------


def _add_person(options: argparse.Namespace) -> int:
    from engine.people import People  # noqa: PLC0415  # lazy, see the module's docstring

    if not _NAME.fullmatch(options.name):
        raise ConfigError(
            "NAME", "is 1 to 63 letters, digits, dots, dashes and underscores", "a letter first"
        )
    settings, folder = _access(options)
    People(folder).put(options.name, options.role, _password())
    _note(settings, "platering people add", f"{options.name} as {options.role}")
    sys.stdout.write(f"{options.name} may log in as {options.role}\n")
    return 0


def _password() -> str:
    """Ask for a password twice, or take the first line where nobody is there to ask."""
    from engine.people import LONGEST_PASSWORD, SHORTEST_PASSWORD  # noqa: PLC0415  # lazy, see above

    if sys.stdin.isatty():
        password = getpass.getpass("password: ")
        if getpass.getpass("again: ") != password:
            raise ConfigError("password", "is not the same both times", "try again")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise ConfigError(
            "password",
            f"has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters",
            "choose another",
        )
    return password


def _list_people(options: argparse.Namespace) -> int:
    from engine.people import People  # noqa: PLC0415  # lazy, see the module's docstring

    for person in People(_access(options)[1]).all():
        sys.stdout.write(f"{person.name:<24} {person.role}\n")
    return 0


def _remove_person(options: argparse.Namespace) -> int:
    from engine.people import People  # noqa: PLC0415  # lazy, see the module's docstring

    settings, folder = _access(options)
    if not People(folder).remove(options.name):
        raise ConfigError(options.name, "there is nobody of this name", "see platering people list")
    _note(settings, "platering people remove", options.name)
    sys.stdout.write(f"{options.name} removed\n")
    return 0


# --- both -----------------------------------------------------------------------------------------


def _access(options: argparse.Namespace) -> tuple["Settings", Path]:
    """Return the configuration and the folder of keys and people."""
    from engine.config import load_settings  # noqa: PLC0415  # lazy, see the module's docstring
    from engine.records import FOLDER  # noqa: PLC0415  # same

    settings = load_settings(options.config)
    return settings, settings.data_dir / FOLDER


def _note(settings: "Settings", action: str, what: str) -> None:
    """Put into the audit log what was done at this terminal."""
    from engine.audit import AuditLog, Entry  # noqa: PLC0415  # lazy, see the module's docstring
    from engine.records import FOLDER  # noqa: PLC0415  # same

    AuditLog(settings.data_dir / FOLDER, settings.api.audit_mib * _MIB).write(
        Entry(
            at_unix_ms=time.time_ns() // 1_000_000,
            who=f"{getpass.getuser()} at a terminal",
            address="",
            action=action,
            what=what,
        )
    )
