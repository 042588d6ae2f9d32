"""Hours of an engine's life in short: everything goes wrong at once, and nothing may be lost.

A real engine (three cameras, its own Redis) is struck by faults of every kind while witnesses note
each event that it makes, stores and tells. At the end it comes to rest, and every figure must be
accounted for. The report is written however the run ended.
"""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from engine.benchmarks.soak_camera import NetworkCamera
from engine.benchmarks.soak_engine import FPS, KEPT_DAYS, SoakedEngine, SoakError
from engine.benchmarks.soak_faults import HEALS_S, Faults, Planned, schedule
from engine.benchmarks.soak_page import page
from engine.benchmarks.soak_posts import Garbage, Poster
from engine.benchmarks.soak_samples import Sampler
from engine.benchmarks.soak_verdict import Facts, Line, Seen, verdict
from engine.benchmarks.soak_witness import (
    ComesAndGoes,
    Dozes,
    Follower,
    SpoolWitness,
    StreamWitness,
    Witness,
)
from engine.due import Due
from engine.errors import ControlError
from engine.types import CameraState

CALM_S: Final = 3.0
"""Nothing goes wrong for so long at the beginning."""
QUIET_S: Final = 3.0
"""Nothing has happened for so long: the engine is at rest."""
RESTS_S: Final = 60.0
HASTE_S: Final = 20.0
"""How long somebody who said Ctrl-C waits for either."""
SCRAPED_S: Final = 30.0
_TURN_S: Final = 0.1
_DROPPED: Final = "platering_spool_dropped_total"

Say = Callable[[str], None]


class SoakPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for."""

    seconds: float
    seed: int
    every_s: float = 5.0
    """A fault strikes so often, on average."""
    sample_s: float = 5.0
    out: Path


class Soak:
    """One run: its engine, its witnesses, its faults."""

    def __init__(self, plan: SoakPlan, folder: Path, camera: NetworkCamera, say: Say) -> None:
        self._plan = plan
        self._say = say
        self.engine = SoakedEngine(folder, camera.url, plan.seed)
        self._garbage = Garbage(self.engine)
        self.faults = Faults(self.engine, camera, self._garbage)
        self._poster = Poster(self.engine, plan.seed)
        self._spool = SpoolWitness(self.engine)
        self._stream = StreamWitness(self.engine)
        self._clients: list[Follower] = []
        self.sampler = Sampler(self.engine, plan.seconds, plan.out / "samples.jsonl")
        self.struck_s = 0.0
        """How long faults struck."""
        self._patience_s = 3 * HEALS_S
        """How long everything may take to heal at the end."""
        self._sample_due = Due(plan.sample_s)

    def run(self) -> list[Line]:
        """Start, strike, come to rest, end; return the verdict."""
        self._start()
        try:
            self._strike_all()
        except KeyboardInterrupt:
            self._patience_s = HASTE_S
            self._say("stopped: settling the accounts; Ctrl-C again ends without them")
        finally:
            self.struck_s = time.monotonic() - self.faults.began_s
        return self._judged()

    def _start(self) -> None:
        self._say(f"starting the engine (seed {self._plan.seed})")
        self._spool.start()  # before the first event, which it would not find a few seconds later
        self.engine.start()
        self._stream.start()
        self.engine.await_cameras()
        kinds = {"stays": Follower, "comes and goes": ComesAndGoes, "dozes": Dozes}
        self._clients = [kind(self.engine, name, self._plan.seed) for name, kind in kinds.items()]
        for one in self._clients:
            one.start()
        self._poster.start()

    def _strike_all(self) -> None:
        """Let the schedule's faults strike until the time is over."""
        plan = self._plan
        self.faults.began_s = self.sampler.began_s = began_s = time.monotonic()
        waiting = schedule(
            self.faults.kinds,
            plan.seed,
            begins_s=CALM_S,
            ends_s=plan.seconds,
            every_s=plan.every_s,
        )
        while (now_s := time.monotonic() - began_s) < plan.seconds:
            waiting = self._strike_due(waiting, now_s)
            self._turn()
            if self.engine.exit_code is not None:
                raise SoakError(f"the engine ended by itself: {self.engine.said()[-2_000:]}")

    def _strike_due(self, waiting: list[Planned], now_s: float) -> list[Planned]:
        while waiting and waiting[0].at_s <= now_s:
            self.faults.strike(waiting[0])
            waiting = waiting[1:]
        return waiting

    def _turn(self) -> None:
        """Wait a little, and take a sample where it is time."""
        time.sleep(_TURN_S)
        if self._sample_due.now():
            self._sample()

    def _sample(self) -> None:
        created, streamed = len(self._spool.told), len(self._stream.told)
        self.sampler.take(created, streamed)
        failed = sum(bool(one.failure) for one in self.faults.struck)
        self._say(
            f"{(time.monotonic() - self.faults.began_s) / 60:.1f} of "
            f"{self._plan.seconds / 60:.1f} min · {len(self.faults.struck)} faults"
            + f", {failed} not healed" * bool(failed)
            + f" · {created} events, {streamed} in Redis"
        )

    # --- at rest ----------------------------------------------------------------------------

    def _judged(self) -> list[Line]:
        """Come to rest, take stock, end the engine; return the verdict."""
        self._say("waiting until everything has healed and all is told")
        self._wait_until(lambda: not self.faults.under_way, self._patience_s)
        self._poster.close()
        self._come_to_rest()
        status = self.engine.status()
        self._wait_until(self._is_scraped, SCRAPED_S)
        segments = len(self.engine.segments())
        for one in (self._spool, self._stream, *self._clients):
            one.close()
        ended_s = self.engine.stop()
        facts = Facts(
            seconds=self.struck_s,
            created=_seen(self._spool),
            stream=_seen(self._stream),
            clients=[
                msgspec.structs.replace(_seen(one), missed=one.missed) for one in self._clients
            ],
            dropped=int(self.sampler.samples[-1].metrics.get(_DROPPED, 0)),
            posted=self._poster.sightings,
            posted_changed=self._poster.changed,
            post_failure=self._poster.failure,
            cameras=status.cameras,
            struck=self.faults.struck,
            under_way=self.faults.under_way,
            left_out=self.faults.left_out,
            restarts=int(self.sampler.samples[-1].metrics.get("platering_restarts_total", -1)),
            redis_pids=len(self.sampler.redis_pids | self.faults.redis_pids),
            samples=self.sampler.samples,
            kept_s=KEPT_DAYS * 86_400,
            segments=segments,
            garbage=self._garbage.answers,
            exit_code=self.engine.exit_code,
            ended_s=ended_s,
            left_behind=[*self.engine.leftovers(), *map(str, self.engine.segments())],
        )
        return verdict(facts)

    def _come_to_rest(self) -> None:
        """Pause every camera, and wait until what is under way has arrived everywhere."""
        for camera in self.engine.cameras:
            with contextlib.suppress(ControlError):  # Ctrl-C came while it was removed
                self.engine.ask("camera.pause", name=camera["name"])
        quiet_since_s, before = time.monotonic(), -1

        def rests() -> bool:
            nonlocal quiet_since_s, before
            created = len(self._spool.told)
            if created != before or not self._is_level():
                quiet_since_s, before = time.monotonic(), created
            return time.monotonic() - quiet_since_s > QUIET_S

        self._wait_until(rests, min(RESTS_S, self._patience_s))

    def _is_scraped(self) -> bool:
        """Take a last sample; tell whether the front has said its figures."""
        self._sample()
        return bool(self.sampler.samples[-1].metrics)

    def _wait_until(self, reached: Callable[[], bool], seconds: float) -> None:
        """Go on sampling until it is so, or for so long: the verdict says then what is missing."""
        ends_s = time.monotonic() + seconds
        while not reached() and time.monotonic() < ends_s:
            self._turn()

    def _is_level(self) -> bool:
        """Tell whether nothing is in flight and every witness has seen as much."""
        try:
            cameras = self.engine.status().cameras
        except ControlError:
            return False
        witnesses = (self._spool, self._stream, *self._clients)
        seen = {len(one.told) - one.forgotten for one in witnesses}
        paused = all(one.state is CameraState.PAUSED and not one.in_flight for one in cameras)
        return paused and len(seen) == 1

    def close(self) -> None:
        """Leave nothing running."""
        self._poster.close()
        for one in (self._spool, self._stream, *self._clients):
            one.close()
        self.engine.close()


def _seen(witness: Witness) -> Seen:
    return Seen(
        witness.name,
        witness.counted(),
        skipped=witness.skipped,
        forgotten=witness.forgotten,
        failure=witness.failure,
    )


def soak(plan: SoakPlan, say: Say) -> list[Line]:
    """Run a soak and write its report into ``plan.out``; return the verdict.

    The folder gets ``report.html``, ``samples.jsonl``, ``faults.jsonl`` and ``engine.log``.

    Raises:
        SoakError: the engine did not start.
    """
    plan.out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as name,
        contextlib.closing(NetworkCamera(plan.seed % 1_000 + 2, FPS)) as camera,
    ):
        run = Soak(plan, Path(name), camera, say)
        lines: list[Line] = []
        try:
            lines = run.run()
        except (SoakError, ControlError) as error:
            lines = [Line("the soak came to its end", stands=False, said=str(error))]
        except KeyboardInterrupt:
            lines = [Line("the accounts were settled", stands=False, said="Ctrl-C came before")]
        finally:
            run.close()
            _write(plan, run, lines)
    return lines


def _write(plan: SoakPlan, run: Soak, lines: list[Line]) -> None:
    """Write the report, however far the run came."""
    samples, struck = run.sampler.samples, sorted(run.faults.struck, key=lambda one: one.at_s)
    judged = [line for line in lines if line.is_judged]
    passed = sum(line.stands for line in judged)
    about = (
        f"{run.struck_s / 60:.1f} of {plan.seconds / 60:.1f} minutes, seed {plan.seed}, a fault "
        f"every {plan.every_s:g} s; {passed} of {len(judged)} lines of the verdict stand."
    )
    if samples:
        loads = sorted(sample.load for sample in samples)
        about += (
            f" Load of the machine: median {loads[len(loads) // 2]:.1f}, at most {loads[-1]:.1f}."
        )
    (plan.out / "report.html").write_text(page(about, lines, samples, struck), encoding="utf-8")
    faults = b"".join(msgspec.json.encode(one) + b"\n" for one in struck)
    (plan.out / "faults.jsonl").write_bytes(faults)
    (plan.out / "verdict.json").write_bytes(msgspec.json.encode(lines))
    with contextlib.suppress(FileNotFoundError):
        shutil.copy(run.engine.log, plan.out / "engine.log")
