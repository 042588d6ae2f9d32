"""The page before a whole engine: uploads, lists, people, every view in every form."""

import contextlib
import http.client
import subprocess
from pathlib import Path

import cv2
import pytest
from axe_playwright_python.sync_playwright import Axe
from clips import road_clip
from engine_run import PLATERING, EngineRun, demo, running
from playwright.sync_api import Browser, Page, expect
from polling import wait_until
from scenes import mount, plate, street

from engine.sources.scene import DemoScene

pytestmark = pytest.mark.browser

SMALL = "&width=320&height=180&fps=5"
VIEWS = ("live", "search", "cameras", "lists", "upload", "charts", "system")
FORMS = {
    "desk": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True},
}
PASSWORD = "correct horse battery"  # noqa: S105  # of people who exist for a minute


def picture(folder: Path, text: str) -> Path:
    scene = street()
    mount(scene, plate(text), (640, 380), width=230)
    path = folder / "car.png"
    cv2.imwrite(str(path), scene)
    return path


def order(run: EngineRun, *arguments: str, said: str = "") -> None:
    command = [PLATERING, *arguments, "--config", str(run.config)]
    done = subprocess.run(
        command, input=said, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done


def status(
    run: EngineRun, method: str, path: str, body: bytes | None = None, **headers: str
) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", run.port, timeout=40)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        return connection.getresponse().status


def leave(page: Page, run: EngineRun) -> None:
    page.goto("about:blank")
    run.stop()


def test_an_uploaded_picture_and_video_give_their_plates(watched, tmp_path) -> None:
    scene = DemoScene(7, 640, 360, density=3.0)
    video = road_clip(tmp_path / "road.mp4", scene, seconds=8)
    page = watched.page
    with running(tmp_path, demo(scene=SMALL)) as run:
        page.goto(f"http://127.0.0.1:{run.port}/#/upload")
        page.locator("#upload-file").set_input_files(picture(tmp_path, "KX52NBG"))
        first = page.locator(".upload").first
        expect(first.locator(".found .plate")).to_have_text("KX52NBG", timeout=20_000)
        expect(first.locator(".overlay text")).to_have_text("KX52NBG")
        crop = first.locator(".found img")
        assert crop.evaluate("each => each.decode().then(() => each.naturalWidth)") > 20

        page.locator("#upload-file").set_input_files(video)
        expect(page.locator(".upload")).to_have_count(2)
        expect(first.locator("h3")).to_have_text("road.mp4")
        expect(first).to_have_attribute("data-state", "done", timeout=60_000)
        found = first.locator(".found .plate").all_inner_texts()
        assert found
        assert set(found) <= scene.all_plates(8.0)
        assert first.locator(".mark").count() == len(found)
        first.locator(".found button").first.click()
        player = first.locator("video")
        wait_until(lambda: player.evaluate("each => each.currentTime") > 0, 5.0, "it has moved")
        expect(first.locator(".overlay text").first).to_be_visible()
        first.get_by_role("button", name="Play").click()
        expect(first.get_by_role("button", name="Pause")).to_be_visible()

        page.reload()
        expect(page.locator(".upload .found .plate")).to_have_count(len(found) + 1)
        page.locator(".upload").last.get_by_role("button", name="Remove").click()
        expect(page.locator(".upload")).to_have_count(1)
        bad = tmp_path / "bad.jpg"
        bad.write_text("no picture")
        assert watched.complaints == []
        page.locator("#upload-file").set_input_files(bad)
        expect(page.get_by_role("alert")).to_contain_text("bad.jpg: send a JPEG")
        leave(page, run)


def test_a_plate_on_a_list_is_told_wherever_one_looks(watched, tmp_path) -> None:
    page = watched.page
    with running(tmp_path, demo(scene="&density=3")) as run:
        listed = tmp_path / "list.csv"
        listed.write_text(
            "plate,match,label,severity\n@*,pattern,Any,warning\n#*,pattern,Any,alarm\n"
        )
        page.goto(f"http://127.0.0.1:{run.port}/#/charts")
        expect(page.locator("#link")).to_have_attribute("data-state", "live")
        order(run, "lists", "import", "wanted", str(listed))
        expect(page.locator(".toast").first).to_contain_text("Any · demo", timeout=30_000)
        page.locator(".toast").first.click()
        expect(page.locator("#evidence-facts")).to_contain_text("wanted: Any")
        page.keyboard.press("Escape")
        expect(page.locator("#sightings li[data-severity]").first).to_be_visible()
        assert watched.complaints == []
        leave(page, run)


def log_in(page: Page, name: str, secret: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password or key").fill(secret)
    page.get_by_role("button", name="Log in").click()


def test_people_log_in_and_see_what_is_theirs_to_do(watched, tmp_path) -> None:
    page = watched.page
    with running(tmp_path, demo(scene=SMALL)) as run:
        for role in ("viewer", "operator", "admin"):
            order(run, "people", "add", f"the-{role}", "--role", role, said=f"{PASSWORD}\n")
        page.goto(f"http://127.0.0.1:{run.port}/#/cameras")
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        expect(page.get_by_role("navigation")).to_be_hidden()
        log_in(page, "the-viewer", "wrong")
        expect(page.get_by_role("alert")).to_contain_text("wrong")
        for role, pauses, adds, uploads in (
            ("viewer", False, False, False),
            ("operator", True, False, True),
            ("admin", True, True, True),
        ):
            log_in(page, f"the-{role}", PASSWORD)
            expect(page.locator(".who")).to_contain_text(f"the-{role}")
            expect(page.locator("#link")).to_have_attribute("data-state", "live")
            expect(page.locator(".health-row")).to_have_count(1)
            expect(page.get_by_role("button", name="Pause")).to_be_visible(visible=pauses)
            expect(page.get_by_role("button", name="Add camera")).to_be_visible(visible=adds)
            if pauses:
                page.get_by_role("button", name="Pause").click()
                expect(page.get_by_role("button", name="Resume")).to_be_visible(timeout=10_000)
                page.get_by_role("button", name="Resume").click()
                expect(page.get_by_role("button", name="Pause")).to_be_visible(timeout=10_000)
            page.get_by_role("link", name="Upload").click()
            expect(page.locator(".drop")).to_be_visible(visible=uploads)
            if role == "operator":
                page.locator("#upload-file").set_input_files(picture(tmp_path, "KX52NBG"))
                expect(page.locator(".found .plate")).to_have_text("KX52NBG", timeout=20_000)
            page.get_by_role("link", name="System").click()
            expect(page.get_by_text("Who did what")).to_be_visible(visible=adds)
            if role == "admin":
                page.get_by_role("button", name="New key").click()
                page.locator("#sheet").get_by_label("Name").fill("gate")
                page.locator("#sheet button[type=submit]").click()
                key = page.locator("#sheet .secret").inner_text()
                page.keyboard.press("Escape")
                assert status(run, "GET", "/api/v1/sightings", **{"X-API-Key": key}) == 200
            page.get_by_role("link", name="Cameras").click()
            page.get_by_role("button", name="Log out").click()
            expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        # the browser itself notes each 401: of the wrong password, and of what was on its way
        assert [each for each in watched.complaints if "401" not in each] == []
        leave(page, run)


def check(page: Page, view: str, context: str | None = None) -> None:
    """Assert that everybody can use what is shown, in the light and in the dark."""
    found = Axe().run(page, context=context)
    assert found.violations_count == 0, f"{view}: {found.generate_report()}"
    page.emulate_media(color_scheme="dark")
    contrast = {"runOnly": ["color-contrast"], "resultTypes": ["violations"]}
    found = Axe().run(page, context=context, options=contrast)
    assert found.violations_count == 0, f"{view}, dark: {found.generate_report()}"
    page.emulate_media(color_scheme="light")


@pytest.mark.parametrize("form", FORMS)
def test_every_view_is_whole_in_every_form(
    browser: Browser, filled: EngineRun, tmp_path: Path, form: str
) -> None:
    context = browser.new_context(**FORMS[form], color_scheme="light", reduced_motion="reduce")
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda each: said.append(f"{each.type}: {each.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    for view in VIEWS:
        page.goto(f"http://127.0.0.1:{filled.port}/#/{view}")
        expect(page.locator(f".room-{view}")).to_be_visible()
        page.wait_for_timeout(800)  # answers come
        page.screenshot(path=tmp_path / f"{view}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
        check(page, view)
        current = page.locator("#tabs a[aria-current=page]")
        expect(current).to_have_attribute("data-view", view)
    page.goto(f"http://127.0.0.1:{filled.port}/#/live")
    page.locator("#sightings li[data-phase=final] button").first.click()
    expect(page.locator("#evidence h3").first).to_be_visible()
    check(page, "evidence", "#evidence")
    assert said == []
    context.close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> EngineRun:
    """A run with sightings, hits, an upload and a camera that is lost."""
    folder = tmp_path_factory.mktemp("filled")
    lost = '\n[[cameras]]\nname = "lost"\nurl = "rtsp://127.0.0.1:9/none"\n'
    with running(folder, demo(scene="&density=3&fps=8", camera=lost)) as run:
        listed = folder / "list.csv"
        listed.write_text(
            "plate,match,label,severity\n@*,pattern,Any,warning\n#*,pattern,Any,alarm\n"
        )
        order(run, "lists", "import", "wanted", str(listed))
        wait_until(lambda: run.camera("demo").ledger["sightings"] >= 3, 60.0, "plates have passed")
        body = picture(folder, "KX52NBG").read_bytes()
        assert status(run, "POST", "/api/v1/uploads", body) == 202
        yield run
        run.stop()
