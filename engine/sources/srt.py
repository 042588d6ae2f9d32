"""SRT through libsrt, which PyAV's wheel lacks: the bytes that a sender sends, for libav to demux.

``srt://HOST:PORT`` calls a sender, ``srt://:PORT`` (or ``mode=listener``) waits for one. libsrt is
called inside the decoder, not in a program beside it: so the decoder's limits of memory hold for
it, nothing of a connection outlives the decoder, and no password stands in a command line.
"""

import contextlib
import ctypes
import ctypes.util
import functools
import math
import socket
import struct
import time
from enum import IntEnum
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from engine.errors import SourceDeniedError, SourceError, SourceUnsupportedError
from engine.sources.base import SourceOptions
from engine.sources.credentials import redact

_FILE_NAMES: Final = ("libsrt-gnutls.so.1.5", "libsrt.so.1.5", "libsrt-gnutls.so.1.4")
"""As Debian, Ubuntu and Fedora name it; any other name is asked of the linker."""
REMEDY: Final = "install the package libsrt1.5-gnutls (Fedora: srt-libs)"
"""Where libsrt is missing."""

_MESSAGE_BYTES: Final = 1456
"""The largest payload of one packet of SRT in live mode."""
_LONGEST_SILENCE_S: Final = 3.0
"""MPEG-TS says something ten times a second; libsrt itself misses a dead peer after 5 s only."""
_LONGEST_LATENCY_MS: Final = 10_000
_KEY_LENGTHS: Final = frozenset({0, 16, 24, 32})
_FEWEST_LETTERS, _MOST_LETTERS = 10, 79
"""Of a passphrase, says libsrt."""
_REFUSED: Final = frozenset({10, 11, 1401, 1403})
"""Reasons of libsrt: wrong passphrase, only one side has any, unauthorized, forbidden."""
_TIMED_OUT: Final = 6003
_CRITICAL: Final = 2
"""Its log tells less than its errors do."""
_READABLE: Final = 0x1
_NONE: Final = -1


class _Option(IntEnum):
    """Options of a socket, as ``srt.h`` numbers them."""

    RECEIVE_TIMEOUT_MS = 14
    LATENCY_MS = 23
    PASSPHRASE = 26
    KEY_LENGTH_BYTES = 27
    CONNECT_TIMEOUT_MS = 36
    STREAM_ID = 46


class _Event(ctypes.Structure):
    """``SRT_EPOLL_EVENT``: a socket and what happened to it."""

    _fields_ = (("socket", ctypes.c_int32), ("events", ctypes.c_int))


class SrtSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an ``srt://`` URL says; the defaults where it does not are libsrt's."""

    host: str
    port: int
    listens: bool
    latency_ms: int | None = None
    passphrase: str = ""
    key_bytes: int = 0
    stream_id: str = ""


def srt_settings(url: str) -> SrtSettings:
    """Return what a URL says.

    Raises:
        SourceError: a parameter is unknown or has an impossible value; the text names it.
    """
    place = redact(url)
    # A stream id often begins with "#!::", unescaped: no fragment begins there.
    parts = urlsplit(url, allow_fragments=False)
    pairs = (pair.partition("=") for pair in parts.query.split("&") if pair)
    given = {name: unquote(value) for name, _, value in pairs}
    host, port = parts.hostname or "", _port(parts.netloc)
    mode = given.pop("mode", "caller" if host else "listener")
    if mode not in {"caller", "listener"}:
        raise SourceError(f"{place}: mode must be caller or listener, not {mode!r}")
    if not port or (mode == "caller" and not host):
        raise SourceError(f"{place}: it needs an address and a port, like srt://192.0.2.7:9000")
    latency_ms = _number(given, "latency", place, _LONGEST_LATENCY_MS)
    key_bytes = _number(given, "pbkeylen", place, max(_KEY_LENGTHS)) or 0
    passphrase, stream_id = given.pop("passphrase", ""), given.pop("streamid", "")
    if passphrase and not _FEWEST_LETTERS <= len(passphrase.encode()) <= _MOST_LETTERS:
        raise SourceError(f"{place}: a passphrase has {_FEWEST_LETTERS} to {_MOST_LETTERS} letters")
    if key_bytes not in _KEY_LENGTHS:
        raise SourceError(f"{place}: pbkeylen must be 16, 24 or 32")
    if given:
        raise SourceError(
            f"{place}: unknown {', '.join(sorted(given))} — there are latency, mode, passphrase, "
            "pbkeylen, streamid"
        )
    return SrtSettings(
        host=host,
        port=port,
        listens=mode == "listener",
        latency_ms=latency_ms,
        passphrase=passphrase,
        key_bytes=key_bytes,
        stream_id=stream_id,
    )


def _port(netloc: str) -> int:
    """Return the port of an address, 0 where there is none: an empty host hides it from urllib."""
    digits = netloc.rpartition(":")[2]
    return int(digits) if digits.isascii() and digits.isdigit() and int(digits) < 1 << 16 else 0


def _number(given: dict[str, str], name: str, place: str, most: int) -> int | None:
    text = given.pop(name, None)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and int(text) <= most):
        unit = " milliseconds" if name == "latency" else ""
        raise SourceError(f"{place}: {name} must be 0 to {most}{unit}, not {text!r}")
    return int(text)


@functools.cache
def find_libsrt() -> ctypes.CDLL | None:
    """Load libsrt and return it, None where it is not on this machine."""
    for name in (*_FILE_NAMES, ctypes.util.find_library("srt")):
        if name:
            with contextlib.suppress(OSError):
                library = ctypes.CDLL(name)
                library.srt_getlasterror_str.restype = ctypes.c_char_p
                library.srt_epoll_uwait.argtypes = (
                    ctypes.c_int, ctypes.POINTER(_Event), ctypes.c_int, ctypes.c_int64,
                )  # fmt: skip
                library.srt_setloglevel(_CRITICAL)
                library.srt_startup()
                return library
    return None


def libsrt_version(library: ctypes.CDLL) -> str:
    """Return a library's version, like ``1.5.1``."""
    packed = library.srt_getversion()
    return f"{packed >> 16}.{packed >> 8 & 0xFF}.{packed & 0xFF}"


class SrtReceiver:
    """One connection, as a file to read from; its errors are those of a source."""

    def __init__(self, url: str, options: SourceOptions) -> None:
        """Connect, or wait for a sender, for ``connect_timeout_s`` at most.

        Raises:
            SourceUnsupportedError: libsrt is not on this machine.
            SourceDeniedError: the passphrase is not the sender's.
            SourceError: nobody answers in time, or a parameter of the URL is wrong.
        """
        library = find_libsrt()
        if library is None:
            raise SourceUnsupportedError(f"{redact(url)}: libsrt is not here — {REMEDY}")
        self._library, self._url, self._options = library, url, options
        self._buffer = ctypes.create_string_buffer(_MESSAGE_BYTES)
        self._silence_s = min(options.read_timeout_s, _LONGEST_SILENCE_S)
        self._found_by_s = math.inf
        settings = srt_settings(url)
        self._socket = int(library.srt_create_socket())
        try:
            self._set_options(settings)
            if settings.listens:
                self._accept(_address(settings, url))
            else:
                self._connect(_address(settings, url))
        except BaseException:
            self.close()
            raise
        self._found_by_s = time.monotonic() + options.read_timeout_s

    def found(self) -> None:
        """Know that libav found video in it: from now on bytes only have to come."""
        self._found_by_s = math.inf

    def read(self, size: int) -> bytes:
        """Return the next bytes, a packet's at most; waits ``read_timeout_s``, but no 3 s.

        Raises:
            SourceError: none came in time, no video was found in time, or the connection is lost.
        """
        if time.monotonic() > self._found_by_s:
            raise SourceError(
                f"{redact(self._url)}: no video in it after {self._options.read_timeout_s:g} s — "
                "the sender must send MPEG-TS"
            )
        room = min(size, _MESSAGE_BYTES)
        got = self._library.srt_recvmsg(self._socket, self._buffer, room)
        if got == _NONE and self._library.srt_getlasterror(None) == _TIMED_OUT:
            raise SourceError(
                f"{redact(self._url)}: no answer in time (reading {self._silence_s:g} s)"
            )
        if got <= 0:
            raise self._failure()
        return self._buffer.raw[:got]

    def close(self) -> None:
        """Close the connection; safe to call twice."""
        if self._socket != _NONE:
            self._library.srt_close(self._socket)
            self._socket = _NONE

    def _set_options(self, settings: SrtSettings) -> None:
        """Set the deadlines of the socket, and what both sides must agree on.

        Raises:
            SourceError: libsrt refuses one; a passphrase left out would mean no encryption.
        """
        numbers = {
            _Option.RECEIVE_TIMEOUT_MS: int(1000 * self._silence_s),
            _Option.CONNECT_TIMEOUT_MS: int(1000 * self._options.connect_timeout_s),
            _Option.LATENCY_MS: settings.latency_ms,
            _Option.KEY_LENGTH_BYTES: settings.key_bytes or None,
        }
        texts = {
            _Option.PASSPHRASE: settings.passphrase.encode(),
            _Option.STREAM_ID: settings.stream_id.encode(),
        }
        values = {
            option: struct.pack("=i", number)
            for option, number in numbers.items()
            if number is not None
        } | {option: text for option, text in texts.items() if text}
        for option, value in values.items():
            if self._library.srt_setsockflag(self._socket, option, value, len(value)) == _NONE:
                raise self._failure()

    def _connect(self, address: bytes) -> None:
        if self._library.srt_connect(self._socket, address, len(address)) != _NONE:
            return
        if self._library.srt_getrejectreason(self._socket) in _REFUSED:
            raise SourceDeniedError(f"{redact(self._url)}: it refuses the passphrase of the URL")
        raise self._failure()

    def _accept(self, address: bytes) -> None:
        """Wait for the first sender that knows the passphrase; nobody else is let in."""
        library, listener = self._library, self._socket
        if _NONE in {
            library.srt_bind(listener, address, len(address)),
            library.srt_listen(listener, 1),
        }:
            raise self._failure()
        poll = library.srt_epoll_create()
        try:
            library.srt_epoll_add_usock(poll, listener, ctypes.byref(ctypes.c_int(_READABLE)))
            wait_ms = int(1000 * self._options.connect_timeout_s)
            if library.srt_epoll_uwait(poll, ctypes.byref(_Event()), 1, wait_ms) <= 0:
                raise SourceError(
                    f"{redact(self._url)}: no sender has come in "
                    f"{self._options.connect_timeout_s:g} s"
                )
            self._socket = int(library.srt_accept(listener, None, None))
            if self._socket == _NONE:
                raise self._failure()
        finally:
            library.srt_epoll_release(poll)
            if self._socket != listener:
                library.srt_close(listener)

    def _failure(self) -> SourceError:
        """Return the library's last error, in its words."""
        said = self._library.srt_getlasterror_str().decode(errors="replace")
        return SourceError(f"{redact(self._url)}: {said.rstrip('.').lower()}")


def _address(settings: SrtSettings, url: str) -> bytes:
    """Return the ``sockaddr`` to call, or to listen at.

    Raises:
        SourceError: nobody knows that name.
    """
    try:
        family, *_rest, where = socket.getaddrinfo(
            settings.host or "0.0.0.0",  # noqa: S104  # a listener for whoever sends; so it is said
            settings.port,
            type=socket.SOCK_DGRAM,
        )[0]
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"{redact(url)}: {reason}") from None
    packed = socket.inet_pton(family, str(where[0]).partition("%")[0])
    head = struct.pack("=H", family) + struct.pack("!H", settings.port)
    if family == socket.AF_INET:
        return head + packed + bytes(8)
    return head + bytes(4) + packed + struct.pack("=I", int(where[3]) if len(where) == 4 else 0)
