"""What tests of the page share: sightings with pictures, opening it, and what it may not do."""

import cv2
import numpy as np
from front_process import FrontProcess
from playwright.sync_api import Page, expect

from engine.store_writer import StoreWriter
from engine.track import Event
from engine.types import Evidence, Sighting


def crop(plate: str) -> bytes:
    picture = np.full((48, 160), 225, np.uint8)
    cv2.putText(picture, plate, (6, 33), cv2.FONT_HERSHEY_SIMPLEX, 0.9, 20, 2)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def commit(writer: StoreWriter, *sightings: Sighting) -> None:
    events = [
        Event(each, Evidence(crop_jpeg=crop(each.plate)) if each.has_crop else None)
        for each in sightings
    ]
    writer.commit(events)


def open_page(page: Page, front: FrontProcess) -> None:
    page.goto(front.url)
    expect(page.locator("#link")).to_have_attribute("data-state", "live")


def no_complaints(watched: object, front: FrontProcess) -> None:
    assert watched.complaints == [], watched.complaints
    assert watched.hosts == {front.url.removeprefix("http://")}
