"""Who sees which events in a soak: the spool's file, Redis's stream, clients of the live stream.

The publisher numbers its events in the spool without gaps, in the commit that makes them durable,
and keeps each there for seconds after its delivery: reading that file twice a second shows every
event that was ever made. The others are held against it. A Redis that is killed while its disk is
busy may forget what it had acknowledged in the last two seconds: those events come again, with the
numbers that they had, and are told apart from mistakes by that.
"""

import contextlib
import http.client
import json
import random
import socket
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec

from engine.benchmarks.soak_engine import SoakedEngine
from engine.due import Due
from engine.errors import SinkError
from engine.event_stream import PATH
from engine.store import Store, connect
from engine.types import Phase

LOOK_S: Final = 0.5
READ_S: Final = 15.0
"""The live stream is never silent for longer than 10 s."""
AGAIN_S: Final = 0.5
FRESH_S: Final = (1.0, 6.0)
"""So long a client that comes and goes stays."""
DOZE_S: Final = (2.0, 8.0)
"""So long a slow client reads nothing."""
DOZES_EVERY_S: Final = 15.0


class Told(msgspec.Struct, frozen=True):
    """What all witnesses know of an event; as much of a sighting as is needed here."""

    id: str
    revision: int
    phase: Phase


_of_spool: Final = msgspec.msgpack.Decoder(Told).decode
_of_json: Final = msgspec.json.Decoder(Told).decode


class Witness:
    """A thread that looks on until it is closed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.told: list[Told] = []
        self.last_seq = 0
        self.skipped = 0
        """Events that cannot have been seen: the numbers went on without them."""
        self.forgotten = 0
        """Events that Redis had forgotten, so that they were bound to come again."""
        self.failure = ""
        """Why it could not go on looking."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name=name, daemon=True)

    def start(self) -> None:
        """Begin to look on."""
        self._thread.start()

    def close(self) -> None:
        """Look away."""
        self._ended.set()
        self._wake()
        if self._thread.ident is not None:
            self._thread.join(READ_S)

    def counted(self) -> Counter[Told]:
        """Return how often each event was seen."""
        return Counter(self.told)

    def _take(self, seq: int, told: Told) -> None:
        """Note an event and its number."""
        self.skipped += max(0, seq - self.last_seq - 1)
        self.forgotten += max(0, self.last_seq + 1 - seq)
        self.last_seq = seq
        self.told.append(told)

    def _wake(self) -> None:
        """Let go of what the thread waits for."""

    def _look_on(self) -> None:
        try:
            self._watch()
        except Exception as error:  # noqa: BLE001  # a witness that is gone must be noticed
            self.failure = f"{type(error).__name__}: {error}"

    def _watch(self) -> None:
        raise NotImplementedError


class SpoolWitness(Witness):
    """Reads what the publisher made, from its file."""

    def __init__(self, engine: SoakedEngine) -> None:
        super().__init__("spool")
        self._path = engine.spool_path

    def _watch(self) -> None:
        while not self._path.exists():  # the publisher makes it
            if self._ended.wait(LOOK_S):
                return
        with contextlib.closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as db:
            while not self._ended.wait(LOOK_S):
                with contextlib.suppress(sqlite3.OperationalError):  # busy: the next look sees it
                    self._look(db)

    def _look(self, db: sqlite3.Connection) -> None:
        query = "SELECT seq, sighting FROM events WHERE seq > ? ORDER BY seq"
        for seq, sighting in db.execute(query, (self.last_seq,)).fetchall():
            self._take(seq, _of_spool(sighting))


class StreamWitness(Witness):
    """Reads Redis's stream, as the front does."""

    def __init__(self, engine: SoakedEngine) -> None:
        super().__init__("Redis")
        self._url = engine.redis_url

    def _watch(self) -> None:
        client, last_id = connect(self._url), "0"
        store = Store(client)
        while not self._ended.wait(LOOK_S):
            with contextlib.suppress(SinkError):  # it was killed, and will be back
                while entries := store.read_stream(last_id):
                    for entry in entries:
                        last_id = entry.id
                        self._take(entry.seq, _of_json(entry.json))
        client.close()


class Follower(Witness):
    """A client of the live stream from the first event on, that resumes by the last id it saw."""

    def __init__(self, engine: SoakedEngine, name: str, seed: int) -> None:
        super().__init__(name)
        self._port = engine.port
        self._rng = random.Random(seed)
        self._last_id = "0"
        self._sock: socket.socket | None = None
        self.missed = 0
        """Events of which it was told that they are gone."""
        self._tired = Due(DOZES_EVERY_S)

    def _wake(self) -> None:
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)  # its reader closes it

    def _watch(self) -> None:
        while not self._ended.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=READ_S)
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection.connect()
                self._sock = connection.sock
                connection.request("GET", PATH, headers={"Last-Event-ID": self._last_id})
                response = connection.getresponse()
                with response:
                    if response.status == http.client.OK:
                        self._listen(response)
            connection.close()
            self._ended.wait(AGAIN_S)

    def _listen(self, response: http.client.HTTPResponse) -> None:
        """Take events until the line is cut or this visit is over."""
        stays = self._stays()
        fields: dict[str, str] = {}
        while stays() and (line := response.readline().decode()):
            if line != "\n":
                name, _, value = line.rstrip("\n").partition(": ")
                fields[name] = value
                continue
            self._last_id = fields.get("id", self._last_id)
            if "data" in fields:
                self._hear(fields.get("event", "message"), fields["data"])
            fields = {}

    def _hear(self, event: str, body: str) -> None:
        if event == "message":
            self._take(int(self._last_id.rpartition(".")[2]), _of_json(body))
        elif event == "gap":
            self.missed += json.loads(body)["missed"] or 0

    def _stays(self) -> Callable[[], bool]:
        """Return what says, for one visit, whether it goes on; asked before each line is read."""
        return lambda: True


class ComesAndGoes(Follower):
    """Hangs up every few seconds."""

    def _stays(self) -> Callable[[], bool]:
        ends_s = time.monotonic() + self._rng.uniform(*FRESH_S)
        return lambda: time.monotonic() < ends_s


class Dozes(Follower):
    """Reads nothing for seconds, again and again; in between it catches up."""

    def _stays(self) -> Callable[[], bool]:
        def goes_on() -> bool:
            if self._tired.now():
                self._ended.wait(self._rng.uniform(*DOZE_S))
            return True

        return goes_on
