"""The figures of one run of all benchmarks: what ``platering bench --json`` prints and plans use.

The newest run is kept in ``data_dir``, so that a plan on this machine is made from it.
"""

import datetime as dt
import os
import platform
from pathlib import Path
from typing import Final

import msgspec

from engine import __version__
from engine.benchmarks.decode import DecodeFigures
from engine.benchmarks.delivery import DeliveryFigures
from engine.benchmarks.end_to_end import EndToEndFigures
from engine.benchmarks.handoff import HandoffFigures
from engine.benchmarks.latency import LatencyFigures
from engine.benchmarks.recognize import RecognizeFigures
from engine.benchmarks.sse import SseFigures
from engine.cores import usable_cores
from engine.doctor.machine import usable_memory_bytes
from engine.errors import ConfigError
from engine.shm import SHM_DIR

FILE_NAME: Final = "bench.json"


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it ran."""

    name: str
    processor: str
    cores: int
    """That this process may use."""
    memory_bytes: int
    """That this process may use."""
    shm_bytes: int
    """Of ``/dev/shm``, free or not."""

    @classmethod
    def this(cls) -> "Machine":
        """Return the one that this process runs on."""
        shm = os.statvfs(SHM_DIR)
        return cls(
            name=platform.node(),
            processor=_processor(),
            cores=usable_cores(),
            memory_bytes=usable_memory_bytes(),
            shm_bytes=shm.f_blocks * shm.f_frsize,
        )


def _processor() -> str:
    """Return the processor's name as the kernel has it, its architecture where it has none."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


class Figures(msgspec.Struct, frozen=True, kw_only=True, rename={"end_to_end": "end-to-end"}):
    """The figures of each group; None where it failed."""

    recognize: RecognizeFigures | None = None
    decode: DecodeFigures | None = None
    handoff: HandoffFigures | None = None
    end_to_end: EndToEndFigures | None = None
    latency: LatencyFigures | None = None
    delivery: DeliveryFigures | None = None
    sse: SseFigures | None = None


class BenchRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of all groups."""

    machine: Machine
    began_unix_s: int
    took_s: float
    load_before: float
    load_after: float
    """Load averages of a minute; what others do on the machine makes every figure worse."""
    figures: Figures
    failures: dict[str, str] = {}
    """Groups that failed, each with its message."""
    version: str = __version__

    @property
    def title(self) -> str:
        """Which run it was, in words."""
        began = dt.datetime.fromtimestamp(self.began_unix_s).astimezone()
        return (
            f"platering bench on {self.machine.name}, {began:%Y-%m-%d %H:%M}, "
            f"{self.machine.cores} cores ({self.machine.processor})"
        )


def keep(run: BenchRun, data_dir: Path) -> Path:
    """Write the run where plans look for it; return the path."""
    data_dir.mkdir(parents=True, exist_ok=True)
    path = data_dir / FILE_NAME
    draft = path.with_suffix(".new")
    draft.write_bytes(msgspec.json.encode(run))
    return draft.rename(path)


def load(path: Path) -> BenchRun:
    """Read a run that was kept, or what ``platering bench --json`` printed.

    Raises:
        ConfigError: it cannot be read, or is something else.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=BenchRun)
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        remedy = "make it with: platering bench --json > FILE"
        raise ConfigError(
            str(path), f"holds no figures of platering bench: {error}", remedy
        ) from error
