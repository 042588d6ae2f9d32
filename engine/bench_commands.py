"""``platering bench``: one group of benchmarks, or all of them and a page of what they say.

Like ``engine.cli``, which adds it: everything beyond the parser is imported when it runs.
"""

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

GROUPS: Final = ("recognize", "decode", "handoff", "end-to-end", "latency", "delivery", "sse")
"""Modules of ``engine.benchmarks`` whose ``run`` measures and prints, in the order of a whole run:
what a frame costs, what the way of one adds, what comes of it."""

BENCH_ABOUT: Final = """\
Measures what this machine can serve: all groups one after the other, in some minutes on an idle
machine, and one page of them; plans are made from it (platering plan). A group that fails is named,
and the others run. Or one GROUP alone, more thoroughly, with all of its figures:

  recognize   what a frame costs: from its packet to its slot, and recognized
  decode      a 1080p frame into shared memory, beside bare PyAV and OpenCV
  handoff     a frame from a decoder to a recognizer, beside bare copies and multiprocessing.Queue
  end-to-end  the whole engine on a clip, beside its recognizer alone
  latency     from the camera to the browser at 80 % load, by stage
  delivery    sightings a second into Redis, beside single commands and the server's own limit
  sse         (two minutes) live events to 5,000 browsers, or as many as the limit of open files
              allows, beside a subscription per client, a C program that is compiled here, and nginx
              with nchan"""


def add_bench(command: argparse.ArgumentParser, config: Callable[..., None]) -> None:
    """Fill in ``platering bench``."""
    command.add_argument(
        "what",
        nargs="?",
        choices=GROUPS,
        metavar="GROUP",
        help=f"{', '.join(GROUPS)}; default: all",
    )
    command.add_argument("--json", action="store_true", help="print JSON, for programs")
    command.add_argument(
        "--html", type=Path, metavar="FILE", help="of all groups: write the page for a browser, too"
    )
    command.add_argument(
        "--brief", action="store_true", help="of one group: fewer rounds, as when all are run"
    )
    config(command)
    command.set_defaults(command=_bench)


def _bench(options: argparse.Namespace) -> int:
    import signal  # noqa: PLC0415  # lazy, see the module's docstring

    from engine.errors import ConfigError  # noqa: PLC0415  # same

    # all end in order as by Ctrl-C, which a shell has its jobs in the background ignore: what a
    # group has started would stay else
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    if options.what is None:
        return _all(options)
    if options.html is not None:
        raise ConfigError("--html", "goes with all groups only", "leave out the group, or the page")
    group = importlib.import_module(f"engine.benchmarks.{options.what.replace('-', '_')}")
    return int(group.run(as_json=bool(options.json), brief=bool(options.brief)))


def _all(options: argparse.Namespace) -> int:
    """Run all groups, keep their figures, print the page; return 1 where one of them failed."""
    import msgspec  # noqa: PLC0415  # lazy, see the module's docstring

    from engine.capacity.figures import keep  # noqa: PLC0415  # same
    from engine.capacity.groups import run_all  # noqa: PLC0415  # same
    from engine.capacity.page import write_page  # noqa: PLC0415  # same
    from engine.capacity.report import print_report, told  # noqa: PLC0415  # same
    from engine.capacity.settings import settings_if_any  # noqa: PLC0415  # same
    from engine.errors import EXIT_FAILED, ConfigError  # noqa: PLC0415  # same

    if options.html is not None and not options.html.parent.is_dir():
        raise ConfigError("--html", f"there is no folder {options.html.parent}")
    settings = settings_if_any(options.config)
    run = run_all(GROUPS)
    if options.json:
        sys.stdout.write(msgspec.json.encode(told(run)).decode() + "\n")
    else:
        print_report(run)
    if options.html is not None:
        write_page(run, options.html)
    sys.stderr.write(f"kept in {keep(run, settings.data_dir)}\n")
    return EXIT_FAILED if run.failures else 0
