"""Modals that cannot be opened: what Slack would refuse is not sent, and a click that came too late is answered."""

from dataclasses import replace

from bot.sandbox.server import Sandbox
from handlers import forms, home, replies, shortcuts
from handlers.blocks import modals
from handlers.opening import open_view
from handlers.services import Services
from tests.handlers.office import rows, told


def clicked(trigger: str, channel: str = "C0DEPLOY") -> dict[str, object]:
    return {"trigger_id": trigger, "user": {"id": "U0DEV"}, **({"channel": {"id": channel}} if channel else {})}


async def test_a_view_that_slack_would_refuse_becomes_a_sentence_and_is_counted(
    services: Services, sandbox: Sandbox
) -> None:
    counted: list[str] = []
    view = {**modals.notice_modal("x"), "title": {"type": "plain_text", "text": "x" * 25}}
    trigger = sandbox.slack.new_trigger("U0DEV")
    await open_view(replace(services, count_refused=counted.append), clicked(trigger), view)
    (shown,) = sandbox.slack.workspace.views.values()
    assert replies.UNEXPECTED in str(shown["blocks"])
    assert counted == ["view"]


async def test_a_click_whose_time_is_over_is_answered_where_it_can_be(services: Services) -> None:
    await open_view(services, clicked("long.ago"), modals.notice_modal("x"))
    assert await told(services.engine) == [("U0DEV", replies.TOO_LATE)]
    await open_view(services, clicked("from.the.home", channel=""), modals.notice_modal("x"))
    (direct,) = await rows(
        services.engine, "SELECT channel, payload->>'text' AS words FROM outbox WHERE kind = 'direct'"
    )
    assert (direct.channel, direct.words) == ("U0DEV", replies.TOO_LATE)


async def test_what_opens_from_home_or_a_message_too_late_is_said_so_too(services: Services) -> None:
    async def ack() -> None:
        pass

    body = {**clicked("long.ago", channel=""), "actions": [{"value": ""}]}
    await home.open_quiet_hours(services, ack, body)
    await forms.open_decision(services, ack, {**body, "trigger_id": "long.ago.too"})
    message = {"ts": "1.1", "text": "fixed by a bigger disk"}
    await shortcuts.open_fix(services, ack, {**clicked("and.this"), "message": message})
    found = await rows(services.engine, "SELECT payload->>'text' AS words FROM outbox")
    assert [row.words for row in found] == [replies.TOO_LATE] * 3
