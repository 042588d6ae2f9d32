"""``config.toml`` becomes validated, frozen, typed sections; every mistake names its key path.

Secrets stay out of the file: ``${NAME}`` inside a URL or key is taken from the environment, and a
value ``file:PATH`` is read from that file. Sections are read once, by the supervisor; each child
is handed only its own.
"""

import difflib
import os
import re
import socket
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from engine.errors import ConfigError

EMBEDDED: Final = "embedded"
"""The value of ``redis.url`` that makes the supervisor run its own Redis server."""

_NAME = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def _reveal(value: str) -> str:
    """Return the value with its secrets put in: ``file:PATH`` read, ``${NAME}`` replaced."""
    if value.startswith("file:") and not value.startswith("file://"):
        path = Path(value.removeprefix("file:"))
        try:
            value = path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ValueError(f"cannot read {path}: {error.strerror}") from error
    for name in _NAME.findall(value):
        if name not in os.environ:
            raise ValueError(f"the environment variable {name} is not set")
    return _NAME.sub(lambda match: os.environ[match[1]], value)


Secret = Annotated[str, AfterValidator(_reveal)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Region = Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z0-9]{1,3})?$")]


class Section(BaseModel):
    """A table of the file: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CameraSettings(Section):
    """One ``[[cameras]]`` entry: where the frames come from and how they are treated."""

    name: Name
    url: Annotated[Secret, Field(min_length=1)]
    enabled: bool = True
    regions: tuple[Region, ...] = ()
    fps: Annotated[float, Field(ge=0, le=240)] = 0.0
    """Frames offered per second at most; 0 takes every frame."""
    play: Literal["realtime", "fast"] = "realtime"
    """Files only: at their own pace, or as fast as they can be recognized."""
    loop: bool = False
    transport: Literal["auto", "tcp", "udp"] = "auto"
    connect_timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0
    read_timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0
    format: Literal["gray", "i420", "bgr24"] = "gray"
    slots: Literal["auto"] | Annotated[int, Field(ge=2, le=256)] = "auto"
    weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    skip_static: bool = True
    """Do not recognize frames in which nothing moves."""
    topn: Annotated[int, Field(ge=1, le=50)] = 5
    min_confidence: Annotated[float, Field(ge=0, le=100)] = 60.0
    min_reads: Annotated[int, Field(ge=1, le=100)] = 2


class RecognizersSettings(Section):
    """The pool of recognizer processes."""

    count: Literal["auto"] | Annotated[int, Field(ge=1, le=256)] = "auto"
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
    country: Annotated[str, Field(pattern=r"^[a-z0-9]{2,8}$")] = "eu"
    default_region: str = ""
    detect_region: bool = False
    topn: Annotated[int, Field(ge=1, le=50)] = 10
    prewarp: str = ""
    detector: Literal["openalpr", "builtin"] = "openalpr"


class TrackerSettings(Section):
    """How reads of one plate become one sighting."""

    max_gap_s: Annotated[float, Field(gt=0, le=60)] = 2.0
    """A plate unseen for this long has passed."""
    announce_after_s: Annotated[float, Field(ge=0, le=10)] = 0.6
    """A new plate is announced at the latest this long after its first confident read."""
    reappear_after_s: Annotated[float, Field(ge=0, le=86_400)] = 20.0
    """The same plate on the same camera within this time is the same sighting."""


class RedisSettings(Section):
    """The Redis server that keeps and publishes sightings."""

    url: Annotated[Secret, Field(pattern=r"^(embedded|rediss?://.+|unix://.+)$")] = EMBEDDED
    stream_length: Annotated[int, Field(ge=100, le=100_000_000)] = 100_000
    latest_length: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    keep_days: Annotated[float, Field(gt=0, le=3_650)] = 30.0
    evidence_days: Annotated[float, Field(gt=0, le=3_650)] = 7.0
    batch: Annotated[int, Field(ge=1, le=10_000)] = 64
    batch_wait_ms: Annotated[float, Field(ge=0, le=1_000)] = 20.0


class SpoolSettings(Section):
    """Sightings wait on disk while Redis is away."""

    max_mib: Annotated[int, Field(ge=8, le=1_048_576)] = 1_024


class ApiSettings(Section):
    """The web front."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    max_body_mib: Annotated[float, Field(gt=0, le=1_024)] = 16.0


class LogSettings(Section):
    """What the processes say."""

    format: Literal["auto", "text", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(Section):
    """The whole file."""

    data_dir: Path = Path("data")
    node: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{0,63}$")] = ""
    recognizer: Literal["auto", "builtin", "openalpr"] = "auto"
    cameras: tuple[CameraSettings, ...] = ()
    recognizers: RecognizersSettings = RecognizersSettings()
    openalpr: OpenAlprSettings = OpenAlprSettings()
    tracker: TrackerSettings = TrackerSettings()
    redis: RedisSettings = RedisSettings()
    spool: SpoolSettings = SpoolSettings()
    api: ApiSettings = ApiSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        seen: dict[str, int] = {}
        for index, camera in enumerate(self.cameras):
            if camera.name in seen:
                raise ValueError(
                    f"cameras[{index}].name|the name {camera.name!r} is already taken by "
                    f"cameras[{seen[camera.name]}]|give every camera a name of its own"
                )
            seen[camera.name] = index
        return self

    @property
    def node_name(self) -> str:
        """The name of this machine in sightings and metrics."""
        return self.node or re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:63] or "node"


def load_settings(path: Path) -> Settings:
    """Read and validate the file; a relative ``data_dir`` is beside it.

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
        raise ConfigError(str(path), f"is no valid TOML: {error}") from error
    settings = parse_settings(table)
    home = path.resolve().parent
    return settings.model_copy(update={"data_dir": home / settings.data_dir})


def parse_settings(table: dict[str, Any]) -> Settings:
    """Validate a table of the shape of ``config.toml``.

    Raises:
        ConfigError: names the key path of the first mistake and how many more there are.
    """
    try:
        return Settings.model_validate(table)
    except ValidationError as error:
        raise _explain(error.errors(include_url=False)) from error


def _explain(mistakes: list[ErrorDetails]) -> ConfigError:
    """Put the first mistake in words of the file."""
    first = mistakes[0]
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    key = _key_path(first["loc"])
    problem = first["msg"].removeprefix("Value error, ")
    if "|" in problem:  # our own validators say key|problem|remedy
        key, problem, remedy = problem.split("|")
    elif first["type"] == "extra_forbidden":
        problem, remedy = "unknown key", _nearest_key(first["loc"])
    else:
        remedy = f"the value is {_shown(first)}"
    return ConfigError(key, problem[:1].lower() + problem[1:], remedy + more)


def _shown(mistake: ErrorDetails) -> str:
    """Show the wrong value, unless it may hold a secret."""
    secret = {"url", "license_key"} & {str(part) for part in mistake["loc"]}
    if mistake["type"] == "missing":
        return "missing"
    return "not shown, it may hold a secret" if secret else repr(mistake["input"])[:80]


def _key_path(loc: tuple[int | str, ...]) -> str:
    """Write ``("cameras", 1, "url")`` as ``cameras[1].url``; names of union arms are left out."""
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif re.fullmatch(r"[a-z_][a-z0-9_]*", part):
            path += f".{part}" if path else part
    arms = (".int", ".float", ".str")
    while path.endswith(arms):
        path = path.rpartition(".")[0]
    return path or "config"


def _nearest_key(loc: tuple[int | str, ...]) -> str:
    """Suggest the known key that looks most like the unknown one."""
    section: type[BaseModel] = Settings
    for part in loc[:-1]:
        if isinstance(part, str):
            field = section.model_fields[part]
            inner = CameraSettings if part == "cameras" else field.annotation
            section = inner if isinstance(inner, type) else section
    known = list(section.model_fields)
    near = difflib.get_close_matches(str(loc[-1]), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(known)}"
