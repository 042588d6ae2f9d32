"""The process that tracks and publishes: reads come in, sightings go to the sinks.

One loop over the link, the workers' reads channels and the ingest socket. A turn takes what has
come, feeds the tracker in order of capture, writes everything that changed to the spool in one
transaction and only then acknowledges. Sinks are fed from the spool by threads of their own.

Run as ``python -m engine.publisher FD``.
"""

import logging
import socket
import time
from collections.abc import Callable, Mapping
from random import SystemRandom
from typing import Final

import msgspec

from engine.board import Count, Fate, Kind, Stage
from engine.camera_log import CameraLog
from engine.canary import is_canary
from engine.clip_channel import Clip, ClipTaker
from engine.filters import Rules
from engine.forgetting import Forgetting
from engine.groups import Groups, Question
from engine.ingest_channel import IngestConnection
from engine.intake import Intake, Source
from engine.messages import (
    AttachClips,
    AttachReads,
    EndUpload,
    ForgetPlates,
    FromApi,
    IngestDone,
    IngestReads,
    IngestSighting,
    ReadsRecord,
    Ready,
    Stop,
    TellCamera,
    UseCamera,
)
from engine.places import Places
from engine.privacy import KEY_FILE, Seal, disguise, own_key
from engine.process import Child, Link, LinkEndedError, run_child
from engine.redis_client import without_password
from engine.retention import Kept
from engine.sections import PublishedCamera, PublisherSection
from engine.sighting_traces import SightingTraces
from engine.sinks.feeders import Feeders
from engine.spool import Spool, Turn
from engine.traces import open_traces
from engine.track import NS_PER_MS, Event
from engine.tracker import SightingIds, Tracker
from engine.types import Evidence, Phase
from engine.upload_desk import UploadDesk
from engine.uploads import upload_of, uploads_dir
from engine.watchlists.entries import FILE_NAME as WATCHLISTS
from engine.watchlists.matcher import Matcher

_TURN_S: Final = 0.1
"""The longest wait of the loop: announcements and finals are due by the clock, too."""
_FLUSH_S: Final = 3.0
_FLUSH_ORPHANED_S: Final = 1.0
_LAST_BATCH_S: Final = 0.1
_DROPPED_WHEN_FULL: Final = 0.25

log = logging.getLogger(__name__)


class Publisher:
    """The state of the process; ``turn`` is its loop's body."""

    def __init__(self, section: PublisherSection, child: Child) -> None:
        self._row = row = child.row
        self._board = child.board
        self._node = section.node
        self._clock_base_ns = time.time_ns() - time.monotonic_ns()
        self._ids = SightingIds(section.node, SystemRandom())
        self._tracker = Tracker({}, section.tracker, section.node, self._ids)
        wanted = section.privacy == "hash"
        self._privacy_key = own_key(section.directory / KEY_FILE) if wanted else b""
        self._places = Places(child.board, self._tracker, section.tracker.max_gap_s)
        self._indexes: dict[str, int] = {}
        self._sites: dict[str, str] = {}
        for camera in section.cameras:
            self._go_by(camera)
        self._groups = Groups(section.redis.url, section.tracker.group_window_s)
        self._spool = Spool(
            section.directory / "spool.sqlite",
            section.spool.max_mib << 20,
            section.run,
            section.spool.max_age_hours * 3_600,
            Seal(self._privacy_key) if wanted else None,
        )
        ingest = socket.socket(fileno=child.fds[0]) if child.fds else None
        self._intake = Intake(row, self._spool.cursors(), ingest)
        self._tracker.restore(self._spool.tracks(), self._clock_ns())
        self._matcher = Matcher(section.directory / WATCHLISTS)
        self._desk = UploadDesk(uploads_dir(section.directory.parent), section.tracker, row)
        self._clips = ClipTaker(row)
        self._camera_log = CameraLog(section.redis.url)
        self._feeders = Feeders(section, self._spool)
        self._forgetting = Forgetting(self._tracker, self._clips, self._spool, self._feeders)
        self._traces = SightingTraces(open_traces(section.traces, section.node, child.name, row))
        self._pending: Turn | None = None
        self._nameless = 0  # of its last events: those ingested without an id
        self._answers: list[tuple[IngestConnection, IngestDone]] = []
        self._link: Link | None = None

    def start(self, link: Link) -> None:
        """Begin: from now on sinks are fed."""
        self._link = link
        self._intake.watch(link)
        self._matcher.start()
        self._camera_log.start()
        self._feeders.start()

    @property
    def resumed(self) -> int:
        """How many tracks were open when the last run ended."""
        return self._tracker.open_tracks

    def use_camera(self, message: UseCamera) -> None:
        """Go by the rules of a camera that was added while running."""
        camera = PublishedCamera.model_validate_json(message.camera)
        if upload := upload_of(camera.name):
            self._desk.begin(upload, self._matcher.marked)
            return
        self._go_by(camera)
        self._feeders.keep(camera.name, Kept(camera.keep_days, camera.keep_gib))

    def _go_by(self, camera: PublishedCamera) -> None:
        """Take what is said of a camera, new or changed."""
        if not is_canary(camera.name):
            self._indexes[camera.name] = camera.index
        self._sites[camera.name] = camera.site
        self._places.use_camera(camera.name, camera.index)
        self._tracker.use_rules(camera.name, Rules.of(camera, camera.crop))

    def attach(self, channel: AttachReads, fd: int) -> None:
        """Take reads from one more worker."""
        self._intake.attach(channel, fd)

    def attach_clips(self, terms: AttachClips, fd: int) -> None:
        """Take clips of one more camera; where plates are disguised, only of those that are not."""
        if self._privacy_key:
            terms = msgspec.structs.replace(terms, wanted="hits")
        self._clips.attach(terms, fd)

    def end_upload(self, message: EndUpload) -> None:
        """Finish an upload when its last reads have come."""
        self._desk.all_recognized(message.upload, message.failure)

    def tell_camera(self, message: TellCamera) -> None:
        """Write down that a camera turned."""
        self._camera_log.tell(message.event)

    def turn(self, wait_s: float = _TURN_S) -> None:
        """Wait for something to come, take it, commit, acknowledge."""
        self._intake.wait(wait_s)
        if self._pending is None:
            records = self._intake.take_records()
            messages = self._intake.take_messages()
            self._pending = self._track(records, messages)
        self._commit()
        self._desk.tick()
        self._places.tell()
        self._report()

    def drain(self) -> None:
        """Take everything that still lies in the channels."""
        self._intake.take_no_more()
        deadline = time.monotonic() + _FLUSH_ORPHANED_S  # for a spool that cannot be written
        for _ in range(1_000):
            before = self._row.total(Count.READS_RECEIVED)
            self.turn(0.0)
            is_over = self._intake.is_empty or time.monotonic() > deadline
            if is_over and self._row.total(Count.READS_RECEIVED) == before:
                return

    def close(self, flush_s: float) -> None:
        """Deliver what waits, for so long at most, then stop; the rest is delivered next time."""
        deadline = time.monotonic() + flush_s
        while self._feeders.waiting and time.monotonic() < deadline:
            self.turn(0.02)
        deadline = max(deadline, time.monotonic() + _LAST_BATCH_S)
        self._feeders.stop(deadline)
        self._camera_log.stop(max(0.0, deadline - time.monotonic()))
        self.turn(0.0)
        self._traces.close()
        self._clips.close()
        self._matcher.close()
        self._spool.close()

    # --- tracking ---------------------------------------------------------------------------

    def _track(
        self,
        records: list[tuple[Source, ReadsRecord]],
        messages: list[tuple[IngestConnection, FromApi]],
    ) -> Turn:
        """Feed the tracker; return all that is to be committed."""
        # first, while what the clips were asked for is what was told last
        events = [self._with_clip(clip) for clip in self._clips.take()]
        nameless: list[Event] = []
        cursors: dict[tuple[str, int], int] = {}
        uuids: dict[str, str] = {}
        for source, record in records:
            events += self._feed(record)
            key = source.worker, source.incarnation
            cursors[key] = max(record.sequence, cursors.get(key, 0))
        for connection, message in messages:
            if isinstance(message, ForgetPlates):
                self._forgetting.ask(connection, message)
                continue
            known = uuids.get(message.uuid) if message.uuid else None
            if known is None and message.uuid:
                known = self._spool.sighting_of(message.uuid)
            if known is None:
                new, known = self._ingest(message)
                if message.uuid:
                    events += new
                    uuids[message.uuid] = known
                else:
                    nameless += new
            done = IngestDone(request=message.request, sighting_id=known)
            self._answers.append((connection, done))
        events += self._places.hear(self._clock_ns())
        events += self._tracker.tick(self._clock_ns())
        self._nameless = len(nameless)
        events = self._grouped([self._as_told(event) for event in (*events, *nameless)])
        for event in events:
            self._count_event(event)
            self._clips.want(event.sighting)
        self._traces.told(events)
        positions = self._feeders.moved()
        changes = self._tracker.take_changes()
        return Turn(changes, events, cursors, uuids, positions, durable=bool(messages))

    def _feed(self, record: ReadsRecord) -> list[Event]:
        """Feed one frame's reads and count what became of them."""
        camera = record.reads.stamp.camera
        if upload := upload_of(camera):
            self._desk.hear(upload, record.reads)
            self._row.count(Count.READS_RECEIVED)
            self._row.fate(record.camera_index, Fate.READS_TRACKED, len(record.reads.reads))
            return []
        if not is_canary(camera):
            self._indexes[camera] = record.camera_index
        fed = self._tracker.feed(record.reads, self._clock_ns())
        self._traces.note(record)
        self._row.count(Count.READS_RECEIVED)
        self._row.fate(record.camera_index, Fate.READS_TRACKED, fed.tracked)
        self._row.fate(record.camera_index, Fate.READS_REJECTED, fed.rejected)
        if record.recognized_monotonic_ns:
            self._row.observe(
                Stage.RECOGNIZED_TO_TRACKED, time.monotonic_ns() - record.recognized_monotonic_ns
            )
        return fed.events

    def _ingest(self, message: IngestReads | IngestSighting) -> tuple[list[Event], str]:
        """Take what the API was given; return its events and the sighting's id, if it has one."""
        if isinstance(message, IngestReads):
            return self._tracker.feed(message.reads, self._clock_ns(), origin="ingest").events, ""
        given, pictures = message.sighting, message.evidence
        sighting = msgspec.structs.replace(
            given,
            id=given.id or self._ids(given.first_unix_ms * NS_PER_MS),
            node=given.node or self._node,
            revision=max(1, given.revision),
            has_crop=bool(pictures.crop_jpeg),
            has_frame=bool(pictures.frame_jpeg),
        )
        return [Event(sighting, pictures if pictures != Evidence() else None)], sighting.id

    def _with_clip(self, clip: Clip) -> Event:
        """Return the event that a sighting has a clip, also of one that the tracker forgot."""
        self._row.count(Count.CLIPS)
        told = self._tracker.with_clip(clip.sighting)
        if told is None:
            last = clip.sighting  # its final, or it were not forgotten
            revision = last.revision + 1
            told = Event(
                msgspec.structs.replace(last, revision=revision, has_clip=True, amended=True)
            )
        shown = told.evidence or Evidence()
        return Event(told.sighting, msgspec.structs.replace(shown, clip=clip.video))

    def _as_told(self, event: Event) -> Event:
        """Return the event with what the watchlists say of its plate, disguised if need be."""
        sighting = self._matcher.marked(event.sighting)
        if sighting is not event.sighting:
            event = Event(sighting, event.evidence)
        if not self._privacy_key:
            return event
        told = disguise(event, self._privacy_key)
        if told.evidence is not event.evidence:
            self._tracker.withheld(sighting)
        return told

    def _grouped(self, events: list[Event]) -> list[Event]:
        """Return the events with the groups of those whose cameras belong to a site."""
        asked = [
            Question(one.id, self._sites[one.camera], one.plate)
            for one in (event.sighting for event in events)
            if self._sites.get(one.camera) and self._tracker.wants_group(one)
        ]
        if not asked:
            return events
        groups = self._groups.of(asked)
        self._row.count(Count.GROUPS_MISSED, len({one.sighting_id for one in asked} - set(groups)))
        return [self._joined(event, groups) for event in events]

    def _joined(self, event: Event, groups: Mapping[str, str]) -> Event:
        """Return an event with its group, where that was asked for."""
        sighting = event.sighting
        group = groups.get(sighting.id)
        if group is None:
            return event
        if sighting.group != group != sighting.id:
            self._row.count(Count.GROUPS_JOINED)
        self._tracker.join_group(sighting, group)
        return Event(msgspec.structs.replace(sighting, group=group), event.evidence)

    def _count_event(self, event: Event) -> None:
        """Count an event; a final that comes again, with a clip, is no other passage."""
        sighting = event.sighting
        is_over = sighting.news is Phase.FINAL
        index = self._indexes.get(sighting.camera)
        if index is not None:
            self._row.fate(index, Fate.REVISIONS)
            if is_over:
                self._row.fate(index, Fate.SIGHTINGS)
                self._row.fate(index, Fate.CONFIDENCE, round(100 * sighting.confidence))
        if sighting.hits and is_over:
            self._row.count(Count.WATCHLIST_HITS)

    # --- committing -------------------------------------------------------------------------

    def _commit(self) -> None:
        """Write the turn; acknowledge, answer and wake the sinks only when it is written."""
        turn = self._pending
        if turn is None:
            return
        dropped = self._spool.commit(turn) if turn else 0
        if dropped is None:
            self._refuse_answers()
            if self._spool.is_full:
                self._make_room()
            time.sleep(_TURN_S)
            return
        self._pending = None
        if dropped:
            log.error("full or too old: the oldest %d sightings of the spool were dropped", dropped)
            self._row.count(Count.SPOOL_DROPPED, dropped)
        if turn.events:
            self._row.count(Count.SPOOLED, len(turn.events))
            self._feeders.notify()
        self._intake.acknowledge()
        for connection, done in self._answers:
            connection.answer(done)
        self._answers.clear()
        self._forgetting.turn()

    def _refuse_answers(self) -> None:
        """Tell the API that nothing is durable now; the commit may still succeed later.

        Whoever is refused says it again. What has no id, by which it would be known then, is taken
        back.
        """
        if self._pending is not None and self._nameless:
            del self._pending.events[-self._nameless :]
            self._nameless = 0
        for connection, done in self._answers:
            refusal = IngestDone(request=done.request, error="busy: the spool cannot be written")
            connection.answer(refusal)
        self._answers.clear()

    def _make_room(self) -> None:
        """The disk is full: give up the oldest events."""
        if dropped := self._spool.drop_oldest(_DROPPED_WHEN_FULL):
            log.error("the disk is full: the oldest %d sightings were dropped", dropped)
            self._row.count(Count.SPOOL_DROPPED, dropped)

    def _report(self) -> None:
        """Put this turn's figures on the board; tell others how sinks and cameras are."""
        row = self._row
        for camera, count in self._tracker.take_silenced().items():
            if camera in self._indexes:
                row.fate(self._indexes[camera], Fate.TRACKS_FILTERED, count)
        self._feeders.report(row, self._traces)
        told, lost = self._camera_log.take_figures()
        row.count(Count.CAMERA_EVENTS, told)
        row.count(Count.CAMERA_EVENTS_LOST, lost)
        row.gauge(Count.TRACKS_OPEN, self._tracker.open_tracks)
        row.beat(time.monotonic_ns())
        self._feeders.show(self._board, self._indexes)
        figures = self._feeders.figures()
        if figures is not None and self._link is not None:
            self._link.offer(figures)

    def _clock_ns(self) -> int:
        """Return nanoseconds UTC that never run backwards."""
        return self._clock_base_ns + time.monotonic_ns()


def main(child: Child) -> None:
    """Run until told to stop."""
    section = PublisherSection.model_validate_json(child.section)
    publisher = Publisher(section, child)
    publisher.start(child.link)
    resumed = f", {publisher.resumed} open tracks resumed" if publisher.resumed else ""
    child.link.send(Ready(detail=f"publishing to {without_password(section.redis.url)}{resumed}"))
    flush_s = _FLUSH_S
    try:
        while not child.stopping() and not _told_to_stop(child.link, publisher):
            publisher.turn()
    except LinkEndedError:
        flush_s = _FLUSH_ORPHANED_S
        log.warning("the supervisor is gone: ending")
    publisher.drain()
    publisher.close(flush_s)


_DOES: Final[dict[type, Callable[..., None]]] = {
    AttachReads: Publisher.attach,
    AttachClips: Publisher.attach_clips,
    TellCamera: Publisher.tell_camera,
    EndUpload: Publisher.end_upload,
    UseCamera: Publisher.use_camera,
}


def _told_to_stop(link: Link, publisher: Publisher) -> bool:
    """Do what the supervisor says; True when it says stop."""
    while (received := link.receive()) is not None:
        message, fds = received
        if isinstance(message, Stop):
            return True
        if type(message) in _DOES:
            _DOES[type(message)](publisher, message, *fds)
        else:
            log.warning("a %s is nothing for a publisher", type(message).__name__)
    return False


if __name__ == "__main__":
    run_child(Kind.PUBLISHER, main)
