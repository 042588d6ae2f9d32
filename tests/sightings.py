"""Events as the publisher makes them, for tests of sinks."""

from engine.track import Event
from engine.types import Box, Candidate, Evidence, PathPoint, Phase, Sighting


def event(
    number: int = 1,
    phase: Phase = Phase.FINAL,
    pictures: Evidence | None = None,
    **parts: object,
) -> Event:
    """A final of the camera gate, the third revision; each number has its own id and plate."""
    fields: dict[str, object] = {
        "id": f"id-{number}", "revision": 3, "phase": phase, "camera": "gate", "node": "node-a",
        "plate": f"AB{number}CD", "confidence": 91.5, "region": "us-ma",
        "candidates": (Candidate(f"AB{number}CD", 91.5), Candidate("AB0CD", 40.0)),
        "first_unix_ms": 1_790_000_000_000, "last_unix_ms": 1_790_000_001_500,
        "best_unix_ms": 1_790_000_000_700, "direction_deg": 0.0, "reads": 7, "frames": 7,
        "path": (
            PathPoint(1_790_000_000_000, Box(10, 20, 100, 25)),
            PathPoint(1_790_000_000_500, Box(60.4, 20, 100, 25)),
        ),
    }  # fmt: skip
    return Event(Sighting(**fields | parts), pictures)
