"""The ``[traces]`` table: one OpenTelemetry trace per sighting."""

from typing import Annotated

from pydantic import Field

from engine.section import Secret, Section, matching


class TracesSettings(Section):
    """Where spans are sent."""

    endpoint: Annotated[
        Secret, matching(r"(https?://.+)?", "a URL that begins with http:// or https://")
    ] = ""
    """OTLP over HTTP, path and all; empty: there are no traces."""
    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Of all sightings; every process chooses the same ones."""
