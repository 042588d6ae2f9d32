"""Soak: an engine that is struck by faults of every kind, for minutes or hours, and its accounts.

Run: ``python bench/soak.py --minutes 120 --out soak``; Ctrl-C ends it and still writes the report,
as SIGTERM does, also where it runs in the background.
"""

import argparse
import random
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from engine.benchmarks.soak import SoakPlan, soak


def main() -> int:
    """Run it; the exit code is 0 when every line of the verdict stands."""
    parser = argparse.ArgumentParser(
        description="Strike a real engine by faults of every kind at once, and account for "
        "everything at the end. Needs about half a core, and no engine of yours."
    )
    parser.add_argument("--minutes", type=float, default=2.0, help="how long; default: 2")
    parser.add_argument("--seed", type=int, help="of the schedule; default: another one each time")
    parser.add_argument(
        "--every", type=float, default=5.0, metavar="S", help="seconds between faults; default: 5"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("soak"),
        metavar="DIR",
        help="for the report; default: soak",
    )
    options = parser.parse_args()
    if options.minutes <= 0 or options.every <= 0:
        parser.error("--minutes and --every must be more than 0")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out: {error}")
    plan = SoakPlan(
        seconds=60 * options.minutes,
        seed=random.randrange(1 << 31) if options.seed is None else options.seed,
        every_s=options.every,
        out=options.out,
    )
    _Interrupts()
    lines = soak(plan, _say)
    for line in lines:
        print(f"{line.word:<5} {line.name}: {line.said}")
    print(f"report: {options.out / 'report.html'}")
    return 0 if all(line.stands for line in lines) else 1


class _Interrupts:
    """Lets every order to end do what Ctrl-C does; the engine that it started would stay else.

    The first settles the accounts, the second ends without them; what comes then finds it ending.
    """

    MOST = 2

    def __init__(self) -> None:
        self._came = 0
        # a shell has its jobs in the background ignore SIGINT; who ignores SIGHUP wants it so
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._interrupt)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._interrupt)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        self._came += 1
        if self._came <= self.MOST:
            raise KeyboardInterrupt


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
