"""``platering status``: what the running engine says of its cameras and processes."""

import sys
import time

import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from engine.board import Kind
from engine.config import Settings
from engine.console import table_console
from engine.control import ask
from engine.messages import EngineStatus
from engine.resources import state_path
from engine.types import CameraState

CAMERA_COLOURS = {
    CameraState.LIVE: "green",
    CameraState.DEGRADED: "yellow",
    CameraState.FROZEN: "red",
    CameraState.LOST: "red",
    CameraState.CONNECTING: "yellow",
}
FATES = ("skipped", "dropped", "recognized", "failed")


def print_status(settings: Settings, *, as_json: bool) -> int:
    """Ask the engine of these settings and print its answer; return the exit code 0.

    Raises:
        ControlError: no engine of these settings runs, or it does not answer.
    """
    path = state_path(settings.data_dir, "engine", "control.sock")
    answer = ask(str(path), "status")
    status = msgspec.convert(answer, EngineStatus)
    if as_json:
        sys.stdout.write(msgspec.json.encode(status).decode() + "\n")
        return 0
    out = table_console()
    up_s = max(0.0, time.time() - status.started_unix_ms / 1000)
    out.print(f"Node {status.node}, up for {span(up_s)}")
    out.print(_cameras(status) if status.cameras else "No cameras.")
    out.print(_processes(status))
    if status.renewing:
        out.print(f"Being replaced or started: {', '.join(status.renewing)}")
    if status.renewal_failure:
        out.print(Text(status.renewal_failure, "red"))
    return 0


def _cameras(status: EngineStatus) -> Table:
    """Make a row per camera; frames and vehicles are counted since the start."""
    table = Table("Camera", "State", "Picture", box=box.SIMPLE_HEAD)
    for column in ("Captured", *map(str.capitalize, FATES), "In flight", "Vehicles"):
        table.add_column(column, justify="right")
    for camera in status.cameras:
        ring, ledger = camera.ring, camera.ledger
        state = Text(camera.state.value, style=CAMERA_COLOURS.get(camera.state, ""))
        table.add_row(
            camera.name,
            state + Text(f"\n{camera.reason}", "dim") if camera.reason else state,
            f"{ring.width_px}×{ring.height_px}" if ring else "–",
            str(ledger.get("captured", 0)),
            *(str(sum_of(ledger, fate)) for fate in FATES),
            str(camera.in_flight),
            str(ledger.get("sightings", 0)),
        )
    return table


def sum_of(ledger: dict[str, int], fate: str) -> int:
    """Add up all reasons of a fate."""
    return sum(count for name, count in ledger.items() if name.startswith(fate))


def _processes(status: EngineStatus) -> Table:
    table = Table("Process", "Kind", "Pid", "State", "Restarts", box=box.SIMPLE_HEAD)
    for process in status.processes:
        table.add_row(
            process.name,
            Kind(process.kind).name.lower(),
            str(process.pid) if process.up else "–",
            Text("up", "green") if process.up else Text("down", "red"),
            str(process.restarts),
        )
    return table


def span(seconds: float) -> str:
    """Write a duration in its two largest units."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if days:
        return f"{days:.0f} d {hours % 24:.0f} h"
    if hours:
        return f"{hours:.0f} h {minutes % 60:.0f} min"
    return f"{minutes:.0f} min {seconds % 60:.0f} s" if minutes else f"{seconds:.0f} s"
