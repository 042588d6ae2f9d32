"""Commands of those who operate an engine: ``platering top``, ``support-bundle``, ``completion``.

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

COMPLETION_ABOUT: Final = """\
Prints what a shell needs to complete the words of platering:

  bash   platering completion bash > /etc/bash_completion.d/platering
  zsh    eval "$(platering completion zsh)"        in ~/.zshrc
  fish   platering completion fish > ~/.config/fish/completions/platering.fish
"""


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
