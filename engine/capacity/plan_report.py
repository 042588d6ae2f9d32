"""``platering plan``: what a wish takes, from the figures of a run, printed with its arithmetic."""

import sys
from pathlib import Path

import msgspec
from rich import box
from rich.table import Table

from engine.benchmarks.recognize import measure
from engine.capacity.figures import FILE_NAME, BenchRun, Figures, Machine, load
from engine.capacity.plan import (
    EVENTS_A_VEHICLE,
    HEADROOM,
    SIGHTING_BYTES,
    Costs,
    Plan,
    Wish,
    costs_of,
    plan,
    serving,
)
from engine.config import RedisSettings, Settings
from engine.console import table_console
from engine.errors import ConfigError
from engine.recognizers.registry import open_recognizer
from engine.shm import MIB, SHM_DIR


class Basis(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan is made from, and where that is from."""

    said: str
    figures: Figures
    machine: Machine


def basis_of(wish: Wish, settings: Settings, named: Path | None) -> Basis:
    """Return the figures that were named, else those kept in ``data_dir``, else new ones.

    Raises:
        ConfigError: the named file has none, or none of a frame.
    """
    if named is not None:
        run = load(named)
        if run.figures.recognize is None:
            said = run.failures.get("recognize", "it was not run")
            raise ConfigError(
                str(named), f"does not say what a frame costs: {said}", "run it again"
            )
        return Basis(said=run.title, figures=run.figures, machine=run.machine)
    path = settings.data_dir / FILE_NAME
    if path.exists():
        run = load(path)
        problem = _unfit(run, settings)
        if not problem:
            return Basis(said=f"{run.title}, {path}", figures=run.figures, machine=run.machine)
        sys.stderr.write(f"{path} is left aside: {problem}\n")
    sys.stderr.write("measuring what a frame costs here …\n")
    measured = measure([(wish.width_px, wish.height_px)], settings)
    said = "measured now, frames only; platering bench measures all, and is remembered"
    return Basis(said=said, figures=Figures(recognize=measured), machine=Machine.this())


def _unfit(run: BenchRun, settings: Settings) -> str:
    """Say why a kept run does not tell of this machine and its recognizer, "" where it does."""
    here, there = Machine.this(), run.machine
    if run.figures.recognize is None:
        return "it does not say what a frame costs"
    if (here.processor, here.cores) != (there.processor, there.cores):
        return f"it was measured on {there.cores} cores ({there.processor})"
    name = _recognizer(settings)
    if name != run.figures.recognize.recognizer:
        return f"it was measured with {run.figures.recognize.recognizer}, not {name}"
    return ""


def _recognizer(settings: Settings) -> str:
    """Return the name of the recognizer that these settings choose."""
    pool = settings.recognizers
    recognizer = open_recognizer(settings.recognizer, settings.openalpr, pool.provider).recognizer
    recognizer.close()
    return recognizer.name


def print_plan(wish: Wish, settings: Settings, named: Path | None, *, as_json: bool) -> int:
    """Work out and print what a wish takes; return the exit code."""
    basis = basis_of(wish, settings, named)
    costs = costs_of(basis.figures, wish)
    if costs is None:
        raise ConfigError("--figures", "do not say what a frame costs")
    cores = basis.machine.cores
    found = plan(wish, costs, cores, settings.redis)
    served = serving(wish, costs, basis.machine, basis.figures)
    if as_json:
        answer = {
            "wish": wish, "figures": basis.said, "costs": costs, "plan": found, "cores": cores,
            "serves": served.cameras,
        }  # fmt: skip
        sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
        return 0
    out = table_console()
    out.print(f"Figures: {basis.said}", soft_wrap=True, markup=False)
    table = Table("What", "Needs", "Because", box=box.SIMPLE_HEAD)
    for row in (*_rows(wish, costs, found, settings.redis), *_ways_out(wish, basis.figures)):
        table.add_row(*row)
    out.print(table)
    here = basis.machine.name == Machine.this().name
    said = served.sentence() if here else served.sentence(f"The machine {basis.machine.name}")
    out.print(
        f"{said} An estimate: traffic differs; try a few real ones and compare /metrics.",
        soft_wrap=True,
    )
    return 0


def _rows(wish: Wish, costs: Costs, found: Plan, kept: RedisSettings) -> list[tuple[str, str, str]]:
    """Return what is needed, how much of it, and the arithmetic."""
    decoding = f"{wish.cameras} cameras x {wish.fps:g} fps x {costs.decode_cpu_ms:.1f} CPU-ms"
    frames = f"{found.recognized_per_s:.0f} frames/s x {costs.recognize_cpu_ms:.1f} CPU-ms"
    beside = ("all else", "–", "not measured: platering bench does")
    if costs.beside_cpu_ms is not None:
        why = f"{found.recognized_per_s:.0f} frames/s x {costs.beside_cpu_ms:.1f} CPU-ms"
        beside = ("all else", f"{found.cores_beside:.1f} cores", why)
    pictures = f"{costs.evidence_bytes / 1e3:.0f} KB of pictures for {kept.evidence_days:g}"
    each = f"{SIGHTING_BYTES / 1e3:g} KB for {kept.keep_days:g} days, {pictures}"
    return [
        ("decoding", f"{found.cores_decoding:.1f} cores", f"{decoding} ({wish.size})"),
        (
            "recognition",
            f"{found.cores_recognizing:.1f} cores",
            f"{frames}; something moves {wish.moving:.0%} of the time",
        ),
        beside,
        (
            "machines",
            str(found.machines),
            f"{found.cores} cores with {1 - HEADROOM:.0%} in reserve, {found.recognizers} each",
        ),
        (
            f"{SHM_DIR}, each",
            f"{found.shm_bytes / MIB:.0f} MiB",
            f"{found.recognizers + 2} slots of {wish.size} luma a camera",
        ),
        ("memory, each", f"{found.memory_bytes / MIB:.0f} MiB", "rings, decoders, recognizers"),
        (
            "Redis memory",
            f"{found.redis_bytes / MIB:.0f} MiB",
            f"{found.sightings_per_day:.0f} sightings a day x {each}",
        ),
        (
            "network",
            f"{found.network_mbit_s:.0f} Mbit/s",
            f"{wish.camera_mbit_s:g} Mbit/s a camera",
        ),
    ]


def _ways_out(wish: Wish, figures: Figures) -> list[tuple[str, str, str]]:
    """Return what delivery takes, of what was measured that it can give."""
    per_s = EVENTS_A_VEHICLE * wish.cameras * wish.vehicles_per_hour / 3_600
    rows = []
    if redis := figures.delivery:
        share = per_s / redis.delivery_per_s
        rows.append(
            ("Redis writes", f"{per_s:.1f} a second", f"{share:.1%} of what a machine delivers")
        )
    if sse := figures.sse:
        pages = sse.clients if not per_s else min(sse.clients, sse.sse_deliveries_per_s / per_s)
        rows.append(
            (
                "live pages, each front",
                f"up to {pages:.0f}",
                f"{sse.sse_deliveries_per_s:.0f} deliveries/s, measured with {sse.clients} pages",
            )
        )
    return rows
