"""Keeps a camera's sightings within a bound of memory: the oldest go, with their pictures.

Ages need nobody: every key has its time to live. How much memory a camera's sightings take is
estimated from a sample of them, and looked at again every minute, so an error corrects itself.
"""

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from engine.config import RedisSettings
from engine.redis_client import REDIS_ERRORS
from engine.store import (
    camera_key,
    connect,
    corrections_key,
    day_key,
    evidence_key,
    former_texts,
    list_key,
    plate_key,
    sighting_key,
)
from engine.types import Sighting

_EVERY_S: Final = 60.0
_SAMPLE: Final = 40
_MOST_AT_ONCE: Final = 500
"""Removed in one go, so that new sightings need not wait for old ones."""
_INDEX_BYTES: Final = 600
"""Of a sighting's places in indexes and its marker, as measured (``engine.store``)."""
_GIB: Final = 1 << 30

log = logging.getLogger(__name__)


class Kept(msgspec.Struct, frozen=True):
    """How much of a camera is kept; 0 is as ``[redis]`` says."""

    days: float = 0.0
    gib: float = 0.0


class Retention:
    """Removes what is too much; used by the thread that delivers to Redis."""

    def __init__(
        self,
        url: str,
        settings: RedisSettings,
        cameras: Mapping[str, Kept],
        every_s: float = _EVERY_S,
    ) -> None:
        """Watch over ``cameras``; those without a bound cost nothing."""
        self._keep_gib = settings.keep_gib
        self._most_bytes: dict[str, float] = {}
        self._changing = threading.Lock()
        for name, kept in cameras.items():
            self.keep(name, kept)
        self._url = url
        self._every_s = every_s
        self._due = 0.0
        self._client: Any = None

    def keep(self, camera: str, kept: Kept) -> None:
        """Go by another bound for a camera from now on; any thread."""
        gib = kept.gib or self._keep_gib
        with self._changing:
            bounds = {name: most for name, most in self._most_bytes.items() if name != camera}
            self._most_bytes = bounds | ({camera: gib * _GIB} if gib else {})

    def meet(self, sightings: Iterable[Sighting]) -> None:
        """Watch over the cameras of these, too, where all have a bound: agents post of some."""
        if self._keep_gib:
            for camera in {one.camera for one in sightings} - self._most_bytes.keys():
                self.keep(camera, Kept())

    def sweep(self) -> int:
        """Where it is time, remove some of what is too much; return how many sightings.

        Where Redis does not let it, that is told and tried again later: new sightings go on.
        """
        if not self._most_bytes or time.monotonic() < self._due:
            return 0
        try:
            if self._client is None:
                self._client = connect(self._url)
            removed = {name: self._trim(name, most) for name, most in self._most_bytes.items()}
        except REDIS_ERRORS as error:
            log.warning("sightings beyond keep_gib stay for now: %s", error)
            self.close()
            self._due = time.monotonic() + self._every_s
            return 0
        for name, number in removed.items():
            if number:
                log.info("%s: the oldest %d sightings made room for newer ones", name, number)
        pressing = max(removed.values()) == _MOST_AT_ONCE
        self._due = time.monotonic() + (0.0 if pressing else self._every_s)
        return sum(removed.values())

    def close(self) -> None:
        """Let go of the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _trim(self, camera: str, most_bytes: float) -> int:
        """Remove the oldest of one camera until it fits, a bounded number at once."""
        index = camera_key(camera)
        number = self._client.zcard(index)
        if not number:
            return 0
        sample = self._client.zrandmember(index, _SAMPLE)
        each = sum(self._bytes_of(one.decode()) for one in sample) / len(sample)
        too_many = int(number - most_bytes / each) if each else 0
        if too_many <= 0:
            return 0
        oldest = self._client.zrange(index, 0, min(too_many, _MOST_AT_ONCE) - 1, withscores=True)
        self._remove(index, [(one.decode(), int(score)) for one, score in oldest])
        return len(oldest)

    def _bytes_of(self, sighting_id: str) -> int:
        """Return what a sighting and its pictures take, 0 where it is gone already."""
        own = self._client.memory_usage(sighting_key(sighting_id), samples=0) or 0
        pictures = self._client.memory_usage(evidence_key(sighting_id), samples=0) or 0
        return own + pictures + _INDEX_BYTES if own else 0

    def _remove(self, index: str, oldest: list[tuple[str, int]]) -> None:
        """Remove sightings, given with their times, in two turns of the connection.

        Their places in ``index`` go last: what breaks off is done again.
        """
        asking = self._client.pipeline(transaction=False)
        for sighting_id, _ in oldest:
            asking.hmget(sighting_key(sighting_id), ["plate", "lists"])
            asking.lrange(corrections_key(sighting_id), 0, -1)
        answers = iter(asking.execute())
        removing = self._client.pipeline(transaction=False)
        for sighting_id, first_unix_ms in oldest:
            (plate, lists), corrected = next(answers), next(answers)
            texts = {"" if plate is None else plate.decode(), *former_texts(corrected)}
            keys = [plate_key(text) for text in texts - {""}]
            keys += [list_key(name) for name in (lists or b"").decode().split(",") if name]
            for key in (*keys, day_key(first_unix_ms)):
                removing.zrem(key, sighting_id)
            for own in (evidence_key, corrections_key, sighting_key):
                removing.delete(own(sighting_id))
        removing.execute()
        self._client.zrem(index, *(sighting_id for sighting_id, _ in oldest))
