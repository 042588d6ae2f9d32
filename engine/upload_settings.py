"""The ``[uploads]`` table: pictures and videos that are handed in on the page."""

from typing import Annotated

from pydantic import Field

from engine.section import Section


class UploadsSettings(Section):
    """Limits of uploads, and how long they are kept."""

    max_mib: Annotated[int, Field(ge=1, le=16_384)] = 256
    max_minutes: Annotated[float, Field(gt=0, le=1_440)] = 10.0
    max_megapixels: Annotated[float, Field(gt=0, le=300)] = 36.0
    memory_mib: Annotated[int, Field(ge=256, le=65_536)] = 1_024
    """Memory that the decoder of an upload may take beyond what it has at its start."""
    max_waiting: Annotated[int, Field(ge=1, le=1_000)] = 8
    keep_hours: Annotated[float, Field(gt=0, le=8_760)] = 24.0
    keep_mib: Annotated[int, Field(ge=1, le=1_048_576)] = 2_048
    """Disk that they take together; the oldest go first."""
    weight: Annotated[float, Field(gt=0, le=1)] = 0.02
    """Its share of the recognizers, relative to cameras."""
