"""Redraws the README's pictures from the real page with the real bot: `python -m tests.pictures`."""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.async_api import FloatRect, Locator, expect

from bot.postgres import EmbeddedPostgres
from tests.browser.window import CHROMIUM, DARK, LIGHT, Windows, approve, break_, card, started, windows
from tests.database import run_migrations
from tests.stories.stage import Stage

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
NAMES = ("card-waiting", "card-healed", "sandbox-page")
LOOKS = {"": LIGHT, "-dark": DARK}
MOST_BYTES = 200_000
WIDE = {"width": 1200, "height": 740}
TALL = {"width": 1200, "height": 1100}  # a card whole, without what lies over its edges
SHARP = 1.75
MARGIN = 8  # pixels around a card


def main() -> None:
    """Play the main job once and keep what it looks like, bright and dark."""
    chromium = next((found for name in CHROMIUM if (found := shutil.which(name))), "")
    if not chromium:
        raise SystemExit(f"The pictures need the program {CHROMIUM[0]}, which is not installed (make tools).")
    folder = Path(tempfile.mkdtemp(prefix="codehealer-pictures-"))
    folder.chmod(0o711)  # the embedded server may run as another user
    try:
        drawn = asyncio.run(_draw(chromium, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, picture in drawn.items():
        if len(picture) > MOST_BYTES:
            raise SystemExit(f"{name} has {len(picture):,} bytes, more than {MOST_BYTES:,}.")
        (FOLDER / name).write_bytes(picture)
        sys.stdout.write(f"docs/pictures/{name}  {len(picture):,} bytes\n")


async def _draw(chromium: str, folder: Path) -> dict[str, bytes]:
    server = EmbeddedPostgres(folder)
    await server.start()
    stage = Stage(server.url, folder)
    try:
        await asyncio.to_thread(run_migrations, server.url)
        await stage.open()
        async with started(chromium) as browser, windows(browser, stage.url) as seats:
            return await _play(seats)
    finally:
        await stage.close()
        await server.stop()


async def _play(seats: Windows) -> dict[str, bytes]:
    page = await seats.open(size=WIDE)
    sharp = {ending: await seats.open(size=TALL, colours=colours, sharpness=SHARP) for ending, colours in LOOKS.items()}
    await break_(page, "release-crash-checkout")
    drawn = {}
    for ending, each in sharp.items():
        waiting = card(each, "Waiting for approval", "checkout")
        await expect(waiting.get_by_test_id("thread-summary")).to_contain_text("2 replies")
        drawn[f"card-waiting{ending}.png"] = await _card(waiting)
    # The thread stays closed here, so that the world is seen beside the card.
    await expect(page.get_by_test_id("toasts").locator("*")).to_have_count(0)
    await card(page, "Waiting for approval", "checkout").evaluate("row => row.scrollIntoView({block: 'start'})")
    drawn["sandbox-page.png"] = await page.screenshot(animations="disabled")
    await page.get_by_test_id("theme").click()
    await page.mouse.move(0, 0)
    drawn["sandbox-page-dark.png"] = await page.screenshot(animations="disabled")
    await approve(card(page, "Waiting for approval", "checkout"))
    await card(page, "Healed", "checkout").locator("[data-feedback=positive]").click()
    for ending, each in sharp.items():
        healed = card(each, "Healed", "checkout")
        await expect(healed).to_contain_text("1 helped")
        drawn[f"card-healed{ending}.png"] = await _card(healed)
    return drawn


async def _card(message: Locator) -> bytes:
    """A card with a margin, without the pointer's marks and the day above it."""
    await message.page.mouse.move(0, 0)
    await message.scroll_into_view_if_needed()
    box = await message.locator(".message-row").bounding_box()
    assert box is not None
    clip: FloatRect = {
        "x": box["x"] - MARGIN,
        "y": box["y"] - MARGIN,
        "width": box["width"] + 2 * MARGIN,
        "height": box["height"] + MARGIN,
    }
    return await message.page.screenshot(animations="disabled", clip=clip)


if __name__ == "__main__":
    main()
