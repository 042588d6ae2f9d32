"""Bodies as agents post them, and what becomes of them on bad lines and in bad hands."""

import base64
import copy
import gzip
import json
import random
from pathlib import Path

JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffd9")
PICTURE = base64.b64encode(JPEG + b"x" * 40).decode()

CORNERS = [{"x": 601, "y": 294}, {"x": 656, "y": 284}, {"x": 657, "y": 297}, {"x": 602, "y": 307}]
GROUP = {
    "data_type": "alpr_group", "version": 3, "best_uuid": "AGENT-1-2", "camera_id": 1000,
    "best_plate_number": "2BH375", "best_confidence": 93.25, "best_region": "us-ma",
    "epoch_start": 1_795_000_000_000, "epoch_end": 1_795_000_003_000, "uuids": ["a", "b", "c"],
    "travel_direction": 296.5, "is_parked": False, "overview_jpeg": PICTURE,
    "best_plate": {"plate": "2BH375", "plate_crop_jpeg": PICTURE, "coordinates": CORNERS},
    "candidates": [{"plate": "2BH375", "confidence": 93.25}],
}  # fmt: skip
RESULTS = {
    "data_type": "alpr_results", "version": 2, "epoch_time": 1_795_000_000_000, "img_width": 1000,
    "img_height": 750, "uuid": "r",
    "results": [{"plate": "M5XSX", "confidence": 90.6, "coordinates": CORNERS, "candidates": []}],
}  # fmt: skip
SEEDS = (
    {
        "plate": "AB12CDE",
        "confidence": 90,
        "camera": "gate",
        "timestamp": 1_795_000_000,
        "uuid": "u",
    },
    GROUP,
    RESULTS,
    {"data_type": "alpr_alert", "plate_number": "2BH375", "group": GROUP},
    {"data_type": "vehicle", "version": 3, "vehicle": {}, "overview_jpeg": PICTURE},
    {"data_type": "heartbeat", "version": 1, "video_streams": [{"camera_id": 1, "fps": 12}]},
)

STRANGE = (
    None, True, -1, 0, 1, 1 << 63, 1 << 200, 1e308, -1e308, 5e-324, "", "0", "AB12CDE", "ÄÖ\u0000",
    "x" * 5_000, "\ud83d\ude97", [], {}, [[]], [None] * 50, {"plate": "X"}, PICTURE, PICTURE[:-1],
    "2026-13-45T99:00:00Z", "alpr_group", "alpr_results", "vehicle",
)  # fmt: skip
"""Values that stand where others are expected."""

TOKENS = (b"NaN", b"Infinity", b"1e999", b"\\ud800", b"\xff", b"\x00", b"[" * 3_000, b'{"a":' * 600,
          b",", b"}", b'"', b"null", b"\xef\xbb\xbf", b"-", b"9" * 400)  # fmt: skip

Body = tuple[bytes, dict[str, str]]
"""What is posted, and with which headers."""


def seeds(webhooks: Path) -> list[dict[str, object]]:
    """Return bodies to start from: ours, and the real ones where they are; pictures are small."""
    real = [json.loads(path.read_text()) for path in sorted(webhooks.glob("*.json"))]
    return [*SEEDS, *(_small(body) for body in real)]


def _small(value: object) -> object:
    if isinstance(value, dict):
        return {
            name: PICTURE if name.endswith("_jpeg") else _small(inner)
            for name, inner in value.items()
        }
    return [_small(inner) for inner in value[:5]] if isinstance(value, list) else value


def mutated(seed: dict[str, object], rng: random.Random) -> Body:
    """Return a body with a few mistakes in its fields, its bytes, or how it is sent."""
    body = json.loads(json.dumps(seed))
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        _mistake(body, rng)
    raw = json.dumps(body, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    for _ in range(rng.choice((0, 0, 0, 1, 3))):
        raw = _damaged(raw, rng)
    headers = {"Content-Type": rng.choice(("application/json",) * 8 + ("", "text/plain"))}
    if rng.random() < 0.1:
        headers["Content-Encoding"] = rng.choice(("gzip", "gzip", "x-gzip", "br", ""))
        raw = gzip.compress(raw, 1) if rng.random() < 0.8 else raw
        raw = _damaged(raw, rng) if rng.random() < 0.3 else raw
    return raw, headers


def _mistake(body: object, rng: random.Random) -> None:
    """Change one field somewhere."""
    here = body
    while isinstance(here, dict | list) and here:
        key = rng.choice(list(here)) if isinstance(here, dict) else rng.randrange(len(here))
        inner = here[key]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.6:
            here = inner
            continue
        match rng.randrange(4):
            case 0:
                del here[key]
            case 1 if isinstance(here, dict):
                here[f"{key}x"] = here.pop(key)
            case 2 if isinstance(here, dict):
                here[rng.choice(("plate", "uuid", "results", "group", "data_type"))] = inner
            case _:
                here[key] = copy.deepcopy(rng.choice(STRANGE))
        return


def _damaged(raw: bytes, rng: random.Random) -> bytes:
    """Damage a few bytes."""
    at = rng.randrange(len(raw) + 1)
    match rng.randrange(5):
        case 0:
            return raw[:at]
        case 1:
            return raw[:at] + rng.choice(TOKENS) + raw[at:]
        case 2:
            return raw[:at] + rng.randbytes(rng.randrange(1, 9)) + raw[at + 4 :]
        case 3:
            return raw[:at] + raw[at + rng.randrange(1, 60) :]
        case _:
            return raw[:at] + raw[at // 2 : at] + raw[at:]
