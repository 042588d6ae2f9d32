"""Keeps passwords out of everything people read: messages, logs, the page."""

import re
from urllib.parse import urlsplit

from engine.errors import SourceUnsupportedError

MASK = "***"

_USERINFO = re.compile(r"^([a-z][a-z0-9+.-]*://)([^:/?#@]*)(:.*)?@", re.IGNORECASE | re.DOTALL)
_SECRET_PARAMETER = re.compile(
    r"(?<=[?&;])([^=&;]*(?:pass|pwd|token|secret|key|auth|signature)[^=&;]*)="
    r"(?!\*\*\*(?:[&;#]|: |$))[^&;#]*",
    re.IGNORECASE,
)


def redact(url: str) -> str:
    """Return the URL with passwords and secret parameters masked.

    Unescaped ``/``, ``?`` and ``@`` inside a password are expected, so everything between the
    first colon and the last ``@`` goes; rather too much than one letter of a password. What is
    masked already is left, with the words behind it.
    """
    masked = _USERINFO.sub(lambda m: f"{m[1]}{m[2]}{':' + MASK if m[3] else ''}@", url)
    return _SECRET_PARAMETER.sub(rf"\1={MASK}", masked)


def secrets_of(url: str) -> list[str]:
    """Return the texts that ``redact`` masks."""
    user = _USERINFO.match(url)
    passwords = [user[3][1:]] if user and user[3] else []
    return passwords + [match[0].partition("=")[2] for match in _SECRET_PARAMETER.finditer(url)]


def scheme(url: str) -> str:
    """Return the scheme in lower case, "" for a plain path.

    Raises:
        SourceUnsupportedError: it looks like a URL and is none, like ``rtsp://[bad``.
    """
    try:
        return urlsplit(url).scheme.lower() if "://" in url else ""
    except ValueError as error:
        raise SourceUnsupportedError(f"{redact(url)} is no valid URL: {error}") from error
