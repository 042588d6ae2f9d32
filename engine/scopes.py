"""Scopes: what a key or a person may do; each route of the front needs exactly one."""

import enum
from typing import Final


class Scope(enum.StrEnum):
    """One thing that a key may be made for; ``includes`` tells what it allows beside."""

    METRICS = "metrics"
    """Scrape ``/metrics``."""
    STREAM = "stream"
    """Follow live events, look at cameras' pictures."""
    INGEST = "ingest"
    """Post plate reads and sightings of agents."""
    READ = "read"
    """Search and see everything but secrets: a viewer."""
    OPERATE = "operate"
    """Correct sightings, change lists, upload, pause cameras: an operator."""
    ADMIN = "admin"
    """Everything, among it changing cameras, keys and people."""

    def includes(self, other: "Scope") -> bool:
        """Tell whether whoever holds this scope may do what needs the other."""
        return other in _INCLUDED[self]


_INCLUDED: Final = {
    Scope.METRICS: {Scope.METRICS},
    Scope.STREAM: {Scope.STREAM},
    Scope.INGEST: {Scope.INGEST},
    Scope.READ: {Scope.READ, Scope.STREAM, Scope.METRICS},
    Scope.OPERATE: {Scope.OPERATE, Scope.READ, Scope.STREAM, Scope.METRICS},
    Scope.ADMIN: set(Scope),
}
