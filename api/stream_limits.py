"""How many live streams one key and one address may hold in this process."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec


class Holder(msgspec.Struct, frozen=True):
    """Whose stream it is; ``key`` names a key or a person, empty where nobody had to say."""

    address: str
    key: str = ""


class StreamLimits:
    """Counts the streams that are open now, by key and by address."""

    def __init__(self, per_key: int, per_address: int) -> None:
        """Allow so many; 0 is any number."""
        self._per_key, self._per_address = per_key, per_address
        self._of_key: Counter[str] = Counter()
        self._of_address: Counter[str] = Counter()

    def reached(self, holder: Holder) -> str:
        """Return which limit another stream of this holder would break, empty if none."""
        if self._per_key and holder.key and self._of_key[holder.key] >= self._per_key:
            return f"this key has {self._per_key} live streams here already, its limit"
        if self._per_address and self._of_address[holder.address] >= self._per_address:
            return f"this address has {self._per_address} live streams here already, its limit"
        return ""

    @contextmanager
    def held(self, holder: Holder) -> Iterator[None]:
        """Count a stream for as long as it is open."""
        self._change(holder, 1)
        try:
            yield
        finally:
            self._change(holder, -1)

    def _change(self, holder: Holder, by: int) -> None:
        for counted, name in ((self._of_key, holder.key), (self._of_address, holder.address)):
            counted[name] += by
            if not counted[name]:
                del counted[name]
