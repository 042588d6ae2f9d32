"""Every event once and in order, or a gap that says how many: over crashes of all that is between.

Clients hang up and come back at random, some stay away until what they missed has been trimmed;
every other one wants the events of one camera only, which has every third. Meanwhile API processes
on one listener are stopped and killed in turn, and Redis is killed.
"""

import contextlib
import http.client
import random
import socket
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest
from event_stream import Stream
from front_process import FrontProcess, front_process, sighting

from engine.benchmarks.sse_servers import unlimited
from engine.config import RedisSettings
from engine.errors import SinkError
from engine.event_stream import Gap
from engine.store_writer import StoreWriter
from engine.track import Event

BATCH = 10
PAUSE_S = 0.01
"""Between two batches: a thousand events a second."""
PROCESSES = 2
YARD_EVERY = 3
"""So many events are between two of the camera that filtered clients want."""


class Numbered(msgspec.Struct):
    """As much of an event as is looked at: all are revisions of one sighting, in order."""

    revision: int


class Plan(msgspec.Struct):
    """How much of everything."""

    clients: int
    events: int
    stream_length: int
    api_restarts: int
    redis_restarts: int

    def incidents(self, rng: random.Random) -> dict[int, list[str]]:
        """Return what happens before which event.

        Every process is replaced while the shy clients are away, for one that stays remembers
        what Redis has lost; everything else comes at any time.
        """
        found: dict[int, list[str]] = {}
        any_time, away = (
            (self.events // 10, self.events * 9 // 10),
            (self.events // 4, self.events * 2 // 5),
        )
        kinds = [(any_time, "redis")] * self.redis_restarts
        for number in range(self.api_restarts):
            kinds.append((away if number < PROCESSES else any_time, ("stop", "kill")[number % 2]))
        for span, kind in kinds:
            found.setdefault(rng.randrange(*span) // BATCH * BATCH, []).append(kind)
        return found


class Told(msgspec.Struct):
    """What a client was told: that an event is there, or that so many are gone."""

    first: int
    last: int
    gone: bool


class Follower(threading.Thread):
    """One client of all events, or of every so many; ``story`` is what it was told."""

    def __init__(self, port: int, plan: Plan, published: list[int], rng: random.Random) -> None:
        super().__init__(daemon=True)
        self.story: list[Told] = []
        self.place = 0
        self.every = 1
        self.shy = False
        """It stays away after its first visit, a short one."""
        self.ended = threading.Event()
        self._port, self._plan, self._rng = port, plan, rng
        self._published = published

    @property
    def goal(self) -> int:
        """The number of the last event it wants."""
        return self._plan.events - self._plan.events % self.every

    def run(self) -> None:
        last = "0-0.0"
        path = "/api/v1/events" + ("?camera=yard" if self.every > 1 else "")
        while self.place < self.goal and not self.ended.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                stream = Stream(self._port, path, last)
                try:
                    last = self._listen(stream, last)
                finally:
                    stream.close()
            if self.shy or self._rng.random() < 0.15:
                self._stay_away()
            self.shy = self.shy and not self.place

    def _listen(self, stream: Stream, last: str) -> str:
        """Take some events; return the last id."""
        for _ in range(self._rng.randrange(1, self._plan.events // (50 if self.shy else 4))):
            try:
                block = stream.block() if self.place < self.goal else {}
            except (OSError, http.client.HTTPException):  # in the middle of a block: it counts not
                break
            if not block or block.get("event") == "end":
                break
            last = block.get("id", last)
            if block.get("event") == "gap":
                gap = msgspec.json.decode(block["data"], type=Gap)
                assert gap.missed is not None, "a gap without a count"
                end = int(gap.id.partition(".")[2])
                self._note(Told(end - gap.missed + 1, end, gone=True))
            elif "data" in block:
                number = msgspec.json.decode(block["data"], type=Numbered).revision
                self._note(Told(number, number, gone=False))
        return last

    def _note(self, told: Told) -> None:
        self.story.append(told)
        self.place = told.last

    def check(self) -> int:
        """Follow what it was told; return how many events gaps stood for."""
        place = missed = 0
        for told in self.story:
            assert told.first > place, f"{told} comes after event {place}"
            left_out = [
                number for number in range(place + 1, told.first) if not number % self.every
            ]
            assert not left_out, f"nothing was said of {left_out}"
            place, missed = told.last, missed + told.gone * (told.last - told.first + 1)
        assert place >= self.goal
        return missed

    def _stay_away(self) -> None:
        """Wait until the stream has lost what comes next, or everything was published."""
        until = min(self.place + 2 * self._plan.stream_length, self._plan.events)
        while self._published[0] < until and not self.ended.wait(0.02):
            pass


class Fronts:
    """API processes that share a listener."""

    def __init__(self, redis_url: str, listener: socket.socket) -> None:
        self._redis_url, self._listener = redis_url, listener
        self._contexts = contextlib.ExitStack()
        self._running: list[tuple[contextlib.ExitStack, FrontProcess]] = []

    @contextlib.contextmanager
    def running(self) -> Iterator["Fronts"]:
        with self._contexts:
            for _ in range(PROCESSES):
                self._start()
            yield self

    def _start(self) -> None:
        own = self._contexts.enter_context(contextlib.ExitStack())
        front = own.enter_context(
            front_process(self._redis_url, listen=self._listener, settings=unlimited())
        )
        self._running.append((own, front))

    def replace(self, how: str) -> None:
        """End the oldest one gently or at once; another takes its place."""
        own, front = self._running.pop(0)
        if how == "stop":
            assert front.stop() == 0
        else:
            front.process.kill()
        own.close()
        self._start()


def start_safely(redis_server) -> None:
    """Start Redis so that a crash loses nothing that it acknowledged."""
    if redis_server.process is None:
        redis_server.start()
    with redis_server.connect() as client:
        client.config_set("appendfsync", "always")


def commit(writer: StoreWriter, numbers: range) -> None:
    """Commit events, as often as it takes."""
    cameras = {number: "gate" if number % YARD_EVERY else "yard" for number in numbers}
    events = [Event(sighting(1, number, camera=cameras[number]), None) for number in numbers]
    deadline = time.monotonic() + 20
    while True:
        try:
            writer.commit(events)
        except SinkError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


def publish(redis_server, plan: Plan, fronts: Fronts, published: list[int], rng) -> None:
    """Commit all events at their pace and let happen what is planned."""
    settings = RedisSettings(stream_length=plan.stream_length)
    incidents = plan.incidents(rng)
    writer = StoreWriter(redis_server.url, settings)
    try:
        for first in range(1, plan.events + 1, BATCH):
            for kind in incidents.get(first - 1, ()):
                if kind == "redis":
                    redis_server.stop()
                    start_safely(redis_server)
                else:
                    fronts.replace(kind)
            commit(writer, range(first, first + BATCH))
            published[0] = first + BATCH - 1
            time.sleep(PAUSE_S)
    finally:
        writer.close()


@pytest.mark.parametrize(
    "plan",
    [
        Plan(16, 1_000, 200, api_restarts=2, redis_restarts=1),
        pytest.param(
            Plan(200, 10_000, 2_000, api_restarts=6, redis_restarts=4), marks=pytest.mark.long
        ),
    ],
    ids=["short", "full"],
)
def test_every_event_comes_once_or_is_counted_in_a_gap(redis_server, rng, plan: Plan) -> None:
    start_safely(redis_server)
    published = [0]
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        port = listener.getsockname()[1]
        followers = [
            Follower(port, plan, published, random.Random(rng.random()))
            for _ in range(plan.clients)
        ]
        with Fronts(redis_server.url, listener).running() as fronts:
            for number, follower in enumerate(followers):
                follower.every = YARD_EVERY if number % 2 else 1
                follower.shy = number % 4 < 2
                follower.start()
            publish(redis_server, plan, fronts, published, rng)
            deadline = time.monotonic() + 120
            for follower in followers:
                follower.join(max(0.0, deadline - time.monotonic()))
                follower.ended.set()
    missed = [follower.check() for follower in followers]
    assert min(sum(missed[::2]), sum(missed[1::2])) > 0, (
        "nobody stayed away for long enough: gaps were not tried"
    )
