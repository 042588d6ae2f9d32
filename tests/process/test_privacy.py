"""Plates on no list leave as hashes and can still be found; a plate is forgotten on request."""

import contextlib
import json
import os
import signal
import socket
import threading
import time

import msgspec
import pytest
from cutting_proxy import CuttingProxy
from polling import wait_until
from publisher_rig import PublisherRig, Worker, frame, plate_read, running, settle

from engine.board import Count
from engine.cli import main
from engine.config import RedisSettings, Settings, parse_settings
from engine.deadletters import FILE_NAME, DeadLetters
from engine.errors import ConfigError, SinkError
from engine.forget import forget
from engine.ingest_channel import IngestClient
from engine.messages import DECODE, ClipCut, encode
from engine.privacy import KEY_FILE, Seal, disguise_of, own_key
from engine.resources import INGEST_SOCKET
from engine.sections import PublishedCamera
from engine.spool import HELD_S
from engine.store import SIGHTINGS_CHANNEL, Store, connect, count_key, group_key, plate_key
from engine.track import Event
from engine.types import Candidate, Evidence, Phase, Sighting
from engine.watchlists.entries import FILE_NAME as WATCHLISTS
from engine.watchlists.entries import Entry, Match, Watchlists

VIDEO = b"video" * 100


@pytest.fixture
def client(redis_server):
    with connect(redis_server.url) as one:
        yield one


def bare(plate):
    at_ms = time.time_ns() // 1_000_000
    return Sighting(
        id="", revision=1, phase=Phase.FINAL, camera="gate", node="", plate=plate,
        candidates=(Candidate(plate, 99.0),), confidence=99, first_unix_ms=at_ms,
        last_unix_ms=at_ms, best_unix_ms=at_ms, origin="ingest",
    )  # fmt: skip


def post(rig, *plates):
    client = IngestClient(rig.ingest_path)
    ids = [
        client.sighting("", bare(one), Evidence(b"crop", b"frame")).sighting_id for one in plates
    ]
    client.close()
    return ids


def everything(client):
    """Return all bytes that can be had from a server, in keys and in values."""
    whole = b""
    for key in client.scan_iter(count=1_000):
        stream = client.type(key) == b"stream"  # its dump holds removed entries, too
        whole += key + (repr(client.xrange(key)).encode() if stream else client.dump(key))
    return whole


def test_a_plate_on_no_list_is_stored_as_a_hash_and_found_all_the_same(
    tmp_path, redis_server, client
):
    with running(tmp_path, redis_server.url) as rig:
        rig.stop()
        directory = rig.section.directory
        lists = Watchlists(directory / WATCHLISTS)
        lists.put([Entry(list="police", plate="ST0LEN")])
        lists.close()
        rig.section = rig.section.model_copy(update={"privacy": "hash"})
        client.config_set("rdbcompression", "no")  # so that a dump can be searched
        subscriber = client.pubsub()
        subscriber.subscribe(SIGHTINGS_CHANNEL)
        rig.start()
        hidden, wanted, _ = post(rig, "AB12CDE", "ST0LEN", "AB12CDE")
        store = Store(client, disguise_of(directory / KEY_FILE))
        wait_until(lambda: len(store.latest(5)) == 3, 5.0, "all are stored")
        assert b"AB12CDE" not in everything(client)
        assert b"ST0LEN" in everything(client)
        heard = list(iter(lambda: subscriber.get_message(timeout=0.2), None))
        assert not any(b"AB12CDE" in m["data"] for m in heard if m["type"] == "message")
        subscriber.close()
        assert len(store.by_plate("AB12CDE", 5)) == 2
        assert Store(client).by_plate("AB12CDE", 5) == []
        assert store.evidence(hidden) == Evidence()
        assert store.evidence(wanted).crop_jpeg == b"crop"
        assert (directory / KEY_FILE).stat().st_mode & 0o777 == 0o600
        key = own_key(directory / KEY_FILE)
        rig.stop()
        rig.start()
        post(rig, "AB12CDE")
        wait_until(lambda: len(store.by_plate("AB12CDE", 5)) == 3, 5.0, "the same key again")
        assert own_key(directory / KEY_FILE) == key


def on_disk(folder):
    """Return all bytes of the spool's files."""
    return b"".join(one.read_bytes() for one in folder.glob("spool.sqlite*"))


def test_a_track_that_is_open_lies_on_disk_sealed_and_survives_a_kill(
    tmp_path, redis_server, client
):
    rules = {"max_gap_s": 3.0, "announce_after_s": 0.1, "reappear_after_s": 20.0}
    rig = PublisherRig(tmp_path, redis_server.url, **rules)
    rig.section = rig.section.model_copy(update={"privacy": "hash"})
    directory, worker = rig.section.directory, Worker()
    store = Store(client, disguise_of(directory / KEY_FILE))
    began_ns = time.time_ns()
    try:
        for half in (range(5), range(5, 10)):
            rig.start()
            rig.attach(worker)
            for number in half:
                worker.send(frame(40 * number, plate_read("AB12CDE"), base_ns=began_ns))
            settle(worker)
            rig.kill()
            assert b"AB12CDE" not in on_disk(directory)
            assert b"crop of" not in on_disk(directory)
        rig.start()
        (final,) = wait_until(lambda: finals(store), 10.0, "the final")
        assert (final.reads, final.plate[0]) == (10, "~")
    finally:
        worker.close()
        rig.close()


def finals(store, plate="AB12CDE"):
    return [one for one in store.by_plate(plate, 5) if one.phase is Phase.FINAL]


def test_a_seal_opens_with_its_key_alone():
    seal = Seal(b"k" * 32)
    closed = seal.close(b"AB12CDE")
    assert b"AB12" not in closed
    assert seal.close(closed) == closed != seal.close(b"AB12CDE")
    assert (seal.open(closed), seal.open(b"plain"), seal.close(b"")) == (b"AB12CDE", b"plain", b"")
    for other, value in ((Seal(b"o" * 32), closed), (seal, closed[:-1])):
        with pytest.raises(ValueError, match="another key"):
            other.open(value)


def passage(worker, plate, start_ms, base_ns, x=100):
    for number in range(6):
        read = plate_read(plate, x=x + 20 * number)
        worker.send(frame(start_ms + 40 * number, read, base_ns=base_ns))
    settle(worker)


def test_clips_show_only_what_is_on_a_list(tmp_path, redis_server, client):
    (tmp_path / "engine").mkdir()
    lists = Watchlists(tmp_path / "engine" / WATCHLISTS)
    lists.put([Entry(list="stolen", plate="AB12CDE")])
    lists.close()
    rig = PublisherRig(tmp_path, redis_server.url, max_gap_s=0.4, announce_after_s=0.1)
    rig.section = rig.section.model_copy(update={"privacy": "hash"})
    store, worker = Store(client, disguise_of(rig.section.directory / KEY_FILE)), Worker()
    try:
        rig.start()
        rig.attach(worker)
        with rig.attach_clips() as decoder, memory_of(VIDEO) as video:
            decoder.settimeout(5.0)
            began_ns = time.time_ns()
            passage(worker, "XY99ZZZ", 0, began_ns)
            wait_until(lambda: finals(store, "XY99ZZZ"), 5.0, "the first final")
            passage(worker, "AB12CDE", 1_000, began_ns)
            asked = DECODE.to_clip_giver.decode(decoder.recv(4_096)).sighting
            (hit,) = wait_until(lambda: finals(store), 5.0, "the second final")
            assert asked == hit.id
            cut = encode(ClipCut(sighting=asked))
            socket.send_fds(decoder, [cut], [video.fileno()])
            wait_until(lambda: store.clip(hit.id) == VIDEO, 5.0, "the clip is stored")
            assert store.get(hit.id).has_clip
            decoder.setblocking(False)
            with pytest.raises(BlockingIOError):  # nobody asked for the other one's
                decoder.recv(4_096)
    finally:
        worker.close()
        rig.close()


def test_what_turns_out_to_be_on_a_list_has_its_pictures(tmp_path, redis_server, client):
    (tmp_path / "engine").mkdir()
    lists = Watchlists(tmp_path / "engine" / WATCHLISTS)
    lists.put([Entry(list="stolen", plate="AB12CDE", match=Match.EXACT)])
    lists.close()
    rig = PublisherRig(tmp_path, redis_server.url, max_gap_s=1.0, announce_after_s=0.1)
    rig.section = rig.section.model_copy(update={"privacy": "hash"})
    store, worker = Store(client), Worker()
    try:
        rig.start()
        rig.attach(worker)
        began_ns = time.time_ns()
        texts = ["AB12CDF"] * 2 + ["AB12CDE"] * 8  # the surest picture is that of the misreading
        for number, text in enumerate(texts):
            read = plate_read(text, confidence=92 if number < 2 else 90)
            worker.send(frame(100 * number, read, base_ns=began_ns))
            settle(worker)
        (final,) = wait_until(lambda: finals(store), 5.0, "the final")
        assert final.hits
        assert store.evidence(final.id) == Evidence(b"crop of AB12CDF", b"frame")
    finally:
        worker.close()
        rig.close()


@contextlib.contextmanager
def memory_of(content):
    with os.fdopen(os.memfd_create("clip"), "wb") as memory:
        memory.write(content)
        memory.flush()
        yield memory


def test_groups_and_tracks_of_a_plate_are_forgotten(tmp_path, redis_server, client):
    settings = parse_settings({
        "data_dir": str(tmp_path),
        "redis": {"url": redis_server.url},
        "cameras": [{"name": "gate", "url": "demo://", "site": "harbour"}],
    })  # fmt: skip
    rig = PublisherRig(tmp_path, redis_server.url, max_gap_s=0.4, announce_after_s=0.1)
    camera = PublishedCamera(name="gate", index=0, site="harbour")
    rig.section = rig.section.model_copy(update={"cameras": (camera,)})
    store, worker = Store(client), Worker()
    try:
        rig.start()
        rig.attach(worker)
        passage(worker, "AB12CDE", 0, time.time_ns())
        wait_until(lambda: finals(store), 5.0, "the final")
        assert client.exists(group_key("harbour", "AB12CDE"))
        assert b"AB12CDE" in on_disk(rig.section.directory)
        assert forget(settings, "AB12CDE").sightings == 1
        assert b"AB12CDE" not in everything(client)
        assert b"AB12CDE" not in on_disk(rig.section.directory)
    finally:
        worker.close()
        rig.close()


def test_a_plate_is_forgotten_everywhere(tmp_path, redis_server, client, capsys):
    with running(tmp_path / "data", redis_server.url) as rig:
        directory = rig.section.directory
        post(rig, *["AB12CDE", "XY99ZZZ"] * 5)
        store = Store(client)
        wait_until(lambda: len(store.latest(20)) == 10, 5.0, "all are stored")
        threading.Event().wait(HELD_S + 0.5)  # the spool has let go of them
        post(rig, "XY99ZZZ")
        letters = DeadLetters(directory / FILE_NAME)
        letters.add("hook", Event(msgspec.structs.replace(bare("AB12CDE"), id="x")), "refused")
        letters.close()
        config = tmp_path / "config.toml"
        config.write_text(f'data_dir = "data"\n[redis]\nurl = "{redis_server.url}"\n')
        client.config_set("rdbcompression", "no")
        assert b"AB12CDE" in everything(client)
        assert main(["forget", "ab 12 cde", "--config", str(config)]) == 0
        assert "forgotten: 5 sightings, 5 events of the stream" in capsys.readouterr().out
        assert b"AB12CDE" not in everything(client)
        assert b"AB12CDE" not in on_disk(directory)
        assert len(store.by_plate("XY99ZZZ", 10)) == len(store.latest(20)) == 6
        assert len(store.by_camera("gate", 20)) == 6
        assert client.exists(plate_key("AB12CDE")) == 0
        (line,) = (directory / "audit.jsonl").read_text().splitlines()
        noted = json.loads(line)
        assert (noted["action"], noted["sightings"], noted["dead_letters"]) == ("forget", 5, 1)
        assert "AB12CDE" not in line
        again = forget(
            Settings(data_dir=tmp_path / "data", redis=RedisSettings(url=redis_server.url)),
            "AB12CDE",
        )
        assert (again.sightings, again.stream_entries) == (0, 0)
        post(rig, "AB12CDE")  # the publisher goes on
        wait_until(lambda: store.by_plate("AB12CDE", 5), 5.0, "a new one is stored")
        now_ms = time.time_ns() // 1_000_000
        counted = client.hgetall(count_key("gate", now_ms))
        hours = [int(number) for field, number in counted.items() if b"." not in field]
        assert sum(hours) == 12


PATIENT = {"max_gap_s": 0.6, "announce_after_s": 0.1, "reappear_after_s": 60.0}


def settings_of(rig, redis_server):
    """Return what ``platering forget`` goes by, and let it find the publisher."""
    (rig.section.directory / INGEST_SOCKET).symlink_to(rig.ingest_path)
    redis = RedisSettings(url=redis_server.url)
    return Settings(data_dir=rig.section.directory.parent, redis=redis)


def test_an_engine_that_runs_forgets_a_vehicle_in_view_and_its_clip(tmp_path, redis_server, client):
    with running(tmp_path, redis_server.url, **PATIENT) as rig:
        settings, store, worker = settings_of(rig, redis_server), Store(client), Worker()
        rig.attach(worker)
        with rig.attach_clips() as decoder, memory_of(VIDEO) as video:
            decoder.settimeout(5.0)
            began_ns = time.time_ns()
            passage(worker, "AB12CDE", 0, began_ns)
            passage(worker, "XY99ZZZ", 20, began_ns, x=900)
            wait_until(lambda: len(store.latest(5)) == 2, 5.0, "both are told of")
            (before,) = store.by_plate("AB12CDE", 5)
            for _ in range(2):
                asked = DECODE.to_clip_giver.decode(decoder.recv(4_096)).sighting
                if asked == before.id:
                    cut = encode(ClipCut(sighting=asked))
            assert forget(settings, "AB12CDE").sightings == 1
            socket.send_fds(decoder, [cut], [video.fileno()])  # it was on its way
            wait_until(lambda: finals(store, "XY99ZZZ"), 5.0, "the final of the other one")
            assert b"AB12CDE" not in everything(client) + on_disk(rig.section.directory)
            assert [one.plate for one in store.latest(5)] == ["XY99ZZZ"]
        passage(worker, "AB12CDE", 3_000, began_ns)
        (again,) = wait_until(lambda: finals(store), 5.0, "it is read anew")
        assert again.id != before.id
        assert again.first_unix_ms > before.last_unix_ms
        assert store.forgotten() == 1
        worker.close()


def test_what_waits_or_is_under_way_is_forgotten_too(tmp_path, redis_server, client, rng):
    at = redis_server.folder / "proxy.sock"
    proxy = CuttingProxy(at, redis_server.socket, rng, 0)
    try:
        with running(tmp_path, f"unix://{at}", **PATIENT) as rig:
            settings, store = settings_of(rig, redis_server), Store(client)
            post(rig, "FIRST1")
            wait_until(lambda: store.latest(5), 5.0, "the first one is stored")
            proxy.slow_s = 0.3
            post(rig, *["AB12CDE", "XY99ZZZ"] * 20)
            done = forget(settings, "AB12CDE")
            assert done.spooled + done.sightings >= 20
            assert done.spooled > 0
            wait_until(lambda: len(store.latest(50)) == 21, 20.0, "all others are stored")
            assert b"AB12CDE" not in everything(client) + on_disk(rig.section.directory)
            assert rig.total(Count.SPOOL_DROPPED) == 0
    finally:
        proxy.close()


def test_a_publisher_that_does_not_answer_is_no_absent_one(tmp_path, redis_server, monkeypatch):
    monkeypatch.setattr("engine.forget._PUBLISHER_TIMEOUT_S", 0.3)
    with running(tmp_path, redis_server.url) as rig:
        settings = settings_of(rig, redis_server)
        rig.process.send_signal(signal.SIGSTOP)
        with pytest.raises(SinkError, match="say it again: the publisher did not confirm"):
            forget(settings, "AB12CDE")
        rig.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("url", "says"), [("embedded", "say it again then"), ("unix:///nowhere", "when it does")]
)
def test_without_redis_nothing_is_said_to_be_forgotten(tmp_path, url, says):
    settings = Settings(data_dir=tmp_path, redis=RedisSettings(url=url))
    with pytest.raises(SinkError, match=f"not forgotten: .* — .*{says}"):
        forget(settings, "AB12CDE")
    with pytest.raises(ConfigError, match="PLATE: holds no letter and no digit"):
        forget(settings, "-?")
    assert not (tmp_path / "engine" / "audit.jsonl").exists()
