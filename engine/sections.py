"""The sections of the configuration that children are handed, one struct per kind of process.

They live here because the supervisor encodes them and must not import what it starts.
"""

from pathlib import Path
from typing import Self

import msgspec

from engine.certificates import CertificateFile
from engine.config import (
    ApiSettings,
    CameraSettings,
    OpenAlprSettings,
    Privacy,
    Provider,
    RedisSettings,
    SpoolSettings,
    TrackerSettings,
)
from engine.filter_settings import FilterSettings
from engine.outlines import Crop
from engine.section import Section
from engine.sink_settings import SinksSettings
from engine.trace_settings import TracesSettings


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
    uploads: str = "{}"
    """The ``[uploads]`` table as JSON."""
    certificates: tuple[CertificateFile, ...] = ()
    """Files of certificates that this machine uses."""
    traces: str = "{}"
    """The ``[traces]`` table as JSON."""
    canary_every_s: float = 0.0
    canary_cell: int = -1
    """The canary's cell on the board; -1: no canary here."""
    hides_plates: bool = False
    """Plates leave the publisher disguised, so nothing may show them in plain."""
    has_cameras: bool = True
    """The board and the supervisor beside it are those of an engine."""
    heralds: bool = False
    """This process tells the other machines on the same Redis of this one."""

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
    provider: Provider
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


class PublishedCamera(FilterSettings):
    """What the publisher should know of a camera: its filters among others."""

    name: str
    index: int
    """Of its cells on the board."""
    site: str = ""
    crop: Crop = ()
    keep_days: float = 0.0
    keep_gib: float = 0.0

    @classmethod
    def of(cls, camera: CameraSettings, index: int) -> Self:
        """Take from a camera's table what is the publisher's business."""
        told = set(cls.model_fields) - {"index"}
        return cls(index=index, **{key: getattr(camera, key) for key in told})

    def encode(self) -> bytes:
        """Return the bytes for ``UseCamera.camera``."""
        return self.model_dump_json().encode()


class PublisherSection(Section):
    """The publisher's part of the configuration; every path and URL is resolved."""

    run: str
    """Unique to this run of the supervisor: workers' incarnations begin anew with it."""
    node: str
    directory: Path
    """Where the spool is; made if it is missing."""
    cameras: tuple[PublishedCamera, ...] = ()
    tracker: TrackerSettings = TrackerSettings()
    redis: RedisSettings = RedisSettings()
    """With the real URL, never ``embedded``."""
    spool: SpoolSettings = SpoolSettings()
    sinks: SinksSettings = SinksSettings()
    privacy: Privacy = "plain"
    traces: TracesSettings = TracesSettings()

    def encode(self) -> bytes:
        """Return the bytes for ``Start.section``."""
        return self.model_dump_json().encode()
