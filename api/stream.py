"""``/stream`` and ``/api/v1/events``: a client catches up from Redis, then joins the hub."""

import socket
from collections.abc import Callable
from typing import Any, Final

import gevent
from flask import Blueprint, Response, request

from api.channels import Channel
from api.endpoints import endpoint
from api.feed import Feed, Mark
from api.hub import Hub, Subscriber
from api.problems import ProblemError
from api.wire import TAKEOVER
from engine.errors import SinkError
from engine.scopes import Scope
from engine.types import Phase

REPLAY_BATCH: Final = 500
SEND_WITHIN_S: Final = 15.0
"""A client that takes nothing for this long while it catches up is let go."""
GONE_AFTER_MS: Final = 30_000
"""A client that acknowledges nothing for this long has left without a word."""
REDIS_AGAIN_S: Final = 0.5
LEVEL_AGAIN_S: Final = 0.01
"""The hub is ahead by events that are on their way to us."""

HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "Connection": "close",
    "X-Accel-Buffering": "no",
}


class Visit:
    """One client's connection, from its greeting to its end."""

    def __init__(self, hub: Hub, feed: Feed, channel: Channel, since: Mark | None) -> None:
        """Resume behind ``since``; None means from now on."""
        self._hub = hub
        self._feed = feed
        self._channel = channel
        self._since = since

    def __call__(self, sock: Any) -> None:
        """Serve the connection that the HTTP handler hands over; returns when it has ended."""
        subscriber = Subscriber(sock, self._channel)
        try:
            sock.settimeout(SEND_WITHIN_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_AFTER_MS)
            sock.sendall(self._channel.greeting(self._since or self._hub.position))
            seen = None if self._since is None else self._catch_up(sock, self._since)
            if self._since is None or seen is not None:
                self._hub.join(subscriber, seen)
                sock.settimeout(None)
                while sock.recv(4096):  # clients say nothing more; the end of it is their end
                    pass
        except OSError:
            pass  # gone, or too slow: it comes back by its last id
        finally:
            self._hub.leave(subscriber)

    def _catch_up(self, sock: Any, seen: Mark) -> Mark | None:
        """Send what Redis holds until the hub is reached; return how far, None when it closes."""
        while not self._hub.closing:
            try:
                events = self._feed.after(seen, REPLAY_BATCH)
                lost = self._feed.missed_since(seen, events[0].mark) if events else None
            except SinkError:  # the client stays; a byte now and then shows whether it is there
                gevent.sleep(REDIS_AGAIN_S)
                sock.sendall(self._channel.heartbeat(seen))
                continue
            if not events and self._hub.is_level(seen):
                return seen
            if not events:
                gevent.sleep(LEVEL_AGAIN_S)
                continue
            if lost is not None:
                sock.sendall(self._channel.gap(lost, events[0].mark.before_it()))
            payload, count = self._channel.encode(events)
            sock.sendall(payload)
            self._hub.count_delivered(count)
            seen = events[-1].mark
        return None


def _since() -> Mark | None:
    """Return where the client wants to resume: its header, else ``?since=``."""
    text = request.headers.get("Last-Event-ID", "") or request.args.get("since", "")
    if not text:
        return None
    try:
        return Mark.parse(text)
    except ValueError as error:
        raise ProblemError(400, str(error), field="since") from error


def _channel() -> Channel:
    """Return what the client wants to hear."""
    phase = request.args.get("phase", "")
    if phase and phase not in set(Phase):
        raise ProblemError(400, f"is one of {', '.join(Phase)}", field="phase")
    try:
        least = float(request.args.get("min_confidence", 0))
    except ValueError as error:
        raise ProblemError(400, "is no number", field="min_confidence") from error
    if not 0 <= least <= 100:
        raise ProblemError(400, "lies between 0 and 100", field="min_confidence")
    return Channel(
        phase=phase,
        camera=request.args.get("camera", "")[:64],
        plate=request.args.get("plate", "").upper()[:64],
        min_confidence=least,
        cameras=request.args.get("cameras", "") in {"1", "true"},
    )


def blueprint(hub: Hub, feed: Feed) -> Blueprint:
    """Return the routes of this room."""
    routes = Blueprint("stream", __name__)

    def serve(takeover: Callable[[Any], None]) -> Response:
        if hub.closing:
            raise ProblemError(503, "this process is closing", retry_after_s=1)
        request.environ[TAKEOVER] = takeover
        return Response(iter(()), headers=HEADERS)  # an iterator: no Content-Length

    @routes.get("/stream")
    @endpoint(needs=Scope.STREAM)
    def stream() -> Response:
        """The plain text of each plate, once, when it is first announced."""
        return serve(Visit(hub, feed, Channel(plain=True), None))

    @routes.get("/api/v1/events")
    @endpoint(needs=Scope.STREAM)
    def events() -> Response:
        """Every event as JSON; resumes by id; with ``cameras=1`` also how cameras turn."""
        return serve(Visit(hub, feed, _channel(), _since()))

    return routes
