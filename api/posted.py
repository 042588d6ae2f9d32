"""What is kept of a posted body: the fields that a sighting has no place for, or all of it."""

from typing import Any

import msgspec

from api.payloads import BarePlate
from engine.errors import PayloadError


def kept(body: bytes, *, whole: bool) -> bytes:
    """Return what is kept of a body beside its sighting: JSON, as it came or without pictures.

    Raises:
        PayloadError: a field that no structure names is no valid JSON.
    """
    if whole:
        return body
    try:
        return msgspec.json.encode(_without_pictures(_decoded(body)))
    except RecursionError as error:
        raise PayloadError("body", "is nested too deeply") from error


def says_more(body: bytes) -> bool:
    """Tell whether a bare plate comes with fields that a sighting has no place for.

    Raises:
        PayloadError: as ``kept``.
    """
    return bool(_decoded(body).keys() - BarePlate.__struct_fields__)


def _without_pictures(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _without_pictures(inner)
            for name, inner in value.items()
            if not name.endswith("_jpeg")
        }
    return [_without_pictures(inner) for inner in value] if isinstance(value, list) else value


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadError("body", f"is no valid JSON: {error}") from error
