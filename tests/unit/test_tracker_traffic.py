"""The tracker in simulated traffic: misreadings, look-alikes, hidden plates, two lanes."""

import random
from collections import Counter

import msgspec
import pytest
from publisher_rig import CAMERA, EPOCH_NS, frame, plate_read

from engine.config import TrackerSettings
from engine.filters import Rules
from engine.plates import ALPHABET, distance
from engine.tracker import SightingIds, Tracker
from engine.types import Phase

FPS = 10
LOOK_ALIKES = {one: [b for b in ALPHABET if 0 < distance(one, b) < 0.5] for one in ALPHABET}


class Traffic(msgspec.Struct, frozen=True):
    """How dense it is and how badly it is read."""

    seed: int
    misread: float
    """Chance of each character to be read wrong: mostly as a look-alike, or as any, or not."""
    every_s: float
    """Mean time between two vehicles."""
    vehicles: int = 200


def vehicles(traffic, rng):
    """Yield plate, start and stay in seconds; one in five is a character off the one before."""
    at_s, plate, seen = 0.0, "", set()
    for _ in range(traffic.vehicles):
        at_s += rng.expovariate(1 / traffic.every_s)
        spot = rng.randrange(7)
        alike = plate[:spot] + rng.choice(ALPHABET) + plate[spot + 1 :]
        plate = alike if rng.random() < 0.2 and plate else "".join(rng.choices(ALPHABET, k=7))
        while plate in seen:
            plate = "".join(rng.choices(ALPHABET, k=7))
        seen.add(plate)
        yield plate, at_s, rng.uniform(1, 3)


def misread(plate, chance, rng):
    text, wrong = "", 0
    for character in plate:
        drawn = rng.random() / chance
        if drawn < 0.7:
            text += rng.choice(LOOK_ALIKES[character] or [character])
        elif drawn < 1.0:
            text += rng.choice(["", rng.choice(ALPHABET)])
        else:
            text += character
        wrong += drawn < 1.0
    return text, rng.uniform(75, 99) - 8 * wrong


def watch(traffic):
    """Return what was there and what was told."""
    rng = random.Random(traffic.seed)
    truth, frames = [], {}
    for plate, start_s, stay_s in vehicles(traffic, rng):
        truth.append(plate)
        lane, hidden_s = rng.randrange(2), rng.choice([99.0] * 9 + [stay_s / 2])
        for number in range(int(start_s * FPS) + 1, int((start_s + stay_s) * FPS) + 1):
            in_s = number / FPS - start_s
            if rng.random() < 0.1 or hidden_s < in_s < hidden_s + 1.0:
                continue
            text, sure = misread(plate, traffic.misread, rng)
            x, y = 100 + 300 * lane + 20 * in_s, 50 + 900 * in_s / stay_s
            frames.setdefault(number, []).append(plate_read(text, x, y, sure))
    ids = SightingIds("node", random.Random(1))
    tracker = Tracker({CAMERA: Rules(60, 2)}, TrackerSettings(), "node", ids)
    told = []
    for number in range(max(frames) + 1):
        clock_ns = EPOCH_NS + number * 10**9 // FPS
        if number in frames:
            seen = frame(number * 1_000 / FPS, *frames[number])
            told += tracker.feed(seen, clock_ns).events
        told += tracker.tick(clock_ns)
    told += tracker.tick(clock_ns + 60 * 10**9)
    return truth, [event.sighting for event in told]


@pytest.mark.parametrize("every_s", [3.0, 1.0, 0.5])
@pytest.mark.parametrize("seed", [1, 2])
def test_nearly_every_vehicle_is_one_sighting_with_its_text(every_s, seed):
    truth, told = watch(Traffic(seed=seed, misread=0.05, every_s=every_s))
    finals = Counter(one.plate for one in told if one.phase is Phase.FINAL)
    exact = sum(finals[plate] == 1 for plate in truth)
    wrong = sum(finals.values()) - exact
    assert exact >= 0.98 * len(truth)
    assert wrong <= 0.005 * len(truth)


def test_the_vote_is_better_than_single_reads():
    truth, told = watch(Traffic(seed=3, misread=0.12, every_s=1.0))
    finals = {one.plate for one in told if one.phase is Phase.FINAL}
    right = sum(plate in finals for plate in truth) / len(truth)
    single = (1 - 0.12) ** 7
    assert single < 0.5
    assert right >= 0.95
