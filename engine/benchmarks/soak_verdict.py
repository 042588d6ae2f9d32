"""What a soak must have shown, line by line, each with its figures and whether it stands."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from engine.benchmarks.soak_faults import Struck
from engine.benchmarks.soak_samples import FULL_S, WARM_S, Sample, Trend, trend
from engine.benchmarks.soak_witness import Told
from engine.messages import CameraStatus
from engine.types import Phase

ROSE_SHARE: Final = 0.10
"""A figure is level when it rose by no more than this share of itself in the second half …"""
ROSE_MIB: Final = 8.0
"""… or by so much memory: an allocator's arenas fill up for a while …"""
ROSE_SCENE_MIB: Final = 64.0
"""… in a decoder by so much: four painted vehicles of a demo, which come and go …"""
ROSE_FILES: Final = 12
"""… or by so many open files: the clients that stall at once, and their connections to Redis …"""
ROSE_KEPT_KIB: Final = 8.0
"""… or, in Redis, by so much for each event that it keeps: how many come changes with the load …"""
ROSE_RATIO: Final = 0.5
"""… and in its process by so many times its data."""
BESIDE_RINGS: Final = 2
"""Segments of a run besides its cameras': the board and the lock."""
FEW: Final = 3
"""Fewer points say nothing of how a figure went."""
KINDS: Final = ("api", "decoder", "publisher", "redis", "supervisor", "worker")
"""Of processes."""
OUTCOMES: Final = ("skipped_", "dropped_", "recognized", "failed_")
"""How the fates begin of which each captured frame meets exactly one."""


class Line(msgspec.Struct, frozen=True):
    """One line of the verdict."""

    name: str
    stands: bool
    said: str
    is_judged: bool = True
    """False: the run could not show it, either way."""

    @property
    def word(self) -> str:
        """What stands before it."""
        return ("pass" if self.stands else "fail") if self.is_judged else "–"


class Seen(msgspec.Struct, frozen=True):
    """What one witness saw."""

    name: str
    told: Counter[Told]
    skipped: int = 0
    """Events that it cannot have seen: the numbers went on without them."""
    forgotten: int = 0
    """Events that were bound to come again: Redis was killed and had forgotten them."""
    missed: int = 0
    """Events of which a client was told that they are gone."""
    failure: str = ""

    @property
    def twice(self) -> int:
        """Events that came again and were not bound to."""
        return self.told.total() - len(self.told) - self.forgotten


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that was seen, after everything came to rest."""

    seconds: float
    """How long faults struck; what came after was rest."""
    created: Seen
    """By the publisher, out of its spool."""
    stream: Seen
    clients: list[Seen]
    dropped: int
    """Events that the publisher says it gave up."""
    posted: dict[str, str]
    posted_changed: int
    post_failure: str = ""
    """Why posting ended."""
    cameras: tuple[CameraStatus, ...]
    struck: list[Struck]
    under_way: int = 0
    """Faults that had not healed when the accounts were settled."""
    left_out: int
    restarts: int
    redis_pids: int
    """How many servers there were, one after the other."""
    samples: list[Sample]
    kept_s: float
    """So long Redis keeps a sighting."""
    segments: int
    """Files of shared memory, at rest."""
    garbage: dict[int, int]
    exit_code: int | None
    ended_s: float
    left_behind: list[str]


def verdict(facts: Facts) -> list[Line]:
    """Return every line."""
    return [
        *_accounts(facts),
        *(_client(facts, seen) for seen in facts.clients),
        _ledger(facts),
        _healing(facts),
        _restarts(facts),
        *_levels(facts),
        _garbage(facts),
        _end(facts),
    ]


def _accounts(facts: Facts) -> Iterator[Line]:
    created, stream = facts.created, facts.stream
    lost = sum(1 for told in created.told if told not in stream.told)
    strange = sum(1 for told in stream.told if told not in created.told)
    failure = "; ".join(filter(None, (created.failure, stream.failure)))
    wrong = created.twice or stream.twice or stream.skipped or strange
    yield Line(
        "every event that the publisher made is in Redis once",
        bool(created.told) and lost == facts.dropped and not wrong
        and not created.skipped and not failure,
        f"{len(created.told)} made, {len(stream.told)} stored, {lost} not there ({facts.dropped} "
        f"counted as given up), {created.twice + stream.twice} twice, {strange} from nowhere, "
        f"{stream.skipped} numbers left out, {stream.forgotten} came again: Redis, killed, had "
        "forgotten them" + f"; the spool's witness missed {created.skipped}" * bool(created.skipped)
        + f"; {failure}" * bool(failure),
    )  # fmt: skip
    finals = Counter(told.id for told in created.told if told.phase is Phase.FINAL)
    sightings = {told.id for told in created.told}
    again = sum(1 for count in finals.values() if count > 1)
    yield Line(
        "every sighting has ended, once",
        finals.keys() == sightings and not again,
        f"{len(sightings)} sightings, {len(finals)} ended, {again} more than once",
    )
    known, failure = set(facts.posted.values()), facts.post_failure
    gone = sum(1 for one in known if one not in finals)
    alike = len(facts.posted) - len(known)
    yield Line(
        "every post that was taken is one sighting",
        bool(known) and not (gone or alike or facts.posted_changed or failure),
        f"{len(facts.posted)} posts, {gone} without a sighting, {alike} sharing one, "
        f"{facts.posted_changed} another one when said again" + f"; {failure}" * bool(failure),
    )


def _client(facts: Facts, seen: Seen) -> Line:
    """Judge a client of the live stream by what is in Redis's."""
    missing = sum(1 for told in facts.stream.told if told not in seen.told)
    return Line(
        f"the client that {seen.name} saw every event once",
        missing == seen.missed == seen.skipped and not seen.twice and not seen.failure,
        f"{len(seen.told)} of {len(facts.stream.told)}, {missing} missing "
        f"({seen.missed} of them announced as gone), {seen.twice} twice"
        + f"; {seen.failure}"
        * bool(seen.failure),
    )


def _ledger(facts: Facts) -> Line:
    balances = {camera.name: imbalance(camera) for camera in facts.cameras}
    captured = sum(camera.ledger["captured"] for camera in facts.cameras)
    said = ", ".join(f"{name} {balance:+d}" for name, balance in balances.items())
    in_flight = sum(camera.in_flight for camera in facts.cameras)
    return Line(
        "the ledger balances to zero at rest",
        bool(balances) and not any(balances.values()) and not in_flight,
        f"{captured} frames captured, {in_flight} in flight; {said}",
    )


def imbalance(camera: CameraStatus) -> int:
    """Return captured frames minus counted outcomes minus frames in flight."""
    outcomes = sum(n for fate, n in camera.ledger.items() if fate.startswith(OUTCOMES))
    return camera.ledger["captured"] - outcomes - camera.in_flight


def _healing(facts: Facts) -> Line:
    failed = [one for one in facts.struck if one.failure]
    kinds = len({one.kind for one in facts.struck})
    took_s = max((one.healed_s - one.at_s for one in facts.struck), default=0.0)
    said = f"{len(facts.struck)} faults of {kinds} kinds, the longest {took_s:.1f} s"
    said += f", {facts.left_out} left out: their target had not healed" * bool(facts.left_out)
    said += f", {facts.under_way} not healed yet" * bool(facts.under_way)
    return Line(
        "every fault healed",
        bool(facts.struck) and not failed and not facts.under_way,
        said + "".join(f"; {one.kind}: {one.failure}" for one in failed[:3]),
    )


def _restarts(facts: Facts) -> Line:
    due = sum(one.restarts for one in facts.struck)
    redis_due = sum(one.kind == "Redis killed" for one in facts.struck)
    return Line(
        "restarts are as many as faults",
        facts.restarts == due and facts.redis_pids - 1 == redis_due,
        f"{facts.restarts} restarts for {due} deaths; Redis {facts.redis_pids - 1} for {redis_due}",
    )


def _levels(facts: Facts) -> Iterator[Line]:
    """Judge every figure that must stay level while faults strike; at rest, all are."""
    end_s = facts.seconds
    half = [sample for sample in facts.samples if end_s / 2 <= sample.at_s <= end_s]
    for kind in KINDS:
        most = ROSE_SCENE_MIB if kind == "decoder" else ROSE_MIB
        lines = [_level(f"open files of {kind}", _points(half, kind, "files"), ROSE_FILES)]
        if kind != "redis":  # which is judged by what it keeps
            lines.append(_level(f"memory of {kind}, MiB", _points(half, kind, "own_mib"), most))
        yield from (_of_processes(line, facts, half, kind) for line in lines)
    yield _level("Redis's data, KiB per event that it keeps", _kept(facts, half), ROSE_KEPT_KIB)
    grown = [
        (one.at_s, one.kinds["redis"].own_mib / one.redis_mib)
        for one in half
        if "redis" in one.kinds and one.redis_mib
    ]
    yield _level("memory of redis over its data", grown, ROSE_RATIO)
    rings = sum(camera.ring is not None for camera in facts.cameras)
    yield Line(
        "shared memory holds the rings and nothing else",
        facts.segments == BESIDE_RINGS + rings,
        f"{facts.segments} segments at rest; the board, the lock and {rings} rings are known",
    )


def _kept(facts: Facts, samples: Sequence[Sample]) -> list[tuple[float, float]]:
    """Return Redis's data over time, for each event that came within the time that it keeps."""
    times = [one.at_s for one in facts.samples]
    found = []
    for one in samples:
        oldest = facts.samples[max(0, bisect_right(times, one.at_s - facts.kept_s) - 1)]
        kept = one.streamed - oldest.streamed
        if one.redis_mib is not None and kept > 0:
            found.append((one.at_s, 1_024 * one.redis_mib / kept))
    return found


def _points(samples: Sequence[Sample], kind: str, figure: str) -> list[tuple[float, float]]:
    return [(one.at_s, getattr(one.kinds[kind], figure)) for one in samples if kind in one.kinds]


def _of_processes(line: Line, facts: Facts, half: Sequence[Sample], kind: str) -> Line:
    """Return a line of a kind of process with how old they were; what shows nothing says so."""
    ages_s = [age_s for _, age_s in _points(half, kind, "age_s")]
    if facts.seconds < FULL_S:
        said = f"not judged: processes of a run of less than {FULL_S / 60:.0f} minutes are not warm"
        return Line(line.name, stands=True, said=said, is_judged=False)
    if len(ages_s) < FEW and kind != "supervisor":  # of that, which nothing ends, there must be
        said = f"not judged: too few lived for {WARM_S:.0f} s"
        return Line(line.name, stands=True, said=said, is_judged=False)
    oldest = f"; the oldest was {max(ages_s, default=0.0) / 60:.1f} minutes old"
    return Line(line.name, line.stands, line.said + oldest)


def _level(name: str, points: Sequence[tuple[float, float]], allowed: float) -> Line:
    if len(points) < FEW:
        return Line(f"level: {name}", stands=False, said=f"only {len(points)} points")
    went: Trend = trend(points)
    most = max(allowed, ROSE_SHARE * went.typical)
    return Line(
        f"level: {name}",
        went.rise <= most,
        f"{went.typical:.1f}, rose by {went.rise:+.2f} in the second half "
        f"(bound {most:.1f}; {went.points} points)",
    )


def _garbage(facts: Facts) -> Line:
    """A front that was killed answers nothing; one whose publisher was killed says 503.

    Where all that was thrown met such a one, nothing was shown.
    """
    refused = not facts.garbage or any(status // 100 == 4 for status in facts.garbage)
    wrong = {status for status in facts.garbage if status not in {0, 503} and status // 100 != 4}
    said = ", ".join(f"{status or 'none'}: {n}" for status, n in sorted(facts.garbage.items()))
    stands = refused and not wrong
    return Line("garbage is refused in words", stands, f"answers {said or 'none: not posted'}")


def _end(facts: Facts) -> Line:
    left = ", ".join(facts.left_behind) or "nothing"
    return Line(
        "it ends in order and leaves nothing",
        facts.exit_code == 0 and not facts.left_behind,
        f"exit code {facts.exit_code} after {facts.ended_s:.1f} s, left behind: {left}",
    )
