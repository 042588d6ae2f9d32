"""The verdict of a soak: each line falls when what it says is not so."""

from collections import Counter

import msgspec
import pytest

from engine.benchmarks.soak_faults import Struck, schedule
from engine.benchmarks.soak_page import page
from engine.benchmarks.soak_samples import KindUse, Sample
from engine.benchmarks.soak_verdict import Facts, Seen, verdict
from engine.benchmarks.soak_witness import Told
from engine.messages import CameraStatus
from engine.types import CameraState, Phase

TOLD = [
    Told(f"s{number}", revision, phase)
    for number in range(3)
    for revision, phase in ((1, Phase.PROVISIONAL), (2, Phase.FINAL))
]
ALL = Counter(TOLD)
LESS = Counter(TOLD[1:])
TWICE = Counter([*TOLD, TOLD[0]])
LEDGER = {"captured": 9, "recognized": 5, "skipped_static": 4}
SUPERVISOR = KindUse(40.0, 80.0, 30, 3_000.0)
CAMERA = CameraStatus(name="gate", index=0, state=CameraState.PAUSED, ledger=LEDGER)


def sample(at_s, own_mib=50.0, files=20, redis_mib=30.0, redis_own_mib=33.0):
    return Sample(
        at_s=at_s, segments=5, segments_mib=8.0, redis_mib=redis_mib, waiting=0,
        kinds={
            "worker": KindUse(own_mib, 90.0, files, 600.0), "supervisor": SUPERVISOR,
            "redis": KindUse(redis_own_mib, 40.0, 9, 600.0),
        },
        created=int(4 * at_s), streamed=int(4 * at_s), restarts=1, redis_pid=7, load=1.0,
        metrics={},
    )  # fmt: skip


GOOD = Facts(
    seconds=3_600.0,
    created=Seen("spool", ALL),
    stream=Seen("Redis", ALL),
    clients=[Seen("stays", ALL)],
    dropped=0,
    posted={"post": "s1"},
    posted_changed=0,
    cameras=(CAMERA,),
    struck=[Struck("worker killed", "worker-0", 5.0, 6.0, 1)],
    left_out=0,
    restarts=1,
    redis_pids=1,
    samples=[sample(60.0 * number) for number in range(60)],
    kept_s=260.0,
    segments=2,
    garbage={400: 9, 503: 1, 0: 1},
    exit_code=0,
    ended_s=1.0,
    left_behind=[],
)
RISING = [60.0 * number for number in range(60)]


def fallen(**changes):
    """Return the lines that do not stand when these facts are otherwise."""
    lines = verdict(msgspec.structs.replace(GOOD, **changes))
    return [line.name for line in lines if not line.stands]


def test_all_lines_stand_when_all_is_well():
    assert not fallen()
    assert not fallen(stream=Seen("Redis", TWICE, forgotten=1), dropped=0)
    gone = Seen("stays", LESS, skipped=1, missed=1)
    assert not fallen(clients=[gone])


EVENTS = "every event that the publisher made is in Redis once"
CLIENT = "the client that stays saw every event once"


@pytest.mark.parametrize(
    ("line", "changes"),
    [
        (EVENTS, {"stream": Seen("Redis", LESS), "clients": []}),
        (EVENTS, {"stream": Seen("Redis", TWICE)}),
        (EVENTS, {"dropped": 1}),
        (EVENTS, {"created": Seen("spool", ALL, skipped=2)}),
        (EVENTS, {"created": Seen("spool", ALL, failure="gone")}),
        (CLIENT, {"clients": [Seen("stays", LESS)]}),
        (CLIENT, {"clients": [Seen("stays", TWICE)]}),
        (CLIENT, {"clients": [Seen("stays", LESS, missed=1)]}),
        ("every post that was taken is one sighting", {"posted": {"a": "s1", "b": "s1"}}),
        ("every post that was taken is one sighting", {"posted": {"a": "s9"}}),
        ("every post that was taken is one sighting", {"posted_changed": 1}),
        ("every post that was taken is one sighting", {"posted": {}}),
        ("every post that was taken is one sighting", {"post_failure": "KeyError: 'sightings'"}),
        ("every fault healed", {"under_way": 1}),
        ("every fault healed", {"struck": [Struck("k", "w", 1.0, 9.0, 1, "not within 9 s")]}),
        ("restarts are as many as faults", {"restarts": 2}),
        ("restarts are as many as faults", {"restarts": 0}),
        ("restarts are as many as faults", {"redis_pids": 2}),
        ("shared memory holds the rings and nothing else", {"segments": 3}),
        ("garbage is refused in words", {"garbage": {200: 1}}),
        ("garbage is refused in words", {"garbage": {500: 1}}),
        ("garbage is refused in words", {"garbage": {0: 30, 503: 9}}),
        ("it ends in order and leaves nothing", {"exit_code": 1}),
        ("it ends in order and leaves nothing", {"left_behind": ["process 7"]}),
        (
            "the ledger balances to zero at rest",
            {"cameras": (msgspec.structs.replace(CAMERA, ledger=LEDGER | {"captured": 10}),)},
        ),
        (
            "level: memory of worker, MiB",
            {"samples": [sample(at, own_mib=50.0 + at / 100) for at in RISING]},
        ),
        (
            "level: open files of worker",
            {"samples": [sample(at, files=20 + int(at) // 100) for at in RISING]},
        ),
        (
            "level: Redis's data, KiB per event that it keeps",
            {
                "samples": [
                    sample(at, redis_mib=30 + at / 60, redis_own_mib=33 + at / 60) for at in RISING
                ]
            },
        ),
        (
            "level: memory of redis over its data",
            {"samples": [sample(at, redis_own_mib=33.0 + at / 60) for at in RISING]},
        ),
    ],
)
def test_a_line_falls_alone(line, changes):
    assert fallen(**changes) == [line]


def level_of(kind, **changes):
    lines = verdict(msgspec.structs.replace(GOOD, **changes))
    return next(line for line in lines if line.name == f"level: memory of {kind}, MiB")


def test_what_must_stay_level_is_judged_while_faults_strike_not_at_rest():
    rising = [sample(at, own_mib=50.0 + at / 100) for at in RISING]
    resting = [sample(3_600.0 + at, own_mib=86.0) for at in RISING]
    assert not level_of("worker", samples=rising + resting).stands


def test_what_nobody_could_look_at_is_not_called_level():
    assert level_of("publisher").said == "not judged: too few lived for 60 s"
    assert (level_of("publisher").word, level_of("worker").word) == ("–", "pass")
    assert level_of("worker", seconds=120.0).said.endswith("8 minutes are not warm")
    assert not level_of("supervisor", samples=GOOD.samples[:32]).stands
    assert "the oldest was 10.0 minutes old" in level_of("worker").said


def test_a_sighting_must_end_once():
    name = "every sighting has ended, once"
    endless = Counter([*TOLD, Told("s3", 1, Phase.PROVISIONAL)])
    seen = {"created": Seen("spool", endless), "stream": Seen("Redis", endless), "clients": []}
    assert fallen(**seen) == [name]
    again = Counter([*TOLD, Told("s2", 3, Phase.FINAL)])
    seen = {"created": Seen("spool", again), "stream": Seen("Redis", again), "clients": []}
    assert fallen(**seen) == [name]


def test_a_seed_fixes_the_schedule_and_every_kind_comes_in_each_round(seed):
    kinds = ["a", "b", "c"]
    planned = [schedule(kinds, seed, begins_s=3.0, ends_s=63.0, every_s=1.0) for _ in range(2)]
    assert planned[0] == planned[1]
    assert 40 <= len(planned[0]) <= 120
    assert all(3.0 <= one.at_s < 63.0 for one in planned[0])
    for first in range(0, len(planned[0]) - 2, 3):
        assert sorted(one.kind for one in planned[0][first : first + 3]) == kinds


def test_the_report_shows_lines_plots_and_faults_and_escapes_what_was_said():
    lines = verdict(msgspec.structs.replace(GOOD, left_behind=["<process 7>"]))
    shown = page("An hour.", lines, GOOD.samples, GOOD.struck)
    assert shown.count('class="pass"') == sum(line.is_judged for line in lines) - 1
    assert shown.count('class="fail"') == 1
    assert "&lt;process 7&gt;" in shown
    assert shown.count("<svg") == 6
    assert "worker killed: worker-0, at 5 s" in shown
    assert page("Nothing.", [], [], []).count("<svg") == 0
