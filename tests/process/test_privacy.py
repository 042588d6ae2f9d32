"""Plates on no list leave as hashes and can still be found; a plate is forgotten on request."""

import json
import time

import msgspec
import pytest
from polling import wait_until
from publisher_rig import running

from engine.cli import main
from engine.config import RedisSettings, Settings
from engine.deadletters import FILE_NAME, DeadLetters
from engine.forget import forget
from engine.ingest_channel import IngestClient
from engine.privacy import KEY_FILE, disguise_of, own_key
from engine.store import SIGHTINGS_CHANNEL, Store, connect, count_key, plate_key
from engine.track import Event
from engine.types import Candidate, Evidence, Phase, Sighting
from engine.watchlists.entries import FILE_NAME as WATCHLISTS
from engine.watchlists.entries import Entry, Watchlists


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


def test_a_plate_is_forgotten_everywhere(tmp_path, redis_server, client, capsys):
    with running(tmp_path / "data", redis_server.url) as rig:
        directory = rig.section.directory
        post(rig, *["AB12CDE", "XY99ZZZ"] * 5)
        store = Store(client)
        wait_until(lambda: len(store.latest(20)) == 10, 5.0, "all are stored")
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
        assert len(store.by_plate("XY99ZZZ", 10)) == len(store.latest(20)) == 5
        assert len(store.by_camera("gate", 20)) == 5
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
        assert sum(map(int, counted.values())) == 11
