"""What a service manager is told: that all is ready, that the loop still turns, that it ends.

The protocol is systemd's sd_notify(3): a datagram to the socket that ``NOTIFY_SOCKET`` names. Both
variables are taken out of the environment, so that no child speaks for the supervisor.
"""

import contextlib
import math
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final, Self

_LONG_S: Final = 1.0
"""Waited for a service manager that has much to read; a beat waits for nobody."""
BEATS_A_PERIOD: Final = 3
"""Beats within the time after which a service manager takes us for dead."""


class ServiceManager:
    """The service manager's socket, or nobody's: then nothing is said."""

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        """Speak to a socket's ``address``; beat where ``watchdog_s`` is not 0."""
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._every_s = watchdog_s / BEATS_A_PERIOD
        self._due = math.inf
        """Of the next beat; none before all is ready, which a start may take its time for."""

    @classmethod
    def of(cls, environment: MutableMapping[str, str] = os.environ) -> Self:
        """Take what systemd has set, and take it away."""
        address = environment.pop("NOTIFY_SOCKET", "")
        period_us = environment.pop("WATCHDOG_USEC", "0")
        for_whom = environment.pop("WATCHDOG_PID", "") or str(os.getpid())
        is_for_us = period_us.isdigit() and for_whom == str(os.getpid())
        return cls(address, int(period_us) / 1e6 if is_for_us else 0.0)

    def ready(self, status: str) -> None:
        """Say that everything has started; ``status`` is one line for ``systemctl status``."""
        self._say(f"READY=1\nSTATUS={status}", _LONG_S)
        self._due = 0.0

    def reloading(self) -> None:
        """Say that the configuration is being read again; ``ready`` says that it was."""
        self._say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1_000}", _LONG_S)

    def beat(self) -> None:
        """Say that the loop turns, when it is time."""
        now = time.monotonic()
        if self._every_s and now >= self._due:
            self._due = now + self._every_s
            self._say("WATCHDOG=1", 0.0)

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._say("STOPPING=1", _LONG_S)

    def _say(self, what: str, wait_s: float) -> None:
        """Send a datagram; what nobody takes in time is lost, the run does not depend on it."""
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end,
        ):
            end.settimeout(wait_s)
            end.sendto(what.encode(), self._address)
