"""What a front knows of other machines: fresh reports, who listens where, pictures on request."""

import threading
import time

import msgspec
import pytest

from api.cameras import CameraList, CameraView
from api.herald import Herald
from api.nodes import Nodes
from engine.store import CLIENTS, NODES, connect, node_report_key

VIEW = CameraView(name="gate", node="north", state="live", fps=10.0, has_snapshot=True)


class Room:
    """The cameras of the machine called north."""

    def own(self):
        return CameraList(engine=True, cameras=[VIEW], node="north")

    def own_snapshot(self, camera):
        return b"jpeg of " + camera.encode()


@pytest.fixture
def client(redis_server):
    with connect(redis_server.url) as one:
        yield one


@pytest.fixture
def nodes(client):
    return Nodes(client, "office:api-0", "", lambda: 3)


@pytest.fixture
def herald(redis_server):
    with connect(redis_server.url) as own:
        yield Herald(own, "north", Room(), lambda: b"metrics of north")


def test_a_machine_that_reports_is_seen_with_its_cameras_and_metrics(nodes, herald, client):
    nodes.look()
    assert (nodes.engine(), nodes.cameras()) == (False, [])
    herald.turn()
    nodes.look()
    assert (nodes.engine(), nodes.cameras()) == (True, [VIEW])
    assert nodes.metrics("north") == b"metrics of north"
    assert nodes.metrics("south") is None
    assert 0 < client.ttl(node_report_key("north")) <= 10
    client.delete(node_report_key("north"))  # it said nothing for so long
    nodes.look()
    assert nodes.cameras() == []


def test_whoever_serves_its_own_cameras_does_not_see_them_twice(client, herald):
    herald.turn()
    own = Nodes(client, "north:api-0", "north", lambda: 0)
    own.look()
    assert own.cameras() == []


def test_a_picture_is_made_for_who_asks_and_silence_is_no_picture(nodes, herald):
    began = time.monotonic()
    assert nodes.snapshot("south", "yard") == b""
    assert 0.9 < time.monotonic() - began < 3.0
    asked = threading.Thread(target=herald.turn)
    asked.start()
    assert nodes.snapshot("north", "gate") == b"jpeg of gate"
    asked.join()


def test_listeners_are_counted_by_machine_and_the_silent_no_longer(nodes, client):
    now_ms = time.time_ns() // 1_000_000
    client.hset(CLIENTS, "office:api-1", f"4 {now_ms}")
    client.hset(CLIENTS, "south:api-0", f"9 {now_ms - 100_000}")
    client.hset(CLIENTS, "west:api-0", "nonsense")
    nodes.look()
    assert nodes.clients == {"office": 7}
    assert sorted(client.hkeys(CLIENTS)) == [b"office:api-0", b"office:api-1"]
    assert 0 < client.ttl(CLIENTS) <= 60
    nodes.forget_clients()
    assert client.hkeys(CLIENTS) == [b"office:api-1"]


def test_a_report_that_nobody_can_read_and_machines_long_gone_are_left_out(nodes, client):
    client.set(node_report_key("later"), msgspec.json.encode({"node": 7}))
    client.zadd(NODES, {"later": time.time_ns() // 1_000_000, "gone": 1})
    nodes.look()
    assert nodes.others == ()
    assert client.zrange(NODES, 0, -1) == [b"later"]


def test_without_redis_there_is_nobody_and_no_mishap(nodes, herald, redis_server):
    herald.turn()
    nodes.look()
    redis_server.stop()
    nodes.look()
    assert (nodes.engine(), nodes.cameras(), nodes.clients) == (False, [], {})
    assert (nodes.snapshot("north", "gate"), nodes.metrics("north")) == (b"", None)
    nodes.forget_clients()
