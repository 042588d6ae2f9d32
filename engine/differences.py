"""What is different between two configurations, a readable line for each key, without secrets."""

import json
from collections.abc import Iterator
from typing import Any, Final

from engine.config import SECRET_KEYS, SECRET_URLS
from engine.section import Section
from engine.sources.credentials import redact

LONGEST_VALUE: Final = 60
"""A value with more characters is cut."""


def differences(before: Section, after: Section, path: str = "") -> Iterator[str]:
    """Yield ``tracker.max_gap_s: 2.0 → 3.0`` for every key below ``path`` that is different."""
    for key in type(before).model_fields:
        old, new = getattr(before, key), getattr(after, key)
        if old == new:
            continue
        name = f"{path}{key}"
        if isinstance(old, Section) and isinstance(new, Section):
            yield from differences(old, new, f"{name}.")
        elif _have_names(old) and _have_names(new):
            yield from _of_named(old, new, name)
        else:
            yield f"{name}: {_change(key, old, new)}"


def _have_names(value: Any) -> bool:
    return isinstance(value, tuple) and all(hasattr(entry, "name") for entry in value)


def _of_named(old: tuple[Any, ...], new: tuple[Any, ...], path: str) -> Iterator[str]:
    """Compare tables that have names, by these."""
    before = {entry.name: entry for entry in old}
    after = {entry.name: entry for entry in new}
    for name in before | after:
        if name not in after:
            yield f"{path}[{name}]: removed"
        elif name not in before:
            yield f"{path}[{name}]: added"
        else:
            yield from differences(before[name], after[name], f"{path}[{name}].")


def _change(key: str, old: Any, new: Any) -> str:
    """Write both values, as far as they may be seen."""
    if key in SECRET_KEYS - SECRET_URLS:
        return "another value, not shown"
    shown = [_written(redact(value) if key in SECRET_URLS else value) for value in (old, new)]
    return "another password" if shown[0] == shown[1] else f"{shown[0]} → {shown[1]}"


def _written(value: Any) -> str:
    """Write a value about as it stands in the file."""
    text = json.dumps(value, default=_plain, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, Section) else str(value)
