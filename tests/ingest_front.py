"""A front that takes posts, and the real publisher behind it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from front_process import FrontProcess, front_process
from publisher_rig import PublisherRig, running

from engine.config import ApiSettings


class IngestFront(msgspec.Struct):
    """Both processes."""

    front: FrontProcess
    publisher: PublisherRig


@contextmanager
def ingest_front(folder: Path, redis_url: str, **settings: object) -> Iterator[IngestFront]:
    """Start both, end them however the test ended."""
    with running(folder, redis_url) as publisher:
        ingest, chosen = str(publisher.ingest_path), ApiSettings(**settings)
        with front_process(redis_url, ingest_path=ingest, settings=chosen) as front:
            yield IngestFront(front, publisher)
