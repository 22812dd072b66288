"""A newcomer's job on the real page with the real bot: break, watch, read, approve, see it healed, give a thumb."""

import re

import pytest
from playwright.async_api import Page, expect

from tests.browser.window import (
    DARK,
    PHONE,
    Windows,
    approve,
    break_,
    card,
    cards,
    picture,
    private,
    say,
    sticks_out,
    thread_of,
)
from tests.stories.stage import DEVELOPER, Stage
from tests.stories.test_healing import healthy, writes

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.browser, pytest.mark.timeout(300)]

WAITS, HEALED, PERSON = "Waiting for approval", "Healed", "Needs a person"


async def heal_checkout(page: Page) -> None:
    """The first incident from its break to 👍, in as few clicks as a newcomer needs."""
    await break_(page, "release-crash-checkout")
    await approve(card(page, WAITS, "checkout"))
    healed = card(page, HEALED, "checkout")
    await expect(healed).to_be_visible()
    await healed.locator("[data-feedback=positive]").click()
    await expect(healed).to_contain_text("1 helped")


async def test_a_newcomer_breaks_reads_approves_and_sees_it_healed(stage: Stage, seats: Windows) -> None:
    page = await seats.open()
    await expect(page.get_by_test_id("bot-status")).to_contain_text("online")
    await expect(page.get_by_test_id("world-status")).to_contain_text("are healthy")
    await expect(page.get_by_test_id("hint").locator(":scope > *")).to_have_count(2)
    await expect(page.get_by_test_id("hint")).not_to_contain_text("false")
    await picture(page, "job-1-quiet")

    await break_(page, "release-crash-checkout")
    waiting = card(page, WAITS, "checkout")
    await expect(waiting).to_be_visible()
    await expect(waiting.locator("[data-action-id=approve]")).to_be_enabled()
    await expect(cards(page)).to_have_count(1)
    await picture(page, "job-2-waiting")

    thread = await thread_of(waiting)
    await expect(thread).to_contain_text("Evidence")
    await expect(thread.locator("pre").first).to_be_visible()
    await expect(thread).to_contain_text("Similar incidents")
    await picture(page, "job-3-thread")

    await waiting.locator("[data-action-id=details]").click()
    modal = page.get_by_test_id("modal")
    await expect(modal).to_contain_text("k8s_rollback")
    await picture(page, "job-4-details")
    await modal.get_by_test_id("modal-close").click()

    await waiting.locator("[data-action-id=approve]").click()
    confirm = page.get_by_test_id("confirm")
    await expect(confirm).to_contain_text("checkout")
    await picture(page, "job-5-confirm")
    await page.get_by_test_id("confirm-deny").click()
    await expect(waiting).to_be_visible()
    assert not writes(await stage.requests("k8s")), "looking and hesitating change nothing"

    await approve(waiting)
    await expect(card(page, "Checking whether the fix helped")).to_be_visible()
    await picture(page, "job-6-verifying")
    healed = card(page, HEALED, "checkout")
    await expect(healed).to_be_visible()
    await expect(cards(page)).to_have_count(1)
    await expect(healed.locator("[data-action-id=approve]")).to_have_count(0)
    await expect(thread).to_contain_text("Verified: the failure is gone")
    await expect(page.locator("[data-service=checkout]")).to_have_attribute("data-status", "healthy")
    assert len(writes(await stage.requests("k8s"))) == 1

    await healed.locator("[data-feedback=positive]").click()
    await expect(healed).to_contain_text("1 helped")
    await expect(page.get_by_test_id("hint").locator("li:not(.done)")).to_have_count(0)
    await expect(page.get_by_test_id("hint")).to_contain_text("That was the whole loop")
    await picture(page, "job-7-healed")


async def test_the_same_cause_elsewhere_shows_the_first_as_a_precedent(stage: Stage, seats: Windows) -> None:
    page = await seats.open()
    await heal_checkout(page)
    await break_(page, "release-crash-orders")
    second = card(page, WAITS, "orders")
    await expect(second).to_contain_text("1 similar incident here")
    thread = await thread_of(second)
    known = thread.locator(".message-body").filter(has_text="Similar incidents").first
    await expect(known).to_contain_text("checkout")
    await expect(known).to_contain_text("worked, verified")
    await expect(known.get_by_role("img", name="thumbsup")).to_be_visible()
    await picture(page, "job-8-precedent")

    await known.get_by_role("link", name=re.compile("checkout prod")).click()
    await expect(thread.locator(".message-body").first).to_contain_text("checkout · prod")
    await expect(thread).to_contain_text("Verified: the failure is gone")


async def test_a_developer_is_refused_privately(stage: Stage, seats: Windows) -> None:
    riley, kim = await seats.open(), await seats.open(DEVELOPER)
    await break_(riley, "release-crash-checkout")
    await approve(card(kim, WAITS, "checkout"))
    await expect(private(kim, "You may not decide this one")).to_be_visible()
    await picture(kim, "job-9-refused")
    await expect(card(riley, WAITS, "checkout")).to_be_visible()
    await expect(private(riley, "You may not decide this one")).to_have_count(0)
    assert not writes(await stage.requests("k8s"))


async def test_a_fix_is_rejected_with_a_reason(stage: Stage, seats: Windows) -> None:
    page = await seats.open()
    await break_(page, "release-crash-checkout")
    await card(page, WAITS, "checkout").locator("[data-action-id=reject]").click()
    modal = page.get_by_test_id("modal")
    await expect(modal).to_contain_text("Reject this fix")
    await picture(page, "job-10-reject")
    await modal.get_by_test_id("modal-submit").click()
    await expect(modal.locator("[data-input-block=reason] .field-error")).to_be_visible()
    await modal.get_by_label("Right cause, wrong fix").check()
    await modal.get_by_label("Comment").fill("The new table cannot be read by the old version.")
    await modal.get_by_test_id("modal-submit").click()
    await expect(modal).to_be_hidden()
    rejected = card(page, PERSON, "checkout")
    await expect(rejected).to_contain_text("Right cause, wrong fix: The new table cannot be read")
    await expect(rejected.locator("[data-action-id=approve]")).to_have_count(0)
    await picture(page, "job-11-rejected")
    assert not writes(await stage.requests("k8s"))
    assert not await healthy(stage, "checkout")


async def test_commands_are_typed_and_answered_privately(stage: Stage, seats: Windows) -> None:
    page = await seats.open()
    await say(page, "/codehealer help")
    await expect(private(page, "Type after")).to_contain_text("incidents open")
    await break_(page, "release-crash-checkout")
    await expect(card(page, WAITS, "checkout")).to_be_visible()
    await say(page, "/codehealer status")
    status = private(page, "1 open incident")
    await expect(status).to_contain_text("1 approval waiting")
    await expect(status).to_contain_text("Mode")
    before = await page.get_by_test_id("dismiss").count()
    await page.get_by_test_id("dismiss").last.click()
    await expect(page.get_by_test_id("dismiss")).to_have_count(before - 1)
    await picture(page, "job-12-commands")


async def test_the_card_and_its_thread_fit_a_phone_in_the_dark(stage: Stage, seats: Windows) -> None:
    page = await seats.open(size=PHONE, colours=DARK)
    await page.get_by_test_id("pane-side").click()
    await break_(page, "release-crash-checkout")
    waiting = card(page, WAITS, "checkout")
    await expect(waiting).to_be_visible()
    assert await sticks_out(page) == 0
    await picture(page, "job-13-phone")
    thread = await thread_of(waiting)
    await expect(thread).to_contain_text("Similar incidents")
    assert await sticks_out(page) == 0
    await picture(page, "job-14-phone-thread")
