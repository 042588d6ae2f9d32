"""The front's application in the test's own process, over no Redis and no engine."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from flask import Flask

from api.app import Front, build_front, create_app
from engine.board import Board
from engine.config import ApiSettings
from engine.keys import Keys
from engine.records import FOLDER
from engine.scopes import Scope
from engine.sections import ApiSection


class FrontApp(msgspec.Struct):
    """The application and what it works with."""

    app: Flask
    front: Front
    board: Board


@contextmanager
def front_app(
    data_dir: Path,
    settings: ApiSettings | None = None,
    *,
    loopback: bool = True,
    hides_plates: bool = False,
) -> Iterator[FrontApp]:
    """Build the front as an API process does."""
    board = Board.create(f"platering.test{secrets.token_hex(4)}.board", 1, 1)
    section = ApiSection(
        api=(settings or ApiSettings()).model_dump_json(),
        redis_url="unix:///nowhere/redis.sock", node="test", board=board.name, cameras=(),
        control_path="", ingest_path="", data_dir=str(data_dir),
        hides_plates=hides_plates,
    )  # fmt: skip
    row = board.row(0)
    try:
        front = build_front(section, "api-0", row, board, loopback=loopback)
        yield FrontApp(create_app(front), front, board)
    finally:
        row.release()
        board.close()
        board.unlink()


def new_key(data_dir: Path, scope: Scope, name: str = "") -> str:
    """Make a key and return it."""
    return Keys(data_dir / FOLDER).add(scope, name)[1]
