"""``platering top``: the running engine on a terminal, looked at again and again."""

import time
from typing import Final

import msgspec
from rich import box
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from engine.board import Kind
from engine.config import Settings
from engine.console import table_console
from engine.control import ask
from engine.messages import CameraStatus, EngineStatus, SinkFigures
from engine.process_use import ProcessUse, use_of
from engine.resources import state_path
from engine.status import CAMERA_COLOURS, FATES, span, sum_of

FIRST_LOOK_S: Final = 1.0
_MIB: Final = 1 << 20


class Look(msgspec.Struct, frozen=True):
    """What was there at one moment."""

    at_s: float
    """Monotonic."""
    status: EngineStatus
    uses: dict[int, ProcessUse]
    """By process id."""


def show_top(settings: Settings, every_s: float) -> int:
    """Show the engine of these settings until Ctrl-C, once where the output is no terminal.

    Raises:
        ControlError: no engine of these settings runs, or it does not answer.
    """
    path = str(state_path(settings.data_dir, "engine", "control.sock"))
    out = table_console()
    before = look(path)
    time.sleep(min(every_s, FIRST_LOOK_S))
    now = look(path)
    if not out.is_terminal:
        out.print(page(before, now))
        return 0
    with Live(page(before, now), console=out, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(every_s)
            before, now = now, look(path)
            live.update(page(before, now), refresh=True)


def look(path: str) -> Look:
    """Ask the supervisor behind a control socket, and the kernel."""
    status = msgspec.convert(ask(path, "status"), EngineStatus)
    uses = {pid: use for pid, _, _ in status.running() if (use := use_of(pid)) is not None}
    return Look(time.monotonic(), status, uses)


def page(before: Look, now: Look) -> Group:
    """Make the page from two looks, for what happened between them."""
    status = now.status
    up_s = max(0.0, time.time() - status.started_unix_ms / 1_000)
    parts = [Text(f"Node {status.node}, up for {span(up_s)}", "bold")]
    return Group(*parts, _cameras(before, now), _processes(before, now), _sinks(status.sinks))


def _cameras(before: Look, now: Look) -> Table:
    table = Table("Camera", "State", box=box.SIMPLE_HEAD)
    for column in ("Frames/s", *(f"{fate.capitalize()}/s" for fate in FATES), "Ring", "Vehicles"):
        table.add_column(column, justify="right")
    earlier = {camera.name: camera for camera in before.status.cameras}
    passed_s = max(now.at_s - before.at_s, 1e-3)
    for camera in now.status.cameras:
        old = earlier.get(camera.name, camera)
        table.add_row(
            camera.name,
            Text(camera.state.value, CAMERA_COLOURS.get(camera.state, "")),
            *(_rate(old, camera, fate, passed_s) for fate in ("captured", *FATES)),
            f"{camera.in_flight}/{camera.ring.slots}" if camera.ring else "–",
            str(camera.ledger.get("sightings", 0)),
        )
    return table


def _rate(old: CameraStatus, new: CameraStatus, fate: str, passed_s: float) -> str:
    return f"{(sum_of(new.ledger, fate) - sum_of(old.ledger, fate)) / passed_s:.1f}"


def _processes(before: Look, now: Look) -> Table:
    table = Table("Process", "Kind", box=box.SIMPLE_HEAD)
    for column in ("Pid", "CPU %", "Own MiB", "Shared MiB", "Files", "Restarts"):
        table.add_column(column, justify="right")
    restarts = {process.pid: process.restarts for process in now.status.processes}
    for pid, name, role in now.status.running():
        new = now.uses.get(pid)
        if new is None:
            continue
        old = before.uses.get(pid, new)
        share = (new.cpu_s - old.cpu_s) / max(now.at_s - before.at_s, 1e-3)
        table.add_row(
            name,
            role.name.lower() if role is not Kind.FREE else "redis",
            str(pid),
            f"{100 * share:.0f}",
            str((new.resident_bytes - new.shared_bytes) // _MIB),
            str(new.shared_bytes // _MIB),
            str(new.open_files),
            str(restarts.get(pid, "–")),
        )
    for process in now.status.processes:
        if not process.up:
            kind, down = Kind(process.kind).name.lower(), Text("down", "red")
            table.add_row(process.name, kind, down, "", "", "", "", str(process.restarts))
    return table


def _sinks(sinks: tuple[SinkFigures, ...]) -> Table:
    table = Table("Sink", "State", box=box.SIMPLE_HEAD)
    for column in ("Taken", "Waiting", "Retries", "Dead letters"):
        table.add_column(column, justify="right")
    for sink in sinks:
        state = Text("away", "red") if sink.away else Text("up", "green")
        figures = (sink.taken, sink.waiting, sink.retries, sink.dead_letters)
        table.add_row(sink.name, state, *map(str, figures))
    return table
