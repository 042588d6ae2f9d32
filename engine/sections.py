"""The sections of the configuration that children are handed, one struct per kind of process.

They live here because the supervisor encodes them and must not import what it starts.
"""

import msgspec

from engine.config import ApiSettings


class ApiSection(msgspec.Struct, frozen=True, kw_only=True):
    """All that an API process needs to know; sent as JSON in ``Start.section``."""

    api: str
    """The ``[api]`` table as JSON (``settings`` validates it)."""
    redis_url: str
    """Address of Redis; for the embedded one that of its unix socket."""
    node: str
    board: str
    """Name of the stats board's segment, whose rows ``/metrics`` reads."""
    cameras: tuple[str, ...]
    """Names of the cameras in the order of their cells on the board."""
    control_path: str
    """The supervisor's public control socket; empty where no engine runs beside this front."""
    ingest_path: str
    """The publisher's ingest socket; empty where no engine runs beside this front."""
    data_dir: str

    @property
    def settings(self) -> ApiSettings:
        """The ``[api]`` table, validated again."""
        return ApiSettings.model_validate_json(self.api)

    def encode(self) -> bytes:
        """Return the bytes for ``Start.section``."""
        return msgspec.json.encode(self)
