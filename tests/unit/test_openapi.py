"""The OpenAPI document: what routes declare, nothing else, with no reference into nowhere."""

import enum
import re
from typing import Annotated

import msgspec
import pytest
from flask import Flask, Response

from api import problems
from api.docs.page import kind_of, operations
from api.endpoints import endpoint
from api.openapi import document, undeclared
from engine.scopes import Scope


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(msgspec.Struct):
    """A part."""

    colour: Colour


class Asked(msgspec.Struct):
    size: Annotated[int, msgspec.Meta(ge=1, description="How large.")]
    colour: Colour = Colour.RED


class Answer(msgspec.Struct):
    """What comes back."""

    parts: list[Inner]
    by_name: dict[str, int] = {}


@pytest.fixture
def app():
    app = Flask("test", static_folder=None)
    problems.install(app)

    @app.get("/things/<int:number>/<any(big, small):what>.jpg")
    @endpoint(needs=Scope.READ, query=Asked, answers=Answer)
    def thing(number: int, what: str, query: Asked) -> Answer:
        """A thing.

        With more to say.
        """
        raise NotImplementedError

    @app.post("/things")
    @endpoint(needs=Scope.OPERATE, body=Inner, answers=list[Inner], status=201)
    def made(body: Inner) -> list[Inner]:
        """Make one."""
        raise NotImplementedError

    @app.put("/file")
    @endpoint(needs=None, takes="text/csv", answers=("text/csv", "text/plain"))
    def file() -> Response:
        """A file."""
        raise NotImplementedError

    @app.get("/silent")
    def silent() -> str:
        raise NotImplementedError

    return app


def test_an_operation_says_what_its_view_declares(app):
    whole = document(app)
    said = whole["paths"]["/things/{number}/{what}.jpg"]["get"]
    assert (said["summary"], said["description"]) == ("A thing.", "With more to say.")
    number, what, size, colour = said["parameters"]
    assert (number["in"], number["schema"]["type"]) == ("path", "integer")
    assert what["schema"]["enum"] == ["big", "small"]
    assert (size["in"], size["required"], size["description"]) == ("query", True, "How large.")
    assert (colour["required"], colour["schema"]["enum"]) == (False, ["blue", "red"])
    assert said["security"] == [{"key": ["read"]}]
    answer = said["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"$ref": "#/components/schemas/Answer"}
    assert set(said["responses"]["default"]["content"]) == {"application/problem+json"}


def test_bodies_and_files_are_said(app):
    paths = document(app)["paths"]
    made = paths["/things"]["post"]
    assert made["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/Inner")
    assert made["responses"]["201"]["content"]["application/json"]["schema"]["type"] == "array"
    file = paths["/file"]["put"]
    assert set(file["requestBody"]["content"]) == {"text/csv"}
    assert set(file["responses"]["200"]["content"]) == {"text/csv", "text/plain"}
    assert file["security"] == []


def test_no_reference_leads_nowhere_and_silent_routes_are_left_out(app):
    whole = document(app)
    wanted = set(re.findall(r"#/components/schemas/(\w+)", str(whole)))
    assert wanted == {"Inner", "Colour", "Answer", "Problem"} == set(whole["components"]["schemas"])
    assert "/silent" not in whole["paths"]
    assert undeclared(app) == {"silent"}


def test_the_page_has_every_operation(app):
    rooms = operations(document(app))
    assert sorted(one.method for room in rooms.values() for one in room) == ["GET", "POST", "PUT"]


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "array", "items": {"$ref": "#/components/schemas/Inner"}}, "[Inner]"),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, "null | string"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "{…: integer}"),
        ({"enum": ["a", "b"]}, "a | b"),
        ({}, "any"),
    ],
)
def test_kinds_are_said_in_a_few_words(schema, text):
    assert kind_of(schema) == text
