"""The demo's traffic: which vehicle is where at which time, as pure functions of a seed.

World: metres, x to the right, y up from the road, z away from the camera, which stands at x = 0.
The left lane approaches (we see fronts), the right lane departs (we see rears). Traffic flows in
a time of its own (``RoadStyle.road_s``), which runs faster, slower, or stands, for all alike.
"""

import math
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


PARKED_LANE: Final = 2
_PARKED_X_M: Final = 2.2
_PARKED_Z_M: Final = 13.0
_PARKED_EVERY_S: Final = 90.0
_PARKED_FOR_S: Final = 75.0
_FLOWS_FOR_S: Final = 8.0
"""Stop-and-go traffic moves for so long between two stops."""


class RoadStyle(msgspec.Struct, frozen=True):
    """What the traffic is like, besides its density.

    speed: 1 is 6.5 m/s. lanes: 1 has the approaching one alone. similar: share of vehicles whose
    plate is one character off that of the one before or beside. stop_s: all stand so long after
    every 8 s. parked: in place of the departing lane, one vehicle stands at the kerb, for 75 of
    90 s. occlusion: width of the posts that hide plates, in eighths of the frame.
    night: 0 to 1, darker and noisier.
    """

    speed: float = 1.0
    lanes: int = 2
    similar: float = 0.0
    stop_s: float = 0.0
    parked: bool = False
    occlusion: float = 0.0
    night: float = 0.0

    def road_s(self, t_s: float) -> float:
        """Return the traffic's own time at a time of the scene."""
        cycles, into_s = divmod(t_s, _FLOWS_FOR_S + self.stop_s)
        return self.speed * (cycles * _FLOWS_FOR_S + min(into_s, _FLOWS_FOR_S))

    def scene_s(self, road_s: float) -> float:
        """Return the first time of the scene at which the traffic's own time is this."""
        flowed_s = road_s / self.speed
        cycles = math.ceil(flowed_s / _FLOWS_FOR_S) - 1
        return flowed_s + cycles * self.stop_s


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

    @property
    def stays_s(self) -> float:
        """How long it is on the road, in the traffic's own time."""
        return _PARKED_FOR_S if self.lane == PARKED_LANE else (FAR_Z_M - NEAR_Z_M) / SPEED_M_S

    def z_m(self, t_s: float) -> float:
        """Return the distance of the face that we see."""
        if self.lane == PARKED_LANE:
            return _PARKED_Z_M
        way_m = (t_s - self.appears_s) * SPEED_M_S
        return FAR_Z_M - way_m if self.approaching else NEAR_Z_M + way_m

    def time_at(self, z_m: float) -> float:
        """Return when the face we see is at this distance."""
        way_m = FAR_Z_M - z_m if self.approaching else z_m - NEAR_Z_M
        return self.appears_s + way_m / SPEED_M_S


class Traffic:
    """Vehicles of all lanes for one seed; times are the traffic's own.

    density: 1 means a new vehicle about every 3 s; more is denser, up to what a lane can hold.
    """

    def __init__(
        self,
        seed: int,
        density: float,
        style: RoadStyle = RoadStyle(),  # noqa: B008  # a frozen value
    ) -> None:
        self._density, self._style = density, style
        both = (0,) if style.lanes == 1 else (0, 1)
        self._used = (0, PARKED_LANE) if style.parked else both
        self._lanes: tuple[list[Vehicle], ...] = ([], [], [])
        self._rngs = tuple(random.Random(f"{seed}/{lane}") for lane in (0, 1, PARKED_LANE))

    def between(self, from_s: float, to_s: float) -> list[Vehicle]:
        """Return the vehicles on the road at some time of the span, in order of appearance."""
        found: list[Vehicle] = []
        for lane in self._used:
            self._extend(lane, to_s)
            # The newest ones first: an old camera has a long past.
            for vehicle in reversed(self._lanes[lane]):
                if vehicle.appears_s + vehicle.stays_s < from_s:
                    break
                if vehicle.appears_s <= to_s:
                    found.append(vehicle)
        return sorted(found, key=lambda vehicle: vehicle.appears_s)

    def _extend(self, lane: int, to_s: float) -> None:
        vehicles, rng = self._lanes[lane], self._rngs[lane]
        while not vehicles or vehicles[-1].appears_s <= to_s:
            number = len(vehicles)
            if lane == PARKED_LANE:
                gap_s = _PARKED_EVERY_S
            else:
                gap_s = _MIN_GAP_S + rng.uniform(*_SPARE_S) / self._density
            # The first of each lane is already under way, so that a newcomer need not wait.
            first_s = (-10.0, 1.5, 5.0)[lane]
            appears_s = vehicles[-1].appears_s + gap_s if vehicles else first_s + rng.random()
            vehicle = _vehicle(rng, lane, number, appears_s)
            like = self._neighbour(lane, number)
            if like is not None and rng.random() < self._style.similar:
                text = _one_character_off(rng, like.text)
                vehicle = msgspec.structs.replace(vehicle, text=text, region=like.region)
            vehicles.append(vehicle)

    def _neighbour(self, lane: int, number: int) -> Vehicle | None:
        """Return the vehicle whose plate another one may be like; None without likeness at all."""
        if not self._style.similar:
            return None
        if lane == 0:
            return self._lanes[0][number - 1] if number else None
        return self._lanes[0][number] if number < len(self._lanes[0]) else None


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
        x_m=(-LANE_X_M, LANE_X_M, _PARKED_X_M)[lane] + rng.uniform(-0.08, 0.08),
    )


def _one_character_off(rng: random.Random, text: str) -> str:
    """Return a plate with one letter or digit of another replaced by another of its kind."""
    at = rng.choice([place for place, sign in enumerate(text) if sign.isalnum()])
    kind = "0123456789" if text[at].isdigit() else _CONSONANTS
    return text[:at] + rng.choice(kind.replace(text[at], "")) + text[at + 1 :]


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
