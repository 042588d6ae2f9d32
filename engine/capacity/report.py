"""One readable page of a run of all benchmarks: its tables, and how a terminal shows them."""

import sys
from typing import Final

import msgspec
from rich import box
from rich.table import Table

from engine.benchmarks.latency import TARGET_P50_MS, TARGET_P99_MS, LatencyFigures
from engine.capacity.figures import BenchRun, Figures
from engine.capacity.plan import Serving, Wish, costs_of, serving
from engine.console import table_console

TRAFFIC: Final = {
    "quiet": Wish(cameras=1, moving=0.1, vehicles_per_hour=20),
    "ordinary": Wish(cameras=1),
    "busy": Wish(cameras=1, moving=1.0, vehicles_per_hour=1_000),
}
"""What passes before a camera."""


class PageTable(msgspec.Struct, frozen=True):
    """A table of the page; its first column names the row, the others are figures."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


class ToldRun(BenchRun, frozen=True, kw_only=True):
    """What ``platering bench --json`` prints: the run, and what follows from it."""

    serves: dict[str, Serving]
    """By the kinds of traffic."""
    sentence: str


def told(run: BenchRun) -> ToldRun:
    """Return a run with what follows from it."""
    serves = {name: found for name, wish in TRAFFIC.items() if (found := served(run, wish))}
    return ToldRun(**msgspec.structs.asdict(run), serves=serves, sentence=verdict(run))


def verdict(run: BenchRun) -> str:
    """Return the sentence that a buyer wants, or why there is none."""
    found = served(run, TRAFFIC["ordinary"])
    if found is None:
        return "How many cameras this machine can serve is not known: the group recognize failed."
    return found.sentence()


def served(run: BenchRun, wish: Wish) -> Serving | None:
    """Return how many cameras of a kind the machine can serve; None where nobody measured it."""
    costs = costs_of(run.figures, wish)
    return serving(wish, costs, run.machine, run.figures) if costs else None


def circumstances(run: BenchRun) -> str:
    """Return when and where it ran, and who else worked there."""
    return (
        f"{run.title}, version {run.version}; it took {run.took_s / 60:.1f} minutes; load average "
        f"{run.load_before:g} before, {run.load_after:g} after"
    )


def tables(run: BenchRun) -> list[PageTable]:
    """Return the page's tables, those of groups that failed left out."""
    figures = run.figures
    found = [_cameras(run), _frames(figures)]
    if figures.latency is not None:
        found.append(_latency(figures.latency))
    found += [_efficiency(figures), _delivery(figures)]
    return [table for table in found if table.rows]


def _cameras(run: BenchRun) -> PageTable:
    rows = []
    for name, wish in TRAFFIC.items():
        for width_px, height_px in ((1280, 720), (1920, 1080), (3840, 2160)):
            sized = msgspec.structs.replace(wish, width_px=width_px, height_px=height_px)
            found = served(run, sized)
            if found is not None:
                traffic = f"{name}: moves {wish.moving:.0%}, {wish.vehicles_per_hour:g} vehicles/h"
                per_core = f"{found.per_core:.1f}"
                rows.append((traffic, sized.size, per_core, str(found.cameras), found.limit))
    return PageTable(
        f"Cameras at {TRAFFIC['ordinary'].fps:g} frames/s",
        ("traffic", "size", "a core", "this machine", "limited by"),
        tuple(rows),
    )


def _frames(figures: Figures) -> PageTable:
    rows = []
    for one in figures.recognize.sizes if figures.recognize else ():
        decoded, recognized = 1e3 / one.decode_cpu_ms, 1e3 / one.recognize_cpu_ms
        rows.append((f"{one.width_px}x{one.height_px}", f"{decoded:.0f}", f"{recognized:.0f}"))
    return PageTable(
        "Frames a second, one core for nothing else",
        ("size", "decoded", "recognized"),
        tuple(rows),
        "Demo road, H.264; recognized by the built-in recognizer, each frame searched whole.",
    )


def _latency(figures: LatencyFigures) -> PageTable:
    rows = [
        (one.stage, *(f"{ms:.1f}" for ms in (one.mean_ms, one.p50_ms, one.p95_ms, one.p99_ms)))
        for one in figures.stages
    ]
    kept = "kept" if figures.is_on_target else "MISSED"
    return PageTable(
        f"Latency at {figures.load:.0%} load, in ms",
        ("stage", "mean", "p50", "p95", "p99"),
        tuple(rows),
        f"{figures.cameras} demo cameras, every frame recognized: {figures.fps:.0f} of "
        f"{figures.saturation_fps:.0f} frames/s; {figures.events} vehicles. Beyond a recognition "
        f"of {figures.recognition_ms:.1f} ms: p50 {figures.over_recognition_p50_ms:+.0f} ms, p99 "
        f"{figures.over_recognition_p99_ms:+.0f} ms; target {TARGET_P50_MS:.0f} and "
        f"{TARGET_P99_MS:.0f}: {kept}.",
    )


def _efficiency(figures: Figures) -> PageTable:
    rows: list[tuple[str, str]] = []
    if ends := figures.end_to_end:
        rows += [
            ("whole engine, frames/s beside bare recognition", f"{ends.ratio:.2f} x"),
            ("recognition's share of the engine's CPU time", f"{ends.recognizer_share:.0%}"),
            ("what is neither that nor decoding", f"{ends.other_share:.0%}"),
            ("CPU of a frame with all cores at work, beside one", f"{ends.crowding:.2f} x"),
        ]
    if hand := figures.handoff:
        rows += [
            ("hand-off of a frame", f"{hand.handoff_cpu_us:.1f} CPU-µs"),
            ("multiprocessing.Queue costs, beside it", f"{hand.handoff_vs_queue_cpu:.0f} x"),
            ("pool beside bare loops, frames in memory", f"{hand.saturation:.2f} x"),
        ]
    if decode := figures.decode:
        rows += [
            ("1080p into shared memory, beside PyAV alone", f"{decode.decode_vs_bare:.2f} x"),
            ("the same beside OpenCV", f"{decode.decode_vs_opencv:.2f} x"),
        ]
    return PageTable("Efficiency", ("what", "figure"), tuple(rows))


def _delivery(figures: Figures) -> PageTable:
    rows: list[tuple[str, str]] = []
    if redis := figures.delivery:
        share = f"{redis.delivery_vs_server_limit:.2f} x its limit"
        rows.append(
            ("sighting events into Redis", f"{redis.delivery_per_s:,.0f} a second, {share}")
        )
    if sse := figures.sse:
        rows += [
            (
                f"live events to {sse.clients:,} pages",
                f"{sse.sse_deliveries_per_s:,.0f} deliveries a second",
            ),
            ("each", f"{sse.sse_cpu_us:.1f} CPU-µs, {sse.sse_kib_per_client:.0f} KiB a page"),
            ("on the way, p99", f"{sse.sse_p99_ms:.0f} ms"),
        ]
    return PageTable("Delivery", ("what", "figure"), tuple(rows))


def print_report(run: BenchRun) -> None:
    """Print the page on standard output."""
    out = table_console()
    out.print(circumstances(run), soft_wrap=True)
    for one in tables(run):
        table = Table(
            title=one.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD
        )
        for number, column in enumerate(one.columns):
            table.add_column(column, justify="right" if number else "left")
        for row in one.rows:
            table.add_row(*row)
        out.print(table)
        if one.note:
            out.print(one.note, soft_wrap=True, style="dim")
    for name, reason in run.failures.items():
        out.print(f"FAILED {name}: {reason}", soft_wrap=True, style="red", markup=False)
    out.print(f"\n{verdict(run)}", soft_wrap=True, style="bold")
    sys.stdout.flush()
