"""The card in every state as the page draws it, without a bot: bright, dark and on a phone."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect
from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient

from handlers.blocks import commands, placing, thread
from handlers.blocks.card import render_card
from handlers.blocks.card_view import Card
from handlers.blocks.placing import with_note
from tests.browser.axe import violations
from tests.browser.window import DARK, DESK, LIGHT, PHONE, Windows, picture, row, sticks_out, windows
from tests.forked import Forked
from tests.handlers import card_states as states
from tests.stories.stage import DEPLOYMENTS, Json

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.browser, pytest.mark.timeout(300)]

# Drawing costs more than all else here, and nothing is asserted of a picture: `make gallery` keeps them.
PICTURED = os.environ.get("GALLERY") == "1"
# Tall, so that the longest card is seen whole.
LOOKS = {
    look: ({**size, "height": 1800}, colours)
    for look, size, colours in (("light", DESK, LIGHT), ("dark", DESK, DARK), ("phone", PHONE, LIGHT))
}


@pytest_asyncio.fixture(loop_scope="module")
async def sandbox(tmp_path: Path) -> AsyncIterator[Json]:
    """The greeting of a sandbox that no bot is connected to."""
    process, greeting = await asyncio.to_thread(Forked.sandbox, log=tmp_path / "sandbox.log")
    try:
        yield greeting
    finally:
        process.terminate()
        await process.wait()


@pytest_asyncio.fixture(loop_scope="module")
async def seats(browser: Browser, sandbox: Json) -> AsyncIterator[Windows]:
    async with windows(browser, sandbox["url"]) as opened:
        yield opened
    assert opened.complaints == []


def shown() -> dict[str, Card]:
    """Every card, and every kind of reply in its thread, by the name of its picture."""
    waiting, healed = states.VARIANTS["waiting"], states.VARIANTS["healed"]
    assert waiting.diagnosis is not None
    evidence = thread.evidence_reply(waiting, states.EVIDENCE)
    assert evidence is not None
    return {
        **{f"card {name}": render_card(view) for name, view in states.VARIANTS.items()},
        "reply evidence": evidence,
        "reply progress": thread.progress_reply(healed, states.ACTED),
        "reply verified": thread.verification_reply(healed, states.VERIFIED),
        "reply not verified": thread.verification_reply(healed, states.NOT_VERIFIED),
        **{
            f"reply needs a person {name}": thread.needs_person_reply(view)
            for name, view in states.VARIANTS.items()
            if view.incident.state in thread.NEEDS_PERSON
        },
        "card moved": with_note(render_card(waiting), placing.out_of_reach("C0PAYMENTS", "is_archived")),
        "card merged": render_card(states.MERGED),
        "card longest": render_card(states.LONGEST),
        "reply needs a person in quiet hours": thread.needs_person_reply(states.QUIET),
        "reply asked elsewhere": thread.needs_person_reply(waiting, asked_in=DEPLOYMENTS),
        "request in the approvals channel": thread.approval_request(waiting, channel=DEPLOYMENTS),
        "reply question": thread.question_answer(waiting.diagnosis, states.EVIDENCE, states.NOW),
        "answer help": commands.help_answer(),
    }


async def test_every_card_and_reply_is_drawn_within_the_page(sandbox: Json, seats: Windows) -> None:
    slack = AsyncWebClient(token=sandbox["env"]["SLACK_BOT_TOKEN"], base_url=sandbox["slack_base_url"])
    # The sandbox allows one post a second in a channel, as Slack does, and says how long to wait.
    slack.retry_handlers.append(AsyncRateLimitErrorRetryHandler(max_retry_count=5))
    posted = {
        name: (await slack.chat_postMessage(channel=DEPLOYMENTS, text=message.text, blocks=message.blocks))["ts"]
        for name, message in shown().items()
    }
    # One look at a time, once all is posted: a page draws the channel anew at each message.
    for look, (size, colours) in LOOKS.items():
        page = await seats.open(size=size, colours=colours)
        # It would lie over the pictures.
        await page.get_by_test_id("hint").evaluate("hint => { hint.style.display = 'none' }")
        for name, ts in posted.items():
            drawn = row(page, ts)
            await expect(drawn.locator(".message-body")).to_be_visible()
            await expect(drawn.locator(".unsupported")).to_have_count(0)
            if PICTURED:
                await picture(drawn, f"{look}-{name.replace(' ', '-')}")
        assert await sticks_out(page) == 0
        assert await violations(page) == [], look
