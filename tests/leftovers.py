"""What a test may leave behind: nothing. Finds segments, processes and sockets of this session.

Other sessions and engines may be alive on the same machine, so a leftover counts only when it is
ours: processes by an environment marker they inherit (it survives their parent's death), segments
when no process outside of our own family maps them or holds their run's lock.
"""

import contextlib
import os
import stat
import uuid
from pathlib import Path

MARKER = "PLATERING_TEST_SESSION"
SESSION = f"{MARKER}={uuid.uuid4().hex}"
SHM_DIR = Path("/dev/shm")  # noqa: S108  # where shared memory is on Linux
PROC = Path("/proc")


def processes() -> dict[int, str]:
    """Return pid and command line of every process of this session, zombies among them."""
    found = {}
    for folder in PROC.glob("[0-9]*"):
        pid = int(folder.name)
        try:
            marked = SESSION.encode() in (folder / "environ").read_bytes().split(b"\0")
            if pid == os.getpid() or not (marked or _parent(folder) == os.getpid()):
                continue
            command = (
                (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
        if "multiprocessing.resource_tracker" not in command:  # lives as long as this session
            found[pid] = command.strip() or "(a zombie: nobody waited for it)"
    return found


def segments() -> set[Path]:
    """Return every file of shared memory that carries our prefix."""
    return set(SHM_DIR.glob("platering.*"))


def sockets(folder: Path) -> set[Path]:
    """Return the socket files below a folder."""
    found = set()
    for here, _, names in os.walk(folder):  # folders that vanish meanwhile are passed over
        for name in names:
            path = Path(here, name)
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISSOCK(path.lstat().st_mode):
                    found.add(path)
    return found


def used_by_strangers(segment: Path) -> bool:
    """Tell whether a process outside this session maps the segment or has its run's lock open."""
    run = ".".join(segment.name.split(".")[:2])
    ours = {os.getpid(), *processes()}
    for folder in PROC.glob("[0-9]*"):
        if int(folder.name) in ours:
            continue
        try:
            if f"{SHM_DIR}/{run}." in (folder / "maps").read_text():
                return True
            links = [str(fd.readlink()) for fd in (folder / "fd").iterdir()]
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
        if any(link.startswith(f"{SHM_DIR}/{run}.") for link in links):
            return True
    return False


def _parent(folder: Path) -> int:
    after_name = (folder / "stat").read_text().rpartition(")")[2].split()
    return int(after_name[1])
