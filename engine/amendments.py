"""Changes made while running: kept in ``data_dir`` and laid over ``config.toml`` at the next start.

The file holds cameras added or changed (whole tables, by name), removed and paused cameras, and
the number of recognizers. A camera that ``config.toml`` itself no longer has, or has under another
table, is what the later of both says: the amendment, until a running engine reads the file again
(``engine.reload``) and finds another table there.
"""

import json
import logging
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from engine.config import CameraSettings, Settings
from engine.errors import ConfigError, ControlError
from engine.section import Section

log = logging.getLogger(__name__)


class Changes(Section):
    """The content of the file."""

    cameras: dict[str, CameraSettings] = Field(default_factory=dict)
    removed: tuple[str, ...] = ()
    paused: tuple[str, ...] = ()
    recognizers: int | None = None


class Amendments:
    """The changes of one ``data_dir``, saved as they are made."""

    def __init__(self, path: Path) -> None:
        """Read what earlier runs left.

        Raises:
            ConfigError: the file is damaged; says which key, and to move it away.
        """
        self._path = path
        self.changes = Changes()
        try:
            self.changes = Changes.model_validate_json(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise ConfigError(
                str(path), f"cannot be read: {error.strerror}", "let this user read it"
            ) from error
        except ValidationError as error:
            remedy = "move it away to start from config.toml alone"
            raise ConfigError(str(path), f"is damaged: {_first(error)}", remedy) from None

    def applied(self, settings: Settings, changes: Changes | None = None) -> Settings:
        """Return the settings with the changes, or other ones than these, laid over them."""
        changes = self.changes if changes is None else changes
        cameras = {camera.name: camera for camera in settings.cameras} | changes.cameras
        kept = tuple(camera for name, camera in cameras.items() if name not in changes.removed)
        pool = settings.recognizers
        if changes.recognizers is not None:
            pool = pool.model_copy(update={"count": changes.recognizers})
        return settings.model_copy(update={"cameras": kept, "recognizers": pool})

    def add_camera(self, camera: CameraSettings) -> None:
        """Remember an added or changed camera."""
        removed = tuple(name for name in self.changes.removed if name != camera.name)
        self._save(cameras=self.changes.cameras | {camera.name: camera}, removed=removed)

    def remove_camera(self, name: str) -> None:
        """Remember that a camera was removed."""
        cameras = {key: camera for key, camera in self.changes.cameras.items() if key != name}
        paused = tuple(other for other in self.changes.paused if other != name)
        removed = (*(other for other in self.changes.removed if other != name), name)
        self._save(cameras=cameras, removed=removed, paused=paused)

    def without(self, cameras: AbstractSet[str], *, recognizers: bool) -> Changes:
        """Return the changes but for those of what ``config.toml`` says something new of.

        Whether a camera is paused stays; ``recognizers``: their number is among it.
        """
        now = self.changes
        kept = {name: camera for name, camera in now.cameras.items() if name not in cameras}
        removed = tuple(name for name in now.removed if name not in cameras)
        fewer: dict[str, Any] = {"cameras": kept, "removed": removed}
        if recognizers:
            fewer["recognizers"] = None
        return now.model_copy(update=fewer)

    def with_those_of(self, before: Changes) -> Changes:
        """Return the changes with those of before, where nothing was ordered since."""
        now = self.changes
        newer = {*now.cameras, *now.removed}
        cameras = {name: one for name, one in before.cameras.items() if name not in newer}
        removed = tuple(name for name in before.removed if name not in newer)
        count = before.recognizers if now.recognizers is None else now.recognizers
        more = {"cameras": cameras | now.cameras, "removed": (*removed, *now.removed)}
        return now.model_copy(update=more | {"recognizers": count})

    def take(self, changes: Changes) -> None:
        """Go by other changes from now on.

        Raises:
            ControlError: the disk refuses.
        """
        if changes != self.changes:
            self._save(**{key: getattr(changes, key) for key in Changes.model_fields})

    def pause_camera(self, name: str, *, paused: bool) -> None:
        """Remember whether a camera is paused."""
        others = tuple(other for other in self.changes.paused if other != name)
        self._save(paused=(*others, name) if paused else others)

    def set_recognizers(self, count: int) -> None:
        """Remember the number of recognizers."""
        self._save(recognizers=count)

    def _save(self, **changed: Any) -> None:
        """Write the file anew, so that a crash leaves the old or the new one.

        Raises:
            ControlError: the disk refuses.
        """
        self.changes = self.changes.model_copy(update=changed)
        text = json.dumps(self.changes.model_dump(mode="json"), indent=2)
        beside = self._path.with_suffix(".new")
        try:
            beside.touch(mode=0o600)  # URLs may hold passwords
            beside.write_text(text, encoding="utf-8")
            beside.replace(self._path)
        except OSError as error:
            raise ControlError(
                f"done, but not kept for the next start: {self._path}: {error.strerror}"
            ) from error


def _first(error: ValidationError) -> str:
    """Return the first mistake without the value, which may hold a password."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
