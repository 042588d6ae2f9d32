"""All benchmarks in turn: what fails or dies takes no other along, and nothing stays behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import leftovers
import msgspec
import pytest
from polling import wait_until

from engine.benchmarks.recognize import RecognizeFigures
from engine.capacity import groups
from engine.capacity.figures import BenchRun, load
from engine.cli import EXIT_INTERRUPTED

PLATERING = [sys.executable, "-m", "engine.cli", "bench"]
IN_THE_BACKGROUND = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
ALL = (
    "import sys, signal; from engine.capacity.groups import run_all; "
    "signal.signal(signal.SIGTERM, signal.default_int_handler); run_all(sys.argv[1:])"
)


def test_a_group_that_fails_is_named_and_the_others_run(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PATH", str(tmp_path))  # no redis-benchmark
    figures = "from engine.benchmarks.recognize import *; import engine.benchmarks.answer as a; "
    figures += "a.print_figures(RecognizeFigures(recognizer='x', sizes=()), as_json=True)"
    told = {"recognize": [sys.executable, "-c", figures]}
    real = groups.command_of
    monkeypatch.setattr(groups, "command_of", lambda name: told.get(name) or real(name))
    run = groups.run_all(["delivery", "recognize"])
    assert run.failures.keys() == {"delivery"}
    assert "install the package redis-tools" in run.failures["delivery"]
    assert run.figures.delivery is None
    assert run.figures.recognize == RecognizeFigures(recognizer="x", sizes=())
    assert "1 of 2: delivery" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "it was ended by SIGSEGV"),
        ("raise ValueError('odd')", "ValueError: odd"),
        ("print('{}')", "its answer is malformed"),
        ('print(\'{"figures": {"clients": null}}\')', "its answer is malformed"),
        ("import time; time.sleep(60)", "it was not done after 1 s"),
    ],
)
def test_a_group_that_dies_says_how(code, said, monkeypatch):
    monkeypatch.setattr(groups, "LONGEST_S", 1.0)
    monkeypatch.setattr(groups, "command_of", lambda _name: [sys.executable, "-c", code])
    run = groups.run_all(["sse"])
    assert said in run.failures["sse"]


def ours_since(before: set[Path]) -> set[Path]:
    """Return the segments that are new, those of others on this machine aside."""
    new = leftovers.segments() - before
    return {path for path in new if not leftovers.used_by_strangers(path)}


@pytest.mark.parametrize(
    ("command", "number", "code"),
    [
        ([sys.executable, "-c", ALL, "handoff"], signal.SIGTERM, -signal.SIGINT),
        ([sys.executable, "-c", ALL, "latency"], signal.SIGINT, -signal.SIGINT),
        ([*IN_THE_BACKGROUND, *PLATERING, "handoff"], signal.SIGINT, EXIT_INTERRUPTED),
        ([*PLATERING, "latency"], signal.SIGTERM, EXIT_INTERRUPTED),
    ],
)
def test_the_end_in_the_midst_of_a_group_leaves_nothing(command, number, code, tmp_path):
    """That nothing is left is what the fixture of all such tests asserts; here, within seconds."""
    before = leftovers.segments()
    with (tmp_path / "err").open("wb") as err:
        bench = subprocess.Popen(
            command,
            stderr=err,
            env=os.environ | {"TMPDIR": str(tmp_path)},
        )

    def is_under_way() -> bool:
        assert bench.poll() is None, (tmp_path / "err").read_text()
        return any("ring" in path.name for path in ours_since(before))

    try:
        wait_until(is_under_way, 90.0, "the group is under way")
        bench.send_signal(number)
        bench.wait(groups.ENDS_S + 5.0)
    finally:
        bench.kill()
        bench.wait()
    assert bench.returncode == code
    assert not ours_since(before)
    assert not list(tmp_path.glob("plt-bench-*"))


def test_pages_go_with_all_groups_only(tmp_path):
    done = subprocess.run(
        [*PLATERING, "decode", "--html", str(tmp_path / "x.html")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("platering: --html: goes with all groups only")


@pytest.mark.long
def test_the_whole_run_measures_everything_and_plans_are_made_from_it(tmp_path):
    page = tmp_path / "page.html"
    done = subprocess.run(
        [*PLATERING, "--json", "--html", str(page)],
        capture_output=True,
        cwd=tmp_path,
        check=False,
        timeout=900,
    )
    run = msgspec.json.decode(done.stdout, type=BenchRun)
    assert (done.returncode, run.failures) == (0, {})
    assert all(msgspec.structs.astuple(run.figures))
    assert "can serve about" in page.read_text()
    assert load(tmp_path / "data" / "bench.json") == run
