"""A headless Chromium from the distribution, driven by Playwright; nothing is downloaded."""

import shutil
from collections.abc import Iterator

import pytest
from front_process import FrontProcess, front_process
from playwright.sync_api import Browser, Page, sync_playwright

from engine.config import RedisSettings
from engine.store_writer import StoreWriter

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

TELL_VIOLATIONS = """
    addEventListener("securitypolicyviolation", (each) =>
        console.error("CSP", each.violatedDirective, each.blockedURI, each.sourceFile));
"""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for the session; skips where none is installed."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("needs a browser: install the package chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield running
        running.close()


class Watched:
    """A page and everything that it complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        page.add_init_script(TELL_VIOLATIONS)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        page.on(
            "console",
            lambda said: (
                self.complaints.append(said.text) if said.type in {"error", "warning"} else None
            ),
        )


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    """A new page on a desk."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(10_000)
    yield Watched(context.new_page())
    context.close()


@pytest.fixture
def writer(redis_server) -> Iterator[StoreWriter]:
    found = StoreWriter(redis_server.url, RedisSettings())
    yield found
    found.close()


@pytest.fixture
def front(redis_server) -> Iterator[FrontProcess]:
    with front_process(redis_server.url) as running:
        yield running
