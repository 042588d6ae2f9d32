"""The queue of uploads: one after the other, bounded, and none for ever."""

import time
from pathlib import Path

import pytest

from engine.config import CameraSettings, Settings
from engine.errors import ControlError
from engine.messages import EndUpload
from engine.types import CameraState
from engine.upload_queue import LEAST_S, UploadQueue
from engine.upload_settings import UploadsSettings
from engine.uploads import Upload, camera_of, folder_of, uploads_dir, write_about

IDS = [f"{number:016x}" for number in range(9)]


class Place:
    """A camera's place as the queue sees it."""

    def __init__(self, settings: CameraSettings) -> None:
        self.settings = settings
        self.state, self.reason = CameraState.CONNECTING, ""


class Crew:
    """The supervisor and its roster, as far as the queue knows them."""

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}
        self.in_flight = 0
        self.ended: list[EndUpload] = []

    def admit_camera(self, camera: CameraSettings) -> None:
        self.places[camera.name] = Place(camera)

    def dismiss_camera(self, name: str) -> None:
        self.places.pop(name, None)

    def place_named(self, name: str) -> Place | None:
        return self.places.get(name)

    def of(self, _kind: object) -> list["Crew"]:
        return [self]

    def send(self, message: EndUpload) -> None:
        self.ended.append(message)


@pytest.fixture
def crew() -> Crew:
    return Crew()


@pytest.fixture
def queue(tmp_path: Path, crew: Crew) -> UploadQueue:
    settings = Settings(data_dir=tmp_path, uploads=UploadsSettings(max_waiting=3))
    for upload in IDS:
        folder = folder_of(uploads_dir(tmp_path), upload)
        folder.mkdir(parents=True)
        about = Upload(
            id=upload, name="", kind="video", media_type="video/mp4", file="media.mp4",
            size_bytes=1, width_px=8, height_px=8, frames=1, duration_s=1.0, created_unix_ms=0,
        )  # fmt: skip
        write_about(folder, about)
    return UploadQueue(settings, crew, crew, lambda _place: crew.in_flight)


def test_one_is_read_at_a_time_and_ends_when_its_last_frame_is_recognized(queue, crew):
    queue.add(IDS[0])
    queue.add(IDS[1])
    queue.turn()
    queue.turn()
    (name,) = crew.places
    assert name == camera_of(IDS[0])
    assert crew.places[name].settings.play == "fast"
    assert crew.places[name].settings.weight < 1
    crew.places[name].state, crew.in_flight = CameraState.ENDED, 2
    queue.turn()
    assert not crew.ended
    crew.in_flight = 0
    queue.turn()
    queue.turn()
    assert crew.ended == [EndUpload(upload=IDS[0])]
    assert list(crew.places) == [camera_of(IDS[1])]
    assert queue.ids == (IDS[1],)


def test_too_many_are_refused_and_those_that_wait_can_be_dropped(queue, crew):
    queue.add(IDS[0])
    queue.turn()
    for upload in IDS[1:4]:
        queue.add(upload)
    with pytest.raises(ControlError, match="3 uploads wait already"):
        queue.add(IDS[4])
    queue.drop(IDS[2])
    assert queue.ids == (IDS[0], IDS[1], IDS[3])
    queue.drop(IDS[0])
    assert (queue.ids, crew.places) == ((IDS[1], IDS[3]), {})


def test_what_cannot_be_read_or_takes_too_long_fails_with_the_reason(queue, crew, monkeypatch):
    for upload in IDS[:2]:
        queue.add(upload)
        queue.turn()
        (place,) = crew.places.values()
        if upload == IDS[0]:
            place.state = CameraState.LOST
            place.reason = f"{place.settings.url}: moov atom not found"
        else:
            now = time.monotonic()
            monkeypatch.setattr(time, "monotonic", lambda now=now: now + LEAST_S + 1)
        queue.turn()
    assert [each.failure[:19] for each in crew.ended] == [
        "moov atom not found",
        "it took too long — ",
    ]


def test_frames_that_nobody_recognizes_are_not_awaited_for_ever(queue, crew, monkeypatch):
    queue.add(IDS[0])
    queue.turn()
    (place,) = crew.places.values()
    place.state, crew.in_flight = CameraState.ENDED, 1
    queue.turn()
    assert queue.ids == (IDS[0],)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + LEAST_S + 1)
    queue.turn()
    assert queue.ids == ()
    assert crew.ended[0].failure.startswith("it took too long")


def test_one_that_was_deleted_while_it_waited_is_left_out(queue, crew):
    queue.add("f" * 16)
    queue.add(IDS[0])
    queue.turn()
    queue.turn()
    assert list(crew.places) == [camera_of(IDS[0])]
    assert crew.ended == []
