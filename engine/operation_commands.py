"""Commands of those who operate an engine: ``plan``, ``top``, ``support-bundle``, ``completion``.

Like ``engine.cli``, which adds them: everything beyond the parser is imported when it runs.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

TOP_ABOUT: Final = """\
Shows the running engine of this configuration until Ctrl-C: every camera with its state, frames a
second by fate, and vehicles; every process with its CPU and memory; every sink with what waits for
it. Where the output is no terminal, the page is printed once."""

BUNDLE_ABOUT: Final = """\
Writes what a stranger needs to help into one archive: versions, the configuration, what doctor and
status say, the machine's limits, the names of kept files, and the log files that are named. Every
secret of the configuration is masked wherever it stands, in logs and messages, too; there are no
pictures. Plates may stand in the logs that you name: look before you send it."""

PLAN_ABOUT: Final = """\
Says what so many cameras need: cores, machines like this one, /dev/shm, memory, Redis, network, and
how many of them this machine can serve. It is made from the figures of platering bench: those that
are named, else those of its last run here, else what a frame costs is measured now, in some
seconds. The rest is arithmetic, which is printed. An estimate, on the safe side."""

COMPLETION_ABOUT: Final = """\
Prints what a shell needs to complete the words of platering:

  bash   platering completion bash > /etc/bash_completion.d/platering
  zsh    eval "$(platering completion zsh)"        in ~/.zshrc
  fish   platering completion fish > ~/.config/fish/completions/platering.fish
"""


def add_plan(command: argparse.ArgumentParser, config: Callable[..., None]) -> None:
    """Fill in ``platering plan``; its defaults are those of ``engine.capacity.plan.Wish``."""
    number: Final = (
        ("fps", 15.0, "frames a second of a camera"),
        ("moving", 0.3, "share of the time in which something moves, 0 to 1"),
        ("vehicles", 200.0, "vehicles an hour past a camera, on average"),
        ("mbit", 4.0, "Mbit/s that a camera sends"),
    )
    command.add_argument("--cameras", type=int, required=True, metavar="N", help="how many")
    command.add_argument(
        "--size", default="1920x1080", metavar="WxH", help="of their pictures; default: 1920x1080"
    )
    for name, default, about in number:
        text = f"{about}; default: {default:g}"
        command.add_argument(f"--{name}", type=float, default=default, metavar="X", help=text)
    command.add_argument(
        "--figures",
        type=Path,
        metavar="FILE",
        help="what platering bench --json printed, also elsewhere; default: its last run here",
    )
    command.add_argument("--json", action="store_true", help="print JSON, for programs")
    config(command)
    command.set_defaults(command=_plan)


def add_top(command: argparse.ArgumentParser, config: Callable[..., None]) -> None:
    """Fill in ``platering top``."""
    command.add_argument(
        "--interval", type=float, default=1.0, metavar="SECONDS", help="between looks; default: 1"
    )
    config(command)
    command.set_defaults(command=_top)


def add_bundle(command: argparse.ArgumentParser, config: Callable[..., None]) -> None:
    """Fill in ``platering support-bundle``."""
    command.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="the archive; default: platering-support-DATE.tar.gz in this folder",
    )
    command.add_argument(
        "--log", type=Path, action="append", default=[], metavar="FILE", help="add this log file"
    )
    config(command)
    command.set_defaults(command=_bundle)


def add_completion(
    command: argparse.ArgumentParser, parser: Callable[[], argparse.ArgumentParser]
) -> None:
    """Fill in ``platering completion``; ``parser`` makes the one to be completed."""
    command.add_argument("shell", choices=("bash", "zsh", "fish"), help="for which shell")
    command.set_defaults(command=lambda options: _complete(options, parser()))


def _plan(options: argparse.Namespace) -> int:
    import re  # noqa: PLC0415  # lazy, see the module's docstring

    from engine.capacity.plan import Wish  # noqa: PLC0415  # same
    from engine.capacity.plan_report import print_plan  # noqa: PLC0415  # same
    from engine.capacity.settings import settings_if_any  # noqa: PLC0415  # same
    from engine.errors import ConfigError  # noqa: PLC0415  # same

    size = re.fullmatch(r"(\d{2,5})x(\d{2,5})", options.size)
    if size is None:
        raise ConfigError("--size", "must be like 1920x1080", f"it is {options.size!r}")
    bounds = {
        "cameras": (1, 100_000), "fps": (0.1, 240), "moving": (0, 1), "vehicles": (0, 100_000),
        "mbit": (0, 1_000),
    }  # fmt: skip
    for name, (low, high) in bounds.items():
        if not low <= getattr(options, name) <= high:
            problem = f"must be from {low:g} to {high:g}"
            raise ConfigError(f"--{name}", problem, f"it is {getattr(options, name):g}")
    wish = Wish(
        cameras=options.cameras,
        width_px=int(size[1]),
        height_px=int(size[2]),
        fps=options.fps,
        moving=options.moving,
        vehicles_per_hour=options.vehicles,
        camera_mbit_s=options.mbit,
    )
    settings = settings_if_any(options.config)
    return print_plan(wish, settings, options.figures, as_json=bool(options.json))


def _top(options: argparse.Namespace) -> int:
    from engine.config import load_settings  # noqa: PLC0415  # lazy, see the module's docstring
    from engine.errors import ConfigError  # noqa: PLC0415  # same
    from engine.top import show_top  # noqa: PLC0415  # same

    if not options.interval >= 0.1:
        raise ConfigError("--interval", "must be at least 0.1", f"it is {options.interval:g}")
    return show_top(load_settings(options.config), options.interval)


def _bundle(options: argparse.Namespace) -> int:
    from engine.support import write_bundle  # noqa: PLC0415  # lazy, see the module's docstring

    path = write_bundle(options.config, options.log, options.output)
    sys.stdout.write(f"{path}\n")
    return 0


def _complete(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from engine.completion import script  # noqa: PLC0415  # lazy, see the module's docstring

    sys.stdout.write(script(parser, options.shell))
    return 0
