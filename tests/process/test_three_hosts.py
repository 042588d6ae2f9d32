"""Three hosts: two engines behind cables, and one with Redis and the front; a cable is cut."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
from cable import Cable, laid
from conftest import redis_binary
from engine_run import EngineRun, Events, demo, events_of, imbalance, running
from polling import wait_until
from redis_shapes import HOST, yard

from engine.types import CameraState

WAITING = 8
"""So many events wait on the host that is cut off, before it is back."""
BACK_S = 15.0
"""So soon after it is back all of them have arrived."""
TRACKER = "[tracker]\nmax_gap_s = 0.4\nannounce_after_s = 0.1\nreappear_after_s = 0.0\n"
SCENE = "&width=640&height=360&fps=5&density=3"


class Hosts(msgspec.Struct):
    """All three; the office is the one on which the test runs."""

    north: EngineRun
    south: EngineRun
    office: EngineRun
    cable: Cable
    """To the south."""


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    binary = redis_binary()
    if binary is None:
        pytest.skip("needs a redis-server: install the package redis-server")
    with ExitStack() as stack:
        cables = {name: stack.enter_context(laid()) for name in ("north", "south")}
        places = (HOST, *(cable.ours for cable in cables.values()))
        server = stack.enter_context(yard(binary)).server("--protected-mode", "no", hosts=places)
        server.connect().close()
        runs = {}
        for number, (name, cable) in enumerate(cables.items()):
            (tmp_path / name).mkdir()
            config = _engine(name, number, f"redis://{cable.ours}:{server.port}")
            started = running(tmp_path / name, config, "engine", cable.prefix())
            runs[name] = stack.enter_context(started)
        (tmp_path / "office").mkdir()
        url = f"redis://{HOST}:{server.port}"
        office = f'node = "office"\n[redis]\nurl = "{url}"\n[api]\nport = 0\n'
        front = stack.enter_context(running(tmp_path / "office", office, "api"))
        yield Hosts(runs["north"], runs["south"], front, cables["south"])


def _engine(node: str, number: int, redis_url: str) -> str:
    rest = f'[redis]\nurl = "{redis_url}"\n[recognizers]\ncount = 1\n{TRACKER}'
    return f'node = "{node}"\n{demo(7 + number, scene=SCENE, camera="min_reads = 1", rest=rest)}'


def test_a_host_that_is_cut_off_loses_nothing_and_delivers_each_event_once(hosts: Hosts) -> None:
    engines = (hosts.north, hosts.south)
    with events_of(hosts.office) as events:
        wait_until(lambda: {"north", "south"} <= nodes(events, 0.0), 30.0, "both are heard of")
        hosts.cable.pull()
        cut_ms = time.time() * 1e3
        wait_until(lambda: waiting(hosts.south) >= WAITING, 30.0, "its events wait on disk")
        assert nodes(events, cut_ms) == {"north"}
        assert waiting(hosts.north) < WAITING
        hosts.cable.plug()
        wait_until(lambda: not waiting(hosts.south), BACK_S, "they have arrived")
        assert nodes(events, cut_ms) == {"north", "south"}
        for run in engines:
            run.ask("camera.pause", name="demo")
        wait_until(lambda: all_told(engines, events), 15.0, "every vehicle is over and told of")
    told = Counter((one.id, one.revision) for _, one in events.taken)
    assert set(told.values()) == {1}
    assert set(Counter(one.id for one in events.finals()).values()) == {1}
    assert events.gaps == 0
    for run in (hosts.office, *engines):
        run.stop()


def nodes(events: Events, since_ms: float) -> set[str]:
    """Return the hosts of vehicles that were first seen since then."""
    return {one.node for _, one in list(events.taken) if one.first_unix_ms > since_ms}


def waiting(run: EngineRun) -> int:
    """Return how many events wait on an engine's disk."""
    return sum(sink.waiting for sink in run.status().sinks)


def all_told(engines: tuple[EngineRun, ...], events: Events) -> bool:
    """Tell whether engines rest, and as many events came as they made, with an end for each."""
    cameras = [run.camera("demo") for run in engines]
    at_rest = all(one.state is CameraState.PAUSED and not one.in_flight for one in cameras)
    if not at_rest or any(map(waiting, engines)) or any(map(imbalance, cameras)):
        return False
    made = sum(one.ledger["revisions"] for one in cameras)
    ended = {one.id for one in events.finals()}
    return len(events.taken) == made and ended == {one.id for _, one in events.taken}
