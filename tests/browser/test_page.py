"""The live page in a real browser, before a real API process and a real Redis."""

import json
import time

import pytest
from clips import h264_clip
from engine_run import demo, running
from front_page import commit, no_complaints, open_page
from front_process import FrontProcess, front_process, sighting
from playwright.sync_api import Browser, expect

from engine.store_writer import StoreWriter
from engine.track import Event
from engine.types import Evidence, Phase

pytestmark = pytest.mark.browser


def test_an_empty_page_explains_itself(watched, front) -> None:
    open_page(watched.page, front)
    expect(watched.page.locator("#empty")).to_be_visible()
    expect(watched.page.locator("#empty-command")).to_contain_text(f"{front.url}/alpr_data")
    no_complaints(watched, front)


def test_plates_appear_live_and_revisions_rewrite_their_card(watched, front, writer) -> None:
    commit(writer, sighting(1, plate="OLD1", camera="gate"))
    open_page(watched.page, front)
    cards = watched.page.locator("#sightings li")
    expect(cards).to_have_count(1)
    commit(writer, sighting(2, plate="NEW2X", camera="yard", region="gb", has_crop=True))
    expect(cards).to_have_count(2)
    newest = cards.first
    expect(newest.locator(".plate")).to_have_text("NEW2X")
    expect(newest.locator(".where")).to_have_text("yard")
    expect(newest.locator(".plate")).to_have_attribute("data-country", "GB")
    expect(newest.locator(".percent")).to_have_text("92 %")
    expect(newest.locator(".tag")).to_have_text("reading")
    image = newest.locator(".crop img")
    assert image.evaluate("each => each.decode().then(() => each.naturalWidth)") == 160
    commit(writer, sighting(2, 2, plate="NEW2Y", camera="yard"), sighting(2, 3, plate="NEW2Z"))
    expect(cards).to_have_count(2)
    expect(newest.locator(".plate")).to_have_text("NEW2Z")
    expect(newest.locator(".tag")).to_have_text("")
    no_complaints(watched, front)


def test_what_has_passed_is_not_being_read(watched, front, writer) -> None:
    ago_ms = int(time.time() * 1_000) - 90_000
    commit(writer, sighting(1, 2, first_unix_ms=ago_ms, last_unix_ms=ago_ms))
    open_page(watched.page, front)
    tags = watched.page.locator("#sightings .tag")
    expect(tags).to_have_text([""])
    commit(writer, sighting(2))
    expect(tags).to_have_text(["reading", ""])
    commit(writer, sighting(2, 3))
    expect(tags).to_have_text(["", ""])
    commit(writer, sighting(2, 4, phase=Phase.REVISED, plate="CLIP4"))  # a clip came late
    expect(watched.page.locator("#sightings .plate").first).to_have_text("CLIP4")
    expect(tags).to_have_text(["", ""])
    no_complaints(watched, front)


def test_the_page_reconnects_and_shows_what_it_missed_once(watched, redis_server, writer) -> None:
    with front_process(redis_server.url) as front:
        listener_port = front.port
        open_page(watched.page, front)
        commit(writer, sighting(1))
        cards = watched.page.locator("#sightings li")
        expect(cards).to_have_count(1)
        front.stop()
        expect(watched.page.locator("#link")).to_have_attribute("data-state", "reconnecting")
        commit(writer, sighting(2), sighting(1, 3, plate="FINAL1"))
    with front_process(redis_server.url, listen=listener_port):
        expect(cards).to_have_count(2)
        expect(watched.page.locator("#link")).to_have_attribute("data-state", "live")
        expect(cards.nth(1).locator(".plate")).to_have_text("FINAL1")


def test_keyboard_opens_and_closes_the_evidence(watched, front, writer) -> None:
    commit(writer, sighting(1, plate="KEY1", has_crop=True))
    page = watched.page
    open_page(page, front)
    expect(page.locator("#sightings li")).to_have_count(1)
    page.locator("#sightings li button").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#evidence")).to_be_visible()
    expect(page.locator("#evidence-plate")).to_have_text("KEY1")
    expect(page.locator("#evidence-facts")).to_contain_text("Confidence")
    page.keyboard.press("Escape")
    expect(page.locator("#evidence")).to_be_hidden()
    no_complaints(watched, front)


def test_a_clip_plays_in_the_evidence_and_stops_with_it(watched, front, writer, tmp_path) -> None:
    video = h264_clip(tmp_path / "clip.mp4", frames=50).read_bytes()
    shown = sighting(1, 3, plate="CLIP1", has_clip=True)
    writer.commit([Event(shown, Evidence(clip=video))])
    page = watched.page
    open_page(page, front)
    page.locator("#sightings li button").click()
    player = page.locator("#evidence video")
    expect(player).to_be_visible()
    play = "each => each.play().then(() => [each.videoWidth, Math.round(each.duration)])"
    assert player.evaluate(play) == [160, 2]
    page.keyboard.press("Escape")
    expect(player).to_have_count(0)
    no_complaints(watched, front)


def test_a_camera_that_turns_is_shown_before_the_next_status(watched, tmp_path) -> None:
    with running(tmp_path, demo(scene="&width=320&height=180")) as engine:
        page = watched.page
        page.goto(f"http://127.0.0.1:{engine.port}/")
        tile = page.locator("#cameras .tile")
        expect(tile).to_have_attribute("data-state", "live")
        page.route("**/api/v1/cameras", lambda route: route.abort())  # no status from now on
        engine.ask("camera.pause", name="demo")
        expect(tile).to_have_attribute("data-state", "paused", timeout=3_000)
        expect(tile.locator(".state")).to_have_text("Paused")
        page.goto("about:blank")
        engine.stop()


def test_markup_in_a_name_stays_text(watched, front, writer) -> None:
    commit(writer, sighting(1, camera="<img src=x onerror=alert(1)>", plate="MARK1"))
    open_page(watched.page, front)
    where = watched.page.locator("#sightings .where")
    expect(where).to_have_text("<img src=x onerror=alert(1)>")
    no_complaints(watched, front)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_everything_without_scrolling_sideways(
    browser: Browser, front: FrontProcess, writer: StoreWriter, scheme
) -> None:
    commit(writer, *(sighting(n, plate=f"WIDE{n:04d}", has_crop=True) for n in range(12)))
    context = browser.new_context(
        viewport={"width": 360, "height": 740}, is_mobile=True, color_scheme=scheme
    )
    page = context.new_page()
    open_page(page, front)
    expect(page.locator("#sightings li")).to_have_count(12)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(245, 246, 248)", "dark": "rgb(15, 18, 23)"}[scheme]
    context.close()


def test_plates_of_the_demo_camera_are_read_and_shown(watched, tmp_path) -> None:
    with running(tmp_path, demo(scene="&density=3")) as engine:
        page = watched.page
        page.goto(f"http://127.0.0.1:{engine.port}/")
        expect(page.locator("#cameras .tile")).to_have_attribute("data-state", "live")
        view = page.locator("#cameras .view")
        expect(view).to_be_visible()
        assert view.evaluate("each => each.naturalWidth") == 640
        cards = page.locator("#sightings li")
        expect(cards.nth(1).locator(".crop img")).to_be_visible(timeout=30_000)
        settled = page.locator("#sightings li[data-phase=final]")
        expect(settled.first).to_be_visible(timeout=30_000)
        identity = settled.first.get_attribute("data-id")
        shown = page.locator(f"[data-id='{identity}'] .plate").inner_text()
        stored = json.loads(engine.get(f"/api/v1/sightings/{identity}"))
        assert (stored["camera"], stored["plate"]) == ("demo", shown)
        picture = page.locator(f"[data-id='{identity}'] .crop img")
        assert picture.evaluate("each => each.decode().then(() => each.naturalWidth)") > 20
        page.screenshot(path=tmp_path / "page.png")
        assert watched.complaints == []
        assert watched.hosts == {f"127.0.0.1:{engine.port}"}
        page.goto("about:blank")
        engine.stop()
