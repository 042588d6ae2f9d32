"""All benchmarks in turn: what fails or dies takes no other along, and nothing stays behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import leftovers
import pytest
from polling import wait_until

from engine.capacity import groups

PLATERING = [sys.executable, "-m", "engine.cli", "bench"]
ALL = (
    "import sys, signal; from engine.capacity.groups import run_all; "
    "signal.signal(signal.SIGTERM, signal.default_int_handler); run_all(sys.argv[1:])"
)


def test_a_group_that_fails_is_named_and_the_others_run(tmp_path, monkeypatch, capfd):
    (tmp_path / "redis-server").symlink_to("/bin/false")
    monkeypatch.setenv("PATH", str(tmp_path))  # no redis-benchmark
    run = groups.run_all(["delivery", "recognize"])
    assert run.failures.keys() == {"delivery"}
    assert "install the package redis-tools" in run.failures["delivery"]
    assert run.figures.delivery is None
    assert run.figures.recognize is not None
    assert [one.width_px for one in run.figures.recognize.sizes] == [1280, 1920, 3840]
    assert all(0 < one.decode_cpu_ms < 1_000 for one in run.figures.recognize.sizes)
    assert "1 of 2: delivery" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "it was ended by SIGSEGV"),
        ("raise ValueError('odd')", "ValueError: odd"),
        ("print('{}')", "its answer is malformed"),
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("group", ["handoff", "latency"])
def test_the_end_in_the_midst_of_a_group_leaves_nothing(group, number, tmp_path):
    """That nothing is left is what the fixture of all such tests asserts; here, within seconds."""
    before = leftovers.segments()
    with (tmp_path / "err").open("wb") as err:
        bench = subprocess.Popen(
            [sys.executable, "-c", ALL, group],
            stderr=err,
            env=os.environ | {"TMPDIR": str(tmp_path)},
        )
    try:
        wait_until(
            lambda: any("ring" in path.name for path in ours_since(before)),
            30.0,
            "the group is under way",
        )
        bench.send_signal(number)
        bench.wait(groups.ENDS_S + 5.0)
    finally:
        bench.kill()
        bench.wait()
    assert bench.returncode == 1, "of a KeyboardInterrupt, which the command line turns into 130"
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
