"""What may be posted to the ingest: a bare plate, and what OpenALPR and its agents send.

Structs that validate, and pure functions that turn them into our own values. Fields that are not
named here are kept beside the sighting as they came. Every mistake is a ``PayloadError`` that names
the field.
"""

import base64
import binascii
import hashlib
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from engine.canary import is_hidden
from engine.errors import PayloadError
from engine.plates import normalise
from engine.types import (
    Candidate,
    Corners,
    Evidence,
    FrameReads,
    FrameStamp,
    Phase,
    PlateRead,
    Sighting,
)

MAX_CANDIDATES: Final = 50
JPEG_MAGIC: Final = b"\xff\xd8\xff"
NEWEST_UNIX_MS: Final = 4_102_444_800_000
"""The year 2100: anything later is a mistake in units."""
SECONDS_BELOW: Final = 100_000_000_000
"""Smaller numbers are seconds since 1970, larger ones milliseconds."""

Percent = Annotated[float, Meta(ge=0, le=100)]
EpochMs = Annotated[float, Meta(ge=0, le=NEWEST_UNIX_MS)]
Text = Annotated[str, Meta(max_length=64)]
Plate = Annotated[str, Meta(min_length=1, max_length=64)]
Jpeg64 = Annotated[str, Meta(max_length=1 << 26)]

P = TypeVar("P")


class Envelope(msgspec.Struct, frozen=True):
    """The first look: which kind of payload is it?"""

    data_type: str = ""
    results: msgspec.Raw = msgspec.Raw()


class BarePlate(msgspec.Struct, frozen=True, kw_only=True):
    """The simplest payload: ``{"plate": "ABC123"}``."""

    plate: Plate
    confidence: Percent = 100.0
    camera: Text = "ingest"
    region: Annotated[str, Meta(pattern=r"^([a-z]{2}(-[a-z0-9]{1,3})?)?$")] = ""
    timestamp: float | str | None = None
    """Seconds or milliseconds since 1970, or ISO 8601; now when absent."""
    uuid: Annotated[str, Meta(max_length=200)] = ""
    """Whoever says the same one again gets the same sighting; none: a new one each time."""


class Spot(msgspec.Struct, frozen=True):
    """A point in the picture."""

    x: float
    y: float


class AgentCandidate(msgspec.Struct, frozen=True):
    """One of OpenALPR's top-n."""

    plate: Plate
    confidence: float = 0.0


class AgentPlate(msgspec.Struct, frozen=True, kw_only=True):
    """One of ``results`` of ``alpr_results``, and ``best_plate`` of a group."""

    plate: Plate
    confidence: float = 0.0
    coordinates: Annotated[tuple[Spot, ...], Meta(min_length=4, max_length=4)] | None = None
    candidates: tuple[AgentCandidate, ...] = ()
    region: Text = ""
    processing_time_ms: float = 0.0
    plate_crop_jpeg: Jpeg64 = ""


class AlprResults(msgspec.Struct, frozen=True, kw_only=True):
    """``alpr_results``: the plates of one frame."""

    results: Annotated[tuple[AgentPlate, ...], Meta(max_length=1_000)]
    epoch_time: EpochMs | None = None
    img_width: Annotated[int, Meta(ge=0, le=65_535)] = 0
    img_height: Annotated[int, Meta(ge=0, le=65_535)] = 0
    camera_id: int | None = None
    site_id: Text = ""
    uuid: Annotated[str, Meta(max_length=200)] = ""


class Labels(msgspec.Struct, frozen=True):
    """What the agent's web server calls its camera."""

    camera_label: Text = ""


class AlprGroup(msgspec.Struct, frozen=True, kw_only=True):
    """``alpr_group``, versions 1 to 3: one vehicle that an agent has followed."""

    best_plate_number: Annotated[str, Meta(max_length=64)] = ""
    """Where it is missing, the text of ``best_plate``."""
    best_confidence: float = 0.0
    best_uuid: Annotated[str, Meta(max_length=200)] = ""
    best_region: Text = ""
    best_plate: AgentPlate | None = None
    candidates: tuple[AgentCandidate, ...] = ()
    epoch_start: EpochMs | None = None
    epoch_end: EpochMs | None = None
    uuids: tuple[str, ...] = ()
    camera_id: int | None = None
    web_server_config: Labels = Labels()
    travel_direction: Annotated[float, Meta(ge=-1, le=360)] | None = None
    is_parked: bool = False
    vehicle_crop_jpeg: Jpeg64 = ""
    overview_jpeg: Jpeg64 = ""
    agent_version: Text = ""


class AlprAlert(msgspec.Struct, frozen=True, kw_only=True):
    """``alpr_alert``: a group that was on one of the agent's own lists."""

    group: AlprGroup


_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind)
    for kind in (Envelope, BarePlate, AlprResults, AlprGroup, AlprAlert)
}


def decode(body: bytes, kind: type[P]) -> P:
    """Decode and validate a body.

    Raises:
        PayloadError: names the field, ``body`` where the JSON itself is malformed.
    """
    try:
        decoded: P = _decoders[kind].decode(body)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadError("body", f"is no valid JSON: {error}") from error
    return decoded


def _explain(text: str) -> PayloadError:
    """Turn msgspec's sentence (``Expected `str`, got `int` - at `$.plate```) into ours."""
    problem, _, path = text.partition(" - at `$")
    field = path.rstrip("`").lstrip(".").replace("[...]", "[]")
    missing = re.match(r"Object missing required field `(\w+)`", problem)
    if missing:
        return PayloadError(f"{field}.{missing[1]}" if field else missing[1], "is missing")
    return PayloadError(field or "body", problem[:1].lower() + problem[1:])


def bare_sighting(bare: BarePlate, node: str, now_ms: int) -> Sighting:
    """Return the final sighting that a bare plate stands for; the publisher gives it its id.

    Raises:
        PayloadError: the plate holds no letter or digit, or the timestamp means nothing.
    """
    plate = _plate(bare.plate, "plate")
    at_ms = _unix_ms(bare.timestamp, now_ms)
    return Sighting(
        id="", revision=1, phase=Phase.FINAL, camera=_name(bare.camera), node=node,
        plate=plate, confidence=bare.confidence,
        candidates=(Candidate(plate, bare.confidence),), region=bare.region,
        first_unix_ms=at_ms, last_unix_ms=at_ms, best_unix_ms=at_ms, origin="ingest",
    )  # fmt: skip


def group_sighting(
    group: AlprGroup, node: str, now_ms: int, within: str = ""
) -> tuple[Sighting, Evidence]:
    """Return the sighting of a group and its pictures; the same group has always the same id.

    ``within`` is the path of the group in the body, with a dot behind it.

    Raises:
        PayloadError: there is no plate, or it holds no letter or digit.
    """
    best = group.best_plate
    said = group.best_plate_number or (best.plate if best else "")
    if not said:
        raise PayloadError(f"{within}best_plate_number", "is missing")
    plate = _plate(said, f"{within}best_plate_number")
    evidence = Evidence(
        crop_jpeg=jpeg(best.plate_crop_jpeg) if best else b"",
        frame_jpeg=jpeg(group.overview_jpeg) or jpeg(group.vehicle_crop_jpeg),
    )
    first_ms = int(group.epoch_start or now_ms)
    last_ms = max(first_ms, int(group.epoch_end or first_ms))
    identity = hashlib.blake2s(group.best_uuid.encode(), digest_size=12).hexdigest()
    region = group.best_region or (best.region if best else "")
    direction = group.travel_direction  # an agent counts clockwise from up, we from the right
    sighting = Sighting(
        id=identity if group.best_uuid else "",
        revision=1, phase=Phase.FINAL, node=node, plate=plate,
        camera=_name(group.web_server_config.camera_label, group.camera_id),
        confidence=_percent(group.best_confidence),
        candidates=_candidates(group.candidates, plate, group.best_confidence),
        region=region, first_unix_ms=first_ms, last_unix_ms=last_ms,
        best_unix_ms=last_ms, reads=max(1, len(group.uuids)), frames=max(1, len(group.uuids)),
        direction_deg=None if direction is None or direction < 0 else (direction - 90) % 360,
        parked=group.is_parked, has_crop=bool(evidence.crop_jpeg),
        has_frame=bool(evidence.frame_jpeg), recognizer="openalpr-agent",
        recognizer_version=group.agent_version, origin="ingest",
    )  # fmt: skip
    return sighting, evidence


def frame_reads(results: AlprResults, now_ms: int, monotonic_ns: int) -> FrameReads:
    """Return the reads of a frame as if one of our workers had made them.

    Raises:
        PayloadError: a plate holds no letter or digit.
    """
    unix_ms = int(results.epoch_time or now_ms)
    reads = tuple(
        _read(found, f"results[{index}].plate") for index, found in enumerate(results.results)
    )
    return FrameReads(
        stamp=FrameStamp(
            camera=_name(results.site_id, results.camera_id),
            generation=0,
            captured_unix_ns=unix_ms * 1_000_000,
            captured_monotonic_ns=monotonic_ns,
            width_px=results.img_width,
            height_px=results.img_height,
        ),
        reads=reads,
        crops=tuple(jpeg(found.plate_crop_jpeg) for found in results.results),
    )


def _read(found: AgentPlate, field: str) -> PlateRead:
    plate = _plate(found.plate, field)
    spots = [(spot.x, spot.y) for spot in found.coordinates or (Spot(0, 0),) * 4]
    corners: Corners = (spots[0], spots[1], spots[2], spots[3])
    return PlateRead(
        plate=plate,
        confidence=_percent(found.confidence),
        candidates=_candidates(found.candidates, plate, found.confidence),
        corners=corners,
        region=found.region,
        recognizer="openalpr",
        elapsed_ms=found.processing_time_ms,
    )


def _candidates(
    given: tuple[AgentCandidate, ...], plate: str, confidence: float
) -> tuple[Candidate, ...]:
    """Return the candidates in our form, best first, the first one equal to the plate."""
    best = {plate: _percent(confidence)}
    for candidate in given[:MAX_CANDIDATES]:
        text = normalise(candidate.plate)
        if text:
            best.setdefault(text, _percent(candidate.confidence))
    return tuple(Candidate(text, each) for text, each in best.items())


def _plate(text: str, field: str) -> str:
    plate = normalise(text)
    if not plate:
        raise PayloadError(field, "holds no letter or digit")
    return plate


def _percent(confidence: float) -> float:
    return min(100.0, max(0.0, confidence))


def _name(label: str, number: int | None = None) -> str:
    """Return a camera's name in the characters that names may have, and none of our own."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", label).strip("-.")[:63]
    if not name or name == "unnamed":
        name = "ingest" if number is None else f"agent-{abs(number) % 10**12}"
    return f"ingest-{name}"[:63] if is_hidden(name) else name


def _unix_ms(given: float | str | None, now_ms: int) -> int:
    if given is None:
        return now_ms
    try:
        if isinstance(given, str):
            when = datetime.fromisoformat(given)
            given = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        unix_ms = int(given * 1_000 if given < SECONDS_BELOW else given)
    except (ValueError, OverflowError) as error:
        raise PayloadError("timestamp", f"means no time: {error}") from error
    if not 0 <= unix_ms <= NEWEST_UNIX_MS:
        raise PayloadError("timestamp", "lies outside the years 1970 to 2100")
    return unix_ms


def jpeg(text: str) -> bytes:
    """Return the picture in base64 text; broken padding is mended, what is no JPEG is dropped."""
    try:
        picture = binascii.a2b_base64(text, strict_mode=True)  # twice as fast as mending
    except ValueError:
        picture = _mended(text)
    return picture if picture.startswith(JPEG_MAGIC) else b""


def _mended(text: str) -> bytes:
    """Decode base64 of the other alphabet, with line ends, or with broken padding."""
    plain = re.sub(r"[^A-Za-z0-9+/]", "", text.replace("-", "+").replace("_", "/"))
    if len(plain) % 4 == 1:
        plain = plain[:-1]  # six bits alone are no byte
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4))
    except binascii.Error:
        return b""
