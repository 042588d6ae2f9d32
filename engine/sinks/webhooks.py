"""Sightings to an HTTP server: one POST per event, in order, signed, until it is answered.

Headers of a request::

    X-Platering-Event        id of the sighting
    X-Platering-Revision     its revision: id and revision name an event, also when it comes twice
    X-Platering-Timestamp    seconds since 1970 at which it was signed
    X-Platering-Signature    sha256=HEX of HMAC-SHA256(secret, TIMESTAMP + "." + BODY)

An answer of 2xx is a delivery. While the server is not there, answers nothing in time, or says 408,
425, 429, 502, 503 or 504, events wait in the spool for it. So they do after any other 5xx, but an
event that got ``attempts`` of those becomes a dead letter, as does one with another answer at once.
Redirects are not followed. Unless ``allow_private`` is set, every address that the host's name
stands for must be a public one, and only an address so checked is connected to.
"""

import hashlib
import hmac
import logging
import socket
import ssl
import time
from collections.abc import Sequence
from http import HTTPStatus
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

import urllib3

from engine import __version__
from engine.deadletters import DeadLetters
from engine.errors import SinkError
from engine.sink_settings import WebhookSettings
from engine.sinks.base import Tally
from engine.sinks.bodies import group_body, own_body
from engine.track import Event

_ASKS_TO_WAIT: Final = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
_RESOLVED_FOR_S: Final = 60.0
_LONGEST_WAIT_S: Final = 300.0
"""A server that asks us to wait longer is asked again after this."""
_READ_BYTES: Final = 1 << 16
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")

log = logging.getLogger(__name__)
logging.getLogger("urllib3").setLevel(logging.CRITICAL)  # at debug it tells whole URLs


class RefusedError(SinkError):
    """The server will never take this event."""


class WaitError(SinkError):
    """The server is not there, or wants to be left alone for a while."""


class WebhookSink:
    """One target of ``[[sinks.webhooks]]``."""

    connected = True
    """It keeps what it acknowledged: nothing is said again."""

    def __init__(self, settings: WebhookSettings, letters: DeadLetters, tally: Tally) -> None:
        """Take the target's section; connects only when there is something to deliver."""
        self.name = f"webhook:{settings.name}"
        self._settings = settings
        self._letters = letters
        self._tally = tally
        self._target = Target(settings)
        self._trying: tuple[str, int] | None = None
        self._attempts = 0

    def deliver(self, events: Sequence[Event]) -> None:
        """See ``Sink``; what is refused for good becomes a dead letter and counts as delivered."""
        for event in events:
            self._deliver_one(event)

    def close(self) -> None:
        """See ``Sink``."""
        self._target.close()
        self._letters.close()

    def _deliver_one(self, event: Event) -> None:
        key = event.sighting.id, event.sighting.revision
        if key != self._trying:
            self._trying, self._attempts = key, 0
        try:
            self._target.post(event)
        except WaitError:
            raise
        except RefusedError as error:
            self._give_up(event, str(error))
        except SinkError as error:
            self._attempts += 1
            if self._attempts < self._settings.attempts:
                raise
            self._give_up(event, str(error))

    def _give_up(self, event: Event, reason: str) -> None:
        sighting = event.sighting
        log.warning(
            "%s: %s revision %d is a dead letter: %s",
            *(self.name, sighting.id, sighting.revision, reason),
            extra={"camera": sighting.camera, "sighting": sighting.id},
        )
        gone = self._letters.add(self._settings.name, event, reason)
        if gone:
            log.error("too many dead letters: the oldest %d are gone", gone)
        self._tally.dead_letters += 1


class Target:
    """The server behind one URL and the connection to it; one thread."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings
        self._url = urllib3.util.parse_url(settings.url)
        self._pool: urllib3.HTTPConnectionPool | None = None
        self._resolved_at = 0.0
        self._not_before = 0.0
        self._failures = 0

    def post(self, event: Event) -> None:
        """Deliver one event.

        Raises:
            WaitError: the server is not there now.
            RefusedError: it will never take this event.
            SinkError: it failed over it.
        """
        if time.monotonic() < self._not_before:
            raise WaitError("it asked to wait")
        body = self._body(event)
        try:
            answer = self._connected().urlopen(
                "POST",
                self._url.request_uri,
                body=body,
                headers=self._headers(event, body),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            answer.read(_READ_BYTES)
            if answer.read(1):  # longer than anybody needs
                answer.close()
            answer.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self.close()
            self._failures += 1
            raise WaitError(f"{_without_url(error)}") from error
        self._judge(answer)

    def close(self) -> None:
        """Let go of the connection."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _judge(self, answer: urllib3.BaseHTTPResponse) -> None:
        status = answer.status
        if 200 <= status < 300:
            return
        said = f"it answered {status} {answer.reason or ''}".rstrip()
        asked_s = answer.headers.get("Retry-After", "")
        if asked_s.isdigit():
            self._not_before = time.monotonic() + min(float(asked_s), _LONGEST_WAIT_S)
        if status in _ASKS_TO_WAIT:
            raise WaitError(said)
        if status >= 500:
            raise SinkError(said)
        raise RefusedError(said)

    def _body(self, event: Event) -> bytes:
        settings = self._settings
        make = group_body if settings.format == "alpr_group" else own_body
        return make(event, pictures=settings.pictures)

    def _headers(self, event: Event, body: bytes) -> dict[str, str]:
        headers = {
            "Host": self._url.netloc or "",
            "Content-Type": "application/json",
            "User-Agent": f"platering/{__version__}",
            "X-Platering-Event": event.sighting.id,
            "X-Platering-Revision": str(event.sighting.revision),
        }
        if self._settings.authorization:
            headers["Authorization"] = self._settings.authorization
        if self._settings.secret:
            timestamp = str(int(time.time()))
            headers["X-Platering-Timestamp"] = timestamp
            headers["X-Platering-Signature"] = sign(self._settings.secret, timestamp, body)
        return headers

    def _connected(self) -> urllib3.HTTPConnectionPool:
        """Return the pool of one connection to an address that was checked a while ago at most."""
        now = time.monotonic()
        if self._pool is not None and now - self._resolved_at < _RESOLVED_FOR_S:
            return self._pool
        self.close()
        host = (self._url.host or "").strip("[]")
        port = self._url.port or (443 if self._url.scheme == "https" else 80)
        addresses = resolve(host, port, allow_private=self._settings.allow_private)
        address = addresses[self._failures % len(addresses)]
        timeout = urllib3.Timeout(self._settings.timeout_s)
        if self._url.scheme == "https":
            self._pool = urllib3.HTTPSConnectionPool(
                address, port, timeout=timeout, maxsize=1, block=True,
                ssl_context=ssl.create_default_context(cafile=self._settings.ca_file or None),
                server_hostname=host, assert_hostname=host,
            )  # fmt: skip
        else:
            self._pool = urllib3.HTTPConnectionPool(
                address, port, timeout=timeout, maxsize=1, block=True
            )
        self._resolved_at = now
        return self._pool


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the value of ``X-Platering-Signature``."""
    signed = timestamp.encode() + b"." + body
    return f"sha256={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def resolve(host: str, port: int, *, allow_private: bool) -> list[str]:
    """Return the addresses of a host, all of which must be public unless that is waived.

    Raises:
        WaitError: it has no address, or one that is not public.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise WaitError(f"{host} cannot be resolved: {error.strerror}") from error
    addresses = [str(entry[4][0]) for entry in found]
    if not allow_private:
        for address in addresses:
            if not is_public(address):
                raise WaitError(
                    f"{host} is {address}, no public address; allow_private = true allows it"
                )
    return addresses


def is_public(address: str) -> bool:
    """Tell whether an address can only be one on the public internet."""
    one = ip_address(address.partition("%")[0])
    if isinstance(one, IPv6Address):
        inner = one.ipv4_mapped or one.sixtofour
        if inner is None and one in _TRANSLATED:
            return is_public(str(ip_address(int(one) & 0xFFFF_FFFF)))
        if inner is not None:
            return is_public(str(inner))
    return one.is_global and not one.is_multicast


def _without_url(error: Exception) -> str:
    """Return what went wrong, without the path and query, which may hold a secret."""
    reason = getattr(error, "reason", None) or error
    return f"{type(reason).__name__}: {reason}".partition(" (Caused by")[0]
