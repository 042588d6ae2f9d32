"""The supervisor: starts, watches, restarts and ends every process, and does nothing else.

One loop over one selector. Signal handlers only note the signal (through a wake-up socket), the
loop acts. Order of the end: cameras and front first, then the recognizers, then the publisher,
then Redis, so that what is on its way still arrives; each step has a deadline.
"""

import logging
import selectors
import signal
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

import msgspec

from engine.amendments import Amendments
from engine.board import KIND, Count, Kind
from engine.children import ChildProcess
from engine.clients import ControlClients
from engine.config import Settings, load_settings
from engine.connections import Connections
from engine.console import StatusLine
from engine.crew import Crew
from engine.ending import Ending
from engine.errors import EXIT_CONFIG, ControlError
from engine.log_levels import LogLevels
from engine.logs import count_repeats, set_up_logging, tell_repeats
from engine.messages import (
    CameraTurned,
    EngineStatus,
    Failed,
    Outstanding,
    Ready,
    ReloadReport,
    RestartReason,
    RingDrained,
    TellSinks,
    ToSupervisor,
    WantRing,
)
from engine.orders import Orders
from engine.plane import FramePlane, Pool
from engine.quarantine import Quarantine
from engine.reaper import frame_begun_ns
from engine.reload import Governed, Reload
from engine.renewal import Renewal
from engine.resources import Resources
from engine.roster import Roster
from engine.service import ServiceManager
from engine.signals import NotedSignals, allow_open_files, has_terminal
from engine.turns import CameraTurns
from engine.upload_queue import UploadQueue
from engine.watch import Watch

TICK_S: Final = 0.25
SWEEP_TICK_S: Final = 0.01
SILENT_S: Final = 15.0
"""A child without a heartbeat for this long is killed and started again."""
BOOT_S: Final = 60.0
"""A child that is not ready after this long is killed and started again."""
EXIT_INTERRUPTED: Final = 130

log = logging.getLogger(__name__)


def run(path: Path, halves: AbstractSet[str]) -> int:
    """Run the engine, the front or both by a configuration file until a signal ends them.

    Returns the exit code.

    Raises:
        ConfigError: a setting cannot work here; names its key.
        PreflightError: the machine lacks something.
    """
    settings = load_settings(path)
    set_up_logging(settings.log.model_dump(), "supervisor")
    signals = NotedSignals()
    allow_open_files()
    supervisor = Supervisor(path, settings, halves, signals)
    try:
        return supervisor.run()
    finally:
        tell_repeats()
        supervisor.close()


class Supervisor:
    """All processes of one run, from the first spawn to the last reap."""

    def __init__(
        self, path: Path, written: Settings, halves: AbstractSet[str], signals: NotedSignals
    ) -> None:
        """Open what a run needs; ``written`` is what the file at ``path`` holds."""
        amendments = Amendments(written.data_dir / "engine" / "amendments.json")
        settings = amendments.applied(written)
        self._roster = Roster(settings, halves)
        self._resources = Resources(settings, halves, self._roster.worker_count)
        board = self._resources.board
        self._row = board.row(0)
        self._row.words[KIND] = Kind.SUPERVISOR
        count_repeats(lambda: self._row.count(Count.LOG_REPEATS))
        self._roster.fill(board)
        pool = settings.recognizers
        self._plane = FramePlane(
            self._resources.lock,
            self._row,
            Pool(self._roster.workers, self._resources.tokens_write, pool.batch),
            Quarantine(self._resources.state_dir / "quarantine", pool.quarantine),
        )
        self._crew = Crew(self._roster, self._plane)
        in_flight = self._plane.frames_in_flight
        self._uploads = UploadQueue(settings, self._roster, self._crew, in_flight)
        self._renewal = Renewal(self._roster, self._crew, self._uploads.is_reading)
        self._log_levels = LogLevels(self._roster)
        governed = Governed(
            roster=self._roster,
            resources=self._resources,
            plane=self._plane,
            crew=self._crew,
            uploads=self._uploads,
            renewal=self._renewal,
            log_levels=self._log_levels,
        )
        self._reload = Reload(path, written, amendments, governed)
        orders = Orders(self, self._crew, self._roster, amendments, self._uploads)
        for place in self._roster.places:
            place.is_paused = place.settings.name in amendments.changes.paused
        self._watch = Watch(self._roster, board, self._plane, self._resources)
        self._line = StatusLine()
        self._service = ServiceManager.of()
        self._selector = selectors.DefaultSelector()
        control = self._resources.control
        self._clients = ControlClients(control, self._selector, orders.obey)
        self._connections = Connections(self._roster)
        self._turns = CameraTurns(self._roster)
        self._ending = Ending(self._roster, self._reap)
        self._signals = signals
        self._had_terminal = has_terminal()
        self._reload_wanted = False
        """A signal asked for it."""
        self._stuck: set[ChildProcess] = set()
        self._exit_code = 0
        self._announced = False

    # --- the loop ---------------------------------------------------------------------------

    def run(self) -> int:
        """Work until every process has ended; return the exit code."""
        self._selector.register(self._signals, selectors.EVENT_READ, self._act_on_signals)
        for line in self._watch.greeting():
            self._watch.say(line)
        while not self._ending.is_over:
            if not self._ending.has_begun:
                self._uploads.turn()
                self._turn_reload()
                self._kill_silent()
                self._resources.mend_redis()
            else:
                self._ending.advance()
            self._start_due()
            sweeping = self._plane.sweep()
            self._clients.drop_idle()
            self._row.beat(time.monotonic_ns())
            self._service.beat()
            self._show()
            for key, _events in self._selector.select(SWEEP_TICK_S if sweeping else TICK_S):
                react: Callable[[], None] = key.data
                react()
        return self._exit_code

    def _act_on_signals(self) -> None:
        for number in self._signals.take():
            is_ending = self._ending.has_begun
            if number == signal.SIGHUP and (is_ending or self._had_terminal == has_terminal()):
                self._reload_wanted = True  # in vain where all is about to end anyway
            elif is_ending:
                log.warning("ending at once")
                self._exit_code = EXIT_INTERRUPTED
                self._ending.at_once()
            else:
                log.info("%s: finishing", signal.Signals(number).name)
                self.stop()

    def _turn_reload(self) -> None:
        """Go on with a reload, or begin with the one that a signal asked for."""
        self._reload.turn()
        if self._reload_wanted and not self._reload.is_busy:
            self._reload_wanted = False
            try:
                self.reload()
            except ControlError:
                pass  # it is in the log
            except Exception:  # a file must never end the run
                log.exception("the configuration could not be read again")

    # --- processes start --------------------------------------------------------------------

    def _start_due(self) -> None:
        """Start every wanted process that is not up and whose backoff is over."""
        now = time.monotonic()
        for child in self._roster.children:
            is_due = child.is_wanted and not child.is_up and now >= child.start_at
            if is_due and self._may_start(child):
                self._start(child)

    def _may_start(self, child: ChildProcess) -> bool:
        """Tell whether a child that has ended may start again.

        Once the end has begun, only the publisher may: somebody must take the last reads.
        """
        return child.kind is Kind.PUBLISHER or not self._ending.has_begun

    def _start(self, child: ChildProcess) -> None:
        child.terms = self._roster.terms_of(child, self._resources)
        child.row.words[2] = time.monotonic_ns()  # its first heartbeat is due from now on
        child.spawn(
            self._roster.section_of(child, self._resources),
            self._log_levels.section_of(child.name),
            self._roster.fds_of(child, self._resources),
        )
        self._selector.register(
            child.link_fileno(), selectors.EVENT_READ, lambda: self._hear(child)
        )
        self._selector.register(child.pidfd, selectors.EVENT_READ, lambda: self._reap(child))
        match child.kind:
            case Kind.WORKER:
                self._plane.worker_started(child)
                self._connections.reads([child])
            case Kind.PUBLISHER:
                self._connections.reads(self._roster.workers)
                self._connections.clips(self._roster.places)
                self._turns.tell_all()
            case Kind.DECODER:
                self._plane.decoder_started(self._roster.place_of(child))
                self._connections.clips([self._roster.place_of(child)])
            case _:
                pass

    # --- processes speak --------------------------------------------------------------------

    def _hear(self, child: ChildProcess) -> None:
        """Take what a child says; an ended link is the pidfd's affair."""
        child.flush()
        while (message := child.receive()) is not None:
            self._act_on(child, message)
        if child.is_link_ended and child.link_fileno() >= 0:
            self._selector.unregister(child.link_fileno())
            child.close_link()

    def _act_on(self, child: ChildProcess, message: ToSupervisor) -> None:
        match message:
            case Ready(detail=detail):
                child.is_ready, child.detail = True, detail
            case WantRing():
                self._plane.grant(self._roster.place_of(child), message)
            case RingDrained():
                self._plane.drained(message)
            case Outstanding():
                self._plane.outstanding(message)
            case CameraTurned(state=state, reason=reason):
                self._turns.turn(self._roster.place_of(child), state, reason)
            case TellSinks(sinks=sinks):
                self._watch.sinks = sinks
            case Failed(reason=reason):
                child.failure = reason

    # --- processes end ----------------------------------------------------------------------

    def _reap(self, child: ChildProcess) -> None:
        """Collect a dead child, take back what it held, and plan its next start."""
        if not child.is_up:
            return  # reaped earlier in the same round of events
        self._hear(child)
        if child.link_fileno() >= 0:
            self._selector.unregister(child.link_fileno())
        self._selector.unregister(child.pidfd)
        code = child.reap()
        stuck = child in self._stuck
        self._stuck.discard(child)
        why = f"{child.name} ended with {_named(code)}"
        said = why + f" ({child.failure})" * bool(child.failure)
        if child.kind is Kind.WORKER:
            self._plane.worker_died(child, why, stuck=stuck)
        if child.kind is Kind.DECODER:
            self._plane.decoder_died(self._roster.place_of(child))
            self._turns.without_decoder(child, child.failure or why)
        if child.is_dismissed and not self._ending.has_begun:
            self._crew.take_off(child)
        is_expected = not child.was_wanted or not self._may_start(child)
        if is_expected or self._renewal.reaped(child, said):
            return
        child.count_restart(RestartReason.of(code, stuck=stuck))
        self._row.count(Count.RESTARTS)
        if child.is_wanted:
            log.warning("%s; starting it again", said)
        elif child.kind is not Kind.DECODER:
            log.error("%s cannot work: %s", child.name, child.failure or why)
            self._exit_code = EXIT_CONFIG
            self.stop()

    def _kill_silent(self) -> None:
        """Kill workers that overstay their deadline and children whose heartbeat stopped."""
        now_ns = time.monotonic_ns()
        deadline_ns = int(self._roster.settings.recognizers.deadline_s * 1e9)
        for child in self._roster.children:
            if not child.is_up or child in self._stuck:
                continue
            begun_ns = frame_begun_ns(child.row) if child.kind is Kind.WORKER else 0
            silent_s = (now_ns - child.row.heartbeat_ns) / 1e9
            if begun_ns and now_ns - begun_ns > deadline_ns:
                log.error("%s holds a frame beyond recognizers.deadline_s: killing it", child.name)
            elif now_ns / 1e9 > child.ends_by:
                log.warning("%s did not end in time: killing it", child.name)
            elif not begun_ns and silent_s > (SILENT_S if child.is_ready else BOOT_S):
                log.error("%s has been silent for %.0f s: killing it", child.name, silent_s)
            else:
                continue
            self._stuck.add(child)
            child.signal(signal.SIGKILL)

    # --- the end ----------------------------------------------------------------------------

    def stop(self) -> None:
        """End the run in order."""
        self._service.stopping()
        self._ending.begin()

    def close(self) -> None:
        """Give everything back."""
        self._line.stop()
        count_repeats(lambda: None)  # the row goes
        self._ending.at_once()
        self._selector.close()
        self._plane.close(self._roster.places)
        for child in self._roster.children:
            child.release()
        self._row.release()
        self._resources.close()

    # --- people and programs ask ------------------------------------------------------------

    def _show(self) -> None:
        """Print the start-up lines once all is ready, then keep the status line moving."""
        if self._ending.has_begun:
            return
        if not self._announced and self._watch.is_complete():
            self._announced = True
            for line in self._watch.announcement():
                self._watch.say(line)
            self._line.start()
            self._service.ready(f"{len(self._roster.watched)} cameras")
        pulse = self._watch.pulse()
        if pulse is not None and self._announced:
            self._line.show(pulse, time.monotonic())

    def status(self) -> EngineStatus:
        """Return the state of everything."""
        return msgspec.structs.replace(
            self._watch.status(),
            uploads=self._uploads.ids,
            renewing=self._reload.pending,
            renewal_failure=self._renewal.failure,
            reloads=self._reload.figures,
        )

    @property
    def is_replacing(self) -> bool:
        """Processes are being replaced."""
        return self._reload.is_busy

    def restart(self, children: list[ChildProcess]) -> None:
        """Replace processes by new ones, one after the other."""
        self._renewal.order(children)

    def set_log_level(self, level: str, process: str) -> tuple[str, ...]:
        """Have processes log from a level on; return their names."""
        return self._log_levels.order(level, process)

    def reload(self) -> ReloadReport:
        """Read the configuration again and go by it.

        Raises:
            ControlError: it is wrong; nothing has changed.
        """
        self._service.reloading()
        try:
            return self._reload.reload()
        finally:
            if self._announced:
                self._service.ready(f"{len(self._roster.watched)} cameras")


def _named(code: int) -> str:
    """Name an exit code or the signal that ended a process."""
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
