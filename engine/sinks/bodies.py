"""Events as the bytes that travel to sinks: our own JSON, and OpenALPR's ``alpr_group``.

Ours is the JSON of ``engine.types.Sighting``, field for field the same as in Redis and on the live
stream. An ``alpr_group`` is what OpenALPR's agents post, as far as we know the values: receivers
made for those work unchanged.
"""

import zlib
from typing import Final

import msgspec

from engine.track import Event
from engine.types import Box, Candidate, Evidence, PathPoint, Phase, Sighting

_BEST_REGION_CONFIDENCE: Final = 100.0
"""We know a region or we do not."""

_encode = msgspec.json.Encoder().encode


class IllustratedSighting(Sighting, frozen=True, kw_only=True):
    """A sighting with those of its pictures that are new; JSON carries them as base64."""

    crop_jpeg: bytes
    frame_jpeg: bytes


def own_body(event: Event, *, pictures: bool = False) -> bytes:
    """Return the event in our own JSON."""
    if not pictures or event.evidence is None:
        return _encode(event.sighting)
    fields = {name: getattr(event.sighting, name) for name in Sighting.__struct_fields__}
    shown = event.evidence
    return _encode(
        IllustratedSighting(**fields, crop_jpeg=shown.crop_jpeg, frame_jpeg=shown.frame_jpeg)
    )


class _Spot(msgspec.Struct, frozen=True):
    x: int
    y: int


class _Step(msgspec.Struct, frozen=True):
    """A place on a path, ``t`` milliseconds after the first one."""

    x: int
    y: int
    w: int
    h: int
    t: int
    f: int


class _Candidate(msgspec.Struct, frozen=True):
    plate: str
    confidence: float
    matches_template: int


class _Plate(msgspec.Struct, frozen=True, kw_only=True):
    plate: str
    confidence: float
    matches_template: int
    plate_index: int = 0
    region: str
    region_confidence: float
    processing_time_ms: float = 0.0
    requested_topn: int
    coordinates: tuple[_Spot, ...]
    plate_crop_jpeg: bytes
    vehicle_detected: bool = False
    candidates: tuple[_Candidate, ...]


class _Labels(msgspec.Struct, frozen=True):
    camera_label: str
    agent_label: str


class _Group(msgspec.Struct, frozen=True, kw_only=True):
    data_type: str = "alpr_group"
    version: int = 3
    epoch_start: int
    epoch_end: int
    frame_start: int = 0
    frame_end: int
    company_id: str = ""
    agent_uid: str
    agent_version: str
    agent_type: str = "platering"
    camera_id: int
    gps_latitude: float = -1
    gps_longitude: float = -1
    country: str
    uuids: tuple[str, ...]
    plate_indexes: tuple[int, ...] = (0,)
    candidates: tuple[_Candidate, ...]
    best_plate: _Plate
    best_confidence: float
    best_plate_number: str
    best_region: str
    best_region_confidence: float
    matches_template: bool = False
    plate_path: tuple[_Step, ...]
    vehicle_path: tuple[_Step, ...] = ()
    vehicle_crop_jpeg: str = ""
    overview_jpeg: bytes
    best_uuid: str
    best_uuid_epoch_ms: int
    best_image_width: int = 0
    best_image_height: int = 0
    travel_direction: float
    is_parked: bool
    is_preview: bool
    vehicle_signature: str = ""
    vehicle: dict[str, list[str]] = {}
    web_server_config: _Labels
    direction_of_travel_id: int = -1


def group_body(event: Event, *, pictures: bool = False) -> bytes:
    """Return the event as an ``alpr_group``; what is not the final one is a preview.

    Its direction of travel counts clockwise from the top of the picture.
    """
    sighting = event.sighting
    shown = (event.evidence if pictures else None) or Evidence()
    candidates = sighting.candidates or (Candidate(sighting.plate, sighting.confidence),)
    texts = tuple(_Candidate(each.plate, each.confidence, 0) for each in candidates)
    turned = None if sighting.direction_deg is None else (sighting.direction_deg + 90.0) % 360.0
    certain = _BEST_REGION_CONFIDENCE if sighting.region else 0.0
    return _encode(
        _Group(
            epoch_start=sighting.first_unix_ms,
            epoch_end=sighting.last_unix_ms,
            frame_end=max(0, sighting.frames - 1),
            agent_uid=sighting.node,
            agent_version=sighting.recognizer_version,
            camera_id=zlib.crc32(sighting.camera.encode()) & 0x7FFF_FFFF,
            country=sighting.region.partition("-")[0],
            uuids=(sighting.id,),
            candidates=texts,
            best_plate=_Plate(
                plate=sighting.plate,
                confidence=sighting.confidence,
                matches_template=0,
                region=sighting.region,
                region_confidence=certain,
                requested_topn=len(texts),
                coordinates=_corners(sighting.path),
                plate_crop_jpeg=shown.crop_jpeg,
                candidates=texts,
            ),
            best_confidence=sighting.confidence,
            best_plate_number=sighting.plate,
            best_region=sighting.region,
            best_region_confidence=certain,
            plate_path=_steps(sighting.path),
            overview_jpeg=shown.frame_jpeg,
            best_uuid=sighting.id,
            best_uuid_epoch_ms=sighting.best_unix_ms,
            travel_direction=-1.0 if turned is None else turned,
            is_parked=sighting.parked,
            is_preview=sighting.news is not Phase.FINAL,
            web_server_config=_Labels(sighting.camera, sighting.node),
        )
    )


def _corners(path: tuple[PathPoint, ...]) -> tuple[_Spot, ...]:
    """Return the corners of the plate's last box, clockwise from the top left."""
    box = path[-1].box if path else Box(0, 0, 0, 0)
    left, top, right, bottom = (
        round(edge) for edge in (box.x, box.y, box.x + box.width, box.y + box.height)
    )
    return _Spot(left, top), _Spot(right, top), _Spot(right, bottom), _Spot(left, bottom)


def _steps(path: tuple[PathPoint, ...]) -> tuple[_Step, ...]:
    start_ms = path[0].unix_ms if path else 0
    return tuple(
        _Step(
            x=round(point.box.x),
            y=round(point.box.y),
            w=round(point.box.width),
            h=round(point.box.height),
            t=point.unix_ms - start_ms,
            f=number,
        )
        for number, point in enumerate(path)
    )
