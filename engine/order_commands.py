"""Commands that change a running engine: ``platering cameras add …``, ``platering recognizers``.

Like ``engine.cli``, which adds them: everything beyond the parser is imported when it runs.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from engine.errors import ConfigError

_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  # what add_subparsers returns

RECOGNIZERS_ABOUT: Final = """\
Starts or ends recognizer processes of the running engine until there are COUNT. Frames under way
are finished. The number is kept in data_dir, also for later starts."""

_ADD_ABOUT: Final = "start to capture a camera, or put it in the place of the one with its name"
_ADD_LONG: Final = f"{_ADD_ABOUT}; kept in data_dir, also for later starts.".capitalize()


def add_camera_orders(verbs: _Commands, config: Callable[..., None]) -> None:
    """Fill in the verbs of ``platering cameras`` that change the running engine."""
    add = verbs.add_parser("add", help=_ADD_ABOUT, description=_ADD_LONG)
    add.add_argument("name", metavar="NAME", help="unique among the cameras")
    add.add_argument("url", metavar="URL", help="as in config.toml")
    add.add_argument(
        "settings",
        nargs="*",
        metavar="KEY=VALUE",
        help="further keys of a [[cameras]] table, values as in TOML: fps=10 regions='[\"gb\"]'",
    )
    config(add)
    add.set_defaults(command=_add_camera)
    for verb, about in (
        ("remove", "stop capturing a camera, also after the next start"),
        ("pause", "stop capturing a camera until it is resumed"),
        ("resume", "go on capturing a paused camera"),
    ):
        parser = verbs.add_parser(verb, help=about, description=f"{about}.".capitalize())
        parser.add_argument("name", metavar="NAME", help="of a camera of the running engine")
        config(parser)
        parser.set_defaults(command=_order_camera, order=f"camera.{verb}")


def add_recognizers(command: argparse.ArgumentParser, config: Callable[..., None]) -> None:
    """Fill in ``platering recognizers``."""
    command.add_argument("count", type=int, metavar="COUNT", help="how many processes, from 1")
    config(command)
    command.set_defaults(command=_set_recognizers)


def _add_camera(options: argparse.Namespace) -> int:
    table: dict[str, Any] = {"name": options.name, "url": options.url}
    for setting in options.settings:
        key, value = _parsed(setting)
        table[key] = value
    return _order(options, "camera.add", f"camera {options.name} is added", camera=table)


def _parsed(setting: str) -> tuple[str, Any]:
    """Split ``KEY=VALUE`` and read the value as TOML does.

    Raises:
        ConfigError: it has no ``=``, or the value is no TOML.
    """
    import tomllib  # noqa: PLC0415  # lazy, see the module's docstring

    key, sign, value = setting.partition("=")
    try:
        if sign:
            return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(key, f"{value!r} is no TOML value", "text needs quotes") from error
    raise ConfigError(setting, "is no KEY=VALUE", "write it like fps=10")


def _order_camera(options: argparse.Namespace) -> int:
    done = {"camera.remove": "removed", "camera.pause": "paused", "camera.resume": "resumed"}
    said = f"camera {options.name} is {done[options.order]}"
    return _order(options, options.order, said, name=options.name)


def _set_recognizers(options: argparse.Namespace) -> int:
    said = f"{options.count} recognizers"
    return _order(options, "recognizers", said, count=options.count)


def _order(options: argparse.Namespace, verb: str, said: str, **arguments: Any) -> int:
    """Ask the running engine of the configuration; raises ControlError when it refuses."""
    from engine.config import load_settings  # noqa: PLC0415  # lazy, see the module's docstring
    from engine.control import ask  # noqa: PLC0415  # same
    from engine.resources import state_path  # noqa: PLC0415  # same

    settings = load_settings(options.config)
    ask(str(state_path(settings.data_dir, "engine", "control.sock")), verb, **arguments)
    sys.stdout.write(f"{said}\n")
    return 0
