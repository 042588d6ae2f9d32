"""Shared memory: create, attach, close, unlink, preflight and the sweep of crashed runs.

The only importer of ``multiprocessing.shared_memory``. A run of the supervisor owns the prefix
``platering.<run>.``; while it lives it holds a lock (``flock``) on the file
``/dev/shm/platering.<run>.lock``, which the kernel drops when it dies however it dies, so a later
start knows whose segments are orphans without asking for a pid (pids return).
"""

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from multiprocessing import resource_tracker, shared_memory
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from engine.errors import PreflightError, RingError

SHM_DIR: Final = Path("/dev/shm")  # noqa: S108  # POSIX shared memory of Linux, not a temp file
PREFIX: Final = "platering."
MIB: Final = 1 << 20


@contextlib.contextmanager
def _untracked() -> Iterator[None]:
    """Keep the resource tracker out: before Python 3.13 it unlinks what we only attached."""
    register = resource_tracker.register

    def ignore(_name: Any, _kind: Any) -> None:
        return None

    resource_tracker.register = ignore  # type: ignore[assignment]
    try:
        yield
    finally:
        resource_tracker.register = register


class Segment:
    """One mapped segment; ``buffer`` is its memory, zeroed at creation.

    Only the supervisor creates and unlinks. ``close`` raises BufferError while a view made by
    ``np.frombuffer`` or ``memoryview.cast`` is alive, so that no view can dangle.
    """

    _mapped: ClassVar[set[shared_memory.SharedMemory]] = set()
    """Whatever is not closed stays mapped to the end: a finalizer must not pull it from under
    views that are still alive, nor complain of them."""

    def __init__(self, shared: shared_memory.SharedMemory) -> None:
        self._shared = shared
        self._mapped.add(shared)
        self.name = shared.name

    @classmethod
    def create(cls, name: str, size_bytes: int) -> Self:
        """Create a segment and reserve its pages now, so that no write meets a bus error later.

        Raises:
            PreflightError: ``/dev/shm`` has too little space; says how much is needed and free.
        """
        with _untracked():
            shared = shared_memory.SharedMemory(name, create=True, size=size_bytes)
        try:
            os.posix_fallocate(shared._fd, 0, size_bytes)  # type: ignore[attr-defined]  # noqa: SLF001  # no public way to its descriptor
        except OSError as error:
            shared.close()
            (SHM_DIR / name).unlink(missing_ok=True)
            if error.errno not in {errno.ENOSPC, errno.ENOMEM}:
                raise
            raise PreflightError(_too_small(name, size_bytes)) from error
        return cls(shared)

    @classmethod
    def attach(cls, name: str, size_bytes: int = 0) -> Self:
        """Attach an existing segment.

        Raises:
            RingError: there is no such segment, or it is smaller than ``size_bytes``.
        """
        try:
            with _untracked():
                shared = shared_memory.SharedMemory(name)
        except (FileNotFoundError, ValueError) as error:
            raise RingError(
                f"the segment {name} is gone: its camera was removed, or its run has ended"
            ) from error
        if shared.size < size_bytes:
            shared.close()
            raise RingError(f"the segment {name} holds {shared.size} bytes, not {size_bytes}")
        return cls(shared)

    @property
    def buffer(self) -> memoryview:
        """The whole segment as writable bytes."""
        view = self._shared.buf
        if view is None:
            raise RingError(f"the segment {self.name} is closed")
        return view

    def close(self) -> None:
        """Unmap it from this process; raises BufferError while a view is alive."""
        self._shared.close()
        self._mapped.discard(self._shared)

    def unlink(self) -> None:
        """Remove its name; processes that have it mapped keep their mapping."""
        (SHM_DIR / self.name).unlink(missing_ok=True)


def _too_small(name: str, size_bytes: int) -> str:
    """Say what is missing and what to do about it, in and outside of containers."""
    needed, free = -(-size_bytes // MIB), free_bytes() // MIB
    return (
        f"{SHM_DIR} has {free} MiB free, but {name} needs {needed} MiB — enlarge it "
        f"(`mount -o remount,size={2 * (needed + free)}M /dev/shm`; docker: `--shm-size`; "
        "Kubernetes: an emptyDir with `medium: Memory` on /dev/shm) or lower "
        "`cameras[].slots`, the cameras' resolution or their number"
    )


def free_bytes() -> int:
    """Return the free space of ``/dev/shm``."""
    status = os.statvfs(SHM_DIR)
    return status.f_bavail * status.f_frsize


class RunLock:
    """The claim of one supervisor on its segments, alive exactly as long as its process."""

    def __init__(self) -> None:
        """Claim a new run: its file is locked before it has a name, so no sweep sees it free."""
        self.run = secrets.token_hex(4)
        path = SHM_DIR / self.name("lock")
        unnamed = os.open(SHM_DIR, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(unnamed, fcntl.LOCK_SH | fcntl.LOCK_NB)
        # With a folder's descriptor Python asks for what the link of /proc stands for, see open(2).
        os.link(f"/proc/self/fd/{unnamed}", path, src_dir_fd=unnamed)
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # /proc shows whose it is by its name
        fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.close(unnamed)

    def name(self, what: str) -> str:
        """Return the full name of a segment of this run."""
        return f"{PREFIX}{self.run}.{what}"

    def release(self) -> None:
        """Remove every segment of this run that is left, then the claim."""
        _unlink_run(self.run)
        os.close(self._fd)


def sweep() -> list[str]:
    """Remove the segments of runs whose supervisor is dead; return the names of those runs."""
    swept = []
    for path in SHM_DIR.glob(f"{PREFIX}*.lock"):
        run = path.name.removeprefix(PREFIX).removesuffix(".lock")
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # gone in the meantime, or another user's
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _unlink_run(run)
            swept.append(run)
        except BlockingIOError:
            pass  # its supervisor lives
        finally:
            os.close(fd)
    return swept


def _unlink_run(run: str) -> None:
    """Remove all names of a run, its lock last, so that a sweep cut short is done again."""
    for path in sorted(SHM_DIR.glob(f"{PREFIX}{run}.*"), key=lambda p: p.suffix == ".lock"):
        path.unlink(missing_ok=True)
