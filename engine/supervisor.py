"""The supervisor: starts, watches, restarts and ends every process, and does nothing else.

One loop over one selector. Signal handlers only note the signal (through a wake-up socket), the
loop acts. Order of the end: cameras and front first, then the recognizers, then the publisher,
then Redis, so that what is on its way still arrives; each step has a deadline.
"""

import contextlib
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from engine.amendments import Amendments
from engine.board import KIND, Count, Kind
from engine.children import ChildProcess
from engine.config import CameraSettings, Settings
from engine.console import StatusLine
from engine.control import ControlServer
from engine.cores import usable_cores
from engine.errors import EXIT_CONFIG, ControlError
from engine.logs import set_up_logging
from engine.messages import (
    AttachClips,
    AttachReads,
    CameraTurned,
    EngineStatus,
    Failed,
    Outstanding,
    Pause,
    Ready,
    Reply,
    RestartReason,
    RingDrained,
    Stop,
    TellCamera,
    TellSinks,
    ToSupervisor,
    UseCamera,
    WantRing,
)
from engine.orders import Orders
from engine.plane import CameraPlace, FramePlane, Pool
from engine.process import log_section
from engine.quarantine import Quarantine
from engine.reaper import frame_begun_ns
from engine.resources import Resources
from engine.roster import Roster
from engine.sections import PublishedCamera
from engine.service import ServiceManager
from engine.signals import NotedSignals, allow_open_files
from engine.types import CameraState
from engine.upload_queue import UploadQueue
from engine.uploads import upload_of
from engine.watch import Watch

TICK_S: Final = 0.25
SWEEP_TICK_S: Final = 0.01
SILENT_S: Final = 15.0
"""A child without a heartbeat for this long is killed and started again."""
DISMISS_S: Final = 4.0
"""A child that was dismissed must have ended after this long."""
CLIENT_S: Final = 2.0
"""A client of the control socket asks within this time."""
BOOT_S: Final = 60.0
"""A child that is not ready after this long is killed and started again."""
STOP_PHASES: Final = (
    (frozenset({Kind.DECODER, Kind.API}), 3.0),
    (frozenset({Kind.WORKER}), 2.0),
    (frozenset({Kind.PUBLISHER}), 3.0),
)
EXIT_INTERRUPTED: Final = 130

log = logging.getLogger(__name__)


def run(settings: Settings, halves: AbstractSet[str]) -> int:
    """Run the engine, the front or both until a signal ends them; return the exit code.

    Raises:
        ConfigError: a setting cannot work here; names its key.
        PreflightError: the machine lacks something.
    """
    set_up_logging(settings.log.model_dump(), "supervisor")
    signals = NotedSignals()
    allow_open_files()
    supervisor = Supervisor(settings, halves, signals)
    try:
        return supervisor.run()
    finally:
        supervisor.close()


class Supervisor:
    """All processes of one run, from the first spawn to the last reap."""

    def __init__(self, settings: Settings, halves: AbstractSet[str], signals: NotedSignals) -> None:
        amendments = Amendments(settings.data_dir / "engine" / "amendments.json")
        settings = amendments.applied(settings)
        self._settings = settings
        self._roster = Roster(settings, halves)
        self._resources = Resources(settings, halves, self._roster.worker_count)
        board = self._resources.board
        self._row = board.row(0)
        self._row.words[KIND] = Kind.SUPERVISOR
        self._roster.fill(board)
        pool = settings.recognizers
        self._plane = FramePlane(
            self._resources.lock,
            self._row,
            Pool(self._roster.workers, self._resources.tokens_write, pool.batch),
            Quarantine(self._resources.state_dir / "quarantine", pool.quarantine),
        )
        self._uploads = UploadQueue(settings, self._roster, self, self._plane.frames_in_flight)
        self._orders = Orders(self._roster, amendments, self, self._uploads)
        for place in self._roster.places:
            place.is_paused = place.settings.name in amendments.changes.paused
        self._watch = Watch(self._roster, board, self._plane, self._resources)
        self._line = StatusLine()
        self._service = ServiceManager.of()
        self._selector = selectors.DefaultSelector()
        self._log_section = log_section(settings.log)
        self._signals = signals
        self._stuck: set[ChildProcess] = set()
        self._exit_code = 0
        self._phase = -1
        """Index into ``STOP_PHASES``; -1 while running."""
        self._phase_ends = 0.0
        self._announced = False
        self._clients: dict[socket.socket, float] = {}
        """Clients of the control socket that have not asked yet, and until when they may."""

    # --- the loop ---------------------------------------------------------------------------

    def run(self) -> int:
        """Work until every process has ended; return the exit code."""
        self._selector.register(self._signals, selectors.EVENT_READ, self._act_on_signals)
        self._selector.register(
            self._resources.control.listener, selectors.EVENT_READ, self._accept_client
        )
        for line in self._watch.greeting():
            self._watch.say(line)
        while not self._is_over():
            if self._phase < 0:
                self._uploads.turn()
                self._start_due()
                self._kill_silent()
                self._resources.mend_redis()
            else:
                self._advance_end()
            sweeping = self._plane.sweep()
            self._drop_idle_clients()
            self._row.beat(time.monotonic_ns())
            self._service.beat()
            self._show()
            for key, _events in self._selector.select(SWEEP_TICK_S if sweeping else TICK_S):
                react: Callable[[], None] = key.data
                react()
        return self._exit_code

    def _act_on_signals(self) -> None:
        for number in self._signals.take():
            if self._phase >= 0:
                log.warning("ending at once")
                self._exit_code = EXIT_INTERRUPTED
                self._end_at_once()
            else:
                log.info("%s: finishing", signal.Signals(number).name)
                self._begin_end(0)

    def _is_over(self) -> bool:
        return self._phase >= len(STOP_PHASES)

    # --- processes start --------------------------------------------------------------------

    def _start_due(self) -> None:
        """Start every wanted process that is not up and whose backoff is over."""
        now = time.monotonic()
        for child in self._roster.children:
            if child.is_wanted and not child.is_up and now >= child.start_at:
                self._start(child)

    def _start(self, child: ChildProcess) -> None:
        child.row.words[2] = time.monotonic_ns()  # its first heartbeat is due from now on
        child.spawn(
            self._roster.section_of(child, self._resources),
            self._log_section,
            self._roster.fds_of(child, self._resources),
        )
        self._selector.register(
            child.link_fileno(), selectors.EVENT_READ, lambda: self._hear(child)
        )
        self._selector.register(child.pidfd, selectors.EVENT_READ, lambda: self._reap(child))
        match child.kind:
            case Kind.WORKER:
                self._plane.worker_started(child)
                self._connect_reads([child])
            case Kind.PUBLISHER:
                self._connect_reads(self._roster.workers)
                self._connect_clips(self._roster.places)
                for place in self._roster.places:
                    self._tell_turn(place)
            case Kind.DECODER:
                self._plane.decoder_started(self._roster.place_of(child))
                self._connect_clips([self._roster.place_of(child)])
            case _:
                pass

    def _connect_reads(self, workers: list[ChildProcess]) -> None:
        """Give workers and the publisher a fresh reads channel each."""
        for worker in workers:
            attach = AttachReads(worker=worker.name, incarnation=worker.incarnation)
            self._connect_publisher(worker, attach)

    def _connect_clips(self, places: list[CameraPlace]) -> None:
        """Give decoders of cameras with clips and the publisher a fresh socket each."""
        for place in places:
            camera = place.settings
            if camera.clip != "none":
                attach = AttachClips(
                    camera=camera.name,
                    wanted=camera.clip,
                    after_s=camera.clip_after_s,
                    most_bytes=camera.clip_mib + 1 << 20,
                )
                self._connect_publisher(place.decoder, attach)

    def _connect_publisher(self, child: ChildProcess, attach: AttachReads | AttachClips) -> None:
        """Give a child and the publisher one end each of a socket pair, if both are up."""
        (publisher,) = self._roster.of(Kind.PUBLISHER)
        if publisher.is_up and child.is_up:
            ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            child.send_and_close(attach, ends[0].detach())
            publisher.send_and_close(attach, ends[1].detach())

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
                self._turn(self._roster.place_of(child), state, reason)
            case TellSinks(sinks=sinks):
                self._watch.sinks = sinks
            case Failed(reason=reason):
                child.failure = reason

    def _turn(self, place: CameraPlace, state: CameraState, reason: str) -> None:
        """Note what a camera is doing now, and have it told."""
        place.turn(state, reason, self._settings.node_name)
        self._tell_turn(place)

    def _tell_turn(self, place: CameraPlace) -> None:
        """Have the newest turn of a camera told, unless another one has taken its name."""
        heir = self._roster.place_named(place.settings.name)
        is_upload = bool(upload_of(place.settings.name))
        if place.turned is not None and heir in {None, place} and not is_upload:
            (publisher,) = self._roster.of(Kind.PUBLISHER)
            publisher.send(TellCamera(event=place.turned))

    def _turn_without_decoder(self, child: ChildProcess, why: str) -> None:
        """Note that nobody captures a camera now, by mishap or because it was told so."""
        place, state = self._roster.place_of(child), CameraState.LOST
        if not child.was_wanted:
            state = CameraState.ENDED
            why = "it was removed" if child.is_dismissed else "the engine was stopped"
        self._turn(place, state, why)

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
        if child.kind is Kind.WORKER:
            self._plane.worker_died(child, why, stuck=stuck)
        if child.kind is Kind.DECODER:
            self._plane.decoder_died(self._roster.place_of(child))
            self._turn_without_decoder(child, child.failure or why)
        if child.is_dismissed and self._phase < 0:
            self._take_off(child)
        if self._phase >= 0 or not child.was_wanted:
            return
        child.count_restart(RestartReason.of(code, stuck=stuck))
        self._row.count(Count.RESTARTS)
        if child.is_wanted:
            log.warning("%s%s; starting it again", why, f" ({child.failure})" * bool(child.failure))
        elif child.kind is not Kind.DECODER:
            log.error("%s cannot work: %s", child.name, child.failure or why)
            self._exit_code = EXIT_CONFIG
            self._begin_end(0)

    def _kill_silent(self) -> None:
        """Kill workers that overstay their deadline and children whose heartbeat stopped."""
        now_ns = time.monotonic_ns()
        deadline_ns = int(self._settings.recognizers.deadline_s * 1e9)
        for child in self._roster.children:
            if not child.is_up or child in self._stuck:
                continue
            begun_ns = frame_begun_ns(child.row) if child.kind is Kind.WORKER else 0
            silent_s = (now_ns - child.row.heartbeat_ns) / 1e9
            if begun_ns and now_ns - begun_ns > deadline_ns:
                log.error("%s holds a frame beyond recognizers.deadline_s: killing it", child.name)
            elif child.is_dismissed and now_ns / 1e9 > child.ends_by:
                log.warning("%s did not end in time: killing it", child.name)
            elif not begun_ns and silent_s > (SILENT_S if child.is_ready else BOOT_S):
                log.error("%s has been silent for %.0f s: killing it", child.name, silent_s)
            else:
                continue
            self._stuck.add(child)
            child.signal(signal.SIGKILL)

    # --- the end ----------------------------------------------------------------------------

    def _begin_end(self, phase: int) -> None:
        """Tell the processes of a phase to stop."""
        self._phase = phase
        self._service.stopping()
        if self._is_over():
            return
        kinds, seconds = STOP_PHASES[phase]
        self._phase_ends = time.monotonic() + seconds
        for child in self._roster.children:
            if child.kind in kinds:
                child.is_wanted = False
                child.send(Stop())

    def _advance_end(self) -> None:
        """Go on to the next phase when this one's processes have ended, or must."""
        kinds, _seconds = STOP_PHASES[self._phase]
        left = [child for child in self._roster.children if child.kind in kinds and child.is_up]
        if left and time.monotonic() < self._phase_ends:
            return
        for child in left:
            log.warning("%s did not end in time: killing it", child.name)
            child.signal(signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):  # it ended in the last moment
                os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED | os.WNOWAIT)
            self._reap(child)
        self._begin_end(self._phase + 1)

    def _end_at_once(self) -> None:
        """Kill everything."""
        for child in self._roster.children:
            if child.is_up:
                child.signal(signal.SIGKILL)
                child.reap()
        self._phase = len(STOP_PHASES)

    def close(self) -> None:
        """Give everything back."""
        self._line.stop()
        self._end_at_once()
        self._selector.close()
        self._plane.close(self._roster.places)
        for child in self._roster.children:
            child.release()
        self._row.release()
        self._resources.close()

    # --- people and programs ask ------------------------------------------------------------

    def _show(self) -> None:
        """Print the start-up lines once all is ready, then keep the status line moving."""
        if self._phase >= 0:
            return
        if not self._announced and self._watch.is_complete():
            self._announced = True
            for line in self._watch.announcement():
                self._watch.say(line)
            self._line.start()
            self._service.ready(f"{len(self._roster.places)} cameras")
        pulse = self._watch.pulse()
        if pulse is not None and self._announced:
            self._line.show(pulse, time.monotonic())

    def _accept_client(self) -> None:
        client = self._resources.control.accept()
        if client is not None:
            self._clients[client] = time.monotonic() + CLIENT_S
            self._selector.register(
                client, selectors.EVENT_READ, lambda: self._answer_client(client)
            )

    def _answer_client(self, client: socket.socket) -> None:
        self._selector.unregister(client)
        del self._clients[client]
        request = ControlServer.receive(client)
        if request is None:
            client.close()
            return
        try:
            reply = Reply(result=self._orders.obey(request))
        except ControlError as error:
            reply = Reply(error=str(error))
        except Exception as error:  # a request must never end the run
            log.exception("a request failed: %s", request.verb)
            reply = Reply(error=f"{request.verb} failed: {type(error).__name__}: {error}")
        ControlServer.reply(client, reply)

    def _drop_idle_clients(self) -> None:
        """Part from clients that connected and say nothing."""
        now = time.monotonic()
        for client, ends in list(self._clients.items()):
            if now > ends:
                self._selector.unregister(client)
                del self._clients[client]
                client.close()

    # --- orders, see engine.orders.Crew -------------------------------------------------------

    def status(self) -> EngineStatus:
        """Return the state of everything."""
        return msgspec.structs.replace(self._watch.status(), uploads=self._uploads.ids)

    def stop(self) -> None:
        """End the run in order."""
        if self._phase < 0:
            self._begin_end(0)

    def admit_camera(self, camera: CameraSettings) -> None:
        """Start to capture a camera, and to recognize where there was none before."""
        place = self._roster.add_camera(camera)
        (publisher,) = self._roster.of(Kind.PUBLISHER)
        publisher.send(UseCamera(camera=PublishedCamera.of(camera, place.index).encode()))
        if not self._roster.workers:
            count = self._settings.recognizers.count
            self.resize_pool(usable_cores() if count == "auto" else count)

    def dismiss_camera(self, name: str) -> None:
        """Stop capturing a camera; its rings go with its decoder."""
        place = self._roster.place_named(name)
        if place is not None:
            self._dismiss(place.decoder)

    def pause_camera(self, name: str, *, paused: bool) -> None:
        """Stop or go on capturing."""
        place = self._roster.place_named(name)
        if place is not None:
            place.is_paused = paused
            place.decoder.send(Pause(paused=paused))

    def resize_pool(self, count: int) -> None:
        """Start or end recognizers; rings that are too small for the new pool are re-made."""
        while len(self._roster.wanted_workers()) < count:
            self._roster.add_worker()
        for worker in self._roster.wanted_workers()[count:]:
            self._dismiss(worker)
        self._plane.renew_small()

    def _dismiss(self, child: ChildProcess) -> None:
        """End a child for good; ``_reap`` takes it off the roster."""
        child.is_wanted, child.is_dismissed = False, True
        child.ends_by = time.monotonic() + DISMISS_S
        child.send(Stop())
        if not child.is_up:
            self._take_off(child)

    def _take_off(self, child: ChildProcess) -> None:
        if child.kind is Kind.DECODER:
            self._plane.forget_camera(self._roster.place_of(child))
        self._roster.remove(child)


def _named(code: int) -> str:
    """Name an exit code or the signal that ended a process."""
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
