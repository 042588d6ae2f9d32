"""Who is asking: keys in headers and URLs, sessions, the open front, limits, the audit log."""

import re

import msgspec
import pytest
from front_app import front_app, new_key

from api.endpoints import endpoint
from engine.board import Count
from engine.config import ApiSettings
from engine.keys import Keys
from engine.people import People
from engine.privacy import KEY_FILE, disguised, own_key
from engine.records import FOLDER
from engine.scopes import Scope

PASSWORD = "correct horse"  # noqa: S105  # a test's


@pytest.fixture
def built(tmp_path):
    with front_app(tmp_path) as found:
        yield found


@pytest.fixture
def client(built):
    return built.app.test_client()


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def log_in(client, name="anna", password=PASSWORD, **more):
    return client.post("/api/v1/session", json={"name": name, "password": password}, **more)


# --- open or not ----------------------------------------------------------------------------------


def test_without_a_key_everybody_on_this_machine_is_an_admin(client):
    assert client.get("/api/v1/session").json == {
        "name": "this machine", "scope": "admin", "csrf": "", "open": True,
    }  # fmt: skip
    assert client.get("/api/v1/keys").json == {"keys": []}


def test_the_first_key_or_person_closes_it_at_once_and_the_last_opens_it(client, tmp_path):
    key = new_key(tmp_path, Scope.ADMIN)
    assert client.get("/api/v1/keys").status_code == 401
    assert client.get("/api/v1/session").json["open"] is False
    keys = Keys(tmp_path / FOLDER)
    assert keys.remove(keys.known(key).id)
    assert client.get("/api/v1/keys").status_code == 200
    People(tmp_path / FOLDER).put("anna", "admin", PASSWORD)
    assert client.get("/api/v1/keys").status_code == 401


def test_a_front_that_others_reach_is_never_open(tmp_path):
    for settings, loopback in (
        (ApiSettings(), False),
        (ApiSettings(trusted_proxies=("127.0.0.1",)), True),
    ):
        with front_app(tmp_path, settings, loopback=loopback) as built:
            assert built.app.test_client().get("/api/v1/keys").status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:8080"}, 200),
        ({"Host": "127.0.0.1"}, 200),
        ({"Host": "[::1]:8080"}, 200),
        ({"Host": "machine"}, 200),
        ({"Host": "plates.localhost:80"}, 200),
        ({"Host": "rebound.example.com:8080"}, 403),
        ({"Host": "192.0.2.7"}, 403),
        ({"X-Forwarded-For": "192.0.2.7"}, 403),
        ({"Forwarded": "for=192.0.2.7"}, 403),
    ],
)
def test_an_open_front_is_for_this_machine_alone(client, headers, status):
    assert client.get("/api/v1/keys", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("page", "status"),
    [
        ("http://127.0.0.1:8080", 201), ("https://127.0.0.1:8080", 201), (None, 201),
        ("http://evil.example", 403), ("http://127.0.0.1:9090", 403), ("null", 403), ("", 403),
    ],
)  # fmt: skip
def test_pages_of_other_sites_change_nothing_on_an_open_front(client, page, status):
    headers = {"Host": "127.0.0.1:8080"} | ({} if page is None else {"Origin": page})
    assert client.get("/api/v1/keys", headers=headers).status_code == 200
    made = client.post("/api/v1/keys", json={"scope": "read"}, headers=headers)
    assert made.status_code == status


# --- keys -----------------------------------------------------------------------------------------


def test_a_key_in_either_header_counts_and_a_wrong_one_does_not(client, tmp_path):
    key = new_key(tmp_path, Scope.ADMIN, "ours")
    assert client.get("/api/v1/keys", headers=bearer(key)).status_code == 200
    assert client.get("/api/v1/keys", headers={"X-API-Key": key}).status_code == 200
    for wrong in (key[:-1], key + "x", "plt_00000000_x", "x" * 10_000, "é", key.upper()):
        answer = client.get("/api/v1/keys", headers=bearer(wrong))
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert key not in answer.text


def test_a_narrow_key_may_stand_in_the_url_where_no_header_can_be_sent(client, tmp_path, built):
    keys = {scope: new_key(tmp_path, scope) for scope in Scope}

    def status(url, scope):
        return client.get(f"{url}?key={keys[scope]}").status_code

    assert status("/metrics", Scope.METRICS) == 200
    assert status("/stream", Scope.STREAM) == 200
    assert client.post(f"/alpr_data?key={keys[Scope.INGEST]}").status_code == 400  # nothing in it
    assert status("/metrics", Scope.STREAM) == 403
    for scope in (Scope.READ, Scope.OPERATE, Scope.ADMIN):
        answer = client.get(f"/metrics?key={keys[scope]}")
        assert (answer.status_code, keys[scope] in answer.text) == (401, False)
    assert status("/api/v1/cameras", Scope.ADMIN) == 401
    assert client.get(f"/metrics?x=1&k%65y={keys[Scope.METRICS]}").status_code == 200
    assert built.board.row(0).total(Count.REQUESTS_DENIED) >= 5


def test_the_view_never_sees_a_key_of_the_url(built, client, tmp_path):
    key, seen = new_key(tmp_path, Scope.METRICS), []
    built.app.after_request(lambda response: seen.append(_all_of_the_request()) or response)
    assert client.get(f"/metrics?a=1&key={key}&b=2").status_code == 200
    assert "a=1&b=2" in seen[0]
    assert key not in seen[0]


def _all_of_the_request():
    from flask import request  # noqa: PLC0415  # of the request that runs

    return f"{request.url} {request.args} {request.query_string} {request.full_path}"


def test_keys_are_made_listed_and_removed_over_http(client, tmp_path):
    admin = bearer(new_key(tmp_path, Scope.ADMIN))
    steering = {"scope": "read", "name": "lobby\x1b[2J"}
    assert client.post("/api/v1/keys", json=steering, headers=admin).json["field"] == "name"
    made = client.post("/api/v1/keys", json={"scope": "read", "name": "lobby"}, headers=admin)
    assert (made.status_code, made.json["scope"], made.json["name"]) == (201, "read", "lobby")
    key = made.json["key"]
    assert re.fullmatch(r"plt_[0-9a-f]{8}_[\w-]{43}", key)
    listed = client.get("/api/v1/keys", headers=admin)
    assert [each["name"] for each in listed.json["keys"]] == ["", "lobby"]
    assert key not in listed.text
    assert client.get("/api/v1/cameras", headers=bearer(key)).status_code == 200
    url = f"/api/v1/keys/{made.json['id']}"
    assert client.delete(url, headers=admin).status_code == 204
    assert client.get("/api/v1/cameras", headers=bearer(key)).status_code == 401
    assert client.delete(url, headers=admin).status_code == 404
    wrong = client.post("/api/v1/keys", json={"scope": "root"}, headers=admin)
    assert (wrong.status_code, wrong.json["field"]) == (400, "scope")


# --- sessions -------------------------------------------------------------------------------------


@pytest.fixture
def people(tmp_path):
    found = People(tmp_path / FOLDER)
    found.put("anna", "operator", PASSWORD)
    return found


@pytest.mark.usefixtures("people")
def test_logging_in_and_out(client):
    assert client.get("/api/v1/session").json == {
        "name": "",
        "scope": "",
        "csrf": "",
        "open": False,
    }
    assert client.get("/api/v1/cameras").status_code == 401
    answer = log_in(client)
    assert (answer.status_code, answer.json["name"], answer.json["scope"]) == (
        200,
        "anna",
        "operate",
    )
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Secure" not in cookie
    token = cookie.partition("=")[2].partition(";")[0]
    assert client.get("/api/v1/session").json == answer.json
    assert client.get("/api/v1/cameras").status_code == 200
    assert client.get("/api/v1/keys").status_code == 403
    assert client.delete("/api/v1/session").status_code == 403  # no CSRF token
    csrf = {"X-CSRF-Token": answer.json["csrf"]}
    assert client.delete("/api/v1/session", headers=csrf).status_code == 204
    assert client.get("/api/v1/cameras").status_code == 401
    client.set_cookie("platering_session", token)  # who kept the cookie is out, too
    assert client.get("/api/v1/cameras").status_code == 401


def test_changes_of_a_session_need_its_csrf_token(client, people):
    people.put("root", "admin", PASSWORD)
    csrf = log_in(client, "root").json["csrf"]
    wanted = {"json": {"scope": "read"}}
    assert client.post("/api/v1/keys", **wanted).status_code == 403
    for wrong in ("", "x", csrf[:-1], "é"):
        assert client.post(
            "/api/v1/keys", **wanted, headers={"X-CSRF-Token": wrong}
        ).status_code == 403  # fmt: skip
    right = {"X-CSRF-Token": csrf}
    assert client.post("/api/v1/keys", **wanted, headers=right).status_code == 201
    assert client.get("/api/v1/keys").status_code == 200


def test_a_session_outlives_the_process_and_ends_with_the_password_or_the_person(
    client, people, tmp_path
):
    new_key(tmp_path, Scope.READ)  # it is never open meanwhile
    log_in(client)
    token = client.get_cookie("platering_session").value
    with front_app(tmp_path) as again:
        other = again.app.test_client()
        other.set_cookie("platering_session", token)
        assert other.get("/api/v1/cameras").status_code == 200
        people.put("anna", "viewer", "another one")
        assert other.get("/api/v1/cameras").status_code == 401
        assert log_in(other, password="another one").json["scope"] == "read"  # noqa: S106  # a test's
        people.remove("anna")
        assert other.get("/api/v1/cameras").status_code == 401


def test_a_key_logs_in_too_until_it_is_removed(client, tmp_path):
    key = new_key(tmp_path, Scope.READ, "tablet")
    assert client.post("/api/v1/session", json={"key": "plt_x_y"}).status_code == 401
    answer = client.post("/api/v1/session", json={"key": key})
    assert (answer.status_code, answer.json["scope"]) == (200, "read")
    assert client.get("/api/v1/cameras").status_code == 200
    Keys(tmp_path / FOLDER).remove(key.split("_")[1])
    new_key(tmp_path, Scope.READ)
    assert client.get("/api/v1/cameras").status_code == 401


@pytest.mark.usefixtures("people")
def test_sessions_expire(tmp_path):
    with front_app(tmp_path, ApiSettings(session_hours=0.5 / 3_600)) as built:
        client = built.app.test_client()
        answer = log_in(client)
        token = re.search("platering_session=([^;]+)", answer.headers["Set-Cookie"])[1]
        client.set_cookie("platering_session", token)
        assert client.get("/api/v1/cameras").status_code == 401


@pytest.mark.usefixtures("people")
def test_wrong_log_ins_are_refused_alike_and_slowed_down(client, built):
    wrong = [log_in(client, password="wrong word"), log_in(client, name="nobody")]  # noqa: S106  # a test's
    assert {(each.status_code, each.json["error"]) for each in wrong} == {
        (401, "the name or the password is wrong")
    }
    assert [log_in(client, password="x").status_code for _ in range(4)][-1] == 429  # noqa: S106  # a test's
    limited = log_in(client)
    assert limited.status_code == 429  # the right one, too: nobody learns that it was
    assert int(limited.headers["Retry-After"]) >= 1
    elsewhere = {"environ_base": {"REMOTE_ADDR": "192.0.2.9"}}
    assert log_in(client, **elsewhere).status_code == 200
    assert built.board.row(0).total(Count.REQUESTS_LIMITED) >= 2


@pytest.mark.usefixtures("people")
def test_over_tls_the_cookie_never_travels_in_the_clear(tmp_path):
    with front_app(tmp_path, ApiSettings(trusted_proxies=("127.0.0.1",))) as built:
        client = built.app.test_client()
        plain, secure = log_in(client), log_in(client, headers={"X-Forwarded-Proto": "https"})
        assert "Secure" not in plain.headers["Set-Cookie"]
        assert "Secure" in secure.headers["Set-Cookie"]
        assert "Strict-Transport-Security" not in plain.headers
        assert secure.headers["Strict-Transport-Security"].startswith("max-age=")


# --- limits ---------------------------------------------------------------------------------------


def test_too_many_requests_of_one_key_or_address_wait_and_ingest_does_not(tmp_path):
    keys = {scope: new_key(tmp_path, scope) for scope in (Scope.READ, Scope.INGEST)}
    with front_app(tmp_path, ApiSettings(requests_per_s=1.0)) as built:
        client = built.app.test_client()

        def many(count, **how):
            return [client.get("/api/v1/cameras", **how).status_code for _ in range(count)]

        assert many(7, headers=bearer(keys[Scope.READ]))[4:] == [200, 429, 429]
        assert many(7) == [401] * 5 + [429] * 2
        assert many(1, environ_base={"REMOTE_ADDR": "192.0.2.9"}) == [401]
        sent = [
            client.post("/alpr_data", headers=bearer(keys[Scope.INGEST])).status_code
            for _ in range(20)
        ]
        assert set(sent) == {400}
        waiting = client.get("/api/v1/cameras")
        assert waiting.headers["Retry-After"] == "1"


def test_an_open_front_limits_nobody(tmp_path):
    with front_app(tmp_path, ApiSettings(requests_per_s=0.1)) as built:
        client = built.app.test_client()
        assert {client.get("/api/v1/cameras").status_code for _ in range(50)} == {200}


# --- the audit log --------------------------------------------------------------------------------


def entries(client, headers, **query):
    return client.get("/api/v1/audit", headers=headers, query_string=query).json["entries"]


@pytest.mark.usefixtures("people")
def test_who_searches_changes_and_logs_in_is_noted_without_secrets(client, tmp_path):
    key = new_key(tmp_path, Scope.ADMIN, "desk")
    admin = bearer(key)
    client.get("/api/v1/sightings?plate=AB123", headers=admin)  # no Redis: 503, asked all the same
    client.get("/api/v1/sightings", headers=admin)
    client.get("/api/v1/cameras", headers=admin)
    client.get("/ui/index.html", headers=admin).close()
    made = client.post("/api/v1/keys", json={"scope": "ingest", "name": "pole"}, headers=admin).json
    log_in(client, password="not this one")  # noqa: S106  # a test's
    log_in(client, name=PASSWORD)
    log_in(client)
    for _ in range(3):
        client.get("/api/v1/keys", headers=bearer("plt_0_0"))
        client.post("/alpr_data", headers=bearer(made["key"]), data=b"{}")
    client.delete(f"/api/v1/keys/{made['id']}", headers=admin)
    noted = [
        (one["who"], one["action"], one["what"], one["status"]) for one in entries(client, admin)
    ]
    title, other = f"key {key.split('_')[1]} (desk)", f"key {made['id']} (pole)"
    assert noted == [
        (title, "DELETE /api/v1/keys/<key_id>", other, 204),
        ("anna", "POST /api/v1/session", "/api/v1/session", 200),
        ("nobody", "POST /api/v1/session", "as nobody known", 401),
        ("nobody", "POST /api/v1/session", "as anna", 401),
        (title, "POST /api/v1/keys", f"{other} of scope ingest", 201),
        (title, "GET /api/v1/sightings", "/api/v1/sightings?plate=AB123", 503),
    ]
    written = b"".join(path.read_bytes() for path in (tmp_path / FOLDER).iterdir())
    assert not [one for one in (key, made["key"], PASSWORD) if one.encode() in written]
    assert {one["address"] for one in entries(client, admin)} == {"127.0.0.1"}


@pytest.mark.parametrize("has_key", [True, False])
def test_where_plates_are_hidden_the_log_shows_none(tmp_path, has_key):
    hashed = disguised("AB123", own_key(tmp_path / "engine" / KEY_FILE)) if has_key else "~"
    admin = bearer(new_key(tmp_path, Scope.ADMIN))
    with front_app(tmp_path, hides_plates=True) as built:
        client = built.app.test_client()
        client.get("/api/v1/sightings?plate=ab-123&camera=gate", headers=admin)
        client.put("/api/v1/watchlists/vip/entries/AB123", headers=admin, json={})
        client.get("/api/v1/watchlists/vip/entries?plate=AB123&cursor=AB123", headers=admin)
        assert [one["what"] for one in entries(client, admin)] == [
            f"/api/v1/watchlists/vip/entries?plate={hashed}&cursor={hashed}",
            f"/api/v1/watchlists/vip/entries/{hashed}",
            f"/api/v1/sightings?plate={hashed}&camera=gate",
        ]


def test_charts_are_no_searches_and_exports_are(built, client, tmp_path):
    class Span(msgspec.Struct):
        camera: str = ""

    class Wanted(Span):
        plate: str = ""

    for rule, query in (("/charts", Span), ("/found", Wanted), ("/found/export", Wanted)):
        view = endpoint(needs=Scope.READ, query=query)(lambda query: query)
        built.app.add_url_rule(rule, rule, view)
    admin = bearer(new_key(tmp_path, Scope.ADMIN))
    for path in ("/charts?camera=gate", "/found", "/found?camera=gate", "/found/export"):
        assert client.get(path, headers=admin).status_code == 200
    assert client.head("/found?plate=AB1", headers=admin).status_code == 200
    noted = [one["what"] for one in entries(client, admin)]
    assert noted == ["/found?plate=AB1", "/found/export", "/found?camera=gate"]


def test_pages_of_the_audit_log_go_back_to_its_beginning(client, tmp_path):
    admin = bearer(new_key(tmp_path, Scope.ADMIN))
    for number in range(25):
        client.get(f"/api/v1/sightings?plate=A{number}", headers=admin)
    seen, cursor = [], ""
    while True:
        page = client.get(
            "/api/v1/audit", headers=admin, query_string={"cursor": cursor, "limit": 10}
        ).json
        seen += [one["what"].partition("=")[2] for one in page["entries"]]
        cursor = page["next"]
        if not cursor:
            break
    assert seen == [f"A{number}" for number in reversed(range(25))]
    wrong = client.get("/api/v1/audit?cursor=x", headers=admin)
    assert (wrong.status_code, wrong.json["field"]) == (400, "cursor")


def test_what_cannot_be_noted_is_counted_and_answered_all_the_same(client, built, tmp_path):
    admin = bearer(new_key(tmp_path, Scope.ADMIN))
    (tmp_path / FOLDER / "audit-000001.jsonl").mkdir()
    assert client.post("/api/v1/keys", json={"scope": "read"}, headers=admin).status_code == 201
    assert built.board.row(0).total(Count.AUDIT_LOST) == 1
