import fcntl
import mmap
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from polling import wait_until

from engine import shm
from engine.errors import PreflightError, RingError
from engine.shm import SHM_DIR, RunLock, Segment, free_bytes, sweep

CLAIM = """
    import sys
    from engine.shm import RunLock, Segment
    lock = RunLock()
    segments = [Segment.create(lock.name(f"ring{i}"), 5000) for i in range(3)]
    print(lock.run, flush=True)
    sys.stdin.read()
"""
SMALL = """
    import os, pathlib, sys
    sys.path[:0] = sys.argv[1].split(os.pathsep)
    from engine.errors import PreflightError
    from engine.shm import RunLock, Segment, free_bytes
    lock = RunLock()
    kept = Segment.create(lock.name("fits"), 1 << 20)
    try:
        Segment.create(lock.name("large"), 64 << 20)
    except PreflightError as error:
        print(error)
    kept.buffer[:] = bytes([7]) * (1 << 20)
    names = sorted(p.name.split(".")[2] for p in pathlib.Path("/dev/shm").iterdir())
    print(free_bytes() >> 20, names)
    kept.close()
    lock.release()
    print(len(list(pathlib.Path("/dev/shm").iterdir())))
"""


@pytest.fixture
def lock():
    lock = RunLock()
    yield lock
    lock.release()


def _names(run: str) -> set[str]:
    return {path.name.split(".")[2] for path in SHM_DIR.glob(f"platering.{run}.*")}


def _other_run() -> tuple[subprocess.Popen[bytes], str]:
    """Start a process that holds a run with three segments; return it and the run's name."""
    command = [sys.executable, "-c", textwrap.dedent(CLAIM)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return child, child.stdout.readline().decode().strip()


# --- segments ----------------------------------------------------------------------------------


def test_a_segment_is_zeroed_shared_and_reserved(lock):
    segment = Segment.create(lock.name("one"), 70_000)
    status = (SHM_DIR / segment.name).stat()
    assert status.st_blocks * 512 >= 70_000  # pages are there before the first write
    other = Segment.attach(segment.name, 70_000)
    assert not any(segment.buffer)
    segment.buffer[69_999] = 42
    assert other.buffer[69_999] == 42
    other.close()
    segment.close()


def test_a_name_is_taken_only_once(lock):
    segment = Segment.create(lock.name("one"), 10)
    with pytest.raises(FileExistsError):
        Segment.create(lock.name("one"), 10)
    segment.close()


def test_attaching_what_is_gone_or_too_small_is_an_error(lock):
    with pytest.raises(RingError, match="gone"):
        Segment.attach(lock.name("none"))
    segment = Segment.create(lock.name("one"), mmap.PAGESIZE)
    with pytest.raises(RingError, match=f"not {mmap.PAGESIZE + 1}"):
        Segment.attach(segment.name, mmap.PAGESIZE + 1)
    (SHM_DIR / lock.name("empty")).touch()
    with pytest.raises(RingError):
        Segment.attach(lock.name("empty"))
    segment.close()


def test_an_unlinked_segment_stays_mapped_and_may_be_unlinked_twice(lock):
    segment = Segment.create(lock.name("one"), 10)
    segment.unlink()
    segment.unlink()
    segment.buffer[0] = 1
    with pytest.raises(RingError, match="gone"):
        Segment.attach(segment.name)
    segment.close()


def test_a_closed_segment_has_no_memory(lock):
    segment = Segment.create(lock.name("one"), 10)
    segment.close()
    with pytest.raises(RingError, match="closed"):
        _ = segment.buffer


def test_no_view_can_dangle(lock):
    segment = Segment.create(lock.name("one"), 4096)
    view = np.frombuffer(segment.buffer, np.uint8)
    with pytest.raises(BufferError):
        segment.close()
    assert view.sum() == 0
    del view
    segment.close()


def test_an_attached_segment_outlives_a_process_that_attached_it(lock):
    segment = Segment.create(lock.name("one"), 4096)
    script = f"from engine.shm import *; s = Segment.attach({segment.name!r}); s.buffer[5] = 9"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, timeout=30
    )
    assert done.stderr == b""  # no complaint of a resource tracker
    assert segment.buffer[5] == 9
    assert _names(lock.run) == {"one", "lock"}
    segment.close()


# --- a full /dev/shm -----------------------------------------------------------------------------


def test_too_little_space_is_refused_with_figures_and_remedy(lock):
    needed = 4 * (free_bytes() + (1 << 30))
    with pytest.raises(PreflightError) as caught:
        Segment.create(lock.name("huge"), needed)
    text = str(caught.value)
    assert f"needs {-(-needed // (1 << 20))} MiB" in text
    assert "MiB free" in text
    assert "--shm-size" in text
    assert _names(lock.run) == {"lock"}


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare of util-linux")
def test_a_small_dev_shm_is_an_error_at_creation_and_never_a_bus_error():
    script = f'mount -t tmpfs -o size=8m tmpfs {SHM_DIR} && exec "$@"'
    paths = os.pathsep.join(path for path in sys.path if path)
    child = [sys.executable, "-c", textwrap.dedent(SMALL), paths]
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", *child]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"may not mount here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    refused, after_write, left = done.stdout.splitlines()
    assert "has 7 MiB free" in refused
    assert "needs 64 MiB" in refused
    assert after_write == "7 ['fits', 'lock']"
    assert left == "0"


# --- runs and their sweep ------------------------------------------------------------------------


def test_a_sweep_removes_what_a_killed_run_left_and_nothing_of_a_living_one(lock):
    mine = Segment.create(lock.name("ring1"), 100)
    child, run = _other_run()
    assert run not in sweep()
    assert _names(run) == {"ring0", "ring1", "ring2", "lock"}
    child.kill()
    child.communicate()
    assert _names(run) == {"ring0", "ring1", "ring2", "lock"}
    swept = sweep()
    assert run in swept
    assert lock.run not in swept
    assert _names(run) == set()
    assert _names(lock.run) == {"ring1", "lock"}
    assert run not in sweep()
    mine.close()


def test_a_sweep_cut_short_is_done_again(monkeypatch):
    child, run = _other_run()
    child.kill()
    child.communicate()
    unlink, removed = shm.Path.unlink, []

    def unlink_two(path: Path, **options: bool) -> None:
        if f".{run}." in path.name:
            removed.append(path)
            if len(removed) > 2:
                raise InterruptedError
        unlink(path, **options)

    monkeypatch.setattr(shm.Path, "unlink", unlink_two)
    with pytest.raises(InterruptedError):
        sweep()
    monkeypatch.undo()
    assert "lock" in _names(run)
    assert run in sweep()
    assert _names(run) == set()


def test_releasing_a_run_removes_all_of_it():
    lock = RunLock()
    Segment.create(lock.name("forgotten"), 100).close()
    lock.release()
    assert _names(lock.run) == set()


def test_a_sweep_in_the_middle_of_a_claim_does_not_take_it_for_an_orphan(monkeypatch):
    flock, first = fcntl.flock, []

    def sweep_first(fd: int, operation: int) -> None:
        """Let another process's sweep in between the making of the file and its lock."""
        if not first:
            first.append(fd)
            script = "from engine.shm import sweep; sweep()"
            subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
        flock(fd, operation)

    monkeypatch.setattr(shm.fcntl, "flock", sweep_first)
    lock = RunLock()
    monkeypatch.undo()
    assert first
    assert _names(lock.run) == {"lock"}
    assert lock.run not in sweep()
    lock.release()


def test_sweeps_and_new_runs_at_once_never_disturb_each_other(rng):
    script = """
from time import monotonic, sleep
from engine.shm import sweep
end = monotonic() + 30.0  # whatever becomes of the test: nothing runs for ever
while monotonic() < end:
    sweep()
    sleep(0.0002)  # two that never rest can keep the test itself from a machine of two cores
"""
    sweepers = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]
    try:
        wait_until(lambda: all(child.poll() is None for child in sweepers), 5.0)
        end = time.monotonic() + 1.5
        rounds = 0
        while time.monotonic() < end:
            lock = RunLock()
            segment = Segment.create(lock.name("ring1"), rng.randrange(1, 9000))
            assert _names(lock.run) == {"ring1", "lock"}
            segment.close()
            lock.release()
            rounds += 1
        assert rounds > 10
    finally:
        for child in sweepers:
            child.kill()
        ended = [child.wait(10.0) for child in sweepers]
    assert max(ended) < 0  # killed by us, none ended with an error
