"""The OpenAPI 3.1 document: what the routes declare (``api.endpoints``), in the usual form.

Nothing is written twice: parameters, bodies and answers come from the types that the views take
and return, summaries from the views' docstrings.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import version
from inspect import getdoc
from typing import Any, Final, TypeAlias

import msgspec
from flask import Blueprint, Flask
from werkzeug.routing import Rule

from api.endpoints import JSON, Endpoint, declared_by, endpoint
from api.problems import MEDIA_TYPE, Problem

Tree: TypeAlias = dict[str, Any]
"""A part of the document, ready for JSON."""

_REFERENCE: Final = "#/components/schemas/{name}"
_PLACE: Final = re.compile(r"<(?:(?P<kind>[^:<>]+):)?(?P<name>\w+)>")
_SECURITY: Final = "key"
_ABOUT: Final = """\
Everything the page shows, for programs. Times are UTC milliseconds since 1970 (_unix_ms), boxes
pixels of the full picture, confidences 0 to 100. What is no success is answered by problem+json
(RFC 9457). Sightings are listed newest first, in pages: next of one is cursor of the following.
"""


@lru_cache(maxsize=4)
def document(app: Flask) -> Tree:
    """Return the document of all routes that declare themselves; nobody changes it."""
    paths: dict[str, Tree] = {}
    types: list[Any] = [Problem]
    for rule, method, declared in _routes(app):
        types += [kind for kind in (declared.body, declared.answers) if _is_json(kind)]
        path = _PLACE.sub(r"{\g<name>}", rule.rule)
        view = app.view_functions[rule.endpoint]
        paths.setdefault(path, {})[method] = _operation(rule, method, declared, getdoc(view) or "")
    _, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Platering", "version": version("platering"), "description": _ABOUT},
        "servers": [{"url": "/"}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": components,
            "securitySchemes": {
                _SECURITY: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key that has the scope which the operation names, or one "
                    "that includes it. On loopback none is needed.",
                }
            },
        },
    }


def undeclared(app: Flask) -> set[str]:
    """Return the names of the routes that say nothing of themselves."""
    return {name for name, view in app.view_functions.items() if declared_by(view) is None}


def _routes(app: Flask) -> Iterator[tuple[Rule, str, Endpoint]]:
    """Yield every declared route once per method."""
    for rule in app.url_map.iter_rules():
        declared = declared_by(app.view_functions[rule.endpoint])
        if declared is not None:
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield rule, method.lower(), declared


def _operation(rule: Rule, method: str, declared: Endpoint, told: str) -> Tree:
    """Return what the document says of one method of one path."""
    summary, _, rest = told.partition("\n")
    operation: Tree = {
        "operationId": re.sub(r"\W+", "_", f"{method}{rule.rule}").strip("_"),
        "tags": [rule.endpoint.rpartition(".")[0].replace("_", " ") or "page"],
        "summary": summary,
        "parameters": [*_places(rule.rule), *_query(declared.query)],
        "responses": {
            str(int(declared.status)): _answer(declared.answers),
            "default": {
                "description": "It cannot be answered as asked.",
                "content": {MEDIA_TYPE: {"schema": _schema(Problem)}},
            },
        },
        "security": [] if declared.needs is None else [{_SECURITY: [declared.needs.value]}],
    }
    if rest.strip():
        operation["description"] = rest.strip()
    if declared.body is not None:
        content = {JSON: {"schema": _schema(declared.body)}}
        operation["requestBody"] = {"required": True, "content": content}
    elif declared.takes:
        operation["requestBody"] = {"required": True, "content": {declared.takes: {}}}
    return operation


def _places(rule: str) -> Iterator[Tree]:
    """Yield the parameters that stand in a path."""
    for found in _PLACE.finditer(rule):
        kind, schema = found["kind"] or "string", {"type": "string", "minLength": 1}
        if kind == "int":
            schema = {"type": "integer", "minimum": 0}
        elif kind.startswith("any("):
            schema = {"type": "string", "enum": re.split(r",\s*", kind[4:-1])}
        yield {"name": found["name"], "in": "path", "required": True, "schema": schema}


def _query(kind: type[msgspec.Struct] | None) -> Iterator[Tree]:
    """Yield the parameters of a query string."""
    if kind is None:
        return
    _, components = msgspec.json.schema_components([kind], ref_template=_REFERENCE)
    whole = components[kind.__name__]
    for name, schema in whole["properties"].items():
        if "$ref" in schema:  # an enumeration: it belongs to this parameter alone
            schema = {**components[schema["$ref"].rpartition("/")[2]], **_beside(schema)}  # noqa: PLW2901  # resolved
        required = name in whole.get("required", ())
        parameter = {"name": name, "in": "query", "required": required, "schema": schema}
        if "description" in schema:
            parameter["description"] = schema.pop("description")
        yield parameter


def _beside(schema: Tree) -> Tree:
    """Return what stands beside a reference."""
    return {key: value for key, value in schema.items() if key != "$ref"}


def _answer(kind: Any) -> Tree:
    """Return what the document says of a success."""
    if kind is None:
        return {"description": "Done."}
    if _is_json(kind):
        return {"description": "Done.", "content": {JSON: {"schema": _schema(kind)}}}
    kinds = (kind,) if isinstance(kind, str) else kind
    return {"description": "Done.", "content": {media_type: {} for media_type in kinds}}


def _is_json(kind: Any) -> bool:
    """Tell whether a type is declared, and no media types."""
    return kind is not None and not isinstance(kind, str | tuple)


def _schema(kind: Any) -> Tree:
    """Return the reference to a type's schema, or the schema itself of what has no name."""
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=_REFERENCE)
    return schema


def blueprint(app: Flask) -> Blueprint:
    """Return the route of this room; it tells of all routes of ``app``."""
    routes = Blueprint("openapi", __name__)

    @routes.get("/openapi.json")
    @endpoint(needs=None, answers=JSON)
    def openapi() -> Tree:
        """This document."""
        return document(app)

    return routes
