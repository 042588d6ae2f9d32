"""How far a sink has come in the spool: a place in it, and of some cameras a later one.

Events of a camera go out in order, so one place per camera says all. Cameras differ only while a
sink catches up: those that have nothing waiting are served at once, beside the backlog of others.
"""

import msgspec


class Progress(msgspec.Struct, frozen=True):
    """What a sink has: every event up to ``base``, and of the cameras in ``ahead`` up to there."""

    base: int = 0
    ahead: dict[str, int] = {}
    """Every place in it lies behind ``base``; never changed, replaced as a whole."""

    def of(self, camera: str) -> int:
        """Return up to which place the sink has a camera's events."""
        return max(self.base, self.ahead.get(camera, 0))

    def has(self, seq: int, camera: str) -> bool:
        """Tell whether the sink has this event."""
        return seq <= self.of(camera)

    def with_ahead(self, places: dict[str, int]) -> "Progress":
        """Return the progress after events of some cameras were delivered."""
        return Progress(self.base, self.ahead | places)

    def up_to(self, base: int) -> "Progress":
        """Return the progress once everything up to a place was delivered."""
        base = max(self.base, base)
        return Progress(base, _beyond(base, self.ahead))

    def back_to(self, other: "Progress") -> "Progress":
        """Return what both have."""
        base = min(self.base, other.base)
        common = {camera: min(self.of(camera), other.of(camera)) for camera in _both(self, other)}
        return Progress(base, _beyond(base, common))

    def joined(self, other: "Progress") -> "Progress":
        """Return what either has."""
        base = max(self.base, other.base)
        most = {camera: max(self.of(camera), other.of(camera)) for camera in _both(self, other)}
        return Progress(base, _beyond(base, most))


def _both(one: Progress, other: Progress) -> set[str]:
    return one.ahead.keys() | other.ahead.keys()


def _beyond(base: int, places: dict[str, int]) -> dict[str, int]:
    return {camera: seq for camera, seq in places.items() if seq > base}
