"""Message shortcuts: "Diagnose this" and "Remember this fix", on anybody's message, in a thread too."""

from collections.abc import Mapping
from typing import Any

from handlers import cards, flow, remembering, replies, responding, slack_calls, threads
from handlers.blocks import commands as wording
from handlers.blocks import fixes, modals
from handlers.looking import recent
from handlers.opening import open_view
from handlers.reading import Reader, readable, reader_of
from handlers.services import Services
from handlers.sources.slack_text import message_text
from knowledge.redaction import clean, redact
from knowledge.store import audit, deliveries, incidents
from knowledge.store.threads import DIRECT_MESSAGE, Audience
from remediation.modes import may_narrow

Body = Mapping[str, Any]
DIAGNOSE, REMEMBER = "diagnose_message", "remember_fix_message"
NOT_HERE = "I am not in this conversation, so I cannot answer in it. Invite me and try again, or use `{}`."


async def diagnose(services: Services, ack: Any, body: Body) -> None:
    """The message is stored already, and the answer comes in its thread; where it may not, that is said at once."""
    await ack()
    audience = await _audience(services, str(body["channel"]["id"]))
    words = replies.OUTSIDE if audience == "outside" else ""
    if audience is None:
        words = NOT_HERE.format(f"{wording.COMMAND} {wording.SUBCOMMANDS['diagnose'].typed}")
    if words:
        await responding.send(services, str(body.get("response_url") or ""), wording.said("diagnose", words))


async def take_up(services: Services, question: Body, key: str) -> None:
    """A message of the shortcut becomes a question, unless it stands where the bot is not, or others read along.

    Slack offers the shortcut in every conversation, and does not say whose it is: so that is asked first. What is said
    where the bot is not would find its card's channel out of reach.
    """
    if await _audience(services, str(question["channel"])) in {"all", "members"}:
        async with services.engine.begin() as db:
            await deliveries.add(
                db, source="slack", delivery_id=f"asked:{key}", event=flow.QUESTION, body={"question": dict(question)}
            )


async def _audience(services: Services, channel: str) -> Audience | None:
    """Who reads a conversation, as Slack says now; None where the bot is not in it."""
    if not channel.startswith(DIRECT_MESSAGE):
        return await threads.look_at(services, channel)
    try:
        await slack_calls.read(services.slack.conversations_info, channel=channel)
    except slack_calls.Refusal:
        return None
    return "members"


async def open_fix(services: Services, ack: Any, body: Body) -> None:
    """The form, with the message's words and the incident of its thread filled in."""
    await ack()
    message, channel = body["message"], str(body["channel"]["id"])
    reader = await reader_of(services, channel, str(body["user"]["id"]))
    if reader.member:
        view = await _form(services, reader, message)
    else:
        view = modals.notice_modal(fixes.MEMBERS_ONLY)
    await open_view(services, body, view)


async def _form(services: Services, reader: Reader, message: Body) -> dict[str, Any]:
    async with services.engine.connect() as db:
        root = str(message.get("thread_ts") or message.get("ts") or "")
        number = await incidents.by_message(db, reader.channel, root)
        own = await incidents.get(db, number) if number else None
        found = [*([own] if own else []), *await recent(db, services, reader, fixes.MOST_OPTIONS)]
        shown = await readable(db, services, list({one.id: one for one in found}.values()), reader)
    if not shown:
        return modals.notice_modal(fixes.NOTHING)
    text = redact(clean(message_text(message, quoted=False)))
    return fixes.fix_modal(shown, chosen=number or 0, text=text, channel=reader.channel)


async def take_fix(_services: Services, ack: Any, body: Body) -> None:
    """It is stored and on its way; what was left empty is said under its field, and nothing was stored."""
    if fixes.read_fix(body["view"]) is None:
        await ack(response_action="errors", errors={fixes.FIX: fixes.EMPTY})
    else:
        await ack(response_action="update", view=modals.notice_modal(fixes.NOTED))


async def remember(services: Services, click: Body) -> None:
    """A submitted form: kept by full members alone, for an incident that they may be told of.

    `click`: user, channel, incident_id, text, key. One transaction; a repeat sets the same again.
    """
    person = await services.people.look_up(click["user"])
    refusal = may_narrow(person)
    async with services.engine.begin() as db:
        incident = await incidents.get(db, click["incident_id"])
        told = incident is not None and await readable(db, services, [incident], Reader(click["channel"]))
        if not refusal and told:
            kept = await remembering.remember_fix(db, services, click["incident_id"], click["text"], person.id)
            refusal = "" if kept else fixes.NOT_KEPT
        elif not refusal:
            refusal = fixes.NOT_KEPT
        if refusal:
            await cards.tell(db, key=click["key"], channel=click["channel"], user=person.id, text=refusal)
        else:
            await audit.record(db, "fix.told", actor=person.id, incident_id=click["incident_id"])
