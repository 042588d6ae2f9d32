"""Search, evidence, hits and the app in a real browser, before a real API process and Redis."""

import re

import pytest
from front_page import commit, no_complaints, open_page
from front_process import sighting
from playwright.sync_api import expect

from engine.types import Hit

pytestmark = pytest.mark.browser

STOLEN = Hit(list="wanted", plate="HIT1", match="exact", label="Stolen", severity="alarm")


def test_search_goes_by_the_address_bar_and_writes_it(watched, front, writer) -> None:
    seen = [sighting(n, 3, plate=f"AB{n:02d}XY", camera="gate") for n in range(60)]
    commit(writer, *seen, sighting(99, 3, plate="ZZ1", camera="yard", has_crop=True))
    page = watched.page
    open_page(page, front)
    page.goto(f"{front.url}/#/search?camera=yard")
    rows = page.locator(".room-search .cards li")
    expect(rows).to_have_count(1)
    expect(page.get_by_role("combobox", name="Camera")).to_have_value("yard")
    page.get_by_role("searchbox", name="Plate").fill("ab1*")
    page.get_by_role("combobox", name="Camera").select_option("")
    expect(rows).to_have_count(10)
    expect(page).to_have_url(re.compile(r"#/search\?plate=ab1\*&match=wildcard$|plate=ab1%2A"))
    page.get_by_role("button", name="Clear filters").click()
    expect(rows).to_have_count(50)
    page.get_by_role("button", name="Show more").click()
    expect(rows).to_have_count(61)
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()
    page.reload()
    expect(rows).to_have_count(50)
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert b"ZZ1" in download.value.path().read_bytes()
    no_complaints(watched, front)


def test_a_keyboard_is_enough(watched, front, writer) -> None:
    commit(writer, sighting(1, 3, plate="KEY1", camera="gate"))
    page = watched.page
    open_page(page, front)
    page.goto(f"{front.url}/#/charts")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#view")).to_be_focused()
    expect(page).to_have_url(f"{front.url}/#/charts")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Plate")).to_be_focused()
    page.keyboard.type("key/1")
    expect(page).to_have_url(re.compile(r"#/search\?plate=key%2F1$"))
    card = page.get_by_role("button", name="Evidence of KEY1")
    for _ in range(40):  # dates have a stop for each of their parts
        page.keyboard.press("Tab")
        if card.evaluate("each => each === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(page.locator("#evidence")).to_be_visible()
    page.keyboard.press("Escape")
    expect(card).to_be_focused()
    no_complaints(watched, front)


def test_a_correction_is_kept_and_the_plates_past_is_shown(watched, front, writer) -> None:
    commit(writer, sighting(1, 3, plate="OLD1", camera="yard"), sighting(2, 3, plate="0LD1"))
    page = watched.page
    open_page(page, front)
    page.goto(f"{front.url}/#/live?sighting=s2")
    evidence = page.locator("#evidence")
    expect(evidence.locator("#evidence-plate")).to_have_text("0LD1")
    expect(evidence).to_contain_text("not seen at any other time")
    page.get_by_text("Correct this plate").click()
    evidence.get_by_label("Plate").fill("old1")
    evidence.get_by_label("Note").fill("seen by eye")
    evidence.get_by_role("button", name="Correct").click()
    expect(evidence.locator("#evidence-plate")).to_have_text("OLD1")
    expect(evidence).to_contain_text("seen by eye")
    expect(evidence.locator(".history")).to_contain_text("yard")
    page.keyboard.press("Escape")
    expect(page.locator("[data-id=s2] .plate")).to_have_text("OLD1")
    no_complaints(watched, front)


def test_hits_stand_out_ring_and_notify(watched, front, writer) -> None:
    page = watched.page
    page.context.grant_permissions(["notifications"], origin=front.url)
    open_page(page, front)
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    for name in ("Sound for plates of lists", "Notifications for plates of lists"):
        page.get_by_role("button", name=name).click()
        expect(page.get_by_role("button", name=name)).to_have_attribute("aria-pressed", "true")
    commit(writer, sighting(1, plate="PLAIN1"), sighting(2, plate="HIT1", hits=(STOLEN,)))
    toast = page.locator(".toast")
    expect(toast).to_have_count(1)
    expect(toast).to_contain_text("Stolen")
    card = page.locator("[data-id=s2]")
    expect(card).to_have_attribute("data-severity", "alarm")
    expect(card.locator(".hit-mark")).to_have_text("Stolen")
    shown = "navigator.serviceWorker.ready.then((one) => one.getNotifications())"
    page.wait_for_function(f"{shown}.then((all) => all.length === 1)")
    assert page.evaluate(f"{shown}.then((all) => all.map((each) => each.title))") == [
        "HIT1 (wanted)"
    ]
    commit(writer, sighting(2, 3, plate="HIT1", hits=(STOLEN,)))  # the same vehicle rings once
    page.get_by_role("button", name="Only plates of lists").click()
    expect(page.locator("#sightings li:visible")).to_have_count(1)
    expect(toast).to_have_count(1)
    toast.click()
    expect(page.locator("#evidence-facts")).to_contain_text("wanted: Stolen")
    no_complaints(watched, front)


def test_the_frame_is_kept_for_when_the_server_is_away_and_no_plate_is(
    watched, front, writer
) -> None:
    commit(writer, sighting(1, 3, plate="SECRET1", has_crop=True))
    page = watched.page
    open_page(page, front)
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    page.wait_for_function("navigator.serviceWorker.controller !== null")
    page.goto(f"{front.url}/#/search?plate=SECRET1")
    expect(page.locator(".room-search .cards li")).to_have_count(1)
    kept = page.evaluate(
        """async () => {
            const urls = [];
            for (const name of await caches.keys()) {
                const cache = await caches.open(name);
                urls.push(...(await cache.keys()).map((each) => new URL(each.url).pathname));
            }
            return urls;
        }"""
    )
    assert "/ui/app.js" in kept
    assert not [path for path in kept if not path.startswith("/ui/") and path != "/"][1:], kept
    listed = page.evaluate(
        "fetch('/manifest.webmanifest').then((each) => each.json()).then((one) => one.icons)"
    )
    sizes = page.evaluate(
        """(icons) => Promise.all(icons.slice(0, 3).map(async (each) => {
            const image = new Image();
            image.src = each.src;
            await image.decode();
            return `${image.naturalWidth}x${image.naturalHeight}`;
        }))""",
        listed,
    )
    assert sizes == [each["sizes"] for each in listed[:3]]
    front.stop()
    front.listener.close()
    page.reload()
    expect(page.locator("#link")).to_have_attribute("data-state", "reconnecting")
    expect(page.get_by_role("navigation")).to_be_visible()


def test_the_colours_that_are_wished_for_stay(watched, front) -> None:
    page = watched.page
    open_page(page, front)
    page.goto(f"{front.url}/#/system")
    ground = "getComputedStyle(document.body).backgroundColor"
    for wish, colour in (("dark", "rgb(15, 18, 23)"), ("light", "rgb(245, 246, 248)")):
        page.get_by_label("Colours").select_option(wish)
        assert page.evaluate(ground) == colour
        page.emulate_media(color_scheme="light" if wish == "dark" else "dark")
        page.reload()
        expect(page.get_by_label("Colours")).to_have_value(wish)
        assert page.evaluate(ground) == colour
    page.get_by_label("Colours").select_option("")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(ground) == "rgb(15, 18, 23)"
    no_complaints(watched, front)


def test_every_file_of_the_page_is_kept_for_later(front, watched) -> None:
    page = watched.page
    open_page(page, front)
    listed = page.evaluate("fetch('/service-worker.js').then((each) => each.text())")
    used = page.evaluate(
        """performance.getEntriesByType("resource")
            .map((each) => new URL(each.name).pathname).filter((path) => path.startsWith("/ui/"))"""
    )
    assert len(used) > 15
    assert [path for path in used if f'"{path.removeprefix("/ui/")}"' not in listed] == []
