"""Group ``watchlists``: a plate against a million entries that near plates match, too.

Plates are of the form AB12CDE, so nearly one in five is within one character of an entry. Memory is
that of a process of its own which does nothing else. Run: ``pytest bench/bench_watchlists.py``.
"""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from engine.watchlists.entries import Entry, Match, Watchlists
from engine.watchlists.matcher import Matcher

ENTRIES = 1_000_000
PATTERNS = 200
QUERIES = 2_000
LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"

MEASURE = """
import sys
from pathlib import Path
from engine.watchlists.matcher import Matcher
def peak_kib():
    return Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
before = peak_kib()
Matcher(Path(sys.argv[1])).match("AB12CDE", 0)
print(before, peak_kib())
"""


def make_plate(rng: random.Random) -> str:
    """Return a plate like AB12CDE."""
    letters = [rng.choice(LETTERS) for _ in range(5)]
    return f"{letters[0]}{letters[1]}{rng.randrange(100):02d}{''.join(letters[2:])}"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a million entries of the costliest kind, and some patterns."""
    path = tmp_path_factory.mktemp("lists") / "watchlists.sqlite"
    rng = random.Random(1)
    lists = Watchlists(path)
    lists.put(Entry(list="wanted", plate=make_plate(rng), match=Match.NEAR) for _ in range(ENTRIES))
    lists.put(
        Entry(list="wanted", plate=f"{make_plate(rng)[:5]}*", match=Match.PATTERN)
        for _ in range(PATTERNS)
    )
    lists.close()
    return path


@pytest.mark.benchmark(group="watchlists")
def test_match_among_a_million(benchmark: BenchmarkFixture, full: Path) -> None:
    """Below 50 µs a sighting on average."""
    matcher = Matcher(full)
    rng = random.Random(2)
    plates = [make_plate(rng) for _ in range(QUERIES)]

    def match_all() -> int:
        return sum(bool(matcher.match(plate, 0)) for plate in plates)

    hits = benchmark(match_all)
    spent_s = []
    for _ in range(5):
        began = time.perf_counter()
        match_all()
        spent_s.append(time.perf_counter() - began)
    each_us = min(spent_s) / QUERIES * 1e6
    matcher.close()
    benchmark.extra_info.update({"us_per_sighting": round(each_us, 1), "hits": hits / QUERIES})
    print(f"\n{each_us:.1f} us a sighting, {hits / QUERIES:.0%} of them hits")
    assert each_us < 50


@pytest.mark.benchmark(group="watchlists", min_rounds=1, max_time=0.1)
def test_index_of_a_million(benchmark: BenchmarkFixture, full: Path) -> None:
    """Below 300 MiB at its peak, Python included."""
    benchmark(lambda: Matcher(full).close())
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(full)], check=True, capture_output=True, text=True
    )
    before_mib, peak_mib = (int(word) / 1024 for word in done.stdout.split())
    benchmark.extra_info.update({"peak_mib": round(peak_mib), "before_mib": round(before_mib)})
    print(f"\npeak {peak_mib:.0f} MiB, {before_mib:.0f} before")
    assert peak_mib < 300
