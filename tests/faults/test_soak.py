"""The soak in short: faults of every kind at once, everything accounted for, and its report."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from polling import wait_until

from engine.benchmarks.soak import SoakPlan, soak
from engine.benchmarks.soak_faults import Struck

SECONDS = 16.0
PROGRAM = Path(__file__).parents[2] / "bench/soak.py"
IN_THE_BACKGROUND = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
KINDS = 12
"""Of faults, without the reload."""
SAID = {
    "every event that the publisher made is in Redis once",
    "every sighting has ended, once",
    "every post that was taken is one sighting",
    "the client that comes and goes saw every event once",
    "the ledger balances to zero at rest",
    "every fault healed",
    "restarts are as many as faults",
    "level: memory of supervisor, MiB",
    "level: open files of supervisor",
    "level: Redis's data, KiB per event that it keeps",
    "shared memory holds the rings and nothing else",
    "garbage is refused in words",
    "it ends in order and leaves nothing",
}


def test_nothing_is_lost_while_everything_goes_wrong(tmp_path: Path, seed: int) -> None:
    said: list[str] = []
    plan = SoakPlan(seconds=SECONDS, seed=seed, every_s=0.7, sample_s=1.0, out=tmp_path / "out")
    lines = soak(plan, said.append)
    assert not [line for line in lines if not line.stands], said[-1]
    assert {line.name for line in lines} >= SAID
    struck = [
        msgspec.json.decode(line, type=Struck)
        for line in (plan.out / "faults.jsonl").read_bytes().splitlines()
    ]
    assert len({one.kind for one in struck}) >= KINDS
    samples = [json.loads(line) for line in (plan.out / "samples.jsonl").read_bytes().splitlines()]
    assert len(samples) > SECONDS / 2
    page = (plan.out / "report.html").read_text()
    assert page.count("<polyline") >= len({kind for one in samples for kind in one["kinds"]})
    assert page.count('class="fault"') >= len(struck)
    assert "http" not in page, "it needs nothing from outside"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_order_to_end_ends_its_engine_too(number: signal.Signals, tmp_path: Path) -> None:
    """In the background, where shells have jobs ignore SIGINT; what is left fails the fixture."""
    home, out, err = tmp_path / "home", tmp_path / "out", tmp_path / "err"
    home.mkdir()
    with err.open("wb") as said:
        program = subprocess.Popen(
            [*IN_THE_BACKGROUND, sys.executable, PROGRAM, "--minutes", "5", "--out", out],
            stdout=said,
            stderr=said,
            env=os.environ | {"TMPDIR": str(home)},
        )
    try:
        wait_until(lambda: list(home.glob("soak-*/data")), 60.0, "its engine is starting")
        program.send_signal(number)
        assert program.wait(60.0) == 1
    finally:
        program.kill()
        program.wait()
    assert "Ctrl-C came before" in err.read_text()
    assert (out / "report.html").exists()
    assert not list(home.iterdir())
