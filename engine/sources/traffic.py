"""The demo's traffic: which vehicle is where at which time, as pure functions of a seed.

World: metres, x to the right, y up from the road, z away from the camera, which stands at x = 0.
The left lane approaches (we see fronts), the right lane departs (we see rears).
"""

import random
from typing import Final

import msgspec

FAR_Z_M: Final = 90.0
"""Where vehicles appear or fade away."""

NEAR_Z_M: Final = 2.0
"""Where the camera has lost the whole vehicle."""

CAMERA_HEIGHT_M: Final = 1.7
SPEED_M_S: Final = 6.5
LANE_X_M: Final = 1.45

_MIN_GAP_S = 2.6
"""Time between two vehicles of a lane, at least: nearer, one would hide the next one's plate."""

_SPARE_S = (1.8, 5.0)
"""Time on top of that at density 1."""

_LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"
_CONSONANTS = "BCDFGHJKLMNPRSTVWXYZ"

PLATE_FORMATS: Final = {
    "gb": ("LL00 LLL",),
    "de": ("L LL 0000", "LL LL 000", "LLL LL 00"),
    "fr": ("LL-000-LL",),
    "us": ("LLL 0000", "9LLL 000"),
    "es": ("0000 CCC",),
    "it": ("LL 000 LL",),
    "pl": ("LL 00000",),
}
"""Patterns per region: L a letter but I, O, Q; C a consonant; 0 a digit; 9 a digit but 0."""


class Vehicle(msgspec.Struct, frozen=True, kw_only=True):
    """One vehicle on its way; ``appears_s`` is when it is at the start of its lane."""

    lane: int
    number: int
    appears_s: float
    kind: str
    paint_bgr: tuple[int, int, int]
    text: str
    region: str
    x_m: float

    @property
    def plate(self) -> str:
        """The text without blanks and dashes."""
        return "".join(c for c in self.text if c.isalnum())

    @property
    def approaching(self) -> bool:
        """Whether it shows its front and comes nearer."""
        return self.lane == 0

    def z_m(self, t_s: float) -> float:
        """Return the distance of the face that we see."""
        way_m = (t_s - self.appears_s) * SPEED_M_S
        return FAR_Z_M - way_m if self.approaching else NEAR_Z_M + way_m

    def time_at(self, z_m: float) -> float:
        """Return when the face we see is at this distance."""
        way_m = FAR_Z_M - z_m if self.approaching else z_m - NEAR_Z_M
        return self.appears_s + way_m / SPEED_M_S


class Traffic:
    """Vehicles of both lanes for one seed.

    density: 1 means a new vehicle about every 3 s; more is denser, up to what a lane can hold.
    """

    def __init__(self, seed: int, density: float) -> None:
        self._seed, self._density = seed, density
        self._lanes: tuple[list[Vehicle], list[Vehicle]] = ([], [])
        self._rngs = tuple(random.Random(f"{seed}/{lane}") for lane in (0, 1))

    def between(self, from_s: float, to_s: float) -> list[Vehicle]:
        """Return the vehicles on the road at some time of the span, in order of appearance."""
        span_s = (FAR_Z_M - NEAR_Z_M) / SPEED_M_S
        found: list[Vehicle] = []
        for lane in (0, 1):
            self._extend(lane, to_s)
            # The newest ones first: an old camera has a long past.
            for vehicle in reversed(self._lanes[lane]):
                if vehicle.appears_s + span_s < from_s:
                    break
                if vehicle.appears_s <= to_s:
                    found.append(vehicle)
        return sorted(found, key=lambda vehicle: vehicle.appears_s)

    def _extend(self, lane: int, to_s: float) -> None:
        vehicles, rng = self._lanes[lane], self._rngs[lane]
        while not vehicles or vehicles[-1].appears_s <= to_s:
            number = len(vehicles)
            gap_s = _MIN_GAP_S + rng.uniform(*_SPARE_S) / self._density
            # The first of each lane is already under way, so that a newcomer need not wait.
            first_s = (-10.0, 1.5)[lane]
            appears_s = vehicles[-1].appears_s + gap_s if vehicles else first_s + rng.random()
            vehicles.append(_vehicle(rng, lane, number, appears_s))


def _vehicle(rng: random.Random, lane: int, number: int, appears_s: float) -> Vehicle:
    region = rng.choice(tuple(PLATE_FORMATS))
    return Vehicle(
        lane=lane,
        number=number,
        appears_s=appears_s,
        kind=rng.choice(("hatchback", "saloon", "suv", "van")),
        paint_bgr=rng.choice(_PAINTS),
        text=_plate_text(rng, rng.choice(PLATE_FORMATS[region])),
        region=region,
        x_m=(LANE_X_M if lane else -LANE_X_M) + rng.uniform(-0.08, 0.08),
    )


def _plate_text(rng: random.Random, pattern: str) -> str:
    choices = {"L": _LETTERS, "C": _CONSONANTS, "0": "0123456789", "9": "123456789"}
    return "".join(rng.choice(choices[sign]) if sign in choices else sign for sign in pattern)


_PAINTS = (
    (196, 198, 200),
    (60, 58, 56),
    (150, 96, 48),
    (48, 44, 160),
    (118, 120, 122),
    (228, 230, 232),
    (96, 116, 60),
    (70, 150, 190),
)
