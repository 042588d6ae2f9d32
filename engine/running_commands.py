"""Commands to a running engine as a whole: ``reload``, ``restart``, ``log-level``.

Like ``engine.cli``, which adds them: everything beyond the parser is imported when it runs.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from engine.errors import ControlError, EngineAwayError

RELOAD_ABOUT: Final = """\
Has the running engine read its configuration file again, as SIGHUP does, and prints a line for each
change. Only what has changed is touched: cameras come, go and change one by one; recognizers and
the front are replaced one after the other, so that no frame and no client is lost; the publisher is
started anew, what comes meanwhile waits for it. Where the file is wrong nothing changes at all, and
where a process cannot work by it the former configuration is taken again: exit code 1.

What the file says anew of a camera, or of recognizers.count, goes before orders that were given
earlier (cameras add, recognizers N). data_dir, api.host, api.port, [canary], and a change between
the embedded Redis and another one, take another start, and so do new values of environment
variables: secrets that change belong into files (file:PATH)."""

RESTART_ABOUT: Final = """\
Replaces processes of the running engine by new ones, one after the other, and waits until that is
done. A recognizer (worker) and a process of the front (api) ends when its successor works; live
streams go on at the successor by their last id. The publisher ends and starts again; reads wait for
it. Where memory does not suffice for one process more, each ends before its successor starts.
Cameras are not touched."""

LOG_LEVEL_ABOUT: Final = """\
Has the processes of the running engine log from LEVEL on, until it ends or log.level or log.format
is changed in its configuration; default: as configured. With a process, named as platering status
does or by its beginning (worker, decoder-gate), only that one, its later starts included."""

_LEVELS: Final = ("debug", "info", "warning", "error", "default")
_WHAT: Final = ("workers", "api", "publisher", "all")
_LONGEST_S: Final = 600.0
_LOOK_EVERY_S: Final = 0.2


def add_running(
    add: Callable[[str, str, str], argparse.ArgumentParser], config: Callable[..., None]
) -> None:
    """Add the commands; ``add`` makes a parser of a name, a short sentence and a long one."""
    reload = add("reload", "read the configuration again", RELOAD_ABOUT)
    reload.set_defaults(command=_reload)
    restart = add("restart", "replace processes by new ones", RESTART_ABOUT)
    restart.add_argument("what", choices=_WHAT, help="which of them; all: all three")
    restart.set_defaults(command=_restart)
    level = add("log-level", "change how much is logged", LOG_LEVEL_ABOUT)
    level.add_argument("level", choices=_LEVELS, help="the least that is logged")
    level.add_argument("--process", default="", metavar="NAME", help="only of this process")
    level.set_defaults(command=_log_level)
    for command in (reload, restart, level):
        config(command)


def _log_level(options: argparse.Namespace) -> int:
    order = {"level": options.level, "process": options.process}
    for _socket_path, names in _whoever_can(options.config, "log.level", **order):
        sys.stdout.write(f"{options.level}: {', '.join(names)}\n")
    return 0


def _reload(options: argparse.Namespace) -> int:
    import msgspec  # noqa: PLC0415  # lazy, see the module's docstring

    from engine.messages import ReloadReport  # noqa: PLC0415  # same

    for socket_path in _sockets(options.config):
        report = msgspec.convert(_ask(socket_path, "reload"), ReloadReport)
        for line in report.changes or ("nothing has changed",):
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        _wait(socket_path)
    sys.stdout.write("done\n")
    return 0


def _restart(options: argparse.Namespace) -> int:
    for socket_path, names in _whoever_can(options.config, "restart", what=options.what):
        sys.stdout.write(f"replacing {', '.join(names)}\n")
        sys.stdout.flush()
        _wait(socket_path)
    sys.stdout.write("done\n")
    return 0


def _whoever_can(config: Path, verb: str, **arguments: Any) -> list[tuple[str, Any]]:
    """Order something; return the answers, each with the control socket that gave it.

    Raises:
        ControlError: an engine and a front that run apart both refuse, or the only one does.
    """
    answers: list[tuple[str, Any]] = []
    refusals: list[ControlError] = []
    for socket_path in _sockets(config):
        try:
            answers.append((socket_path, _ask(socket_path, verb, **arguments)))
        except ControlError as error:
            refusals.append(error)
    if not answers:
        raise refusals[0]
    return answers


def _sockets(config: Path) -> list[str]:
    """Return the control sockets of what runs by a configuration: an engine, a front alone.

    Raises:
        ConfigError: the file cannot be read at all.
        EngineAwayError: nothing runs by it.
    """
    from engine.resources import state_path  # noqa: PLC0415  # lazy, see the module's docstring

    data_dir, found = _data_dir(config), []
    for half in ("engine", "api"):
        path = str(state_path(data_dir, half, "control.sock"))
        with contextlib.suppress(EngineAwayError):
            _ask(path, "status")
            found.append(path)
    if not found:
        raise EngineAwayError("no engine runs with this configuration — start it first")
    return found


def _data_dir(config: Path) -> Path:
    """Return where a file says that all is kept; the engine says what else is wrong with it."""
    import tomllib  # noqa: PLC0415  # lazy, see the module's docstring

    from engine.config import Settings, load_settings  # noqa: PLC0415  # same

    try:
        named = tomllib.loads(config.read_text(encoding="utf-8")).get("data_dir")
    except (OSError, ValueError):
        return load_settings(config).data_dir  # which says what is wrong
    data_dir = Path(named) if isinstance(named, str) else Settings().data_dir
    return config.resolve().parent / data_dir.expanduser()


def _ask(socket_path: str, verb: str, **arguments: Any) -> Any:
    from engine.control import ask  # noqa: PLC0415  # lazy, see the module's docstring

    return ask(socket_path, verb, timeout_s=30.0, **arguments)


def _wait(socket_path: str) -> None:
    """Wait until all is replaced that was to be.

    Raises:
        ControlError: it ended early, says why, or takes too long.
    """
    import msgspec  # noqa: PLC0415  # lazy, see the module's docstring

    from engine.messages import EngineStatus  # noqa: PLC0415  # same

    deadline = time.monotonic() + _LONGEST_S
    while True:
        status = msgspec.convert(_ask(socket_path, "status"), EngineStatus)
        if not status.renewing:
            break
        if time.monotonic() > deadline:
            waiting = ", ".join(status.renewing)
            raise ControlError(f"still being replaced after {_LONGEST_S:.0f} s: {waiting}")
        time.sleep(_LOOK_EVERY_S)
    if status.renewal_failure:
        raise ControlError(status.renewal_failure)
