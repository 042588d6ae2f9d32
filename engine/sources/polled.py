"""A picture behind an address (``http://camera/snapshot.jpg``), fetched again and again."""

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

import cv2
import numpy as np

from engine.errors import SourceDeniedError, SourceError
from engine.sources.base import SourceOptions
from engine.sources.credentials import redact
from engine.sources.images import IMAGE_SUFFIXES, PictureFrame
from engine.sources.libav import check_size
from engine.sources.pace import Stamp

_LARGEST_BYTES: Final = 32 << 20
_PIECE_BYTES: Final = 1 << 16
_NAP_S: Final = 0.05
_USUAL_POLL_S: Final = 1.0


def is_picture(url: str, options: SourceOptions) -> bool:
    """Tell whether an http URL is a single picture: by ``poll_s``, else by how its path ends."""
    path = urlsplit(url).path.lower()
    return options.poll_s > 0 or any(path.endswith(suffix) for suffix in IMAGE_SUFFIXES)


class PolledSource:
    """Fetches one picture every ``poll_s`` (1 s where that is not given) and shows it."""

    capped = 0
    spoilt = 0
    preroll = None

    def __init__(self, url: str, options: SourceOptions) -> None:
        self._url, self._options = url, options
        self._period_s = options.poll_s or _USUAL_POLL_S
        if options.fps:
            self._period_s = max(self._period_s, 1.0 / options.fps)
        self._closed = False
        parts = urlsplit(url)
        place = parts.netloc.rpartition("@")[2]
        self._address = urlunsplit(parts._replace(netloc=place))
        self._opener = _opener(self._address, parts.username, parts.password)

    @property
    def live(self) -> bool:
        """Always: the camera does not wait."""
        return True

    @property
    def endless(self) -> bool:
        """Always: there is no last picture."""
        return True

    def frames(self, stop: Callable[[], bool]) -> Iterator[PictureFrame]:
        """Yield one frame per fetched picture; see ``Source.frames``."""
        due_s = time.monotonic()
        while not (stop() or self._closed):
            if time.monotonic() < due_s:
                time.sleep(min(_NAP_S, self._period_s))
                continue
            due_s = max(due_s + self._period_s, time.monotonic())
            stamp = Stamp.now()
            yield PictureFrame(self._fetch(), stamp, None, self._options.crop)

    def close(self) -> None:
        """End ``frames()``."""
        self._closed = True

    def _fetch(self) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
        """Return the picture as it is now, (H, W, 3) BGR."""
        place = redact(self._url)
        try:
            with self._opener.open(self._address, timeout=self._options.read_timeout_s) as answer:
                encoded = self._body(answer)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in {401, 403}:
                raise SourceDeniedError(
                    f"{place}: it refuses the name and password of the URL"
                ) from None
            raise SourceError(f"{place}: HTTP {error.code} {error.reason}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise SourceError(f"{place}: {reason or type(error).__name__}") from None
        if len(encoded) > _LARGEST_BYTES:
            raise SourceError(f"{place}: a picture of more than {_LARGEST_BYTES >> 20} MiB")
        try:
            pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:
            pixels = None
        if pixels is None:
            raise SourceError(f"{place}: what it sends is no picture, or a damaged one")
        check_size(self._url, pixels.shape[1], pixels.shape[0], self._options)
        return np.asarray(pixels, np.uint8)

    def _body(self, answer: http.client.HTTPResponse) -> bytes:
        """Read a picture, in ``read_timeout_s`` altogether: some servers drip.

        Raises:
            TimeoutError: it takes longer.
        """
        until_s = time.monotonic() + self._options.read_timeout_s
        encoded = bytearray()
        while len(encoded) <= _LARGEST_BYTES and (piece := answer.read1(_PIECE_BYTES)):
            encoded += piece
            if time.monotonic() > until_s:
                raise TimeoutError(f"not whole after {self._options.read_timeout_s:g} s")
        return bytes(encoded)


def _opener(address: str, user: str | None, password: str | None) -> urllib.request.OpenerDirector:
    """Return what fetches over http and https alone, and logs in as the camera asks."""
    opener = urllib.request.OpenerDirector()
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ]
    if user is not None:
        known = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        known.add_password(None, address, unquote(user), unquote(password or ""))
        handlers += [
            urllib.request.HTTPDigestAuthHandler(known),
            urllib.request.HTTPBasicAuthHandler(known),
        ]
    for handler in handlers:
        opener.add_handler(handler)
    return opener
