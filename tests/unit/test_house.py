"""The house rules that a program can check: rooms, sizes, lint, format, types, secrets of paths."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 500

FLOORS = """
    errors types scopes logs console signals progress due appetite cores service process_use
    regions
    plates section outlines redis_client records uploads
    keys people sessions audit
    sink_settings redis_wire upload_settings
    filter_settings
    config shm voting store evidence motion health sources
    embedded_redis exposure board sections amendments recognizers track slot_formats
    source_settings filters
    messages lane store_commands privacy spool_file spool_reader groups feedback attention
    tracker store_writer search corrections statistics upload_check
    upload_desk deadletters retention process ring_memory spool reads_channel ingest_channel footage
    clip_channel camera_log
    ring reaper children quarantine control sinks watchlists intake places judge
    held_rings
    decoder worker publisher plane resources
    roster event_stream
    upload_queue connections turns crew ending clients
    watch orders event_table
    supervisor
    read probe doctor forget status benchmarks evaluation delivery_commands order_commands follow
    access_commands completion top support capacity
    operation_commands bench_commands
    cli
"""
"""Rooms of the engine, the lowest floor first; a room imports only from floors below its own."""

FLOOR = {room: height for height, line in enumerate(FLOORS.split("\n")) for room in line.split()}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def room_of(path: Path) -> str:
    """``engine/sources/video.py`` belongs to the room ``sources``."""
    return path.relative_to(ROOT / "engine").parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_used(path: Path) -> set[str]:
    used = set()
    for name in imports(path):
        package, _, rest = name.partition(".")
        room = rest.partition(".")[0]
        if package == "engine" and room in FLOOR:
            used.add(room)
    return used


def test_every_module_has_a_floor():
    rooms = {room_of(path) for path in modules("engine")} - {"__init__"}
    assert rooms <= FLOOR.keys(), "write the new room into FLOORS, where it belongs"


def test_rooms_import_only_from_floors_below():
    wrong = [
        f"{path.relative_to(ROOT)} imports {used}"
        for path in modules("engine")
        for room in [room_of(path)]
        for used in sorted(rooms_used(path))
        if room not in {"__init__", used} and FLOOR[used] >= FLOOR.get(room, 0)
    ]
    assert not wrong, "\n".join(wrong)


def test_engine_never_imports_the_api():
    wrong = [
        str(path.relative_to(ROOT))
        for path in modules("engine")
        if any(name.split(".")[0] in {"api", "flask", "gevent", "bench"} for name in imports(path))
    ]
    assert not wrong


def test_api_uses_only_rooms_that_hold_values_and_links():
    """The web front never runs a camera, a recognizer or a supervisor of its own."""
    forbidden = {"decoder", "worker", "publisher", "supervisor", "children", "cli", "recognizers"}
    wrong = [
        f"{path.relative_to(ROOT)} imports {sorted(rooms_used(path) & forbidden)}"
        for path in modules("api")
        if rooms_used(path) & forbidden
    ]
    assert not wrong


def test_shared_memory_has_one_importer():
    wrong = [
        str(path.relative_to(ROOT))
        for package in ("engine", "api")
        for path in modules(package)
        if "multiprocessing.shared_memory" in set(imports(path)) and path.name != "shm.py"
    ]
    assert not wrong


def test_no_module_is_too_long():
    long = {
        str(path.relative_to(ROOT)): lines
        for package in ("engine", "api", "bench", "tests")
        for path in modules(package)
        if (lines := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert not long


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
    ],
    ids=" ".join,
)
def test_tool_is_content(command):
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
