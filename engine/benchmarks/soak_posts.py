"""Who posts plates to the engine in a soak: one that insists until each is taken, and garbage."""

import contextlib
import json
import random
import socket
import threading
import time
import uuid
from typing import Final

from engine.benchmarks.soak_engine import REQUEST_S, SoakedEngine

PATH: Final = "/alpr_data"
EVERY_S: Final = 1.0
AGAIN_S: Final = 0.3
LAST_S: Final = 60.0
"""How long the last post may take to be taken."""
TWICE: Final = 0.2
"""The share that is posted again although it was taken: it must stay the same sighting."""
BODIES_AT_ONCE: Final = 30
_GOOD: Final = b'{"plate": "AB12CDE", "confidence": 87.5, "camera": "posted", "uuid": "%s"}'
_LETTERS: Final = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"


class Poster:
    """Posts a plate now and then, under an id of its own, until it is told that it is durable."""

    def __init__(self, engine: SoakedEngine, seed: int) -> None:
        self._engine = engine
        self._rng = random.Random(seed)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._post, name="poster", daemon=True)
        self.sightings: dict[str, str] = {}
        """What each post became, by its own id."""
        self.changed = 0
        """Posts that were another sighting when they were said again."""
        self.refusals = 0
        """Answers other than "taken"; each was said again."""
        self.failure = ""
        """Why it could not go on posting."""

    def start(self) -> None:
        """Begin to post."""
        self._thread.start()

    def close(self) -> None:
        """Post no more; what is under way is insisted on."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(LAST_S)
            if self._thread.is_alive() and not self.failure:
                self.failure = f"the last was not taken in {LAST_S:.0f} s"

    def _post(self) -> None:
        try:
            self._post_all()
        except Exception as error:  # noqa: BLE001  # an answer that is none must be seen
            self.failure = f"{type(error).__name__}: {error}"

    def _post_all(self) -> None:
        while not self._ended.wait(EVERY_S):
            number = str(uuid.UUID(int=self._rng.getrandbits(128)))
            plate = "".join(self._rng.choices(_LETTERS, k=7))
            body = json.dumps({"plate": plate, "camera": "posted", "uuid": number}).encode()
            self.sightings[number] = self._insist(body)
            if self._rng.random() < TWICE:
                self.changed += self._insist(body) != self.sightings[number]

    def _insist(self, body: bytes) -> str:
        """Post until it is taken; return the sighting's id, empty where the engine is gone."""
        while self._engine.exit_code is None:
            status, answer = self._engine.request("POST", PATH, body)
            if status == 200:
                return str(json.loads(answer)["sightings"][0])
            self.refusals += 1
            time.sleep(AGAIN_S)
        return ""


class Garbage:
    """Bodies that nobody should take, and bytes that are no HTTP; counts the answers."""

    def __init__(self, engine: SoakedEngine) -> None:
        self._engine = engine
        self.answers: dict[int, int] = {}
        """By status; 0: none, the front was killed or hung up."""

    def throw(self, rng: random.Random) -> None:
        """Send a handful."""
        for _ in range(BODIES_AT_ONCE):
            status, _answer = self._engine.request("POST", PATH, _mangled(rng))
            self.answers[status] = self.answers.get(status, 0) + 1
        for _ in range(3):
            self._throw_bytes(rng.randbytes(rng.randint(1, 4_096)))

    def _throw_bytes(self, raw: bytes) -> None:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self._engine.port), REQUEST_S) as end,
        ):
            end.settimeout(REQUEST_S)
            end.sendall(raw + b"\r\n\r\n")
            end.recv(4_096)


def _mangled(rng: random.Random) -> bytes:
    """Return a body that is no plate any more, whatever is left of it."""
    good = _GOOD % str(uuid.UUID(int=rng.getrandbits(128))).encode()
    match rng.randrange(5):
        case 0:
            return good[: rng.randrange(1, len(good) - 1)]
        case 1:
            return rng.randbytes(rng.randint(1, 2_000))
        case 2:
            return good.replace(b'"AB12CDE"', rng.choice([b"null", b"[]", b"7", b'""', b"{}"]))
        case 3:
            return b"[" * rng.randint(1, 50_000)
        case _:
            return good.replace(b"87.5", rng.choice([b"-1", b"1e999", b'"x"', b"NaN"]))
