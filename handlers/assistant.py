"""Slack's agent view: prompts that fit what is open, what the bot is doing, and titles of people's threads with it.

All of it is help beside the answer: where Slack refuses or does not answer, the answer comes all the same.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from handlers import slack_calls
from handlers.blocks import mrkdwn as m
from handlers.intents import Intent
from handlers.mentions import Question
from handlers.reading import readable, reader_of
from handlers.services import Services
from knowledge.errors import CodeHealerError
from knowledge.model import Incident
from knowledge.store import incidents

log = structlog.get_logger(__name__)

Body = Mapping[str, Any]
# (kind, body) as the inbox keeps it; None for what is not kept.
Stored = tuple[str, dict[str, Any]] | None

STAGE = "suggest_prompts"
MESSAGES_TAB = "messages"
# An answer does not wait longer than this for what is only beside it.
DEADLINE_S = 0.7
DIRECT = "D"
TITLE_CHARS = 60
MOST_PROMPTS, MOST_LOOKED_AT = 4, 50
TITLE = "What would you like to know?"
ALWAYS = (
    ("Is anything broken?", "Is anything broken?"),
    ("What waits for approval?", "Which proposed fixes wait for an approval?"),
    ("What happened today?", "What happened today?"),
)
DOING: Mapping[Intent, str] = {
    Intent.SIMILAR: "is looking at past incidents …",
    Intent.OVERVIEW: "is looking at what is open …",
    Intent.OTHER: "is looking at what you ask for …",
}
DOING_ELSE = "is looking at what is stored …"


# --- pure -----------------------------------------------------------------------------------------------------------


def read_opened(event: Body) -> Stored:
    """A person has opened the conversation with the bot, or looks at something beside it; None for the home tab."""
    about: dict[str, str] = {}
    if event.get("type") == "app_home_opened" and event.get("tab") != MESSAGES_TAB:
        return None
    entities = (event.get("context") or {}).get("entities") or ()
    for entity in entities if isinstance(entities, list) else ():
        value = entity.get("value") if isinstance(entity, Mapping) else None
        if isinstance(value, Mapping):
            about = {"channel": str(value.get("channel_id") or ""), "ts": str(value.get("message_ts") or "")}
    return STAGE, {"person": {"user": str(event["user"]), "channel": str(event["channel"]), "about": about}}


def prompts_for(found: Incident | None) -> list[dict[str, str]]:
    """Up to four prompts, the first about the incident that the person looks at, or that is the newest open one."""
    mine = []
    if found is not None:
        name = m.plain(found.service or found.workload or found.title, 30)
        mine.append(
            (
                f"Why does {name} fail?" if found.open else f"What was wrong with {name}?",
                f"Why did incident {found.id} fail?",
            )
        )
    return [{"title": title, "message": message} for title, message in (*mine, *ALWAYS)[:MOST_PROMPTS]]


# --- what Slack shows -----------------------------------------------------------------------------------------------


async def suggest(services: Services, person: Body) -> None:
    """Put prompts into a person's conversation with the bot."""
    channel, about = str(person["channel"]), person.get("about") or {}
    reader = await reader_of(services, channel, str(person["user"]))
    async with services.engine.connect() as db:
        number = await incidents.by_message(db, about["channel"], about["ts"]) if about else None
        seen = await incidents.get(db, number) if number else None
        newest = await incidents.listed(db, only_open=True, limit=MOST_LOOKED_AT)
        told = await readable(db, services, [*([seen] if seen else []), *newest], reader)
    await _shown(
        services.slack.assistant_threads_setSuggestedPrompts,
        channel_id=channel,
        title=TITLE,
        prompts=prompts_for(told[0] if told else None),
    )


async def begin(services: Services, question: Question, intent: Intent) -> None:
    """Say what the bot is doing, and call a new thread of a direct message by its question."""
    root = question.thread_ts or question.ts
    shown = [
        _shown(
            services.slack.assistant_threads_setStatus,
            channel_id=question.channel,
            thread_ts=root,
            status=DOING.get(intent, DOING_ELSE),
        )
    ]
    if question.channel.startswith(DIRECT) and not question.thread_ts and question.said:
        title = m.plain(question.said, TITLE_CHARS)
        shown.append(
            _shown(services.slack.assistant_threads_setTitle, channel_id=question.channel, thread_ts=root, title=title)
        )
    await asyncio.gather(*shown)


async def end(services: Services, question: Question) -> None:
    """Nothing is being done any more: Slack clears this by itself only once we post there."""
    root = question.thread_ts or question.ts
    await _shown(services.slack.assistant_threads_setStatus, channel_id=question.channel, thread_ts=root, status="")


async def _shown(method: Callable[..., Awaitable[Any]], **arguments: Any) -> None:
    try:
        async with asyncio.timeout(DEADLINE_S):
            await slack_calls.read(method, **arguments)
    except (CodeHealerError, TimeoutError) as error:
        log.info("agent_view_not_shown", channel=arguments["channel_id"], error=str(error) or type(error).__name__)
