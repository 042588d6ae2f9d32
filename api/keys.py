"""``/api/v1/keys``: keys of programs, for admins."""

from typing import Annotated, Final

import msgspec
from flask import Blueprint, Response, g

from api.endpoints import endpoint
from api.problems import ProblemError
from engine.keys import Key, Keys
from engine.scopes import Scope

PATH: Final = "/api/v1/keys"
PRINTABLE: Final = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""Names are shown in terminals, which control characters would steer."""


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a key is to be made for."""

    scope: Scope
    name: Annotated[str, msgspec.Meta(max_length=64, pattern=PRINTABLE)] = ""


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key as lists show it."""

    id: str
    name: str
    scope: Scope
    made_unix_ms: int
    key: str = ""
    """The key itself, only in the answer to its making: nothing shows it again."""


class KeyList(msgspec.Struct, frozen=True):
    """All keys, the oldest first."""

    keys: list[KeyView]


def blueprint(keys: Keys) -> Blueprint:
    """Return the routes of this room."""
    routes = Blueprint("keys", __name__)

    @routes.get(PATH)
    @endpoint(needs=Scope.ADMIN, answers=KeyList)
    def all_keys() -> KeyList:
        """All keys, without their secrets."""
        return KeyList([_view(key) for key in keys.all()])

    @routes.post(PATH)
    @endpoint(needs=Scope.ADMIN, body=NewKey, answers=KeyView, status=201)
    def add_key(body: NewKey) -> KeyView:
        """Make a key; this answer alone shows it."""
        key, text = keys.add(body.scope, body.name)
        g.what = f"{key.title} of scope {key.scope}"
        return _view(key, text)

    @routes.delete(f"{PATH}/<key_id>")
    @endpoint(needs=Scope.ADMIN, status=204)
    def remove_key(key_id: str) -> Response:
        """Remove a key: from now on nobody may do anything with it."""
        key = keys.of(key_id)
        if key is None or not keys.remove(key_id):
            raise ProblemError(404, "there is no key of this id")
        g.what = key.title
        return Response(status=204)

    return routes


def _view(key: Key, text: str = "") -> KeyView:
    return KeyView(
        id=key.id, name=key.name, scope=key.scope, made_unix_ms=key.made_unix_ms, key=text
    )
