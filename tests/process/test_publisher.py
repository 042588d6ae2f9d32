"""The publisher as a process: reads in, sightings out, each once, whatever is killed."""

import contextlib
import os
import signal
import socket
import sqlite3
import threading
import time
from collections import Counter

import msgspec
import pytest
from polling import wait_until
from publisher_rig import EPOCH_NS, Worker, frame, plate_read, report, running, settle

from engine.board import Count, Fate
from engine.config import TrackerSettings
from engine.errors import SinkError
from engine.feedback import Feedback
from engine.ingest_channel import IngestClient
from engine.messages import DECODE, ClipCut, encode
from engine.sections import PublishedCamera
from engine.store import PLATES_CHANNEL, Store, connect
from engine.types import Box, Evidence, Phase, Sighting, Still

QUICK = {"max_gap_s": 0.4, "announce_after_s": 0.1, "reappear_after_s": 20.0}
PATIENT = QUICK | {"max_gap_s": 1.5}
"""Where one vehicle's reads come one by one: a busy disk may hold each up for a while."""

ALPHABET = "ABCDEFGHJKLMNPRSTUVWXYZ"


@pytest.fixture
def store(redis_server):
    client = connect(redis_server.url)
    yield Store(client)
    client.close()


def all_events(store):
    return [
        (sighting.id, sighting.revision)
        for entry in store.read_stream("0-0", count=100_000)
        for sighting in [store_decode(entry.json)]
    ]


def store_decode(raw):
    return msgspec.json.decode(raw, type=Sighting)


def finals(store):
    decoded = [store_decode(entry.json) for entry in store.read_stream("0-0", count=100_000)]
    return [sighting for sighting in decoded if sighting.news is Phase.FINAL]


def passage(worker, plate, start_ms, frames=6, every_ms=40):
    now_ns = time.time_ns()
    for number in range(frames):
        at_ms = start_ms + number * every_ms
        worker.send(frame(at_ms, plate_read(plate, x=100 + 20 * number), base_ns=now_ns))


def test_a_passage_becomes_one_sighting_with_its_pictures(tmp_path, redis_server, store):
    with running(tmp_path, redis_server.url, **QUICK) as rig:
        subscriber = redis_server.connect().pubsub()
        subscriber.subscribe(PLATES_CHANNEL)
        worker = Worker()
        rig.attach(worker)
        passage(worker, "AB12CDE", 0)
        settle(worker)
        wait_until(lambda: finals(store), 5.0, "the final")
        (sighting,) = store.latest(10)
        assert (sighting.plate, sighting.phase, sighting.reads) == ("AB12CDE", Phase.FINAL, 6)
        assert (sighting.camera, sighting.node) == ("gate", "node-a")
        assert sighting.direction_deg == 0.0
        assert store.evidence(sighting.id) == Evidence(b"crop of AB12CDE", b"frame")
        assert store.by_plate("AB12CDE", 5) == store.by_camera("gate", 5) == [sighting]
        said = list(iter(lambda: subscriber.get_message(timeout=0.2), None))
        assert [m["data"] for m in said if m["type"] == "message"] == [b"AB12CDE"]
        subscriber.close()
        assert rig.row.fate_so_far(0, Fate.SIGHTINGS) == 1
        assert rig.row.fate_so_far(0, Fate.READS_TRACKED) == 6
        wait_until(lambda: rig.total(Count.STORED) == rig.total(Count.SPOOLED), 2.0)
        worker.close()
        assert rig.stop() == 0


def test_a_kill_in_mid_track_neither_loses_nor_doubles_the_final(tmp_path, redis_server, store):
    with running(tmp_path, redis_server.url, **QUICK) as rig:
        worker = Worker()
        rig.attach(worker)
        passage(worker, "AB12CDE", 0, frames=4)
        settle(worker)
        wait_until(lambda: store.latest(1), 5.0, "the announcement")
        rig.kill()
        passage(worker, "AB12CDE", 160, frames=4)  # read while nobody listens
        rig.start()
        rig.attach(worker)
        settle(worker)
        wait_until(lambda: finals(store), 5.0, "the final")
        rig.stop()
        rig.start()  # a third time: nothing more may come of it
        rig.attach(worker)
        passage(worker, "XY99ZZZ", 5_000)
        settle(worker)
        wait_until(lambda: len(finals(store)) == 2, 5.0, "the second final")
        assert [(s.plate, s.reads) for s in finals(store)] == [("AB12CDE", 8), ("XY99ZZZ", 6)]
        assert max(Counter(all_events(store)).values()) == 1
        worker.close()


def test_what_stands_keeps_its_track_over_a_restart(tmp_path, redis_server, store):
    """The decoder says over the board that nothing changed; nobody reads the plate meanwhile."""
    with running(tmp_path, redis_server.url, **QUICK) as rig:
        decoder, worker = Feedback(rig.board, 0), Worker()
        rig.attach(worker)
        now_ns = time.time_ns()
        for number in range(6):
            worker.send(frame(40 * number, plate_read("AB12CDE"), base_ns=now_ns))
        settle(worker)
        wait_until(decoder.places, 5.0, "the track's place")
        (place,) = decoder.places()
        assert place.box == Box(100, 100, 100, 25)
        assert place.settled

        def stand(seconds):
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                decoder.tell_stills([Still(place.key, time.time_ns(), 1)])
                time.sleep(0.02)

        stand(1.5)  # more than three times the gap that ends a track
        rig.kill()
        rig.start()
        rig.attach(worker)
        stand(1.5)
        assert finals(store) == []
        wait_until(lambda: finals(store), 5.0, "the final")
        (final,) = finals(store)
        assert final.last_unix_ms - final.first_unix_ms > 2_900
        assert (final.reads, final.plate) == (6, "AB12CDE")
        assert max(Counter(all_events(store)).values()) == 1
        worker.close()


def test_cameras_of_a_site_share_the_group_of_a_vehicle(tmp_path, redis_server, store):
    cameras = [
        PublishedCamera(name=name, index=0, site=site)
        for name, site in (("gate", "harbour"), ("quay", "harbour"), ("town", ""))
    ]
    with running(tmp_path, redis_server.url) as rig:
        rig.stop()
        tracker = TrackerSettings(**QUICK)
        changes = {"cameras": tuple(cameras), "tracker": tracker}
        rig.section = rig.section.model_copy(update=changes)
        rig.start()
        worker = Worker()
        rig.attach(worker)
        now_ns = time.time_ns()

        def passes(camera, start_ms, plate="AB12CDE"):
            for number in range(6):
                read = plate_read(plate, x=100 + 20 * number)
                worker.send(frame(start_ms + 40 * number, read, camera=camera, base_ns=now_ns))
            settle(worker)
            time.sleep(0.5)

        for camera, start_ms in (("gate", 0), ("quay", 1_000), ("town", 1_000)):
            passes(camera, start_ms)
        wait_until(lambda: len(finals(store)) == 3, 5.0, "the finals")
        by_camera = {one.camera: one for one in finals(store)}
        assert by_camera["gate"].group == by_camera["gate"].id
        assert by_camera["quay"].group == by_camera["gate"].id
        assert by_camera["town"].group == ""
        assert rig.total(Count.GROUPS_JOINED) == 1
        rig.use_camera(PublishedCamera(name="quay", index=0))  # it belongs to no site any more
        time.sleep(0.3)  # links and reads channels are heard in any order
        passes("quay", 3_000, "XY99ZZZ")
        wait_until(lambda: len(finals(store)) == 4, 5.0, "the final")
        assert finals(store)[-1].group == ""
        worker.close()


def test_a_clip_that_comes_with_the_final_does_not_undo_it(tmp_path, redis_server, store):
    settings = PATIENT | {"reappear_after_s": 0.0}  # what has ended is forgotten at once
    with running(tmp_path, redis_server.url, **settings) as rig:
        worker = Worker()
        rig.attach(worker)
        with (
            rig.attach_clips() as decoder,
            os.fdopen(os.memfd_create("clip"), "wb", buffering=0) as video,
        ):
            decoder.settimeout(5.0)
            video.write(b"video")
            passage(worker, "AB12CDE", 0)
            asked = DECODE.to_clip_giver.decode(decoder.recv(4_096)).sighting
            rig.process.send_signal(signal.SIGSTOP)
            socket.send_fds(decoder, [encode(ClipCut(sighting=asked))], [video.fileno()])
            time.sleep(2.0)  # the final is due, too
            rig.process.send_signal(signal.SIGCONT)
            wait_until(lambda: finals(store), 5.0, "the final")
            wait_until(lambda: store.clip(asked), 5.0, "the clip")
        told = all_events(store)
        assert told == [(asked, revision) for revision in range(1, len(told) + 1)]
        (final,) = finals(store)
        now = store.get(asked)
        assert (now.plate, now.phase, now.has_clip) == (final.plate, Phase.FINAL, True)
        assert rig.row.fate_so_far(0, Fate.SIGHTINGS) == 1
        worker.close()


def test_records_sent_again_are_counted_and_change_nothing(tmp_path, redis_server, store):
    with running(tmp_path, redis_server.url, **QUICK) as rig:
        worker = Worker()
        rig.attach(worker)
        passage(worker, "AB12CDE", 0)
        kept = list(worker.unacknowledged)
        settle(worker)
        worker.unacknowledged = kept  # as if every acknowledgement had been lost
        rig.attach(worker)
        settle(worker)
        wait_until(lambda: finals(store), 5.0, "the final")
        assert [s.reads for s in finals(store)] == [6]
        assert rig.total(Count.READS_REPEATED) == 6
        worker.close()


def test_a_track_of_a_run_long_gone_is_ended_at_the_next_start(tmp_path, redis_server, store):
    settings = QUICK | {"max_gap_s": 2.0, "reappear_after_s": 0.0}
    with running(tmp_path, redis_server.url, **settings) as rig:
        worker = Worker()
        rig.attach(worker)
        passage(worker, "AB12CDE", 0)
        settle(worker)
        wait_until(lambda: store.latest(1), 5.0, "the announcement")
        rig.kill()
        rig.section = rig.section.model_copy(update={"run": "run-2"})
        rig.start()
        wait_until(lambda: finals(store), 5.0, "the final")
        other = Worker()  # the new run's first worker has the name and number of the old run's
        rig.attach(other)
        passage(other, "XY99ZZZ", 0)
        settle(other)
        wait_until(lambda: len(finals(store)) == 2, 6.0, "the new run's reads are no repeats")
        worker.close()
        other.close()


@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=pytest.mark.long)])
def test_kills_at_random_moments_lose_and_double_nothing(tmp_path, redis_server, store, rng, kills):
    plates = [
        f"{rng.choice(ALPHABET)}{rng.choice(ALPHABET)}{n:03d}{rng.choice(ALPHABET)}"
        for n in range(6 * kills)
    ]
    with running(tmp_path, redis_server.url, **QUICK) as rig:
        worker = Worker()
        rig.attach(worker)
        for number, plate in enumerate(plates):
            passage(worker, plate, number * 1_000, frames=4)
            worker.settled()  # like a real one, it keeps what is not acknowledged, no more
            if number % 6 == 5:
                threading.Event().wait(rng.uniform(0, 0.05))  # somewhere in its turns
                rig.kill()
                rig.start()
                rig.attach(worker)
        settle(worker)
        wait_until(lambda: len(finals(store)) >= len(plates), 8.0, "all finals")
        told = all_events(store)
        assert Counter(s.plate for s in finals(store)) == Counter(plates)
        assert max(Counter(told).values()) == 1
        ids = len({sighting_id for sighting_id, _ in told})
        report(f"{kills} kills: {len(plates)} passages, {ids} ids in {len(told)} events, each once")
        worker.close()


@pytest.mark.parametrize("kills", [2, pytest.param(30, marks=pytest.mark.long)])
def test_redis_killed_and_back_gets_every_sighting_once(tmp_path, redis_server, store, rng, kills):
    sent = []
    with running(tmp_path, redis_server.url, **QUICK) as rig:
        client = IngestClient(rig.ingest_path)

        def post(count):
            for _ in range(count):
                number = len(sent)
                sent.append(client.sighting(f"uuid-{number}", bare(f"P{number}")).sighting_id)

        post(100)
        for _ in range(kills):
            redis_server.stop()
            post(rng.randrange(100))
            redis_server.start()
            post(100 + rng.randrange(100))
        wait_until(lambda: len(all_events(store)) >= len(sent), 15.0, "all sightings arrive")
        assert [sighting_id for sighting_id, _ in all_events(store)] == sent
        numbers = [entry.seq for entry in store.read_stream("0-0", count=100_000)]
        assert numbers == list(range(1, len(sent) + 1))
        assert 1 <= rig.total(Count.SINK_FAILURES) <= kills
        assert rig.total(Count.SPOOL_DROPPED) == 0
        wait_until(lambda: rig.total(Count.STORED) == len(sent), 5.0, "all are counted stored")
        report(f"{kills} kills: {len(sent)} sent, {len(numbers)} in the stream, each once")
        client.close()
        assert rig.stop() == 0


def test_engines_on_two_machines_share_one_redis(tmp_path, redis_server, store):
    with (
        running(tmp_path / "a", redis_server.url, **QUICK) as one,
        running(tmp_path / "b", redis_server.url, **QUICK) as other,
    ):
        other.stop()
        other.section = other.section.model_copy(update={"node": "node-b"})
        other.start()
        workers = Worker(), Worker()  # of the same name and number, seeing the same plates
        for rig, worker in zip((one, other), workers, strict=True):
            rig.attach(worker)
        for number in range(10):
            for worker in workers:
                passage(worker, f"A{number}12CDE", number * 1_000)
        for worker in workers:
            settle(worker)
        wait_until(lambda: len(finals(store)) == 20, 8.0, "the finals of both")
        assert Counter(final.node for final in finals(store)) == {"node-a": 10, "node-b": 10}
        assert len({final.id for final in finals(store)}) == 20
        assert max(Counter(all_events(store)).values()) == 1
        numbers = [entry.seq for entry in store.read_stream("0-0", count=100_000)]
        assert numbers == list(range(1, len(numbers) + 1))
        for final in finals(store):  # no matter whose machine saw it
            assert store.evidence(final.id).crop_jpeg == b"crop of " + final.plate.encode()
        assert len(store.by_plate("A312CDE", 10)) == 2
        for worker in workers:
            worker.close()


def test_an_ingested_body_sent_again_becomes_nothing_new(tmp_path, redis_server, store):
    with running(tmp_path, redis_server.url, **QUICK) as rig:
        client = IngestClient(rig.ingest_path)
        first = client.sighting("same", bare("AB12CDE"), Evidence(b"crop"))
        assert client.sighting("same", bare("AB12CDE")).sighting_id == first.sighting_id
        rig.kill()
        rig.start()
        again = wait_until(lambda: patiently(client, "same", "AB12CDE"), 5.0)
        assert again.sighting_id == first.sighting_id
        client.sighting("", bare("AB12CDE"))  # without an id every post counts
        client.sighting("", bare("AB12CDE"))
        wait_until(lambda: len(store.latest(10)) == 3, 5.0)
        assert store.get(first.sighting_id).has_crop
        client.close()


def test_a_post_that_was_refused_and_is_said_again_counts_once(tmp_path, redis_server, store):
    with running(tmp_path, redis_server.url, **QUICK) as rig:
        client = IngestClient(rig.ingest_path)
        path = rig.section.directory / "spool.sqlite"
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # longer than the publisher waits for it
            with pytest.raises(SinkError, match="busy"):
                client.sighting("", bare("AB12CDE"))
            other.execute("COMMIT")
        client.sighting("", bare("AB12CDE"))
        wait_until(lambda: store.latest(5), 5.0, "it is stored")
        client.sighting("", bare("XY99ZZZ"))
        wait_until(lambda: store.by_plate("XY99ZZZ", 5), 5.0, "what came later is stored")
        assert len(store.latest(5)) == 2
        assert rig.total(Count.SPOOL_DROPPED) == 0
        client.close()


def patiently(client, uuid, plate):
    try:
        return client.sighting(uuid, bare(plate))
    except SinkError:
        return None


def test_ingested_reads_go_through_the_tracker(tmp_path, redis_server, store):
    with running(tmp_path, redis_server.url, **PATIENT) as rig:
        client = IngestClient(rig.ingest_path)
        for number in range(5):
            reads = frame(40 * number, plate_read("AB12CDE", x=100 + number), camera="agent-7")
            client.reads(f"uuid-{number}", reads)
            client.reads(f"uuid-{number}", reads)
        wait_until(lambda: finals(store), 5.0, "the final")
        (sighting,) = finals(store)
        assert (sighting.camera, sighting.origin, sighting.reads) == ("agent-7", "ingest", 5)
        client.close()


def test_many_requests_are_in_flight_at_once(tmp_path, redis_server, store):
    with running(tmp_path, redis_server.url, **QUICK) as rig:
        client = IngestClient(rig.ingest_path)
        ids = []
        threads = [
            threading.Thread(
                target=lambda n=n: ids.append(client.sighting("", bare(f"P{n}")).sighting_id)
            )
            for n in range(40)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10.0)
        assert len(set(ids)) == 40
        wait_until(lambda: len(store.latest(100)) == 40, 5.0)
        client.close()


def test_posts_go_on_at_the_next_publisher_and_each_counts_once(tmp_path, redis_server, store):
    with running(tmp_path, redis_server.url, **QUICK) as rig:
        client, stopped, ids = IngestClient(rig.ingest_path, timeout_s=30.0), threading.Event(), []

        def post():
            while not stopped.is_set():
                ids.append(client.sighting("", bare("AB12CDE")).sighting_id)  # without an id

        threads = [threading.Thread(target=post) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            posted = len(ids)
            wait_until(lambda: len(ids) > posted + 50, 10.0, "posts are taken")  # noqa: B023  # now
            assert rig.stop() == 0
            rig.start()
        stopped.set()
        for thread in threads:
            thread.join(10.0)
        assert len(set(ids)) == len(ids)
        wait_until(lambda: len(all_events(store)) >= len(ids), 10.0, "all are stored")
        assert sorted(found for found, _ in all_events(store)) == sorted(ids)
        client.close()


def test_without_a_publisher_the_client_says_so(tmp_path):
    with pytest.raises(SinkError, match="not there"):
        IngestClient(tmp_path / "ingest.sock").sighting("", bare("AB12CDE"))


def test_it_ends_within_two_seconds_of_its_supervisor(tmp_path, redis_server):
    with running(tmp_path, redis_server.url, **QUICK) as rig:
        began = time.monotonic()
        assert rig.orphan() == 0
        assert time.monotonic() - began < 2.0


def test_it_ends_in_time_while_redis_is_away_and_delivers_at_the_next_start(
    tmp_path, redis_server, store
):
    with running(tmp_path, redis_server.url, **QUICK) as rig:
        redis_server.stop()
        client = IngestClient(rig.ingest_path)
        done = client.sighting("", bare("AB12CDE"))
        began = time.monotonic()
        assert rig.stop() == 0
        assert time.monotonic() - began < 4.5
        redis_server.start()
        rig.start()
        wait_until(lambda: store.get(done.sighting_id), 5.0, "the sighting of the last run")
        client.close()


def bare(plate):
    at_ms = EPOCH_NS // 1_000_000
    return Sighting(
        id="", revision=1, phase=Phase.FINAL, camera="posted", node="", plate=plate,
        confidence=100, first_unix_ms=at_ms, last_unix_ms=at_ms, best_unix_ms=at_ms,
        origin="ingest",
    )  # fmt: skip
