"""The ingest under a publisher that stands still, and under bodies that no agent should send."""

import http.client
import itertools
import json
import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import SHARED
from ingest_front import ingest_front
from payload_fuzz import mutated, seeds
from polling import wait_until

from engine.board import Count
from engine.store import Store, connect

TAKEN_OR_REFUSED = {200, 400, 413, 415}
CLIENTS = 8
ANSWERED_WITHIN_S = 10.0
GROWTH_KIB = 32 << 10


@pytest.fixture
def both(redis_server, tmp_path):
    with ingest_front(tmp_path, redis_server.url, max_body_mib=1.0) as found:
        yield found


@pytest.fixture
def front(both):
    return both.front


@pytest.fixture
def publisher(both):
    return both.publisher


def post(port, body):
    """Return status, Retry-After and how long the answer took."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
    connection.request("POST", "/alpr_data", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status, response.headers["Retry-After"], time.monotonic() - began


@pytest.mark.parametrize("padding", [0, 200_000], ids=["small", "more than sockets hold"])
def test_a_full_queue_says_come_back_and_loses_nothing_that_it_took(
    front, publisher, redis_server, padding
):
    """A publisher that stands still: 503 soon for all; later each exactly once, said again."""
    bodies = [
        json.dumps({"plate": f"Q{n:04}", "uuid": f"q{n}", "padding": "x" * padding}).encode()
        for n in range(60)
    ]
    os.kill(publisher.process.pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(len(bodies)) as clients:
            answers = list(clients.map(lambda body: post(front.port, body), bodies))
    finally:
        os.kill(publisher.process.pid, signal.SIGCONT)
    assert {(status, after) for status, after, _ in answers} == {(503, "1")}
    assert max(took_s for *_, took_s in answers) < 20
    assert front.total(Count.INGEST_REFUSED) == len(bodies)
    for body in bodies:
        wait_until(lambda body=body: post(front.port, body)[0] == 200, 20.0, "it is taken")
    with connect(redis_server.url) as client:
        store = Store(client)
        wait_until(lambda: len(store.latest(200)) >= len(bodies), 20.0, "all are in Redis")
        found = sorted(each.plate for each in store.latest(200))
    assert found == [f"Q{n:04}" for n in range(60)]


def fuzz(front, rng_seed, count, webhooks):
    """Post so many mutated bodies over several connections; return how many of each status."""
    numbers, lock = itertools.count(), threading.Lock()
    tally, troubles = {}, []
    started_from = seeds(webhooks)

    def client(number):
        rng = random.Random(f"{rng_seed} {number}")
        connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=ANSWERED_WITHIN_S)
        while next(numbers) < count and not troubles:
            body, headers = mutated(rng.choice(started_from), rng)
            try:
                connection.request("POST", "/alpr_data", body, headers)
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                troubles.append((error, headers, body[:500]))
                break
            if response.status not in TAKEN_OR_REFUSED or not answer:
                troubles.append((response.status, answer, headers, body[:500]))
            with lock:
                tally[response.status] = tally.get(response.status, 0) + 1
        connection.close()

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(client, range(CLIENTS)))
    assert not troubles, troubles[:3]
    return tally


def rss_kib(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def assert_steady(front, publisher, seed, count, webhooks):
    """Fuzz; assert that every body was answered, and that the front did not grow over the last."""
    tally = fuzz(front, seed, count // 5, webhooks)
    warm_kib, open_files = rss_kib(front.process.pid), len(_files(front.process.pid))
    for status, more in fuzz(front, seed + 1, count - count // 5, webhooks).items():
        tally[status] = tally.get(status, 0) + more
    grown_kib = rss_kib(front.process.pid) - warm_kib
    print(f"\n{tally}, grown {grown_kib} KiB from {warm_kib} KiB")  # noqa: T201  # what was seen
    assert sum(tally.values()) == count
    assert tally[200] > count // 10
    assert tally[400] > count // 10
    assert grown_kib < GROWTH_KIB
    assert len(_files(front.process.pid)) <= open_files + CLIENTS
    assert publisher.process.poll() is None
    assert post(front.port, b'{"plate": "STILL1"}')[0] == 200


def _files(pid):
    return list(Path(f"/proc/{pid}/fd").iterdir())


def test_mutated_bodies_are_taken_or_refused(front, publisher, seed):
    assert_steady(front, publisher, seed, 2_000, SHARED / "webhooks")


@pytest.mark.long
@pytest.mark.shared
def test_a_hundred_thousand_mutated_bodies(front, publisher, seed, shared_data):
    assert_steady(front, publisher, seed, 100_000, shared_data / "webhooks")
