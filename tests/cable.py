"""A cable to another host: a network namespace, and a pair of virtual network cards."""

import contextlib
import itertools
import os
import subprocess
from collections.abc import Iterator

import pytest
from streams import needs

_numbers = itertools.count()


class Cable:
    """A pair of virtual network cards, one of them in a namespace."""

    def __init__(self) -> None:
        self._ip = needs("ip", "iproute2")
        number = next(_numbers)
        self.name = f"plt{os.getpid()}-{number}"
        self._near, self._far = f"{self.name}a", f"{self.name}b"
        net = f"10.219.{77 + number % 100}"
        self.ours, self.theirs = f"{net}.1", f"{net}.2"

    def lay(self) -> None:
        """Connect the namespace; skips where the machine forbids it."""
        made = subprocess.run(
            [self._ip, "netns", "add", self.name], capture_output=True, text=True, check=False
        )
        if made.returncode:
            pytest.skip(f"needs the right to make network namespaces: {made.stderr.strip()}")
        peer = ("peer", "name", self._far, "netns", self.name)
        self._run("link", "add", self._near, "type", "veth", *peer)
        self._run("addr", "add", f"{self.ours}/30", "dev", self._near)
        self._run("link", "set", self._near, "up")
        self.inside("addr", "add", f"{self.theirs}/30", "dev", self._far)
        self.inside("link", "set", self._far, "up")

    def prefix(self) -> tuple[str, ...]:
        """Return what a command is run by, to be at the far end."""
        return (self._ip, "netns", "exec", self.name)

    def pull(self) -> None:
        """The far card is dead."""
        self.inside("link", "set", self._far, "down")

    def plug(self) -> None:
        """And alive again."""
        self.inside("link", "set", self._far, "up")

    def drop_all(self) -> None:
        """Drop every packet from the far end to us; the card stays up."""
        self.inside("route", "add", "blackhole", self.ours)

    def drop_none(self) -> None:
        """Let packets pass again."""
        self.inside("route", "del", "blackhole", self.ours)

    def remove(self) -> None:
        """Take the namespace away, and both cards with it."""
        for what in (("link", "del", self._near), ("netns", "del", self.name)):
            subprocess.run([self._ip, *what], capture_output=True, check=False)

    def inside(self, *words: str) -> None:
        """Run ``ip`` in the namespace."""
        self._run("-n", self.name, *words)

    def _run(self, *words: str) -> None:
        subprocess.run([self._ip, *words], check=True)


@contextlib.contextmanager
def laid() -> Iterator[Cable]:
    """A cable to a host of its own, gone with the block."""
    one = Cable()
    try:
        one.lay()
        yield one
    finally:
        one.remove()
