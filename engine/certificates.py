"""When the certificates run out that the configuration names: the front's own, and those of sinks.

Reading them needs the package ``cryptography`` (extra ``tls``): Python's own ``ssl`` tells of a
file only what authorities are in it, and nothing of the certificate that the front shows.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import msgspec

from engine.config import Settings
from engine.errors import ConfigError
from engine.sink_settings import TlsSettings

_IN_REDIS_URL: Final = {"ssl_ca_certs": True, "ssl_certfile": False}
"""Files that an address of Redis names behind its question mark; whether they are of authorities"""


class CertificateFile(msgspec.Struct, frozen=True):
    """A file with certificates (PEM), and where it is named."""

    key: str
    """Of the configuration; holds no secret."""
    path: str
    is_trusted: bool = False
    """It holds authorities, one of which is enough; else a chain, which ends with its first."""


def named_certificates(settings: Settings) -> tuple[CertificateFile, ...]:
    """Return every file of certificates that is in use."""
    return tuple(_named(settings))


def _named(settings: Settings) -> Iterator[CertificateFile]:
    if settings.api.tls_certificate:
        yield CertificateFile("api.tls_certificate", settings.api.tls_certificate)
    for name, path in parse_qsl(urlsplit(settings.redis.url).query):
        if name in _IN_REDIS_URL:
            yield CertificateFile(f"redis.url {name}", path, _IN_REDIS_URL[name])
    sinks = settings.sinks
    for index, webhook in enumerate(sinks.webhooks):
        if webhook.ca_file:
            yield CertificateFile(f"sinks.webhooks[{index}].ca_file", webhook.ca_file, True)
    for name, address, sink in (
        ("kafka", sinks.kafka.servers, sinks.kafka),
        ("rabbitmq", sinks.rabbitmq.url, sinks.rabbitmq),
        ("mqtt", sinks.mqtt.url, sinks.mqtt),
    ):
        if address:
            yield from _of_sink(f"sinks.{name}", sink)


def _of_sink(key: str, sink: TlsSettings) -> Iterator[CertificateFile]:
    if sink.ca_file:
        yield CertificateFile(f"{key}.ca_file", sink.ca_file, True)
    if sink.cert_file:
        yield CertificateFile(f"{key}.cert_file", sink.cert_file)


def runs_out_unix_s(file: CertificateFile) -> float:
    """Return when a file is of no use any more, UTC.

    That is when the first certificate of a chain runs out, or the last of several authorities.

    Raises:
        ConfigError: it cannot be read; names its key.
    """
    try:
        from cryptography import x509  # noqa: PLC0415  # an extra, only where it is used
    except ImportError as error:
        raise ConfigError(
            file.key,
            "when it runs out is not known without the package cryptography",
            'install it: pip install "platering[tls]"',
        ) from error
    try:
        found = x509.load_pem_x509_certificates(Path(file.path).read_bytes())
    except OSError as error:
        raise ConfigError(
            file.key, f"cannot read {file.path}: {error.strerror}", "name a readable file"
        ) from error
    except ValueError as error:
        raise ConfigError(
            file.key, f"{file.path} holds no certificate", "name a file in PEM"
        ) from error
    ends = [one.not_valid_after_utc.timestamp() for one in found]
    return max(ends) if file.is_trusted else min(ends)
