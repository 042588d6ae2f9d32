"""Who may do what: every route of the front, asked without a key and with one of each scope."""

import pytest
from front_app import front_app, new_key

from engine.config import ApiSettings
from engine.scopes import Scope

EVERYBODY = None
WHO_MAY = {
    # the page, and what must answer before anybody has logged in
    ("GET", "/"): EVERYBODY,
    ("GET", "/ui/<path:filename>"): EVERYBODY,
    ("GET", "/service-worker.js"): EVERYBODY,
    ("GET", "/manifest.webmanifest"): EVERYBODY,
    ("GET", "/docs"): EVERYBODY,
    ("GET", "/docs/page.css"): EVERYBODY,
    ("GET", "/openapi.json"): EVERYBODY,
    ("GET", "/healthz"): EVERYBODY,
    ("GET", "/api/v1/session"): EVERYBODY,
    ("POST", "/api/v1/session"): EVERYBODY,
    ("DELETE", "/api/v1/session"): EVERYBODY,
    # programs
    ("GET", "/metrics"): Scope.METRICS,
    ("POST", "/alpr_data"): Scope.INGEST,
    ("POST", "/api/v1/ingest"): Scope.INGEST,
    ("GET", "/stream"): Scope.STREAM,
    ("GET", "/api/v1/events"): Scope.STREAM,
    ("GET", "/api/v1/cameras/<name>/snapshot.jpg"): Scope.STREAM,
    ("GET", "/api/v1/cameras/<name>/stream.mjpeg"): Scope.STREAM,
    # viewers
    ("GET", "/api/v1/cameras"): Scope.READ,
    ("GET", "/api/v1/cameras/events"): Scope.READ,
    ("GET", "/api/v1/sightings"): Scope.READ,
    ("GET", "/api/v1/sightings/<sighting_id>"): Scope.READ,
    ("GET", "/api/v1/sightings/<sighting_id>/clip"): Scope.READ,
    ("GET", "/api/v1/sightings/<sighting_id>/<any(crop, frame):what>.jpg"): Scope.READ,
    ("GET", "/api/v1/sightings/<sighting_id>/payload"): Scope.READ,
    ("GET", "/api/v1/sightings/<sighting_id>/corrections"): Scope.READ,
    ("GET", "/api/v1/sightings/export"): Scope.READ,
    ("GET", "/api/v1/statistics"): Scope.READ,
    ("GET", "/api/v1/statistics/stages"): Scope.READ,
    ("GET", "/api/v1/events/clients"): Scope.READ,
    ("GET", "/api/v1/system"): Scope.READ,
    ("GET", "/api/v1/watchlists"): Scope.READ,
    ("GET", "/api/v1/watchlists/<name>/entries"): Scope.READ,
    ("GET", "/api/v1/uploads"): Scope.READ,
    ("GET", "/api/v1/uploads/<upload>"): Scope.READ,
    ("GET", "/api/v1/uploads/<upload>/events"): Scope.READ,
    ("GET", "/api/v1/uploads/<upload>/file"): Scope.READ,
    ("GET", "/api/v1/uploads/<upload>/crops/<int:number>.jpg"): Scope.READ,
    # operators
    ("POST", "/api/v1/sightings/<sighting_id>/corrections"): Scope.OPERATE,
    ("POST", "/api/v1/cameras/<name>/pause"): Scope.OPERATE,
    ("POST", "/api/v1/cameras/<name>/resume"): Scope.OPERATE,
    ("DELETE", "/api/v1/watchlists/<name>"): Scope.OPERATE,
    ("PUT", "/api/v1/watchlists/<name>/entries/<plate>"): Scope.OPERATE,
    ("DELETE", "/api/v1/watchlists/<name>/entries/<plate>"): Scope.OPERATE,
    ("POST", "/api/v1/watchlists/<name>/import"): Scope.OPERATE,
    ("POST", "/api/v1/uploads"): Scope.OPERATE,
    ("DELETE", "/api/v1/uploads/<upload>"): Scope.OPERATE,
    # admins
    ("POST", "/api/v1/cameras"): Scope.ADMIN,
    ("PATCH", "/api/v1/cameras/<name>"): Scope.ADMIN,
    ("DELETE", "/api/v1/cameras/<name>"): Scope.ADMIN,
    ("GET", "/api/v1/keys"): Scope.ADMIN,
    ("POST", "/api/v1/keys"): Scope.ADMIN,
    ("DELETE", "/api/v1/keys/<key_id>"): Scope.ADMIN,
    ("GET", "/api/v1/audit"): Scope.ADMIN,
}
"""What each route needs; a route that is not here fails the first test."""

HAS = {
    Scope.METRICS: {Scope.METRICS},
    Scope.STREAM: {Scope.STREAM},
    Scope.INGEST: {Scope.INGEST},
    Scope.READ: {Scope.READ, Scope.STREAM, Scope.METRICS},
    Scope.OPERATE: {Scope.OPERATE, Scope.READ, Scope.STREAM, Scope.METRICS},
    Scope.ADMIN: set(Scope),
}
"""What a key of each scope may do: written down here once more, not taken from the engine."""

EXAMPLES = {
    "<path:filename>": "index.html",
    "<any(crop, frame):what>": "crop",
    "<name>": "gate",
    "<sighting_id>": "s1",
    "<key_id>": "0",
    "<plate>": "AB12",
    "<upload>": "0123456789abcdef",
    "<int:number>": "1",
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Return the status of a request, with a key of a scope or without one."""
    data_dir = tmp_path_factory.mktemp("access")
    keys = {scope: new_key(data_dir, scope) for scope in Scope}
    with front_app(data_dir, ApiSettings(requests_per_s=0)) as built:

        def ask(method, rule, scope):
            for placeholder, example in EXAMPLES.items():
                rule = rule.replace(placeholder, example)
            assert "<" not in rule, "give the placeholder an example"
            headers = {"X-API-Key": keys[scope]} if scope else {}
            with built.app.test_client().open(rule, method=method, headers=headers) as answer:
                return answer.status_code

        ask.routes = {
            (method, rule.rule)
            for rule in built.app.url_map.iter_rules()
            for method in rule.methods - {"HEAD", "OPTIONS"}
        }
        yield ask


def test_every_route_has_a_line_in_the_table_and_no_line_is_left_over(asked):
    assert asked.routes == WHO_MAY.keys()


@pytest.mark.parametrize("holds", [None, *Scope], ids=str)
@pytest.mark.parametrize("route", WHO_MAY, ids=" ".join)
def test_who_may(asked, route, holds):
    """Refused is 401 without a key and 403 with one; all else is the view's answer."""
    needs = WHO_MAY[route]
    status = asked(*route, holds)
    if needs is EVERYBODY or (holds and needs in HAS[holds]):
        assert status not in {401, 403}
    else:
        assert status == (403 if holds else 401)


@pytest.mark.parametrize("route", WHO_MAY, ids=" ".join)
def test_head_and_options_need_the_same(asked, route):
    method, rule = route
    for other in ("OPTIONS", *(["HEAD"] if method == "GET" else [])):
        assert (asked(other, rule, None) == 401) == (WHO_MAY[route] is not EVERYBODY)


def test_a_view_that_declares_nothing_is_for_nobody(tmp_path):
    with front_app(tmp_path) as built:
        built.app.add_url_rule("/forgotten", "forgotten", lambda: "secret")
        answer = built.app.test_client().get("/forgotten")
        assert answer.status_code == 403
        assert "secret" not in answer.text
