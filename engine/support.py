"""``platering support-bundle``: one archive for whoever helps, without a secret in it.

What is secret is learnt from the configuration file before anything is gathered: the values of its
secret keys, of the environment variables and files it takes them from, and the passwords in its
URLs. Every text of the archive is searched for them, whatever wrote it, and URLs of all kinds are
masked besides.
"""

import contextlib
import io
import os
import platform
import re
import sys
import tarfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

import msgspec

from engine import __version__
from engine.config import SECRET_KEYS, SECRET_URLS, load_settings
from engine.control import ask
from engine.doctor import examine
from engine.errors import ConfigError, ControlError, PlateringError
from engine.resources import state_path
from engine.section import NAME_IN_TEXT
from engine.sources.credentials import MASK, redact, secrets_of

MOST_LOG_BYTES: Final = 8 << 20
"""The end of each log that is taken."""
SHORTEST_SECRET: Final = 3
"""Shorter ones would mask half of every text; they are masked where they are known to stand."""

_PASSWORDS: Final = SECRET_KEYS - SECRET_URLS - {"servers", "username"}
"""Keys of which nothing may be shown; of URLs it is the password, and the rest tells much."""
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>\\]+")
_SECRET_LINE: Final = re.compile(
    rf"""^(\s*(?:#\s*)?(?:{"|".join(sorted(_PASSWORDS))})\s*=\s*+)(?!["'][a-z0-9+]+://)(.*)$""",
    re.MULTILINE,
)
"""A line that sets a secret key, commented out or not, to anything but a URL."""
_QUOTED: Final = re.compile(r"""["']([^"']+)["']""")


class Scrubber:
    """Masks what a configuration keeps secret in any text."""

    def __init__(self, text: str, added: str = "") -> None:
        """Learn the secrets of the text of a ``config.toml``, comments included.

        ``added`` is the text of any other file with URLs, like cameras added while running.

        Raises:
            tomllib.TOMLDecodeError: it is no such text.
        """
        secrets = (*_secrets(tomllib.loads(text)), *_in_text(text), *_in_text(added))
        found = {form for one in secrets if len(one) >= SHORTEST_SECRET for form in _forms(one)}
        longest_first = sorted(found, key=len, reverse=True)
        self._secret = re.compile("|".join(map(re.escape, longest_first))) if found else None

    def scrubbed(self, text: str) -> str:
        """Return the text without secrets."""
        if self._secret is not None:
            text = self._secret.sub(MASK, text)
        return _URL.sub(lambda match: redact(match[0]), text)


def _secrets(table: object, key: str = "") -> Iterator[str]:
    """Yield every secret below a value, in each form in which it may be written."""
    if isinstance(table, dict):
        for name, value in table.items():
            yield from _secrets(value, name)
    elif isinstance(table, list):
        for value in table:
            yield from _secrets(value, key)
    elif isinstance(table, str) and key in SECRET_KEYS:
        yield from _written(table, key)


def _in_text(text: str) -> Iterator[str]:
    """Yield what URLs and lines keep secret that may be commented out, or no TOML at all."""
    for url in _URL.findall(text):
        yield from secrets_of(url)
    for line in _SECRET_LINE.finditer(text):
        yield from _QUOTED.findall(line[2])


def _written(value: str, key: str) -> Iterator[str]:
    """Yield the secrets of one value: what stands there, and what it refers to."""
    whole = value
    if value.startswith("file:") and not value.startswith("file://"):
        try:
            whole = Path(value.removeprefix("file:")).read_text(encoding="utf-8").strip()
        except OSError:
            return
    for name in NAME_IN_TEXT.findall(whole):
        yield os.environ.get(name, "")
    whole = NAME_IN_TEXT.sub(lambda match: os.environ.get(match[1], ""), whole)
    if "://" in whole:
        for secret in secrets_of(whole):
            yield secret
            yield unquote(secret)
    elif key in _PASSWORDS:
        yield whole
        yield from whole.split()[-1:]  # "Bearer TOKEN"


def _forms(secret: str) -> set[str]:
    """Return how a secret looks as it is, in a URL and in JSON."""
    return {secret, quote(secret, safe=""), msgspec.json.encode(secret).decode()[1:-1]}


def write_bundle(config: Path, logs: Sequence[Path], output: Path | None) -> Path:
    """Write the archive and return where it is.

    Raises:
        ConfigError: the configuration cannot be read, so nobody knows what is secret; or a log.
        OSError: the archive cannot be written.
    """
    try:
        text = config.read_text(encoding="utf-8")
        scrubber = Scrubber(text, _added_while_running(config, text))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problem = f"cannot be read, and so not what is secret: {error}"
        raise ConfigError(str(config), problem, "mend it first") from error
    parts = list(_parts(config, text, logs))  # first, so that a mistake leaves no archive behind
    name = time.strftime("platering-support-%Y%m%d-%H%M%S")
    path = output or Path(f"{name}.tar.gz")
    with tarfile.open(path, "w:gz") as archive:
        path.chmod(0o600)
        for member, content in parts:
            data = scrubber.scrubbed(content).encode()
            entry = tarfile.TarInfo(f"{name}/{member}")
            entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(data))
    return path


def _added_while_running(config: Path, text: str) -> str:
    """Return what the engine keeps of orders like ``cameras add``, whose URLs have passwords."""
    data_dir = config.resolve().parent / str(tomllib.loads(text).get("data_dir", "data"))
    kept = data_dir / "engine" / "amendments.json"
    return kept.read_text(encoding="utf-8") if kept.exists() else ""


def _parts(config: Path, text: str, logs: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Yield name and text of everything in the archive; what fails says why instead."""
    yield "config.toml", _SECRET_LINE.sub(rf'\1"{MASK}"', text)
    yield "versions.txt", _versions()
    yield "limits.txt", Path("/proc/self/limits").read_text(encoding="ascii")
    yield "meminfo.txt", Path("/proc/meminfo").read_text(encoding="ascii")
    yield (
        "doctor.json",
        msgspec.json.format(msgspec.json.encode(examine(config)), indent=1).decode(),
    )
    try:
        yield from _of_engine(config)
    except PlateringError as error:
        yield "status.txt", f"{error}\n"
    for number, log in enumerate(logs):
        yield f"log-{number}-{log.name}", _end_of(log)


def _versions() -> str:
    packages = sorted(f"{one.name} {one.version}" for one in distributions())
    machine = f"{platform.platform()}, {os.cpu_count()} cores"
    return "\n".join([f"platering {__version__}", f"Python {sys.version}", machine, *packages, ""])


def _of_engine(config: Path) -> Iterator[tuple[str, str]]:
    """Yield what a running engine says, and what it keeps on disk, by names and sizes alone."""
    settings = load_settings(config)
    yield "data_dir.txt", "\n".join([*_sizes(settings.data_dir), ""])
    for half in ("engine", "api"):
        control = state_path(settings.data_dir, half, "control.sock")
        if control.exists():
            try:
                yield f"status-{half}.json", _json(ask(str(control), "status"))
            except ControlError as error:
                yield f"status-{half}.txt", f"{error}\n"


def _sizes(root: Path) -> Iterator[str]:
    """Yield size and name of every file below a folder, in which the engine goes on writing."""
    for folder, _folders, names in sorted(os.walk(root)):
        for path in (Path(folder) / name for name in sorted(names)):
            with contextlib.suppress(OSError):  # it was deleted meanwhile
                yield f"{path.stat().st_size:>12} {path.relative_to(root)}"


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=1).decode()


def _end_of(log: Path) -> str:
    """Return the end of a log.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with log.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(max(0, size - MOST_LOG_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError as error:
        raise ConfigError(
            "--log", f"cannot read {log}: {error.strerror}", "leave it out"
        ) from error
