"""``/docs``: every operation of the OpenAPI document on one plain page."""

from pathlib import Path
from typing import Any, Final

import msgspec
from flask import Blueprint, Flask, Response, render_template

from api.endpoints import endpoint
from api.openapi import Tree, document

HOME: Final = Path(__file__).parent


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation as the page shows it."""

    anchor: str
    method: str
    path: str
    summary: str
    description: str
    scope: str
    parameters: list[Tree]
    body: str
    answer: str


def operations(whole: Tree) -> dict[str, list[Operation]]:
    """Return the operations of a document by their room, in the order of their paths."""
    found: dict[str, list[Operation]] = {}
    for path, methods in whole["paths"].items():
        for method, said in methods.items():
            security = [scope for one in said["security"] for scope in one["key"]]
            found.setdefault(said["tags"][0], []).append(
                Operation(
                    anchor=said["operationId"],
                    method=method.upper(),
                    path=path,
                    summary=said["summary"],
                    description=said.get("description", ""),
                    scope=", ".join(security),
                    parameters=said["parameters"],
                    body=_content(said.get("requestBody", {})),
                    answer=_answer(said["responses"]),
                )
            )
    return dict(sorted(found.items()))


def kind_of(schema: Tree) -> str:
    """Return in a few words what a schema allows."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    if "anyOf" in schema:
        return " | ".join(kind_of(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"[{kind_of(schema.get('items') or {})}]"
    if schema.get("type") == "object" and "additionalProperties" in schema:
        inner: Any = schema["additionalProperties"]
        return f"{{…: {kind_of(inner) if isinstance(inner, dict) else 'any'}}}"
    return str(schema.get("type", "any"))


def _content(part: Tree) -> str:
    """Return the media types of a body or an answer, and the type of a JSON one."""
    shown = []
    for media_type, inner in part.get("content", {}).items():
        schema = inner.get("schema")
        shown.append(kind_of(schema) if schema else media_type)
    return " | ".join(shown)


def _answer(responses: Tree) -> str:
    status, response = next(iter(responses.items()))
    return f"{status} {_content(response)}".strip()


def blueprint(app: Flask) -> Blueprint:
    """Return the routes of this room; they tell of all routes of ``app``."""
    routes = Blueprint("docs", __name__, template_folder=str(HOME))

    @routes.get("/docs")
    @endpoint(needs=None, answers="text/html")
    def docs() -> Response:
        """This documentation, for people."""
        whole = document(app)
        text = render_template(
            "page.html",
            info=whole["info"],
            rooms=operations(whole),
            schemas=whole["components"]["schemas"],
            kind_of=kind_of,
        )
        return Response(text, mimetype="text/html")

    @routes.get("/docs/page.css")
    @endpoint(needs=None, answers="text/css")
    def style() -> Response:
        """How the documentation looks."""
        return Response((HOME / "page.css").read_bytes(), mimetype="text/css")

    return routes
