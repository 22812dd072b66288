"""A night on call on the real page with the real bot: by keyboard alone, a changed fix, a snooze, 👎, a log."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.axe import violations
from tests.browser.window import Windows, break_, card, picture
from tests.stories.stage import Stage

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.browser, pytest.mark.timeout(300)]

WAITS, HEALED = "Waiting for approval", "Healed"
# Where the focus is, and whether one sees it there.
FOCUS = """() => {
  const here = document.activeElement;
  const ringed = (node) => [getComputedStyle(node).outlineStyle, getComputedStyle(node).boxShadow].some((one) => one !== "none");
  return {name: here.dataset.testid ?? here.dataset.actionId ?? "", seen: ringed(here.closest(".composer") ?? here)};
}"""  # noqa: E501 - the page's language
MOST_STOPS = 80


async def tab_to(page: Page, name: str) -> None:
    """Press Tab until the thing of this name has the focus; everything on the way shows that it has it."""
    for _ in range(MOST_STOPS):
        await page.keyboard.press("Tab")
        focus = await page.evaluate(FOCUS)
        assert focus["seen"], f"nobody sees the focus on {focus}"
        if focus["name"] == name:
            return
    raise AssertionError(f"Tab does not lead to {name}")


async def heal_by_keyboard(page: Page) -> None:
    """From a break to 👎 and its comment without a mouse."""
    await tab_to(page, "scenario-filter")
    await page.keyboard.type("new release panics checkout")
    await tab_to(page, "break-release-crash-checkout")
    await page.keyboard.press("Enter")
    await expect(card(page, WAITS, "checkout").locator("[data-action-id=approve]")).to_be_enabled()
    await page.locator("#channel-title").focus()
    await tab_to(page, "approve")
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("confirm")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_test_id("confirm")).to_be_hidden()
    assert (await page.evaluate(FOCUS))["name"] == "approve", "the focus comes back to where it was"
    await page.keyboard.press("Enter")
    await page.keyboard.press("Enter")
    await expect(card(page, HEALED, "checkout")).to_be_visible()
    await page.locator("#channel-title").focus()
    await tab_to(page, "feedback")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    modal = page.get_by_test_id("modal")
    await expect(modal).to_contain_text("What was wrong?")
    await page.keyboard.type("The flag, not the release.")
    await tab_to(page, "modal-submit")
    await page.keyboard.press("Enter")
    await expect(modal).to_be_hidden()
    await expect(card(page, HEALED, "checkout")).to_contain_text("1 did not help")


async def choose(page: Page, entry: str) -> None:
    """Take an entry of the newest waiting card's menu."""
    menu = card(page, WAITS).locator("details.menu")
    await menu.locator("summary").click()
    await menu.get_by_text(entry).click()
    await expect(page.get_by_test_id("modal")).to_be_visible()


async def test_a_night_on_call(stage: Stage, seats: Windows) -> None:
    page = await seats.open()
    await heal_by_keyboard(page)

    await page.get_by_test_id("scenario-filter").fill("")
    await break_(page, "overload-search")
    waiting = card(page, WAITS, "search")
    await expect(waiting.locator("[data-action-id=approve]")).to_be_enabled()
    await choose(page, "Edit…")
    modal = page.get_by_test_id("modal")
    await modal.locator("input").fill("500")
    await modal.get_by_test_id("modal-submit").click()
    await expect(modal.locator(".field-error")).not_to_be_empty()
    await picture(page, "night-1-edit-refused")
    assert await violations(page) == [], "of the form"
    await modal.locator("input").fill("3")
    await modal.get_by_test_id("modal-submit").click()
    await expect(modal).to_be_hidden()
    await expect(card(page, WAITS, "search")).to_contain_text("from 2 to 3")
    await choose(page, "Snooze…")
    await modal.locator("input").fill("06:00")
    await modal.get_by_test_id("modal-submit").click()
    await expect(card(page, WAITS, "search")).to_contain_text("Put off until")
    await picture(page, "night-2-snoozed")

    box = page.get_by_test_id("composer")
    await box.type("@co")
    await page.keyboard.press("Enter")
    await box.type("what is this?")
    log = b"panic: runtime error: invalid memory address or nil pointer dereference\nexit status 2\n"
    await page.get_by_test_id("composer-file").set_input_files(
        {"name": "pod.log", "mimeType": "text/plain", "buffer": log}
    )
    await expect(page.locator(".chosen:visible")).to_contain_text("pod.log")
    await page.keyboard.press("Enter")
    asked = page.get_by_test_id("messages").locator("[data-message-user=U0ONCALL]").last
    await expect(asked).to_contain_text("nil pointer dereference")
    await asked.get_by_test_id("thread-summary").click()
    await expect(page.get_by_test_id("thread").locator(".message-row")).to_have_count(2)
    assert await violations(page) == [], "of a thread"
    await page.get_by_test_id("thread-composer").press("Escape")
    await expect(page.get_by_test_id("thread")).to_be_hidden()

    await page.get_by_test_id("tab-faults").click()
    await page.get_by_test_id("fault-slack-duplicate_events").check()
    await expect(page.get_by_test_id("tab-faults")).to_have_text("Faults (1)")
    await page.get_by_test_id("theme").click()
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert await violations(page) == [], "of the faults, in the dark"
    await page.get_by_test_id("faults-clear").click()
    await expect(page.get_by_test_id("tab-faults")).to_have_text("Faults")
    await page.locator("[data-room=home]").click()
    await expect(page.get_by_test_id("home")).not_to_be_empty()
    await picture(page, "night-3-home")
    assert await violations(page) == [], "of App Home"
