"""What a route needs, takes and answers, said once beside its view.

Access checks, the checks of what is sent and the OpenAPI document all read the same declaration.
"""

import functools
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import msgspec
from flask import Response, request

from api.problems import ProblemError
from engine.scopes import Scope

JSON: Final = "application/json"
MARK: Final = "platering_endpoint"
"""The attribute of a view that holds its ``Endpoint``."""

_LARGEST_BODY_BYTES: Final = 1 << 20
"""Of routes that take JSON; uploads and ingest read their bodies themselves."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One route as its view declares it."""

    needs: Scope | None
    """None: open to everybody (the page's own files, health, log-in)."""
    query: type[msgspec.Struct] | None = None
    """Its query string; the view gets it as ``query``. Unknown names are refused if it says so."""
    body: Any = None
    """The type of its JSON body; the view gets it as ``body``."""
    takes: str = ""
    """The media type of a body that the view reads itself."""
    answers: Any = None
    """The type of its JSON answer, or a media type as text, several in a tuple."""
    status: int = HTTPStatus.OK


def endpoint(
    *,
    needs: Scope | None,
    query: type[msgspec.Struct] | None = None,
    body: Any = None,
    takes: str = "",
    answers: Any = None,
    status: int = HTTPStatus.OK,
) -> Callable[[Callable[..., Any]], Callable[..., Response]]:
    """Declare a view; stands below its route. What the view returns becomes JSON.

    A ``Response`` is passed on as it is. What does not fit ``query`` or ``body`` is answered by
    400 with the field's name, before the view is called.
    """
    declared = Endpoint(
        needs=needs, query=query, body=body, takes=takes, answers=answers, status=status
    )

    def declare(view: Callable[..., Any]) -> Callable[..., Response]:
        @functools.wraps(view)
        def checked(**path: Any) -> Response:
            if query is not None:
                path["query"] = _query(query)
            if body is not None:
                path["body"] = _body(body)
            answer = view(**path)
            if isinstance(answer, Response):
                return answer
            encoded = b"" if answer is None else msgspec.json.encode(answer)
            return Response(encoded, status=status, mimetype=JSON)

        setattr(checked, MARK, declared)
        return checked

    return declare


def declared_by(view: Callable[..., Any]) -> Endpoint | None:
    """Return what a view declares, None if it declares nothing."""
    found: Endpoint | None = getattr(view, MARK, None)
    return found


def _query(kind: type[msgspec.Struct]) -> msgspec.Struct:
    """Return the query string as a structure; a name said twice counts once, the last time."""
    said = {name: values[-1] for name, values in request.args.lists()}
    try:
        return msgspec.convert(said, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _explained(error) from error


def _body(kind: Any) -> Any:
    """Return the JSON body as what the route takes."""
    request.max_content_length = _LARGEST_BODY_BYTES
    try:
        return msgspec.json.decode(request.get_data(cache=False), type=kind)
    except msgspec.ValidationError as error:
        raise _explained(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError(400, f"is no valid JSON: {error}", field="body") from error


def _explained(error: msgspec.ValidationError) -> ProblemError:
    """Turn msgspec's sentence (``Expected `int`, got `str` - at `$.limit```) into ours."""
    problem, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").lstrip(".").replace("[...]", "[]")
    return ProblemError(400, problem[:1].lower() + problem[1:], field=field or "body")
