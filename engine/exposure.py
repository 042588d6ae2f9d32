"""May the front be shown as the configuration says? Asked before anybody is served.

Only this machine's programs reach a loopback address: there a password may be missing. Any other
address is reached by other machines, and so is a loopback address behind a reverse proxy.
"""

import ipaddress
import socket
import ssl
from pathlib import Path
from typing import Final

from engine.config import ApiSettings, Settings
from engine.errors import ConfigError
from engine.keys import Keys
from engine.people import People
from engine.records import FOLDER

_MAKE_ONE: Final = "make one: platering keys add --scope admin"


def is_loopback(listener: socket.socket) -> bool:
    """Tell whether only this machine reaches a listener."""
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def check_exposure(settings: Settings, listener: socket.socket) -> None:
    """Refuse to show the front to other machines while everybody there could do everything.

    Raises:
        ConfigError: names the key; there is no key and nobody who could log in, or TLS cannot work.
        PreflightError: the keys cannot be read.
    """
    if settings.api.tls_certificate:
        tls_context(settings.api)
    folder = settings.data_dir / FOLDER
    if Keys(folder).all() or People(folder).all():
        return
    if not is_loopback(listener):
        raise ConfigError(
            "api.host",
            f"other machines reach {settings.api.host}, and there is no key yet to keep them out",
            f"{_MAKE_ONE}; or write 127.0.0.1",
        )
    if settings.api.trusted_proxies:
        raise ConfigError(
            "api.trusted_proxies",
            "a proxy lets other machines in, and there is no key yet to keep them out",
            _MAKE_ONE,
        )


def tls_context(settings: ApiSettings) -> ssl.SSLContext:
    """Return what connections are encrypted with: TLS 1.2 or newer.

    Raises:
        ConfigError: a file cannot be read, or the two do not belong together.
    """
    for key, named in (
        ("tls_certificate", settings.tls_certificate),
        ("tls_key", settings.tls_key),
    ):
        try:
            Path(named).read_bytes()
        except OSError as error:
            raise ConfigError(
                f"api.{key}", f"cannot read {named}: {error.strerror}", "name a readable PEM file"
            ) from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except ssl.SSLError as error:
        raise ConfigError(
            "api.tls_certificate",
            f"TLS does not take it with api.tls_key: {error.reason or error}",
            "name a PEM file with the certificate and its chain, and the one with its key",
        ) from error
    return context
