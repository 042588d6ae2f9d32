"""The sections of the configuration that children are handed, one struct per kind of process.

They live here because the supervisor encodes them and must not import what it starts.
"""

import msgspec

from engine.config import ApiSettings, CameraSettings, OpenAlprSettings


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


class DecoderSection(msgspec.Struct, frozen=True, kw_only=True):
    """All that a decoder needs to know of its camera."""

    camera: str
    """The camera's table as JSON (``settings`` validates it)."""
    index: int
    """Its cell on the board."""
    base_dir: str
    """Where relative file paths start."""
    max_unread: int
    """Frames a live camera may offer at once: 1, or the batch size of the workers."""

    @property
    def settings(self) -> CameraSettings:
        """The camera's table, validated again."""
        return CameraSettings.model_validate_json(self.camera)

    def encode(self) -> bytes:
        """Return the bytes for ``Start.section``."""
        return msgspec.json.encode(self)


class WorkerSection(msgspec.Struct, frozen=True, kw_only=True):
    """All that a recognizer worker needs to know."""

    recognizer: str
    openalpr: str
    """The ``[openalpr]`` table as JSON."""
    batch: int
    batch_wait_ms: float
    core: int
    """The core to run on, -1 for any."""

    @property
    def openalpr_settings(self) -> OpenAlprSettings:
        """The ``[openalpr]`` table, validated again."""
        return OpenAlprSettings.model_validate_json(self.openalpr)

    def encode(self) -> bytes:
        """Return the bytes for ``Start.section``."""
        return msgspec.json.encode(self)


class PublisherSection(msgspec.Struct, frozen=True, kw_only=True):
    """All that the publisher needs to know."""

    state_dir: str
    """Where its SQLite file lives."""
    node: str
    redis_url: str
    redis: str
    """The ``[redis]`` table as JSON; its ``url`` is not used, ``redis_url`` is."""
    tracker: str
    """The ``[tracker]`` table as JSON."""
    spool: str
    """The ``[spool]`` table as JSON."""
    cameras: tuple[str, ...]
    """The cameras' tables as JSON, in the order of their cells on the board."""

    def encode(self) -> bytes:
        """Return the bytes for ``Start.section``."""
        return msgspec.json.encode(self)
