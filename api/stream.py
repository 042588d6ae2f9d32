"""``/stream`` and ``/api/v1/events``: a client catches up from Redis, then joins the hub."""

import re
import socket
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import gevent
import msgspec
from flask import Blueprint, Response, g, request

from api.channels import Channel
from api.endpoints import endpoint
from api.feed import Event, Feed, Mark
from api.hub import Hub
from api.problems import ProblemError
from api.stays import Claim, Stays
from api.stream_limits import Holder, StreamLimits
from api.subscriber import Subscriber
from api.wire import TAKEOVER
from engine.errors import SinkError
from engine.plates import normalise
from engine.scopes import Scope

REPLAY_BATCH: Final = 500
SEND_WITHIN_S: Final = 15.0
"""A client that takes nothing for this long while it catches up is let go."""
GONE_AFTER_MS: Final = 30_000
"""A client that acknowledges nothing for this long has left without a word."""
REDIS_AGAIN_S: Final = 0.5
LEVEL_AGAIN_S: Final = 0.01
"""The hub is ahead by events that are on their way to us."""
LIMIT_AGAIN_S: Final = 10
EVENT_STREAM: Final = "text/event-stream"

HEADERS: Final = {
    "Content-Type": f"{EVENT_STREAM}; charset=utf-8",
    "Cache-Control": "no-store",
    "Connection": "close",
    "X-Accel-Buffering": "no",
}

_WILDCARDS: Final = re.compile(r"([*?])")


class EventsQuery(msgspec.Struct, frozen=True):
    """What a client wants to hear; what is left out lets everything through."""

    since: str = ""
    """Id of the last event that is known, ``0`` for all that Redis keeps; ``Last-Event-ID`` in the
    headers goes before it."""
    phase: Literal["", "provisional", "revised", "final"] = ""
    camera: Annotated[str, msgspec.Meta(max_length=64)] = ""
    plate: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """``*`` stands for any characters, ``?`` for one."""
    list: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """A watchlist: only plates that are on it."""
    min_confidence: Annotated[float, msgspec.Meta(ge=0, le=100)] = 0.0
    cameras: bool = False
    """Also how cameras turn, as events named ``camera``."""

    def channel(self) -> Channel:
        """Return what the hub encodes once for all who want the same."""
        plate = "".join(
            part if part in {"*", "?"} else normalise(part) for part in _WILDCARDS.split(self.plate)
        )
        if self.plate and not plate:
            raise ProblemError(400, "holds no letter, digit or wildcard", field="plate")
        return Channel(
            phase=self.phase, camera=self.camera, plate=plate, list=self.list,
            min_confidence=self.min_confidence, cameras=self.cameras,
        )  # fmt: skip


class StreamClients(msgspec.Struct, frozen=True):
    """Live streams now; ``nodes`` are those of each machine's fronts, as Redis knows them."""

    here: int
    """Of the process that answers."""
    total: int
    nodes: dict[str, int]


class Visit:
    """One client's connection, from its greeting to its end."""

    def __init__(self, room: "StreamRoom", channel: Channel, since: Mark | None) -> None:
        """Resume behind ``since``; None means from now on."""
        self._hub = room.hub
        self._feed = room.feed
        self._stays = room.stays
        self._channel = channel
        self._since = since

    def __call__(self, sock: Any, claim: Claim) -> None:
        """Serve the connection that the HTTP handler hands over; returns when it has ended."""
        subscriber = Subscriber(sock, self._channel)
        with self._stays.held(claim, lambda: self._hub.deny(subscriber)):
            self._serve(sock, subscriber)

    def _serve(self, sock: Any, subscriber: Subscriber) -> None:
        try:
            sock.settimeout(SEND_WITHIN_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_AFTER_MS)
            start = self._since or self._hub.position  # None: Redis was never there
            sock.sendall(self._channel.greeting(start))
            seen = None if start is None else self._catch_up(sock, start)
            if not self._hub.closing:
                self._hub.join(subscriber, seen)
                sock.settimeout(None)
                while sock.recv(4096):  # clients say nothing more; the end of it is their end
                    pass
        except OSError:
            pass  # gone, or too slow: it comes back by its last id
        finally:
            self._hub.leave(subscriber)

    def _catch_up(self, sock: Any, seen: Mark) -> Mark | None:
        """Send what was missed until the hub is reached; return how far, None when it closes."""
        while not self._hub.closing:
            try:
                events = self._behind(seen)
                gap = self._gap_behind(seen, events)
            except SinkError:  # the client stays; a byte now and then shows whether it is there
                gevent.sleep(REDIS_AGAIN_S)
                sock.sendall(self._channel.heartbeat(seen))
                continue
            if not events and self._hub.is_level(seen):
                return seen
            if not events:
                gevent.sleep(LEVEL_AGAIN_S)
                continue
            payload, count = self._channel.encode(events, seen)
            sock.sendall(gap + payload)
            self._hub.count_delivered(count)
            seen = events[-1].mark
        return None

    def _behind(self, seen: Mark) -> list[Event]:
        """Return what follows, from the hub's window if it reaches back that far, else Redis."""
        recent = self._hub.window.after(seen)
        return self._feed.after(seen, REPLAY_BATCH) if recent is None else recent[:REPLAY_BATCH]

    def _gap_behind(self, seen: Mark, events: list[Event]) -> bytes:
        """Return the gap behind a bare id, whose size nobody can know; others count themselves."""
        if seen.seq >= 0 or not events:
            return b""
        lost = self._feed.missed_behind(seen)
        return b"" if lost is None else self._channel.gap(lost, events[0].mark.before_it())


class StreamRoom(msgspec.Struct, frozen=True):
    """What the routes of live streams work with."""

    hub: Hub
    feed: Feed
    limits: StreamLimits
    clients: Callable[[], dict[str, int]]
    """Live streams of each machine's fronts."""
    stays: Stays

    def serve(self, channel: Channel, since: Mark | None = None) -> Response:
        """Answer with a stream that takes this connection over."""
        if self.hub.closing:
            raise ProblemError(503, "this process is closing", retry_after_s=1)
        holder = _holder()
        reached = self.limits.reached(holder)
        if reached:
            self.hub.count_refused()
            raise ProblemError(429, reached, retry_after_s=LIMIT_AGAIN_S)
        visit, claim = Visit(self, channel, since), g.get("claim", Claim())

        def takeover(sock: Any) -> None:
            with self.limits.held(holder):
                visit(sock, claim)

        request.environ[TAKEOVER] = takeover
        return Response(iter(()), headers=HEADERS)  # an iterator: no Content-Length


def _holder() -> Holder:
    """Return who asks, as the access checks left it; without them only the address is known."""
    origin = g.get("origin")
    address = request.remote_addr or "" if origin is None else str(origin.network)
    return Holder(address, str(g.get("actor") or ""))


def _since(asked: str) -> Mark | None:
    """Return where the client wants to resume: its header, else ``?since=``."""
    text = request.headers.get("Last-Event-ID", "") or asked
    if not text:
        return None
    try:
        return Mark.parse(text)
    except ValueError as error:
        raise ProblemError(400, str(error), field="since") from error


def blueprint(room: StreamRoom) -> Blueprint:
    """Return the routes of this room."""
    routes = Blueprint("stream", __name__)

    @routes.get("/stream")
    @endpoint(needs=Scope.STREAM, answers=EVENT_STREAM)
    def stream() -> Response:
        """The plain text of each plate, once, when it is first announced."""
        return room.serve(Channel(plain=True))

    @routes.get("/api/v1/events")
    @endpoint(needs=Scope.STREAM, query=EventsQuery, answers=EVENT_STREAM)
    def events(query: EventsQuery) -> Response:
        """Every event as JSON; resumes by id; ``gap`` counts what is gone, ``end`` says why."""
        return room.serve(query.channel(), _since(query.since))

    @routes.get("/api/v1/events/clients")
    @endpoint(needs=Scope.READ, answers=StreamClients)
    def clients() -> StreamClients:
        """How many live streams there are, here and everywhere."""
        nodes = room.clients()
        return StreamClients(room.hub.clients, sum(nodes.values()), nodes)

    return routes
