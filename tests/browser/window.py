"""The sandbox page in the system's Chromium, and what a person does on it."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, Locator, Page, async_playwright, expect

from tests.stories.stage import BOT, ONCALL

# The names under which Chromium is installed.
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "artifacts"
DESK = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
LIGHT, DARK = "light", "dark"
# Only how long a failure takes to be called one: a fix and its verification on a busy machine.
PATIENCE_MS = 90_000

expect.set_options(timeout=PATIENCE_MS)


class Windows:
    """Fresh browser profiles on one page; what a page throws or reports as an error is kept in `complaints`."""

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser = browser
        self._url = url
        self._profiles: list[BrowserContext] = []
        self.complaints: list[str] = []

    async def open(
        self, user: str = ONCALL, *, size: dict[str, int] = DESK, colours: str = LIGHT, sharpness: float = 1
    ) -> Page:
        context = await self._browser.new_context(
            viewport={"width": size["width"], "height": size["height"]},
            color_scheme="dark" if colours == DARK else "light",
            device_scale_factor=sharpness,
            locale="en-GB",
            reduced_motion="reduce",
        )
        self._profiles.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = await context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        await page.goto(f"{self._url}?user={user}")
        await page.wait_for_selector("body[data-ready]")
        return page

    async def close(self) -> None:
        for profile in self._profiles:
            await profile.close()


@contextlib.asynccontextmanager
async def started(chromium: str) -> AsyncIterator[Browser]:
    """A browser from the program at the path `chromium`."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def windows(browser: Browser, url: str) -> AsyncIterator[Windows]:
    """The page at `url` in profiles of its own."""
    opened = Windows(browser, url)
    try:
        yield opened
    finally:
        await opened.close()


def row(page: Page, ts: str) -> Locator:
    """The message `ts` in the channel."""
    return page.get_by_test_id("messages").locator(f"[data-ts='{ts}']")


def cards(page: Page) -> Locator:
    """The bot's cards in the channel: its messages but the private ones and those repeated from a thread."""
    messages = page.get_by_test_id("messages")
    return messages.locator(f"[data-message-user={BOT}]:not(.ephemeral):not(:has(.broadcast))")


def card(page: Page, *words: str) -> Locator:
    """The newest card that has all `words`, which changes while a person looks at it."""
    found = cards(page)
    for word in words:
        found = found.filter(has_text=word)
    return found.last


def private(page: Page, words: str) -> Locator:
    """A message that only this person sees."""
    return page.get_by_test_id("messages").locator(".ephemeral").filter(has_text=words).last


async def break_(page: Page, scenario: str) -> None:
    await page.get_by_test_id(f"break-{scenario}").click()


async def say(page: Page, words: str) -> None:
    await page.get_by_test_id("composer").fill(words)
    await page.get_by_test_id("composer").press("Enter")


async def approve(message: Locator) -> None:
    """Press a card's Approve and say that one is sure; only fixes of some risk ask."""
    await message.locator("[data-action-id=approve]").click()
    await message.page.get_by_test_id("confirm-yes").click()


async def thread_of(message: Locator) -> Locator:
    """Open a message's thread beside the channel."""
    await message.get_by_test_id("thread-summary").click()
    thread = message.page.get_by_test_id("thread")
    await expect(thread).to_be_visible()
    return thread


def picture(what: Page | Locator, name: str) -> Any:
    """Keep what is seen as artifacts/`name`.png; to be awaited."""
    PICTURES.mkdir(exist_ok=True)
    return what.screenshot(path=PICTURES / f"{name}.png")


def sticks_out(page: Page) -> Any:
    """How many panes hold something wider than themselves; to be awaited."""
    return page.evaluate(
        "[...document.querySelectorAll('body, .scroller')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    )
