"""Whose figures they are: the configuration that is named, the usual one, or none at all."""

from pathlib import Path
from typing import Final

from engine.config import Settings, load_settings

USUAL: Final = Path("config.toml")


def settings_if_any(path: Path) -> Settings:
    """Return the settings of a file; all defaults where the usual one is not there.

    Raises:
        ConfigError: another one is not there, or a setting is wrong.
    """
    return load_settings(path) if path != USUAL or path.exists() else Settings()
