"""What may be posted: conversions, and that nothing but a PayloadError comes out of a mistake."""

import base64
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import payloads, posted
from api.payloads import AlprAlert, AlprGroup, AlprResults, BarePlate, Envelope, Labels
from engine.canary import CANARY, is_hidden
from engine.errors import PayloadError
from engine.privacy import disguise
from engine.track import Event
from engine.types import Evidence, FrameReads, Sighting
from engine.uploads import UPLOAD_PREFIX

NOW_MS = 1_795_000_000_000
JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffd9")

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["AB12CDE", "/9j/4AAQ", "us-ma", "ÄÖÜ"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(sorted(AlprGroup.__struct_fields__)), inner, max_size=5)
        | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=15,
)

BASE = {
    BarePlate: {"plate": "AB12CDE", "confidence": 90, "camera": "gate", "timestamp": NOW_MS},
    AlprResults: {"results": [{"plate": "AB12CDE", "confidence": 90.5, "candidates": []}]},
    AlprGroup: {"best_plate_number": "AB12CDE", "best_uuid": "u", "epoch_start": NOW_MS},
}


def convert(kind: type, body: bytes) -> object:
    """Do with a body what the ingest does."""
    payloads.decode(body, Envelope)
    decoded = payloads.decode(body, kind)
    assert isinstance(json.loads(posted.kept(body, whole=False)), dict)
    if isinstance(decoded, BarePlate):
        return payloads.bare_sighting(decoded, "n", NOW_MS)
    if isinstance(decoded, AlprResults):
        return payloads.frame_reads(decoded, NOW_MS, 1)
    return payloads.group_sighting(decoded, "n", NOW_MS)[0]


def taken_or_refused(take: Callable[[], object]) -> object:
    """Return what was made of a body, or its refusal."""
    try:
        return take()
    except PayloadError as error:
        return error


@given(st.sampled_from(sorted(BASE, key=str)), st.data())
def test_a_mutated_payload_is_taken_or_refused_by_name(kind: type, data: st.DataObject) -> None:
    body = dict(BASE[kind])
    for name in data.draw(st.lists(st.sampled_from(sorted(kind.__struct_fields__)), max_size=3)):
        body[name] = data.draw(json_values)
    raw = json.dumps(body).encode()
    cut = data.draw(st.none() | st.integers(0, len(raw)))
    made = taken_or_refused(lambda: convert(kind, raw[:cut]))
    if isinstance(made, PayloadError):
        assert made.field
        return
    if isinstance(made, FrameReads):
        assert all(read.plate and 0 <= read.confidence <= 100 for read in made.reads)
        return
    assert isinstance(made, Sighting)
    assert made.plate.isalnum()
    assert 0 <= made.confidence <= 100
    assert 0 <= made.first_unix_ms <= made.last_unix_ms <= payloads.NEWEST_UNIX_MS
    assert made.candidates[0].plate == made.plate


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(body: bytes) -> None:
    for kind in (Envelope, BarePlate, AlprResults, AlprGroup, AlprAlert):
        made = taken_or_refused(lambda kind=kind: payloads.decode(body, kind))
        assert not isinstance(made, PayloadError) or made.field


@given(st.binary(max_size=100))
def test_pictures_with_broken_padding_are_mended(tail: bytes) -> None:
    picture = JPEG + tail
    plain = base64.b64encode(picture).decode()
    assert payloads.jpeg(plain) == picture
    assert payloads.jpeg(plain.rstrip("=")) == picture
    assert payloads.jpeg(plain.replace("+", "-").replace("/", "_")) == picture
    assert payloads.jpeg(f"{plain[:8]}\r\n{plain[8:]}") == picture


@pytest.mark.parametrize("text", ["", "=", "A", "hello", base64.b64encode(b"GIF89a").decode()])
def test_what_is_no_jpeg_is_dropped(text: str) -> None:
    assert payloads.jpeg(text) == b""


@pytest.mark.parametrize(
    ("stamp", "unix_ms"),
    [
        (1_795_000_000, 1_795_000_000_000),
        (1_795_000_000.25, 1_795_000_000_250),
        (1_795_000_000_123, 1_795_000_000_123),
        ("2026-11-22T10:00:00Z", 1_795_341_600_000),
        ("2026-11-22T10:00:00+01:00", 1_795_338_000_000),
        ("2026-11-22T10:00:00", 1_795_341_600_000),
    ],
)
def test_timestamps_in_seconds_milliseconds_and_iso(stamp: object, unix_ms: int) -> None:
    body = json.dumps({"plate": "A1", "timestamp": stamp}).encode()
    made = payloads.bare_sighting(payloads.decode(body, BarePlate), "n", 5)
    assert made.first_unix_ms == unix_ms


def test_what_was_posted_goes_with_the_plate_where_plates_are_disguised() -> None:
    bare = payloads.bare_sighting(BarePlate(plate="AB123"), "n", NOW_MS)
    told = disguise(Event(bare, Evidence(payload=b'{"plate": "AB123"}')), b"k" * 32)
    assert told.evidence is None
    assert told.sighting.plate.startswith("~")


@pytest.mark.parametrize("name", [CANARY, f" {CANARY}- ", f"{UPLOAD_PREFIX}1"])
def test_nobody_can_post_in_the_name_of_the_canary_or_of_an_upload(name: str) -> None:
    bare = payloads.bare_sighting(BarePlate(plate="AB123", camera=name), "n", NOW_MS)
    results = AlprResults(site_id=name, results=())
    group = AlprGroup(best_plate_number="AB123", web_server_config=Labels(camera_label=name))
    cameras = {
        bare.camera,
        payloads.frame_reads(results, NOW_MS, 1).stamp.camera,
        payloads.group_sighting(group, "n", NOW_MS)[0].camera,
    }
    assert cameras == {f"ingest-{name.strip(' -')}"}
    assert not any(is_hidden(camera) for camera in cameras)


def test_a_group_keeps_its_identity_and_its_camera() -> None:
    group = {
        "best_plate_number": "ab-123", "best_uuid": "U1", "camera_id": 7,
        "web_server_config": {"camera_label": "North gate (in)"},
    }  # fmt: skip
    made = [
        payloads.group_sighting(payloads.decode(json.dumps(body).encode(), AlprGroup), "n", NOW_MS)
        for body in (group, group, group | {"best_uuid": "U2"}, group | {"web_server_config": {}})
    ]
    ids = [sighting.id for sighting, _evidence in made]
    assert ids[0] == ids[1] != ids[2]
    assert made[0][0].plate == "AB123"
    assert made[0][0].camera == "North-gate-in"
    assert made[3][0].camera == "agent-7"
    assert made[0][1] == Evidence()
