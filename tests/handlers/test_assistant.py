"""Slack's agent view: prompts, what the bot is doing, and titles."""

from typing import Any

from bot.sandbox.server import Sandbox
from handlers import answering, assistant, flow, inbox, listeners
from handlers.services import Services
from knowledge.store import outbox, threads
from tests.handlers.office import jobs
from tests.rows import NOW, S, an_incident

OPENED = {"type": "app_home_opened", "user": "U0DEV", "channel": "D0DEV", "tab": "messages"}


async def opened(services: Services, name: str, event: dict[str, Any]) -> None:
    stored = listeners.read_event(event, services)
    assert stored is not None
    await flow.accept(services, source="slack", delivery_id=name, event=stored[0], body=stored[1])
    await inbox.drain(services)
    (arguments,) = [given for stage, given in await jobs(services.engine) if stage == assistant.STAGE][-1:]
    await assistant.suggest(services, **arguments)


def prompts(sandbox: Sandbox) -> list[tuple[str, str]]:
    return [(one["title"], one["message"]) for one in sandbox.slack.workspace.prompts["D0DEV"]["prompts"]]


async def test_who_opens_the_conversation_gets_prompts_that_fit_what_is_open_and_may_be_told(
    services: Services, sandbox: Sandbox
) -> None:
    sandbox.slack.workspace.direct_message("U0DEV")
    assert listeners.read_event({**OPENED, "tab": "home"}, services) is None
    await opened(services, "Ev1", OPENED)
    assert prompts(sandbox) == list(assistant.ALWAYS)
    async with services.engine.begin() as db:
        await threads.put_channel(db, "C0DEPLOY", name="deployments", audience="all", now=NOW)
        first = await an_incident(db, state=S.ESCALATED)
        hidden = await an_incident(db, state=S.ESCALATED, channel="G0QUIET", title="OrdersDown", service="orders")
        await outbox.new_card(db, first.id, "C0DEPLOY")
        await outbox.card_shown(db, first.id, channel="C0DEPLOY", ts="1600000000.000100", shown="x")
    await opened(services, "Ev2", OPENED)
    assert prompts(sandbox)[0] == ("Why does checkout fail?", f"Why did incident {first.id} fail?")
    assert str(hidden.id) not in str(prompts(sandbox))
    value = {"channel_id": "C0DEPLOY", "message_ts": "1600000000.000100"}
    looks = {"type": "app_context_changed", "user": "U0DEV", "channel": "D0DEV"}
    await opened(services, "Ev3", {**looks, "context": {"entities": [{"type": "message_context", "value": value}]}})
    assert prompts(sandbox)[0][1] == f"Why did incident {first.id} fail?"


async def test_a_direct_message_has_a_title_and_shows_what_is_being_done_until_it_is_answered(
    services: Services, sandbox: Sandbox
) -> None:
    channel = sandbox.slack.workspace.direct_message("U0DEV")
    answer = await services.slack.chat_postMessage(channel=channel.id, text="a person's question stands here")
    question = {"user": "U0DEV", "channel": channel.id, "ts": answer["ts"], "thread_ts": "", "text": "who approved it?"}
    await answering.answer(services, question)
    calls = [(one["method"], one["args"]) for one in sandbox.slack.log.entries if "assistant" in one["method"]]
    statuses = [given["status"] for method, given in calls if method == "assistant.threads.setStatus"]
    assert statuses == ["is looking at what is stored …", ""]
    assert channel.messages[answer["ts"]]["assistant_title"] == "who approved it?"
    # Where Slack refuses all of it, the answer comes all the same.
    sandbox.slack.faults.without_scopes = ["assistant:write", "chat:write"]
    await answering.answer(services, {**question, "ts": "1.1"})
    async with services.engine.connect() as db:
        assert await outbox.known(db, f"answer:{channel.id}:1.1")
