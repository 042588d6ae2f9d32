"""How long answers that go on go on: for as long as whoever asked may have them.

A live stream or a camera's pictures are asked for once and sent for hours. A key that is removed, a
person who leaves, a session that ends or a front that is not open any more ends them, too.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import gevent
import msgspec

from engine.scopes import Scope

CHECK_S: Final = 2.0
"""Between two looks at whether a claim still holds."""
TURN: Final = 250
"""Claims and streams between two chances for the other greenlets."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What a request showed and what it wanted; it can be judged again."""

    key: str = ""
    """In a header."""
    url_key: str = ""
    session: str = ""
    """The page's token."""
    needs: Scope | None = None
    """None: what everybody may have."""

    def __repr__(self) -> str:
        """Tell no secrets, wherever it is printed."""
        return f"Claim(needs={self.needs})"


Judge = Callable[[Claim], bool]
"""Tells whether a claim holds now."""


def while_it_holds(parts: Iterable[bytes], claim: Claim, holds: Judge) -> Iterator[bytes]:
    """Yield the parts of an answer; end it where the claim to it does not hold any more."""
    with contextlib.ExitStack() as stack:
        close = getattr(parts, "close", None)
        if close is not None:
            stack.callback(close)
        due_s = time.monotonic() + CHECK_S
        for part in parts:
            now_s = time.monotonic()
            if now_s >= due_s:
                if not holds(claim):
                    return
                due_s = now_s + CHECK_S
            yield part


class Stays:
    """Connections that were taken over from their requests, by their claims."""

    def __init__(self, holds: Judge) -> None:
        self._holds = holds
        self._ends: dict[Claim, set[Callable[[], None]]] = {}

    @contextmanager
    def held(self, claim: Claim, end: Callable[[], None]) -> Iterator[None]:
        """Call ``end`` once if the claim does not hold any more while the block runs."""
        ends = self._ends.setdefault(claim, set())
        ends.add(end)
        try:
            yield
        finally:
            ends.discard(end)
            if not ends and self._ends.get(claim) is ends:  # not of those that came back since
                del self._ends[claim]

    def run(self) -> None:
        """Look again and again, for ever; one look for all who share a claim."""
        while True:
            gevent.sleep(CHECK_S)
            self.check()

    def check(self) -> None:
        """End what may not go on."""
        for number, claim in enumerate(list(self._ends), start=1):
            if claim in self._ends and not self._holds(claim):
                self._end_all(self._ends.pop(claim))
            if number % TURN == 0:
                gevent.sleep(0)

    def _end_all(self, ends: set[Callable[[], None]]) -> None:
        for number, end in enumerate(list(ends), start=1):
            end()
            if number % TURN == 0:
                gevent.sleep(0)
