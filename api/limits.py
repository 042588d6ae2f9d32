"""How much one visitor may ask, and who that visitor is behind a proxy.

Token buckets by name: a bucket fills at a steady rate up to a few seconds' worth, a request takes
one token. They are this process's own: several processes share nobody's word, so that each allows
as much, and none waits for another.
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

MOST_BUCKETS: Final = 20_000
"""Names that are remembered, those of newest use: an attacker with many addresses costs no more."""
IPV6_PREFIX: Final = 64
"""What one customer of a provider has: its addresses count as one."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Buckets:
    """Token buckets of one rate."""

    def __init__(
        self, per_s: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Allow ``burst`` at once and ``per_s`` for ever; a rate of 0 is no limit."""
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Tokens left, and when that was."""

    def take(self, name: str) -> float:
        """Take a token; return 0, or how many seconds to wait for one (and none was taken)."""
        if not self._per_s:
            return 0.0
        now = self._clock()
        tokens, at = self._buckets.pop(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._per_s)
        allowed = tokens >= 1
        self._buckets[name] = (tokens - 1 if allowed else tokens), now
        if len(self._buckets) > MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) / self._per_s


class Origin(msgspec.Struct, frozen=True):
    """Where a request comes from."""

    address: str
    """Of the visitor, as a trusted proxy says, else of whoever is connected."""
    is_secure: bool
    """It came over TLS, at least up to the proxy."""
    is_forwarded: bool
    """Some proxy is in between, trusted or not."""

    @property
    def network(self) -> str:
        """What limits count, see ``network``."""
        return network(self.address)


class Proxies:
    """The reverse proxies whose word counts."""

    def __init__(self, networks: tuple[str, ...]) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]

    def includes(self, address: str) -> bool:
        """Tell whether this is a trusted proxy."""
        found = parsed(address)
        return found is not None and any(
            found.version == network.version and found in network for network in self._networks
        )

    def origin(self, environ: Mapping[str, Any]) -> Origin:
        """Return where a request comes from.

        Of ``X-Forwarded-For`` the last address counts that no trusted proxy has: what stands before
        it, a visitor may have written.
        """
        address = environ.get("REMOTE_ADDR", "")
        secure = environ.get("wsgi.url_scheme") == "https"
        said = environ.get("HTTP_X_FORWARDED_FOR", "")
        forwarded = bool(said or environ.get("HTTP_FORWARDED"))
        if not self.includes(address):
            return Origin(address, secure, forwarded)
        for hop in reversed(said.split(",")):
            if parsed(hop.strip()) is None:
                break
            address = hop.strip()
            if not self.includes(address):
                break
        if environ.get("HTTP_X_FORWARDED_PROTO", "").strip().lower() == "https":
            secure = True
        return Origin(address, secure, forwarded)


@lru_cache(maxsize=4_096)
def parsed(address: str) -> _Address | None:
    """Return an address, None for what is none; IPv4 within IPv6 as IPv4."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def network(address: str) -> str:
    """Return what counts as one: an address, or the network that one customer has of IPv6."""
    found = parsed(address)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, IPV6_PREFIX), strict=False))
    return address


def is_loopback(address: str) -> bool:
    """Tell whether an address is this machine's own, which no other machine reaches."""
    found = parsed(address)
    return found is not None and found.is_loopback
