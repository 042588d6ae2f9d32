"""The command ``platering``: parses the command line, calls one room, names errors in one line.

Everything beyond the parser is imported only when its command runs, so ``--help`` is quick.
Exit codes: 0 done, 1 failed, 2 the configuration, the machine or the command line is wrong,
130 interrupted.
"""

import argparse
import functools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from engine import __version__
from engine.access_commands import KEYS_ABOUT, PEOPLE_ABOUT, add_keys, add_people
from engine.bench_commands import BENCH_ABOUT, add_bench
from engine.delivery_commands import (
    DEADLETTERS_ABOUT,
    LISTS_ABOUT,
    SCHEMA_ABOUT,
    add_deadletters,
    add_lists,
    show_schema,
)
from engine.errors import EXIT_CONFIG, EXIT_FAILED, ConfigError, PlateringError, PreflightError
from engine.follow import WATCH_ABOUT, add_watch
from engine.operation_commands import (
    BUNDLE_ABOUT,
    COMPLETION_ABOUT,
    PLAN_ABOUT,
    TOP_ABOUT,
    add_bundle,
    add_completion,
    add_plan,
    add_top,
)
from engine.order_commands import RECOGNIZERS_ABOUT, add_camera_orders, add_recognizers
from engine.running_commands import add_running

if TYPE_CHECKING:
    from engine.config import OpenAlprSettings

EXIT_INTERRUPTED: Final = 130

_HALVES: Final = {
    "run": frozenset({"engine", "api"}),
    "engine": frozenset({"engine"}),
    "api": frozenset({"api"}),
}

_CONTESTANTS: Final = (
    "auto", "builtin", "openalpr", "openalpr-detected", "openalpr-moved", "builtin-moved",
)  # fmt: skip
"""Whom ``platering eval`` can measure."""

_EXIT_CODES: Final = """\
exit codes:
  0    done
  1    failed: something could not be read, reached or found in order
  2    the configuration, the machine or the command line is wrong; the message names the remedy
  130  interrupted
"""

_ABOUT: Final = """\
Reads license plates from many cameras at once, live from shared memory to the browser.

Every camera of the configuration file is decoded by a process of its own, a pool of recognizers
reads the plates, and each vehicle becomes one sighting in Redis and on the live page."""

_EXAMPLES: Final = """\
examples:
  platering run                          start everything; config.toml of this folder
  platering read car.jpg clip.mp4        try the recognizer on pictures and videos
  platering read --json pictures/ | jq   the same for programs
  platering doctor                       what was found here, and what is missing
"""

_RUN_ABOUT: Final = {
    "run": """\
Runs cameras, recognizers, Redis and the web front until Ctrl-C or SIGTERM, which finish the frames
under way and end every process within 10 seconds; a second Ctrl-C ends at once. Everything that
remains is in the data_dir of the configuration.""",
    "engine": """\
Runs the half without the web front: cameras, recognizers, tracking and the embedded Redis. With a
redis.url of its own, the web front may run on another machine (platering api).""",
    "api": """\
Runs the web front alone: the live page, the event streams, the ingest of plates and the metrics,
over the Redis of redis.url, which engines on this or other machines fill (platering engine).""",
}

_READ_ABOUT: Final = """\
Reads the plates in pictures and videos. A FILE is a picture, a video, a folder of them, a pattern
in quotes, or any URL that a camera may have. For pictures every plate is printed, for videos every
vehicle once, with its first and last time in the video. A file that cannot be read is named, and
the others are read all the same."""

_READ_EXAMPLES: Final = """\
examples:
  platering read car.jpg
  platering read --regions gb,de holiday/ 'clips/*.mp4'
  platering read --json clip.mp4 | jq -r .plate

With --json every line of the output is one object with: file, plate, confidence (0-100), region,
candidates, recognizer; for pictures also box, corners (pixels of the picture); for videos also
first_s, last_s (seconds in the video), reads, id.
"""

_EVAL_ABOUT: Final = """\
Measures how well and how fast recognizers read labelled pictures and videos. LABELS.csv has a
header: file,x,y,w,h,plate (boxes in pixels, several rows for several plates), file,x,y,w,h or
file,plate for what is known of pictures, file,plates for what passes in videos (separated by |,
empty for nothing); files are looked for beside it. Several recognizers take turns on every picture.
CPU time is that of all threads, without decoding."""

_EVAL_EXAMPLES: Final = """\
examples:
  platering eval labels.csv
  platering eval pictures.csv clips.csv --recognizer builtin --recognizer openalpr
  platering eval --regions gb labels.csv --html misses.html
  platering eval --simulate --vehicles 100 clips.csv

With --simulate two cameras watch the same frames: one reads every frame, one saves as cameras do by
default. For each scenario, and for every video: vehicles told of exactly once with the right plate,
wrong, again, or not there; the time from the first legible frame to the provisional event; and how
many times less CPU time the savings take.

openalpr-detected is OpenALPR that reads what the built-in detector finds; openalpr-moved and
builtin-moved search only what moves in a video. With --json the output is one object: figures of
the recognizer named first, and recognizers with the figures of each, also for every file of labels.
Shares are 0 to 1; null is what the labels do not tell.
"""

_DOCTOR_ABOUT: Final = """\
Looks at everything that platering run needs and says what was found, what would be chosen, and
what to do about each problem: the configuration, cores, memory, /dev/shm, limits, the recognizer,
Redis, data_dir, the port of the page, and every camera, which is opened for one frame.
No password is printed."""

_PROBE_ABOUT: Final = """\
Opens a camera as its decoder would, watches it for three seconds and says what is there: size,
frame rate, damaged packets, and whether the picture is black. URL is anything that a camera of the
configuration may have, ${NAME} and file:PATH for its secrets included; no password is printed."""

_FORGET_ABOUT: Final = """\
Removes all sightings of one plate, their pictures and events, from Redis, from what waits on disk
and from the dead letters, and adds a line to audit.jsonl in data_dir/engine. Redis must be running;
other sinks keep what they were given."""

_STATUS_ABOUT: Final = """\
Asks the running engine of this configuration how its cameras and processes are."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; every error becomes one line on stderr."""
    try:
        options = _parser().parse_args(arguments)
        command: Callable[[argparse.Namespace], int] = options.command
        code = command(options)
        sys.stdout.flush()
    except (ConfigError, PreflightError) as error:
        return _say(str(error), EXIT_CONFIG)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough, like `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except (PlateringError, OSError) as error:
        return _say(str(error), EXIT_FAILED)
    return code


def _say(text: str, code: int) -> int:
    sys.stderr.write(f"platering: {text}\n")
    return code


# --- the parser ----------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="platering",
        description=_ABOUT,
        epilog=f"{_EXAMPLES}\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"platering {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_halves(commands)
    _add_read(commands)
    _add_eval(commands)
    doctor = _add(commands, "doctor", "look for what is missing on this machine", _DOCTOR_ABOUT)
    _add_config(doctor)
    _add_json(doctor)
    doctor.set_defaults(command=_doctor)
    add_bench(_add(commands, "bench", "measure what this machine can do", BENCH_ABOUT), _add_config)
    watch = _add(commands, "watch", "follow the live events of a front", WATCH_ABOUT)
    _add_json(watch)
    add_watch(watch)
    letters = _add(commands, "deadletters", "what sinks refused for good", DEADLETTERS_ABOUT)
    add_deadletters(letters, _add_config)
    lists = _add(commands, "lists", "plates to look out for", LISTS_ABOUT)
    add_lists(lists, _add_config)
    schema = _add(commands, "schema", "the JSON schema of a sighting", SCHEMA_ABOUT)
    schema.set_defaults(command=show_schema)
    add_keys(_add(commands, "keys", "keys of programs", KEYS_ABOUT), _add_config)
    add_people(_add(commands, "people", "who logs in to the page", PEOPLE_ABOUT), _add_config)
    _add_cameras(commands)
    pool = _add(commands, "recognizers", "change the number of recognizers", RECOGNIZERS_ABOUT)
    add_recognizers(pool, _add_config)
    add_running(functools.partial(_add, commands), _add_config)
    forget = _add(commands, "forget", "remove a plate and all of its sightings", _FORGET_ABOUT)
    forget.add_argument("plate", metavar="PLATE", help="the exact plate; spaces do not matter")
    _add_config(forget)
    forget.set_defaults(command=_forget)
    status = _add(commands, "status", "ask the running engine how it is", _STATUS_ABOUT)
    _add_config(status)
    _add_json(status)
    status.set_defaults(command=_status)
    add_top(_add(commands, "top", "watch the running engine", TOP_ABOUT), _add_config)
    bundle = _add(commands, "support-bundle", "gather what others need to help", BUNDLE_ABOUT)
    add_bundle(bundle, _add_config)
    planned = _add(commands, "plan", "what so many cameras need", PLAN_ABOUT)
    add_plan(planned, _add_config)
    completion = _add(commands, "completion", "let a shell complete words", COMPLETION_ABOUT)
    add_completion(completion, _parser)
    return parser


_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  # what add_subparsers returns


def _add(commands: _Commands, name: str, short: str, about: str) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=short,
        description=about,
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_halves(commands: _Commands) -> None:
    shorts = {
        "run": "run everything",
        "engine": "run cameras and recognizers, without the web front",
        "api": "run the web front alone",
    }
    for name, halves in _HALVES.items():
        command = _add(commands, name, shorts[name], _RUN_ABOUT[name])
        _add_config(command)
        command.set_defaults(command=_run, halves=halves)


def _add_cameras(commands: _Commands) -> None:
    cameras = _add(commands, "cameras", "look at, add, pause cameras", "Commands about cameras.")
    verbs = cameras.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_camera_orders(verbs, _add_config)
    probe = _add(verbs, "probe", "open a camera and say what is there", _PROBE_ABOUT)
    probe.add_argument("url", metavar="URL", help="rtsp://…, http://…, a file, /dev/video0, …")
    probe.add_argument("--picture", type=Path, metavar="FILE", help="write its newest frame there")
    probe.add_argument(
        "--transport", choices=("auto", "tcp", "udp"), default="auto", help="of rtsp; default: auto"
    )
    _add_json(probe)
    probe.set_defaults(command=_probe)


def _add_read(commands: _Commands) -> None:
    read = _add(commands, "read", "read the plates in pictures and videos", _READ_ABOUT)
    read.epilog = f"{_READ_EXAMPLES}\n{_EXIT_CODES}"
    read.add_argument("files", nargs="+", metavar="FILE", help="picture, video, folder, pattern")
    _add_json(read)
    read.add_argument(
        "--recognizer",
        choices=("auto", "builtin", "openalpr"),
        default="auto",
        help="auto (default): OpenALPR where its library is found, else the built-in one",
    )
    _add_recognizing(read)
    read.set_defaults(command=_read)


def _add_eval(commands: _Commands) -> None:
    evaluation = _add(commands, "eval", "measure recognizers on labelled files", _EVAL_ABOUT)
    evaluation.epilog = f"{_EVAL_EXAMPLES}\n{_EXIT_CODES}"
    evaluation.add_argument(
        "labels", nargs="*", type=Path, metavar="LABELS.csv", help="which plates are in which file"
    )
    evaluation.add_argument(
        "--simulate",
        action="store_true",
        help="simulated traffic, and the videos of LABELS.csv: every frame read beside all savings",
    )
    evaluation.add_argument(
        "--vehicles", type=int, metavar="N", help="with --simulate: in each scenario; default: 40"
    )
    evaluation.add_argument(
        "--scenario", action="append", metavar="NAME", help="with --simulate: only this; repeatable"
    )
    evaluation.add_argument(
        "--no-traffic", action="store_true", help="with --simulate: only the videos of LABELS.csv"
    )
    _add_json(evaluation)
    evaluation.add_argument(
        "--recognizer",
        action="append",
        choices=_CONTESTANTS,
        metavar="NAME",
        help=f"{', '.join(_CONTESTANTS)}; may be repeated; default: auto, as in read",
    )
    _add_recognizing(evaluation)
    evaluation.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page that shows every miss"
    )
    evaluation.set_defaults(command=_eval)


def _add_recognizing(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--regions",
        type=_codes,
        default=(),
        metavar="CODES",
        help="where the plates are from, likeliest first, like gb,de,us-ca; default: anywhere",
    )
    command.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="a configuration file, for its [openalpr] section and recognizers.provider",
    )


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config",
        type=Path,
        default=Path("config.toml"),
        metavar="FILE",
        help="the configuration file; default: config.toml in this folder",
    )


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON, for programs")


def _codes(text: str) -> tuple[str, ...]:
    """Split ``gb,de`` and refuse codes that no pattern is known for."""
    from engine.plates import region_codes  # noqa: PLC0415  # lazy, see the module's docstring

    codes = tuple(code.strip().lower() for code in text.split(",") if code.strip())
    unknown = [code for code in codes if code not in region_codes()]
    if unknown:
        known = ", ".join(sorted(region_codes()))
        raise argparse.ArgumentTypeError(f"no region {', '.join(unknown)}; there are {known}")
    return codes


# --- the commands, one call each --------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    from engine.supervisor import run  # noqa: PLC0415  # lazy, see the module's docstring

    return run(options.config, halves=options.halves)


def _read(options: argparse.Namespace) -> int:
    from engine.config import Settings, load_settings  # noqa: PLC0415  # lazy, see above
    from engine.read import ReadOptions, read_files  # noqa: PLC0415  # same

    settings = load_settings(options.config) if options.config else Settings()
    read_options = ReadOptions(
        recognizer=options.recognizer,
        regions=options.regions,
        provider=settings.recognizers.provider,
        as_json=bool(options.json),
    )
    return read_files(options.files, read_options, settings.openalpr)


def _eval(options: argparse.Namespace) -> int:
    from engine.config import Settings, load_settings  # noqa: PLC0415  # lazy, see above
    from engine.evaluation import EvalOptions, evaluate  # noqa: PLC0415  # same

    settings = load_settings(options.config) if options.config else Settings()
    if options.simulate:
        return _simulate(options, settings.openalpr)
    if options.vehicles is not None or options.scenario or options.no_traffic:
        raise ConfigError(
            "eval", "--vehicles, --scenario, --no-traffic go with --simulate only", "add it"
        )
    if not options.labels:
        raise ConfigError("LABELS.csv", "is missing", "name a file of labels, or say --simulate")
    eval_options = EvalOptions(
        recognizers=tuple(options.recognizer or ("auto",)),
        regions=options.regions,
        provider=settings.recognizers.provider,
        as_json=bool(options.json),
        html=options.html,
    )
    return evaluate(options.labels, eval_options, settings.openalpr)


def _simulate(options: argparse.Namespace, openalpr: "OpenAlprSettings") -> int:
    from engine.evaluation.labels import load_labels  # noqa: PLC0415  # lazy, see above
    from engine.evaluation.simulate import SCENARIOS, SimulateOptions, simulate  # noqa: PLC0415

    _must_fit_simulation(options)
    names = [scenario.name for scenario in SCENARIOS]
    unknown = [name for name in options.scenario or () if name not in names]
    if unknown:
        raise ConfigError("--scenario", f"there is no {unknown[0]}", f"one of {', '.join(names)}")
    simulate_options = SimulateOptions(
        vehicles=40 if options.vehicles is None else options.vehicles,
        scenarios=() if options.no_traffic else tuple(options.scenario or names),
        recognizer=(options.recognizer or ["auto"])[0],
        as_json=bool(options.json),
    )
    return simulate([load_labels(path) for path in options.labels], simulate_options, openalpr)


def _must_fit_simulation(options: argparse.Namespace) -> None:
    """Refuse what a simulation cannot do instead of leaving it out."""
    if options.vehicles is not None and options.vehicles < 1:
        raise ConfigError("--vehicles", "must be at least 1", f"it is {options.vehicles}")
    if options.no_traffic and not options.labels:
        raise ConfigError("--no-traffic", "leaves nothing to watch", "name a file of labels")
    if len(options.recognizer or ()) > 1:
        raise ConfigError("--recognizer", "is given twice", "simulate with one at a time")
    for name in ("regions", "html"):
        if getattr(options, name):
            raise ConfigError(f"--{name}", "does not go with --simulate", "leave it out")


def _doctor(options: argparse.Namespace) -> int:
    from engine.doctor import examine, print_report  # noqa: PLC0415  # lazy, see above

    return print_report(examine(options.config), as_json=bool(options.json))


def _probe(options: argparse.Namespace) -> int:
    from engine.config import parse_camera  # noqa: PLC0415  # lazy, see the module's docstring
    from engine.probe import print_probe  # noqa: PLC0415  # same
    from engine.sources import SourceOptions  # noqa: PLC0415  # same

    camera = parse_camera({"name": "probe", "url": options.url, "transport": options.transport})
    chosen = SourceOptions(transport=camera.transport)
    return print_probe(camera.url, chosen, options.picture, as_json=bool(options.json))


def _forget(options: argparse.Namespace) -> int:
    from engine.config import load_settings  # noqa: PLC0415  # lazy, see the module's docstring
    from engine.forget import print_forgotten  # noqa: PLC0415  # same

    return print_forgotten(load_settings(options.config), options.plate)


def _status(options: argparse.Namespace) -> int:
    from engine.config import load_settings  # noqa: PLC0415  # lazy, see the module's docstring
    from engine.status import print_status  # noqa: PLC0415  # same

    return print_status(load_settings(options.config), as_json=bool(options.json))


if __name__ == "__main__":
    sys.exit(main())
