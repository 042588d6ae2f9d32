"""What all sections of the configuration are made of: tables, names, secrets and mistakes."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

_NAME = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

OURS: Final = "platering"
"""The type of mistakes that know their own key path and remedy."""


def mistake(problem: str, remedy: str, key: str = "") -> PydanticCustomError:
    """Return a mistake that knows its remedy; ``key`` where pydantic does not know the path."""
    return PydanticCustomError(
        OURS, "{problem}", {"problem": problem, "remedy": remedy, "key": key}
    )


def _reveal(value: str) -> str:
    """Return the value with its secrets put in: ``file:PATH`` read, ``${NAME}`` replaced."""
    if value.startswith("file:") and not value.startswith("file://"):
        path = Path(value.removeprefix("file:"))
        try:
            value = path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise mistake(
                f"cannot read {path}: {error.strerror}", "name a readable file after file:"
            ) from error
    for name in _NAME.findall(value):
        if name not in os.environ:
            raise mistake(f"the environment variable {name} is not set", f"set {name}")
    return _NAME.sub(lambda match: os.environ[match[1]], value)


def matching(pattern: str, must_be: str) -> AfterValidator:
    """Refuse a text that the whole pattern does not match, in words instead of the pattern."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {must_be}")
        return value

    return AfterValidator(check)


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError("must be an address or a network like 10.0.0.0/8") from error
    return value


Network = Annotated[str, AfterValidator(_network)]
Secret = Annotated[str, AfterValidator(_reveal)]
Name = Annotated[
    str,
    matching(
        r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}",
        "1 to 63 letters, digits, dots, dashes and underscores, a letter or digit first",
    ),
]
Region = Annotated[
    str,
    matching(r"[a-z]{2}(-[a-z0-9]{1,3})?", "a country or country-state code like gb or us-ca"),
]


class Section(BaseModel):
    """A table of the file: unknown keys and converted types are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)
