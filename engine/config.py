"""``config.toml`` becomes validated, frozen, typed sections; every mistake names its key path.

Secrets stay out of the file: ``${NAME}`` inside a URL or key is taken from the environment, and a
value ``file:PATH`` is read from that file. Sections are read once, by the supervisor; each child
is handed only its own.
"""

import difflib
import re
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import ErrorDetails

from engine.canary import CanarySettings, is_hidden
from engine.errors import ConfigError
from engine.filter_settings import FilterSettings
from engine.outlines import Crop, Polygons
from engine.section import OURS, Name, Network, Secret, Section, matching, mistake
from engine.sink_settings import PlatePattern, SinksSettings
from engine.trace_settings import TracesSettings
from engine.upload_settings import UploadsSettings

EMBEDDED: Final = "embedded"
"""The value of ``redis.url`` that makes the supervisor run its own Redis server."""


Privacy = Literal["plain", "hash"]
SITE_WORDS: Final = "at most 63 letters, digits, dots, dashes, underscores"
Provider = Literal["cpu", "cuda", "tensorrt", "openvino"]


class CameraOpenAlprSettings(Section):
    """What is different from ``[openalpr]`` for one camera; empty and 0: nothing."""

    country: Annotated[str, matching(r"([a-z0-9]{2,8})?", "a country of OpenALPR like eu")] = ""
    """Else its ``regions`` choose it, and where they do not, ``openalpr.country``."""
    default_region: str = ""
    detect_region: Literal["default"] | bool = "default"
    topn: Annotated[int, Field(ge=0, le=50)] = 0
    prewarp: str = ""
    patterns: Annotated[tuple[PlatePattern, ...], Field(strict=False)] = ()
    """How plates are written: the first candidate that fits is taken; empty: as in its regions."""


_LIKE_ALL: Final = CameraOpenAlprSettings()


class CameraSettings(FilterSettings):
    """One ``[[cameras]]`` entry: where the frames come from and how they are treated."""

    name: Name
    url: Annotated[Secret, Field(min_length=1)]
    enabled: bool = True
    site: Annotated[str, matching(r"[A-Za-z0-9_.-]{0,63}", SITE_WORDS)] = ""
    """Cameras of one site share the group of a vehicle that passes several of them."""
    fps: Annotated[float, Field(ge=0, le=240)] = 0.0
    """Frames offered per second at most; 0 takes every frame."""
    play: Literal["realtime", "fast"] = "realtime"
    """Files only: at their own pace, or as fast as they can be recognized."""
    loop: bool = False
    transport: Literal["auto", "tcp", "udp"] = "auto"
    camera_clock: bool = True
    connect_timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0
    read_timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0
    poll_s: Annotated[float, Field(ge=0, le=3600)] = 0.0
    """http only: fetch a single picture so often; 0: every second where the URL is a picture's."""
    watch: bool = False
    """Folders and patterns only: show the images that come from now on."""
    crop: Crop = ()
    """x, y, width, height of the part that is looked at, as shares of the picture."""
    masks: Polygons = ()
    """Black before anything is stored: polygons of [x, y] in shares of the whole picture."""
    scale: Annotated[int, Field(ge=1, le=8)] = 1
    """Streams and clips: so many times smaller in shared memory, for 4K of nearby vehicles."""
    deinterlace: bool = False
    hwaccel: Literal["none", "auto", "cuda", "vaapi", "qsv", "drm", "amf"] = "none"
    skip_loop_filter: Literal["none", "nonref", "all"] = "none"
    skip_frame: Literal["none", "nonref", "nonkey"] = "none"
    max_megapixels: Annotated[float, Field(gt=0, le=300)] = 36.0
    memory_mib: Annotated[int, Field(ge=256, le=65_536)] = 2_048
    """Memory that its decoder may take beyond what it has at its start."""
    frozen_after_s: Annotated[float, Field(ge=0, le=3600)] = 8.0
    """Streams only: frames that all show the same for this long are a frozen camera; 0: never."""
    clip: Literal["none", "hits", "all"] = "none"
    """Streams and clips: keep some seconds of video, as it came, with which sightings."""
    clip_before_s: Annotated[float, Field(ge=0, le=60)] = 4.0
    clip_after_s: Annotated[float, Field(ge=0, le=15)] = 2.0
    clip_mib: Annotated[int, Field(ge=1, le=64)] = 8
    """Memory of its decoder that the newest packets take, and so the largest clip."""
    format: Literal["gray", "i420", "bgr24"] = "gray"
    """What its slots hold: luma, luma with colour, or colour for recognizers that take it."""
    slots: Literal["auto"] | Annotated[int, Field(ge=2, le=256)] = "auto"
    weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    skip_static: bool = True
    """Do not recognize frames in which nothing moves."""
    motion_sensitivity: Annotated[float, Field(gt=0, le=1)] = 0.5
    motion_afterglow_s: Annotated[float, Field(ge=0, le=60)] = 1.0
    motion_zones: Polygons = ()
    """Where motion counts: polygons like ``masks``; none: everywhere."""
    reread_s: Annotated[float, Field(ge=0, le=30)] = 1.0
    """A moving plate that is known with certainty is read again so often; 0: in every frame.

    It is never read later than after half of ``tracker.max_gap_s``. This and the next two need
    ``skip_static`` and video that plays in real time.
    """
    search_s: Annotated[float, Field(ge=0, le=10)] = 0.25
    """While something moves whose plate is not known, a frame is recognized so often; 0: all."""
    focus: bool = True
    """Search only what moved."""
    topn: Annotated[int, Field(ge=1, le=50)] = 5
    keep_days: Annotated[float, Field(ge=0, le=3_650)] = 0.0
    """Its sightings live this long; 0: as ``redis.keep_days`` says."""
    keep_gib: Annotated[float, Field(ge=0, le=65_536)] = 0.0
    """Memory of Redis that its sightings and their pictures take; 0: as ``redis.keep_gib`` says."""
    openalpr: CameraOpenAlprSettings = CameraOpenAlprSettings()

    @field_validator("clip", mode="after")
    @classmethod
    def _hides_nothing(cls, wanted: str, others: ValidationInfo) -> str:
        if wanted != "none" and others.data.get("masks"):
            raise mistake(
                "cannot be together with masks: a clip is the camera's own video, where all that "
                "they hide is seen",
                'take out the masks, or write clip = "none"',
            )
        return wanted


class RecognizersSettings(Section):
    """The pool of recognizer processes."""

    count: Literal["auto"] | Annotated[int, Field(ge=1, le=256)] = "auto"
    provider: Provider = "cpu"
    """What runs the built-in networks, where the installed onnxruntime has it; else the CPU."""
    batch: Annotated[int, Field(ge=1, le=16)] = 1
    """Frames a worker may lease at once, for recognizers that are faster in batches."""
    batch_wait_ms: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """How long a worker waits to fill a batch at most."""
    deadline_s: Annotated[float, Field(gt=0.1, le=600)] = 10.0
    """A frame that takes longer is set aside and its worker restarted."""
    pin: bool = False
    """Bind each worker to one core."""
    quarantine: Annotated[int, Field(ge=0, le=10_000)] = 20
    """Frames that killed their recognizer and are kept for inspection."""


class OpenAlprSettings(Section):
    """Where OpenALPR is and how it reads; empty paths are looked for in the usual places."""

    library: str = ""
    config: str = ""
    runtime_data: str = ""
    license_key: Secret = ""
    country: Annotated[str, matching(r"[a-z0-9]{2,8}", "a country of OpenALPR like eu")] = "eu"
    default_region: str = ""
    detect_region: bool = False
    topn: Annotated[int, Field(ge=1, le=50)] = 10
    prewarp: str = ""
    detector: Literal["openalpr", "builtin"] = "openalpr"

    def for_camera(self, camera: CameraOpenAlprSettings) -> Self:
        """Return these settings with what is different for one camera."""
        if camera == _LIKE_ALL:
            return self
        different = camera.model_dump(exclude_defaults=True, exclude={"patterns"})
        return self.model_copy(update=different)


class TrackerSettings(Section):
    """How reads of one plate become one sighting."""

    max_gap_s: Annotated[float, Field(gt=0, le=60)] = 2.0
    """A plate unseen for this long has passed."""
    announce_after_s: Annotated[float, Field(ge=0, le=10)] = 0.6
    """A new plate is announced at the latest this long after its first confident read."""
    reappear_after_s: Annotated[float, Field(ge=0, le=86_400)] = 20.0
    """The same plate on the same camera within this time is the same sighting."""
    parked_interval_s: Annotated[float, Field(ge=0, le=604_800)] = 3_600.0
    """A standing vehicle is told of again so often at most; 0: never."""
    group_window_s: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    """A plate seen at another camera of the site within this time is the same vehicle's."""


class RedisSettings(Section):
    """The Redis server that keeps and publishes sightings."""

    url: Annotated[
        Secret,
        matching(
            r"embedded|rediss?(\+cluster)?://.+|rediss?\+sentinel://[^/]+/[^/?].*|unix://.+",
            'the word "embedded" or a URL that begins with redis://, rediss://, unix:// or '
            "redis+cluster://, or redis+sentinel:// with the master's name behind the hosts",
        ),
    ] = EMBEDDED
    stream_length: Annotated[int, Field(ge=100, le=100_000_000)] = 100_000
    latest_length: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    keep_days: Annotated[float, Field(gt=0, le=3_650)] = 30.0
    keep_gib: Annotated[float, Field(ge=0, le=65_536)] = 0.0
    """Memory that one camera's sightings and pictures take, at most; 0: as much as they need."""
    evidence_days: Annotated[float, Field(gt=0, le=3_650)] = 7.0
    batch: Annotated[int, Field(ge=1, le=10_000)] = 64
    batch_wait_ms: Annotated[float, Field(ge=0, le=1_000)] = 20.0


class SpoolSettings(Section):
    """Sightings wait on disk while Redis or another sink is away."""

    max_mib: Annotated[int, Field(ge=8, le=1_048_576)] = 1_024
    max_age_hours: Annotated[float, Field(gt=0, le=168)] = 168.0
    """Undelivered ones are given up then; Redis knows for a week what it has already."""
    replay_per_s: Annotated[float, Field(ge=0, le=1_000_000)] = 2_000.0
    """Events a second at most of the backlog of a sink that is back; 0: as fast as it can."""


class ApiSettings(Section):
    """The web front."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    max_body_mib: Annotated[float, Field(gt=0, le=1_024)] = 16.0
    keep_payloads: bool = False
    """Keep what agents post, as it came, beside their sightings' pictures."""
    tls_certificate: str = ""
    tls_key: str = ""
    trusted_proxies: Annotated[tuple[Network, ...], Field(strict=False)] = ()
    """Whose word on a visitor's address and on TLS counts."""
    requests_per_s: Annotated[float, Field(ge=0, le=100_000)] = 100.0
    """Of one key, person or address in one process; ingest and streams are exempt; 0: no limit."""
    connections_per_address: Annotated[int, Field(ge=0, le=20_000)] = 256
    """In one process; not of this machine and of trusted proxies; 0: no limit."""
    session_hours: Annotated[float, Field(gt=0, le=8_760)] = 12.0
    audit_mib: Annotated[int, Field(ge=1, le=65_536)] = 64
    streams_per_key: Annotated[int, Field(ge=0, le=1_000_000)] = 1_000
    """Live streams in each process; 0: any number, here and in the next."""
    streams_per_address: Annotated[int, Field(ge=0, le=1_000_000)] = 1_000

    @model_validator(mode="after")
    def _certificates_have_keys(self) -> Self:
        if bool(self.tls_certificate) != bool(self.tls_key):
            missing = "tls_key" if self.tls_certificate else "tls_certificate"
            raise mistake("is missing", "TLS needs both files", key=f"api.{missing}")
        return self


class LogSettings(Section):
    """What the processes say."""

    format: Literal["auto", "text", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(Section):
    """The whole file."""

    data_dir: Annotated[Path, Field(strict=False)] = Path("data")
    node: Annotated[
        str,
        matching(r"[A-Za-z0-9_.-]{0,63}", "at most 63 letters, digits, dots, dashes, underscores"),
    ] = ""
    recognizer: Literal["auto", "builtin", "openalpr"] = "auto"
    cameras: Annotated[tuple[CameraSettings, ...], Field(strict=False)] = ()
    recognizers: RecognizersSettings = RecognizersSettings()
    openalpr: OpenAlprSettings = OpenAlprSettings()
    tracker: TrackerSettings = TrackerSettings()
    redis: RedisSettings = RedisSettings()
    spool: SpoolSettings = SpoolSettings()
    sinks: SinksSettings = SinksSettings()
    privacy: Privacy = "plain"
    """``hash``: plates that are on no watchlist leave the publisher as keyed hashes only."""
    uploads: UploadsSettings = UploadsSettings()
    canary: CanarySettings = CanarySettings()
    api: ApiSettings = ApiSettings()
    traces: TracesSettings = TracesSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        seen: dict[str, int] = {}
        for index, camera in enumerate(self.cameras):
            if camera.name in seen:
                raise mistake(
                    f"the name {camera.name!r} is already taken by cameras[{seen[camera.name]}]",
                    "give every camera a name of its own",
                    key=f"cameras[{index}].name",
                )
            if is_hidden(camera.name):
                raise mistake(
                    f"the name {camera.name!r} is one of those for uploads and the canary",
                    "choose another name",
                    key=f"cameras[{index}].name",
                )
            seen[camera.name] = index
        return self

    @model_validator(mode="after")
    def _clips_leave_room(self) -> Self:
        for index, camera in enumerate(self.cameras):
            if camera.clip != "none" and 4 * camera.clip_mib > self.spool.max_mib:
                raise mistake(
                    f"clips of {camera.clip_mib} MiB would push all else out of a spool of "
                    f"{self.spool.max_mib} MiB",
                    f"make spool.max_mib {4 * camera.clip_mib} or more",
                    key=f"cameras[{index}].clip_mib",
                )
        return self

    @property
    def node_name(self) -> str:
        """The name of this machine in sightings and metrics."""
        return self.node or re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:63] or "node"


def load_settings(path: Path) -> Settings:
    """Read and validate the file; relative paths start beside it.

    Raises:
        ConfigError: the file cannot be read, is no TOML, or a setting is wrong.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            str(path), f"cannot be read: {error.strerror}", "name a file with --config"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            str(path), f"is no valid TOML: {error}", "strings need quotes, tables [brackets]"
        ) from error
    settings = parse_settings(table)
    home = path.resolve().parent
    cameras = tuple(
        camera.model_copy(update={"url": _beside(home, camera.url)}) for camera in settings.cameras
    )
    data_dir = home / settings.data_dir.expanduser()
    files = {
        key: str(home / Path(named).expanduser())
        for key in ("tls_certificate", "tls_key")
        if (named := getattr(settings.api, key))
    }
    api = settings.api.model_copy(update=files)
    return settings.model_copy(update={"data_dir": data_dir, "cameras": cameras, "api": api})


def _beside(home: Path, url: str) -> str:
    """Return the URL of a file with its path made absolute; other URLs and - as they are."""
    return url if "://" in url or url == "-" else str(home / Path(url).expanduser())


def parse_settings(table: dict[str, Any]) -> Settings:
    """Validate a table of the shape of ``config.toml``.

    Raises:
        ConfigError: names the key path of the first mistake and how many more there are.
    """
    try:
        return Settings.model_validate(table)
    except ValidationError as error:
        raise _explain(error.errors(include_url=False)) from error


_WORDS: Final = {
    "missing": "is missing",
    "extra_forbidden": "unknown key",
    "model_type": "must be a table",
    "tuple_type": "must be an array",
    "string_type": "must be a string",
    "path_type": "must be a path",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "literal_error": "must be {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must not be empty",
}
"""Pydantic's types of mistakes in words of the file."""


def parse_camera(table: dict[str, Any]) -> CameraSettings:
    """Validate one table of the shape of a ``[[cameras]]`` entry.

    Raises:
        ConfigError: names the key path of the first mistake.
    """
    return parse_settings({"cameras": [table]}).cameras[0]


def _explain(mistakes: list[ErrorDetails]) -> ConfigError:
    """Put the first mistake in words of the file; every arm of a union counts as one."""
    first = mistakes[0]
    key = _key_path(first)
    arms = [_problem(mistake) for mistake in mistakes if _key_path(mistake) == key]
    problem = " or ".join([arms[0], *(arm.removeprefix("must be ") for arm in arms[1:])])
    if first["type"] == OURS:
        key, remedy = first["ctx"]["key"] or key, first["ctx"]["remedy"]
    elif first["type"] == "extra_forbidden":
        remedy = _nearest_key(first["loc"])
    elif first["type"] == "missing":
        remedy = "add it"
    else:
        remedy = _shown(first)
    more = len({_key_path(mistake) for mistake in mistakes}) - 1
    return ConfigError(key, problem, remedy + (f" (and {more} more)" if more else ""))


SECRET_URLS: Final = {"url", "endpoint"}
"""Keys of URLs that may hold passwords; what is left without these tells much."""
SECRET_KEYS: Final = SECRET_URLS | {
    "license_key", "secret", "authorization", "servers", "username", "password",
}  # fmt: skip
"""Keys whose values are never shown."""


def _problem(mistake: ErrorDetails) -> str:
    """Return what is wrong, without the value."""
    words = _WORDS.get(mistake["type"])
    if words is not None:
        return words.format(**mistake.get("ctx", {}))
    return mistake["msg"].removeprefix("Value error, ")


def _shown(mistake: ErrorDetails) -> str:
    """Show the wrong value, unless it may hold a secret."""
    value = mistake["input"]
    if isinstance(value, dict):
        of_tables = mistake["type"] == "tuple_type"
        return f"it is a table{f': write [[{_key_path(mistake)}]]' if of_tables else ''}"
    if isinstance(value, list | tuple):
        return "it is an array"
    secret = SECRET_KEYS & {str(part) for part in mistake["loc"]}
    if secret or (isinstance(value, str) and ("://" in value or len(value) > 80)):
        return "its value is not shown, it may hold a secret"
    return f"it is {value!r}"


def _key_path(mistake: ErrorDetails) -> str:
    """Write ``("cameras", 1, "url")`` as ``cameras[1].url``; names of union arms are left out."""
    path = ""
    *parents, last = mistake["loc"] or ("config",)
    for part in parents:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part in _KEYS:
            path += f".{part}" if path else part
    if isinstance(last, int):
        return f"{path}[{last}]"
    if mistake["type"] != "extra_forbidden" and last not in _KEYS and path:
        return path
    bare = re.fullmatch(r"[A-Za-z0-9_-]+", last)
    return (f"{path}." if path else "") + (last if bare else repr(last))


def _table(annotation: object) -> type[Section] | None:
    """Return the class of a key's table, or of each entry of its tables; None for a value."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None


def _tables(section: type[Section]) -> Iterator[type[Section]]:
    """Yield the class of every table."""
    yield section
    for field in section.model_fields.values():
        inner = _table(field.annotation)
        if inner is not None:
            yield from _tables(inner)


_KEYS: Final = frozenset(key for section in _tables(Settings) for key in section.model_fields)
"""Every key of the file; other words in pydantic's paths name the arms of unions."""


def _nearest_key(loc: tuple[int | str, ...]) -> str:
    """Suggest the known key that looks most like the unknown one."""
    section: type[Section] = Settings
    for part in loc[:-1]:
        if isinstance(part, str):
            section = _table(section.model_fields[part].annotation) or section
    known = list(section.model_fields)
    near = difflib.get_close_matches(str(loc[-1]), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(known)}"
