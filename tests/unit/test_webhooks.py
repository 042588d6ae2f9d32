"""A webhook: signed, in order, private only by leave, refused events kept and sent again."""

import contextlib
import hashlib
import hmac
import json
import logging
import shutil
import ssl
import subprocess
import time

import msgspec
import pytest
from sightings import event
from webhook_receiver import receiving

from api.payloads import AlprGroup, decode, group_sighting
from engine.deadletters import DeadLetters
from engine.errors import SinkError
from engine.sink_settings import WebhookSettings
from engine.sinks.base import Tally
from engine.sinks.bodies import group_body, own_body
from engine.sinks.choice import Choice, Lane
from engine.sinks.webhooks import RefusedError, WaitError, WebhookSink, is_public, resolve
from engine.types import Evidence, Hit, Phase, Sighting

SECRET = "hunter2"  # noqa: S105  # of this test
CROP = b"\xff\xd8\xffcrop"
FRAME = b"\xff\xd8\xffframe"


@pytest.fixture
def receiver():
    with receiving() as one:
        yield one


@pytest.fixture
def letters(tmp_path):
    one = DeadLetters(tmp_path / "deadletters.sqlite")
    yield one
    one.close()


@pytest.fixture
def tally():
    return Tally()


@pytest.fixture
def sink_to(tmp_path, tally):
    with contextlib.ExitStack() as stack:

        def make(url, **keys):
            settings = WebhookSettings(name="w", url=url, **{"allow_private": True} | keys)
            sink = WebhookSink(settings, DeadLetters(tmp_path / "deadletters.sqlite"), tally)
            stack.callback(sink.close)
            return sink

        yield make


# --- requests -----------------------------------------------------------------------------------


def test_a_request_is_signed_and_names_its_event(receiver, sink_to, caplog):
    sink = sink_to(receiver.url, secret=SECRET, authorization="Bearer abc")
    with caplog.at_level(logging.DEBUG):
        sink.deliver([event(1), event(2)])
    assert SECRET not in caplog.text
    first, second = receiver.taken
    assert (first.event, second.event) == (("id-1", 3), ("id-2", 3))
    assert first.path == "/hook?token=hunter2"
    assert first.headers["Authorization"] == "Bearer abc"
    timestamp = first.headers["X-Platering-Timestamp"]
    assert abs(time.time() - int(timestamp)) < 10
    expected = hmac.new(SECRET.encode(), timestamp.encode() + b"." + first.body, hashlib.sha256)
    assert first.headers["X-Platering-Signature"] == f"sha256={expected.hexdigest()}"
    assert msgspec.json.decode(first.body, type=Sighting) == event(1).sighting


def test_without_a_secret_nothing_is_signed(receiver, sink_to):
    sink_to(receiver.url).deliver([event()])
    assert "X-Platering-Signature" not in receiver.taken[0].headers


def test_a_refusal_is_a_dead_letter_and_what_follows_is_delivered(
    receiver, sink_to, letters, tally
):
    receiver.answer = lambda posted: (410 if posted.event[0] == "id-1" else 200, {})
    given = event(1, pictures=Evidence(CROP, b""))
    sink_to(receiver.url).deliver([given, event(2)])
    assert [one.event for one in receiver.taken] == [("id-2", 3)]
    (letter,) = letters.letters()
    assert (letter.target, letter.event) == ("w", given)
    assert "410" in letter.reason
    assert tally.dead_letters == 1


def test_a_redirect_is_not_followed(receiver, sink_to, letters):
    receiver.answer = lambda _posted: (307, {"Location": receiver.url + "&again=1"})
    sink_to(receiver.url).deliver([event()])
    assert len(receiver.seen) == 1
    assert "307" in letters.letters()[0].reason


def test_errors_of_the_server_are_tried_again_so_many_times(receiver, sink_to, letters):
    receiver.answer = lambda posted: (500 if posted.event[0] == "id-1" else 200, {})
    sink = sink_to(receiver.url, attempts=3)
    for _ in range(2):
        with pytest.raises(SinkError, match="500"):
            sink.deliver([event(1)])
    assert letters.letters() == []
    sink.deliver([event(1)])
    assert len(letters.letters()) == 1
    sink.deliver([event(2)])
    assert [one.event for one in receiver.taken] == [("id-2", 3)]


@pytest.mark.parametrize("status", [429, 502, 503, 504, 408])
def test_a_server_that_is_away_makes_no_dead_letters(receiver, sink_to, letters, status):
    receiver.answer = lambda _posted: (status, {})
    sink = sink_to(receiver.url, attempts=1)
    for _ in range(3):
        with pytest.raises(WaitError, match=str(status)):
            sink.deliver([event()])
    assert letters.letters() == []


def test_retry_after_is_heeded(receiver, sink_to):
    receiver.answer = lambda _posted: (429, {"Retry-After": "60"})
    sink = sink_to(receiver.url)
    for _ in range(3):
        with pytest.raises(WaitError):
            sink.deliver([event()])
    assert len(receiver.seen) == 1


def test_no_answer_within_the_time_is_an_outage(receiver, sink_to):
    receiver.answer = lambda _posted: None
    began = time.monotonic()
    with pytest.raises(WaitError) as caught:
        sink_to(receiver.url, timeout_s=0.2).deliver([event()])
    assert time.monotonic() - began < 2.0
    assert SECRET not in str(caught.value)


def test_nobody_there_is_an_outage_and_shows_no_secret(receiver, sink_to):
    url = receiver.url.replace(receiver.url.split(":")[2].split("/")[0], "1")
    with pytest.raises(WaitError) as caught:
        sink_to(url).deliver([event()])
    assert SECRET not in str(caught.value)


# --- addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True), ("2606:4700::1111", True), ("127.0.0.1", False),
        ("10.1.2.3", False), ("192.168.0.9", False), ("169.254.169.254", False),
        ("100.64.0.1", False), ("0.0.0.0", False), ("224.0.0.1", False), ("::1", False),  # noqa: S104
        ("fe80::1%eth0", False), ("fd00::1", False), ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False), ("64:ff9b::5db8:d822", True), ("2002:7f00:1::", False),
        ("ff02::1", False),
    ],
)  # fmt: skip
def test_public_addresses(address, public):
    assert is_public(address) is public


def test_private_targets_only_when_allowed(receiver, sink_to):
    with pytest.raises(WaitError, match="allow_private"):
        sink_to(receiver.url, allow_private=False).deliver([event()])
    assert receiver.seen == []
    assert resolve("localhost", 80, allow_private=True)
    with pytest.raises(WaitError, match="localhost is"):
        resolve("localhost", 80, allow_private=False)


def test_tls_is_checked_against_the_name_though_an_address_is_connected_to(
    tmp_path, monkeypatch, sink_to
):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl: install the package openssl")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    asked_for = []
    context.sni_callback = lambda _socket, name, _context: asked_for.append(name)
    monkeypatch.setattr(
        "engine.sinks.webhooks.resolve", lambda *_, **__: ["127.0.0.1"]
    )  # localhost may be ::1, too, where nobody listens
    with receiving(context) as receiver:
        sink_to(receiver.url, ca_file=str(certificate)).deliver([event(1), event(2)])
        assert [one.event[0] for one in receiver.taken] == ["id-1", "id-2"]
        assert asked_for == ["localhost"]
        assert receiver.taken[0].headers["Host"].startswith("localhost:")
        with pytest.raises(WaitError, match="CERTIFICATE_VERIFY_FAILED"):
            sink_to(receiver.url).deliver([event()])
        other = receiver.url.replace("localhost", "127.0.0.1")
        with pytest.raises(WaitError, match="doesn't match"):
            sink_to(other, ca_file=str(certificate)).deliver([event()])


# --- bodies -------------------------------------------------------------------------------------


def test_our_body_carries_new_pictures_when_asked():
    given = event(pictures=Evidence(CROP, FRAME))
    assert "crop_jpeg" not in json.loads(own_body(given))
    shown = json.loads(own_body(given, pictures=True))
    assert shown["crop_jpeg"] == "/9j/Y3JvcA=="
    del shown["crop_jpeg"], shown["frame_jpeg"]
    assert shown == json.loads(own_body(given))


def test_a_group_is_what_receivers_of_groups_understand():
    given = event(pictures=Evidence(CROP, FRAME))
    group = decode(group_body(given, pictures=True), AlprGroup)
    sighting, evidence = group_sighting(group, "node-b", 0)
    said = given.sighting
    assert (sighting.plate, sighting.camera, sighting.region) == ("AB1CD", "gate", "us-ma")
    assert (sighting.first_unix_ms, sighting.last_unix_ms) == (
        said.first_unix_ms, said.last_unix_ms,
    )  # fmt: skip
    assert sighting.candidates == said.candidates
    assert evidence == given.evidence
    assert group.best_uuid == said.id


def kinds(value):
    """The shape of JSON: names and kinds, whatever the values."""
    if isinstance(value, dict):
        return {name: kinds(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [kinds(value[0])] if value else []
    return "number" if isinstance(value, int | float) else type(value).__name__


@pytest.mark.shared
def test_a_group_has_every_field_of_a_real_one(shared_data):
    real = kinds(json.loads((shared_data / "webhooks" / "alpr_group.json").read_text()))
    ours = kinds(json.loads(group_body(event())))
    real["best_plate"].pop("vehicle_region")  # we detect plates, not vehicles
    del real["vehicle"], ours["vehicle"], real["vehicle_path"], ours["vehicle_path"]
    real["best_plate"]["vehicle_detected"] = ours["best_plate"]["vehicle_detected"]
    assert ours == real


def test_a_group_is_a_preview_until_it_is_final():
    assert json.loads(group_body(event(phase=Phase.PROVISIONAL)))["is_preview"] is True
    final = json.loads(group_body(event()))
    assert final["is_preview"] is False
    assert json.loads(group_body(event(amended=True)))["is_preview"] is True
    assert final["travel_direction"] == 90.0  # to the right, clockwise from the top
    assert json.loads(group_body(event(direction_deg=None, path=())))["travel_direction"] == -1


# --- filters ------------------------------------------------------------------------------------

HIT = (Hit(list="stolen", plate="AB1CD", match="exact"),)


@pytest.mark.parametrize(
    ("keys", "parts", "takes"),
    [
        ({}, {}, True),
        ({"phases": ["final"]}, {}, True),
        ({"phases": ["provisional"]}, {}, False),
        ({"phases": ["final"]}, {"amended": True}, False),
        ({"phases": ["revised"]}, {"amended": True}, True),
        ({"cameras": ["yard"]}, {}, False),
        ({"cameras": ["yard", "gate"]}, {}, True),
        ({"plates": ["AB*"]}, {}, True),
        ({"plates": ["@@#@@"]}, {}, True),
        ({"plates": ["X*", "A?2*"]}, {}, False),
        ({"min_confidence": 91.5}, {}, True),
        ({"min_confidence": 92}, {}, False),
        ({"hits_only": True}, {}, False),
        ({"hits_only": True}, {"hits": HIT}, True),
    ],
)
def test_filters(keys, parts, takes):
    settings = WebhookSettings.model_validate({"name": "w", "url": "http://x"} | keys)
    assert Choice.of(settings, Lane.ALL).takes(event(**parts).sighting) is takes


def test_lanes_part_hits_from_others():
    settings = WebhookSettings(name="w", url="http://x")
    for parts in ({}, {"hits": HIT}):
        given = event(**parts).sighting
        taken = [lane for lane in Lane if Choice.of(settings, lane).takes(given)]
        assert taken == [Lane.ALL, Lane.HITS if parts else Lane.OTHERS]


# --- dead letters -------------------------------------------------------------------------------


def test_dead_letters_are_bounded(letters, monkeypatch):
    monkeypatch.setattr("engine.deadletters.MAX_LETTERS", 3)
    assert [letters.add("w", event(n), "no") for n in range(5)] == [0, 0, 0, 1, 1]
    assert [one.event.sighting.id for one in letters.letters()] == ["id-2", "id-3", "id-4"]
    monkeypatch.setattr("engine.deadletters.MAX_BYTES", 20_000)
    gone = letters.add("w", event(9, pictures=Evidence(b"x" * 19_400)), "no")
    assert gone == 3
    assert [one.event.sighting.id for one in letters.letters()] == ["id-9"]


def test_refused_is_told_from_away(receiver, sink_to):
    receiver.answer = lambda _posted: (404, {})
    with pytest.raises(RefusedError, match="404"):
        sink_to(receiver.url)._target.post(event())
