"""A route's declaration: what does not fit is refused by name before the view is called."""

import msgspec
import pytest
from flask import Flask, Response

from api import problems
from api.endpoints import declared_by, endpoint
from engine.scopes import Scope


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    limit: int = 5
    plate: str = ""


class Sent(msgspec.Struct):
    name: str
    tags: list[int] = []


@pytest.fixture
def client():
    app = Flask("test")
    problems.install(app)

    @app.get("/asked/<who>")
    @endpoint(needs=Scope.READ, query=Asked, answers=Asked)
    def asked(who: str, query: Asked) -> Asked:
        return Asked(query.limit + 1, who + query.plate)

    @app.post("/sent")
    @endpoint(needs=Scope.OPERATE, body=Sent, answers=Sent, status=201)
    def sent(body: Sent) -> Sent:
        return body

    @app.get("/plain")
    @endpoint(needs=None, answers="text/plain")
    def plain() -> Response:
        return Response("so", mimetype="text/plain")

    return app.test_client()


def test_what_fits_reaches_the_view_and_its_answer_is_json(client):
    answer = client.get("/asked/x?limit=7&plate=AB")
    assert (answer.status_code, answer.json) == (200, {"limit": 8, "plate": "xAB"})
    answer = client.post("/sent", data=b'{"name": "a", "tags": [1]}')
    assert (answer.status_code, answer.json) == (201, {"name": "a", "tags": [1]})
    assert client.get("/plain").text == "so"


@pytest.mark.parametrize(
    ("query", "field"),
    [("limit=many", "limit"), ("limit=1e400", "limit"), ("other=1", "body"), ("limit=", "limit")],
)
def test_a_query_that_does_not_fit_names_its_field(client, query, field):
    answer = client.get(f"/asked/x?{query}")
    assert (answer.status_code, answer.json["field"]) == (400, field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[" * 100_000, "body"),
        (b"{}", "body"),
        (b'{"name": 5}', "name"),
        (b'{"name": "a", "tags": [1, "x"]}', "tags[1]"),
    ],
)
def test_a_body_that_does_not_fit_names_its_field(client, body, field):
    answer = client.post("/sent", data=body)
    assert (answer.status_code, answer.json["field"]) == (400, field)


def test_a_body_over_the_limit_is_refused(client):
    assert client.post("/sent", data=b"x" * (2 << 20)).status_code == 413


def test_a_view_tells_what_it_declares(client):
    views = client.application.view_functions
    assert declared_by(views["asked"]).needs is Scope.READ
    assert declared_by(views["sent"]).status == 201
    assert declared_by(views["plain"]).needs is None
    assert declared_by(views["static"]) is None


@pytest.mark.parametrize("scope", Scope)
def test_admin_includes_all_and_each_includes_itself(scope):
    assert Scope.ADMIN.includes(scope)
    assert scope.includes(scope)
    assert not Scope.READ.includes(Scope.OPERATE)
    assert not Scope.INGEST.includes(Scope.READ)
