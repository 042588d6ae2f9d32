"""The tables of ``config.toml`` that say where sightings go besides Redis, and which of them."""

import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from engine.plates import Pattern
from engine.section import Name, Secret, Section, matching, mistake
from engine.types import Phase

_NAMES_OF_SINKS: Final = {"redis", "kafka", "rabbitmq", "mqtt"}
MOST_REPEATS: Final = 6
"""Of one pattern: each multiplies the ways in which a plate may be compared with it."""
_STARS: Final = re.compile(r"\*+")
_ALL_PHASES: Final = tuple(phase.value for phase in Phase)


def plate_pattern(text: str) -> Pattern:
    """Return a pattern of ``engine.plates`` in which ``*`` may stand for any rest.

    Raises:
        ValueError: it is no pattern; says where.
    """
    return Pattern(_STARS.sub("?{0,32}", text.upper()))


def check_pattern(text: str) -> str:
    """Return the text of a pattern that plates may be compared with, each in little time.

    Raises:
        ValueError: it is no pattern, or has too many repeats.
    """
    if plate_pattern(text).source.count(",") > MOST_REPEATS:
        raise ValueError(f"{text[:40]!r} has more than {MOST_REPEATS} of * and {{1,4}}")
    return text


PlatePattern = Annotated[str, AfterValidator(check_pattern)]


class SinkSettings(Section):
    """What every sink but Redis can choose: an event goes there when all of it applies."""

    phases: Annotated[
        tuple[Literal["provisional", "revised", "final"], ...], Field(strict=False, min_length=1)
    ] = _ALL_PHASES
    cameras: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    """Empty: all cameras."""
    plates: Annotated[tuple[PlatePattern, ...], Field(strict=False)] = ()
    """Empty: all plates."""
    min_confidence: Annotated[float, Field(ge=0, le=100)] = 0.0
    hits_only: bool = False
    """Only sightings that a watchlist marked."""
    hits_first: bool = False
    """Sightings that a watchlist marked overtake all others that wait."""


class TlsSettings(Section):
    """Files of a TLS connection; empty ones leave it to the system."""

    ca_file: str = ""
    cert_file: str = ""
    """Our certificate, where the server asks for one."""
    key_file: str = ""


class WebhookSettings(SinkSettings):
    """One ``[[sinks.webhooks]]`` entry: an HTTP server that takes one sighting per request."""

    name: Name
    url: Annotated[Secret, matching(r"https?://.+", "a URL that begins with http:// or https://")]
    secret: Secret = ""
    """Signs every request; empty: unsigned."""
    authorization: Secret = ""
    """The header of this name."""
    format: Literal["platering", "alpr_group"] = "platering"
    pictures: bool = False
    """Put the pictures into the body, as far as they are new."""
    allow_private: bool = False
    """It may be an address of this machine or of a private network."""
    timeout_s: Annotated[float, Field(gt=0, le=300)] = 10.0
    attempts: Annotated[int, Field(ge=1, le=1_000)] = 8
    """Answers of 5xx to one sighting before it becomes a dead letter."""
    ca_file: str = ""


class KafkaSettings(SinkSettings, TlsSettings):
    """A topic of a Kafka cluster."""

    servers: Secret = ""
    """``host:port`` of some of its brokers with commas between; empty: off."""
    topic: Annotated[
        str, matching(r"[A-Za-z0-9._-]{1,249}", "letters, digits, dots, dashes, underscores")
    ] = "platering.sightings"
    key: Literal["camera", "plate"] = "camera"
    username: Secret = ""
    password: Secret = ""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    tls: bool = False
    timeout_s: Annotated[float, Field(gt=0, le=300)] = 10.0


class RabbitMqSettings(SinkSettings, TlsSettings):
    """A topic exchange of a RabbitMQ broker."""

    url: Annotated[
        Secret,
        matching(r"(amqps?://.+)?", "a URL that begins with amqp:// or amqps://"),
    ] = ""
    """With user and password; empty: off."""
    exchange: Annotated[str, Field(min_length=1, max_length=255)] = "platering"
    timeout_s: Annotated[float, Field(gt=0, le=300)] = 10.0


class MqttSettings(SinkSettings, TlsSettings):
    """An MQTT 5 broker."""

    url: Annotated[
        Secret,
        matching(r"(mqtts?://.+)?", "a URL that begins with mqtt:// or mqtts://"),
    ] = ""
    """With user and password; empty: off."""
    topic: Annotated[str, matching(r"[^#+\x00/][^#+\x00]{0,199}", "a topic without wildcards")] = (
        "platering"
    )
    """Everything we say is below it."""
    discovery: Annotated[str, matching(r"[^#+\x00]{0,199}", "a topic without wildcards")] = (
        "homeassistant"
    )
    """Where Home Assistant looks for devices; empty: it is told nothing."""
    timeout_s: Annotated[float, Field(gt=0, le=300)] = 10.0


class SinksSettings(Section):
    """Where sightings go besides Redis."""

    webhooks: Annotated[tuple[WebhookSettings, ...], Field(strict=False)] = ()
    kafka: KafkaSettings = KafkaSettings()
    rabbitmq: RabbitMqSettings = RabbitMqSettings()
    mqtt: MqttSettings = MqttSettings()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        seen: dict[str, int] = {}
        for index, webhook in enumerate(self.webhooks):
            if webhook.name in _NAMES_OF_SINKS:
                raise mistake(
                    f"the name {webhook.name!r} is that of another sink",
                    "dead letters go by these names: give the webhook one of its own",
                    key=f"sinks.webhooks[{index}].name",
                )
            if webhook.name in seen:
                raise mistake(
                    f"the name {webhook.name!r} is already taken by "
                    f"sinks.webhooks[{seen[webhook.name]}]",
                    "give every webhook a name of its own",
                    key=f"sinks.webhooks[{index}].name",
                )
            seen[webhook.name] = index
        return self
