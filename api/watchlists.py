"""Watchlists over REST: the lists of this machine's engine, their entries, and imports.

The lists are one SQLite file beside the engine (``engine.watchlists``), whose publisher notices
changes within a second. Everything about the file happens in native threads: a million entries take
a while to import, and the front goes on.
"""

import csv
import io
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, BinaryIO, Final, TypeVar

import gevent
import msgspec
from flask import Blueprint, request
from msgspec import Meta

from api.endpoints import endpoint
from api.problems import ProblemError
from engine.errors import PayloadError
from engine.scopes import Scope
from engine.watchlists.entries import (
    Entry,
    Watchlists,
    check_list_name,
    entry_of,
    read_csv,
)

MOST: Final = 1_000
MOST_BYTES: Final = 128 << 20
"""Of an import: over a million entries."""
CHUNK_BYTES: Final = 1 << 16

T = TypeVar("T")


class Watchlist(msgspec.Struct, frozen=True, kw_only=True):
    """One list."""

    name: str
    entries: int
    alert: bool
    """An entry of it raises the alarm."""


class EntryPage(msgspec.Struct, frozen=True):
    """Entries by the order of their plates; ``next`` is the cursor of the page that follows."""

    entries: list[Entry]
    next: str = ""


class WantedEntries(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries, and where the page begins."""

    plate: Annotated[str, Meta(max_length=64, description="What their plates begin with.")] = ""
    limit: Annotated[int, Meta(ge=1, le=MOST)] = 100
    cursor: Annotated[str, Meta(max_length=128, description="next of the page before.")] = ""


class NewEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an entry says besides its list and plate; what is empty takes its default."""

    match: Annotated[
        str, Meta(max_length=16, description="exact, confusable, near, or pattern.")
    ] = ""
    label: Annotated[str, Meta(max_length=200)] = ""
    note: Annotated[str, Meta(max_length=200, description="The same as label.")] = ""
    severity: Annotated[str, Meta(max_length=16, description="info, warning or alarm.")] = ""
    schedule: Annotated[
        str, Meta(max_length=200, description="Local time: mon-fri 08:00-18:00; sat")
    ] = ""
    expires: Annotated[
        str, Meta(max_length=40, description="A day, included, or a moment of ISO 8601.")
    ] = ""


class Import(msgspec.Struct, frozen=True):
    """How an import is to be taken."""

    replace: Annotated[bool, Meta(description="Empty the list first.")] = False


class Imported(msgspec.Struct, frozen=True):
    """How many entries an import had."""

    entries: int


class ListRoom:
    """Works with the file of the lists, a fresh connection each time."""

    def __init__(self, path: Path | None) -> None:
        """Take the path of the file; None where no engine is beside this front."""
        self._path = path

    def do(self, work: Callable[[Watchlists], T]) -> T:
        """Return what some work with the lists returns; it is done in a native thread.

        Raises:
            ProblemError: there are no lists here, or somebody else holds them.
        """
        path = self._path
        if path is None:
            raise ProblemError(409, "lists are kept where the cameras are: say it there")

        def worked() -> T:
            with closing(Watchlists(path)) as lists:
                return work(lists)

        try:
            done: T = gevent.get_hub().threadpool.apply(worked)
        except sqlite3.OperationalError as error:
            raise ProblemError(503, f"the lists are held: {error}", retry_after_s=2) from error
        return done


def blueprint(room: ListRoom) -> Blueprint:
    """Return the routes of this room."""
    routes = Blueprint("watchlists", __name__)
    _add_lists(routes, room)
    _add_entries(routes, room)
    return routes


def _add_lists(routes: Blueprint, room: ListRoom) -> None:
    """Add the routes of whole lists."""

    @routes.get("/api/v1/watchlists")
    @endpoint(needs=Scope.READ, answers=list[Watchlist])
    def watchlists() -> list[Watchlist]:
        """All lists."""

        def look(lists: Watchlists) -> list[Watchlist]:
            alarming = lists.alarming()
            return [
                Watchlist(name=name, entries=count, alert=name in alarming)
                for name, count in lists.sizes().items()
            ]

        return room.do(look)

    @routes.delete("/api/v1/watchlists/<name>")
    @endpoint(needs=Scope.OPERATE, status=204)
    def remove_list(name: str) -> None:
        """Remove a list with all its entries."""
        if not room.do(lambda lists: lists.remove(name)):
            raise ProblemError(404, "there is no list of this name")

    @routes.post("/api/v1/watchlists/<name>/import")
    @endpoint(needs=Scope.OPERATE, query=Import, takes="text/csv", answers=Imported)
    def take(name: str, query: Import) -> Imported:
        """Add the entries of a CSV, all or none; its first line names the columns.

        Only plate must be there; match, label, severity, schedule and expires may be.
        """
        check_list_name(name)
        with tempfile.TemporaryFile() as file:
            _store_body(file)
            count = room.do(lambda lists: _import(lists, name, file, replace=query.replace))
        return Imported(count)


def _add_entries(routes: Blueprint, room: ListRoom) -> None:
    """Add the routes of single entries."""

    @routes.get("/api/v1/watchlists/<name>/entries")
    @endpoint(needs=Scope.READ, query=WantedEntries, answers=EntryPage)
    def entries(name: str, query: WantedEntries) -> EntryPage:
        """The entries of a list, in the order of their plates."""
        beginning = query.plate.upper()
        found = room.do(lambda lists: lists.page(name, query.limit + 1, query.cursor, beginning))
        page = found[: query.limit]
        return EntryPage(page, page[-1].plate if len(found) > len(page) else "")

    @routes.put("/api/v1/watchlists/<name>/entries/<plate>")
    @endpoint(needs=Scope.OPERATE, body=NewEntry, answers=Entry)
    def put(name: str, plate: str, body: NewEntry) -> Entry:
        """Put a plate or pattern on a list, or change it there; the list is made if need be."""
        entry = _entry(
            name,
            plate,
            match=body.match,
            label=body.label or body.note,
            severity=body.severity,
            schedule=body.schedule,
            expires=body.expires,
        )
        room.do(lambda lists: lists.put([entry]))
        return entry

    @routes.delete("/api/v1/watchlists/<name>/entries/<plate>")
    @endpoint(needs=Scope.OPERATE, status=204)
    def remove(name: str, plate: str) -> None:
        """Take a plate or pattern off a list."""
        text = _entry(name, plate).plate
        if not room.do(lambda lists: lists.remove(name, text)):
            raise ProblemError(404, "this list has no such plate")


def _entry(name: str, plate: str, **said: str) -> Entry:
    """Return a checked entry; raises ProblemError, PayloadError where it is none."""
    check_list_name(name)
    try:
        return entry_of(name, plate=plate, **said)
    except ValueError as error:
        raise ProblemError(400, str(error), field="entry") from error


def _store_body(file: BinaryIO) -> None:
    """Write the body into a file: a thread may not read from the connection."""
    request.max_content_length = MOST_BYTES
    while chunk := request.stream.read(CHUNK_BYTES):
        file.write(chunk)
    file.seek(0)


def _import(lists: Watchlists, name: str, file: BinaryIO, *, replace: bool) -> int:
    try:
        with io.TextIOWrapper(file, "utf-8-sig", newline="") as lines:
            return lists.put(read_csv(name, lines), instead_of=name if replace else None)
    except UnicodeDecodeError as error:
        raise PayloadError("body", "is no UTF-8 text") from error
    except csv.Error as error:
        raise PayloadError("body", f"is no CSV: {error}") from error
