"""What the stages put into the outbox: the card, and what is said in its thread."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import aiohttp
import structlog
from slack_sdk.errors import SlackApiError
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import muting, reading, storms
from handlers.attachments import files_of, read_files
from handlers.blocks import thread, trust
from handlers.blocks.card_view import Card, CardView
from handlers.mentions import QUESTION_SOURCE, Question, asked_with_text
from handlers.services import Services
from handlers.slack_calls import Refusal
from handlers.sources.slack_text import message_text
from handlers.threads import pages_of
from handlers.view import card_view
from knowledge.errors import Unavailable
from knowledge.model import (
    Approval,
    ApprovalState,
    Evidence,
    EvidenceKind,
    Execution,
    ExecutionState,
    Incident,
    IncidentState,
    RejectReason,
    Verification,
)
from knowledge.redaction import clean, redact
from knowledge.runbooks import Runbook, best_runbook
from knowledge.store import answers, executions, incidents, outbox, threads
from knowledge.store.outbox import CardPlace
from remediation import routes

log = structlog.get_logger(__name__)

MAX_THREAD_CHARS = 60_000
# A card in a storm's thread had better wait until it can tell the cause: then it need not be edited.
STORM_HOLDS_S = 20.0
SLACK_FAULTS = (SlackApiError, aiohttp.ClientError, TimeoutError)


async def show(db: AsyncConnection, services: Services, incident: Incident, *, first: bool = False) -> None:
    """Post or edit the incident's card with what is known when it is sent."""
    in_thread = {"thread_ts": incident.thread_ts} if incident.thread_ts else {}
    held_back_s = STORM_HOLDS_S if first and incident.storm_id else 0.0
    if first:
        await outbox.new_card(db, incident.id, incident.channel or services.channel)
    await outbox.put_card(
        db,
        incident.id,
        incident.channel or services.channel,
        payload=in_thread,
        priority=_urgency(incident, first=first),
        in_s=held_back_s,
    )
    if not first:
        await outbox.settle_calls(db, incident.id, revision=incident.revision)
    await storms.changed(db, services, incident)


def _urgency(incident: Incident, *, first: bool) -> int:
    """A person waits for the answer to a question; a card in a storm's thread lets those of the channel go first."""
    if not first:
        return outbox.CHANGED
    if incident.source == QUESTION_SOURCE:
        return outbox.URGENT
    return outbox.IN_STORM if incident.storm_id else outbox.NEW


async def recount(db: AsyncConnection, services: Services, incident_ids: Collection[int]) -> None:
    """Show higher counts some time soon: a repeat is no news. The cards have their places already."""
    await outbox.count_cards(db, incident_ids, services.channel, in_s=services.timing.count_edit)


async def _reply(
    db: AsyncConnection,
    services: Services,
    incident: Incident,
    key: str,
    card: Card,
    *,
    broadcast: bool = False,
    suffix: str = "",
    quiet: bool = False,
) -> None:
    # A card that answers a mention stands in that thread, and so does what is said about it.
    where: dict[str, Any] = {"thread_ts": incident.thread_ts} if incident.thread_ts else {"in_thread": True}
    await outbox.put(
        db,
        kind="post",
        key=f"{key}:{incident.id}{suffix}",  # for calls: outbox.call_key
        channel=incident.channel or services.channel,
        payload={"text": card.text, "blocks": card.blocks, "broadcast": broadcast, **where, **_quiet(quiet)},
        incident_id=incident.id,
    )


def _quiet(quiet: bool) -> dict[str, bool]:
    """Marks a call that mentions nobody, to be made again when the quiet hours are over."""
    return {"quiet": True} if quiet else {}


async def explain(db: AsyncConnection, services: Services, incident: Incident, *, shadow: bool) -> None:
    """After a diagnosis: the evidence for it in the thread, and a call where a person is needed.

    `shadow`: what is planned would have run by itself in automatic mode.
    """
    # In a storm the channel's one message a second is for cards; their buttons tell the rest.
    if asked_with_text(incident) or incident.storm_id:
        return
    view = await card_view(db, services, incident)
    collected = await incidents.evidence_of(db, incident.id)
    note = trust.would_have(view.plan) if view.plan and shadow else ""
    reply = thread.evidence_reply(view, collected, runbook=await _runbook(services, incident, collected), note=note)
    if reply and not view.observing:
        await _reply(db, services, incident, f"evidence:{incident.revision}", reply)
    await call_people(db, services, incident, view=view)


async def _runbook(services: Services, incident: Incident, collected: Sequence[Evidence]) -> Runbook | None:
    """The team's runbook for this, by the folder as it is now."""
    await asyncio.to_thread(services.runbooks.refresh)
    said = [item.text for item in collected if item.kind in {EvidenceKind.ALERT, EvidenceKind.MESSAGE}]
    return best_runbook(
        services.runbooks.runbooks,
        kind=incident.kind,
        service=incident.service,
        text="\n".join([incident.title, *said]),
    )


async def call_people(
    db: AsyncConnection, services: Services, incident: Incident, *, view: CardView | None = None
) -> None:
    """An edit of the card notifies nobody, so a state that needs a person is said in the thread as well.

    `view` is what the card shows in this transaction, where the caller has read it already.
    """
    if incident.state not in thread.NEEDS_PERSON or incident.storm_id:
        return
    if await muting.quiet_about(db, services, incident):
        return
    view = view or await card_view(db, services, incident)
    # What flaps is under an earlier card, and tells those who read there.
    again = bool(incident.thread_ts) and incident.source != QUESTION_SOURCE
    if not view.observing:
        await _call(db, services, view, loud=not again)


async def call_again_for_worse(db: AsyncConnection, services: Services, incident: Incident) -> bool:
    """Call people once more to an incident that has become critical, also where its card is in a thread of others.

    False while observing, when nobody is called.
    """
    view = await card_view(db, services, incident)
    if view.observing:
        return False
    await _call(db, services, view, loud=True, suffix=outbox.WORSE)
    return True


async def _call(db: AsyncConnection, services: Services, view: CardView, *, loud: bool, suffix: str = "") -> None:
    """Call people in the card's thread, or where its route has approvals asked for. With `suffix` once more."""
    incident, key = view.incident, f"call:{view.incident.revision}"
    here = incident.channel or services.channel
    loud = loud and not view.quiet_until
    elsewhere = await _asked_in(db, services, view, here)
    reply = thread.needs_person_reply(view, asked_in=elsewhere)
    await _reply(
        db, services, incident, key, reply, broadcast=loud and not elsewhere, suffix=suffix,
        quiet=bool(view.quiet_until),
    )  # fmt: skip
    if elsewhere:
        asked, call = thread.approval_request(view, channel=here), thread.needs_person_reply(view)
        said = {"text": call.text, "blocks": call.blocks, "in_thread": True, "broadcast": loud}
        await outbox.put(
            db,
            kind="post",
            key=f"{key}:{incident.id}:approvals{suffix}",
            channel=elsewhere,
            payload={
                "text": asked.text, "blocks": asked.blocks, "otherwise": {"channel": here, "payload": said},
                **_quiet(bool(view.quiet_until)),
            },
            incident_id=incident.id,
        )  # fmt: skip


async def _asked_in(db: AsyncConnection, services: Services, view: CardView, here: str) -> str:
    """The channel in which the route has approvals asked for; "" where that is the card's, or wider than it."""
    route = routes.route_of(services.policy, routes.subject_of(services.policy, view.incident))
    channel = route.approvals if route and view.incident.state is IncidentState.WAITING else ""
    if not channel or channel == here or view.incident.source == QUESTION_SOURCE:
        return ""
    if not await reading.is_open(db, here) and not await reading.is_closed(db, channel):
        return ""  # what is not known yet may be closed
    return channel


async def call_after_quiet(services: Services) -> None:
    """Call people to what still needs them and was not called for in quiet hours, once these are over."""
    beyond = 0
    while True:
        async with services.looks.connect() as db:
            waiting = await outbox.quiet_calls(db, beyond=beyond)
            # Most are in hours that go on, and cost no more than this look.
            ended = [number for number in waiting if not await _in_quiet_hours(db, services, number)]
        for incident_id in ended:
            await _call_again(services, incident_id)
        if not waiting:
            return
        beyond = waiting[-1]


async def _in_quiet_hours(db: AsyncConnection, services: Services, incident_id: int) -> bool:
    incident = await incidents.get(db, incident_id)
    if incident is None:
        return False
    route = routes.route_of(services.policy, routes.subject_of(services.policy, incident))
    return bool(routes.quiet_until(route, incident.severity, services.now()))


async def _call_again(services: Services, incident_id: int) -> None:
    async with services.engine.begin() as db:
        incident = await incidents.get(db, incident_id, lock=True)
        if incident is None or incident.state not in thread.NEEDS_PERSON:
            return
        if await muting.quiet_about(db, services, incident):
            return  # once it is muted no more
        view = await card_view(db, services, incident)
        if not view.quiet_until and not view.observing:
            await _call(db, services, view, loud=True, suffix=outbox.AFTER_QUIET)


async def progress(
    db: AsyncConnection, services: Services, incident: Incident, current: Execution, *, late: bool = False
) -> None:
    """A line on an execution. `late`: the incident has gone on without it, and nothing follows."""
    planned = await answers.latest_plan(db, incident.id)
    # Of a card's view no more than the line needs: many fixes may start at once.
    view = CardView(incident, services.now(), plan=planned.plan if planned else None)
    await _reply(db, services, incident, f"progress:{current.id}", thread.progress_reply(view, current, late=late))


async def verified(db: AsyncConnection, services: Services, incident: Incident, found: Verification) -> None:
    view = CardView(incident, services.now(), execution=await executions.latest(db, incident.id))
    await _reply(db, services, incident, f"verified:{incident.revision}", thread.verification_reply(view, found))


async def tell_thread(db: AsyncConnection, services: Services, incident: Incident, key: str, card: Card) -> None:
    """Say something once in the incident's thread. `key` names what, so that a stage that runs twice says it once."""
    await _reply(db, services, incident, f"{key}:{incident.revision}", card)


async def tell(db: AsyncConnection, *, key: str, channel: str, user: str, text: str, thread_ts: str = "") -> None:
    """A sentence that only `user` sees: where they clicked, or directly where that is no channel (the App Home, a DM).

    Where Slack does not show it there (the person has left the channel), the sender says it directly too.
    """
    direct = not channel or channel.startswith("D")
    await outbox.put(
        db,
        kind="direct" if direct else "ephemeral",
        key=f"tell:{key}",
        channel=user if direct else channel,
        payload={"text": text} if direct else {"user": user, "text": text, "thread_ts": thread_ts},
        priority=outbox.URGENT,
    )


async def tell_directly(db: AsyncConnection, *, key: str, user: str, text: str) -> None:
    """A sentence in the person's direct messages."""
    await outbox.put(db, kind="direct", key=f"tell:{key}", channel=user, payload={"text": text}, priority=outbox.URGENT)


MOST_REMINDED = 10


async def people_asked(services: Services, approval: Approval) -> list[str]:
    """The people to remind: those named and those of the groups; a channel that was asked has seen the call."""
    found = [who for who in approval.who if who[:1] in "UW"]
    for group in (who for who in approval.who if who.startswith("S")):
        found += await services.people.members(group)
    return [who for who in dict.fromkeys(found) if who not in approval.approved_by][:MOST_REMINDED]


async def link_of(services: Services, incident_id: int) -> str:
    """Slack's link to an incident's card, "" when it cannot be had now."""
    async with services.looks.connect() as db:
        place = await outbox.card_place(db, incident_id)
    return await permalink(services, place)


async def remind(
    db: AsyncConnection,
    services: Services,
    incident: Incident,
    approval: Approval,
    *,
    people: Sequence[str],
    link: str,
) -> None:
    """Tell each of them directly that a request waits. What a private channel's card says stays in that channel."""
    view = await card_view(db, services, incident)
    place = await threads.channel(db, incident.channel or services.channel)
    reminder = thread.reminder(view, link=link, closed=place is None or place.audience != "all")
    for user in people:
        await outbox.put(
            db,
            kind="direct",
            key=f"remind:{approval.id}:{user}",
            channel=user,
            payload={"text": reminder.text, "blocks": reminder.blocks},
            incident_id=incident.id,
            priority=outbox.URGENT,
        )


def answer_key(question: Question) -> str:
    """The outbox's key of the answer to a mention: there is one."""
    return f"answer:{question.channel}:{question.ts}"


async def answer_question(
    db: AsyncConnection, question: Question, answer: Card, *, team: str = "", incident_id: int | None = None
) -> None:
    """Answer a mention in its thread; `incident_id` is what the answer is about, for questions that follow.

    With the asker's `team` it is streamed, where Slack does that. Who is named in it is not called by it.
    """
    reader = {"reader": {"user": question.user, "team": team}} if team else {}
    await outbox.put(
        db,
        kind="post",
        key=answer_key(question),
        channel=question.channel,
        payload={
            "text": answer.text,
            "blocks": answer.blocks,
            "thread_ts": question.thread_ts or question.ts,
            "calls": False,
            **reader,
        },
        incident_id=incident_id,
        priority=outbox.URGENT,
    )


async def seen(db: AsyncConnection, question: Question) -> None:
    """Show the asker at once that the question has come in."""
    await outbox.put(
        db,
        kind="reaction",
        key=f"seen:{question.channel}:{question.ts}",
        channel=question.channel,
        payload={"ts": question.ts, "name": "eyes"},
        priority=outbox.URGENT,
    )


# How an incident whose fix was rejected is remembered: at another time says nothing about the fix, and what people had
# fixed already was not ended by the bot. All other reasons are "rejected", and the reason says what to learn.
REJECTED_AS: Mapping[str, str] = {RejectReason.NOT_NOW: "", RejectReason.ALREADY_FIXED: "resolved"}


def outcome_word(
    incident: Incident, approval: Approval | None, current: Execution | None, found: Verification | None
) -> str:
    """How the incident ended, in the words of KnowledgeItem.outcome: pure."""
    if current and current.state is not ExecutionState.QUEUED:
        if current.state in {ExecutionState.FAILED, ExecutionState.REFUSED}:
            return "failed" if current.state is ExecutionState.FAILED else ""
        return found.verdict if found else ""
    if approval and approval.state is ApprovalState.REJECTED:
        return REJECTED_AS.get(approval.reason.split(":")[0], "rejected")
    if incident.state is IncidentState.RESOLVED:
        return "resolved"
    return "dismissed" if incident.state is IncidentState.DISMISSED else ""


async def permalink(services: Services, place: CardPlace | None) -> str:
    """Slack's link to the card, or "" when it can't be had: a lesson without a link is still a lesson."""
    if place is None or not place.ts:
        return ""
    try:
        answer = await services.slack.chat_getPermalink(channel=place.channel, message_ts=place.ts)
    except SLACK_FAULTS as error:
        log.warning("no_permalink", channel=place.channel, error=_slack_fault(error))
        return ""
    return str(answer["permalink"])


async def read_thread(services: Services, incident: Incident) -> list[Evidence]:
    """The thread in which a person asked, its newest words, and the files in it, redacted; nothing for alerts."""
    if incident.source != QUESTION_SOURCE or not incident.thread_ts:
        return []
    messages: list[Mapping[str, Any]] = []
    missing: list[Evidence] = []
    try:
        async for page in pages_of(services, incident.channel, incident.thread_ts):
            messages += page
    except (Unavailable, Refusal) as error:
        what = "rest of the thread" if messages else "thread"
        missing = [Evidence(EvidenceKind.MESSAGE, what, "", could_not=str(error))]
    theirs = [one for one in messages if one.get("user") != services.bot_user]
    said = [_words_of(one) for one in theirs if services.bot_user not in one.get("text", "")]
    text, left_out = await asyncio.to_thread(_newest, [words for words in said if words])
    items = [Evidence(EvidenceKind.MESSAGE, "thread", text, truncated_chars=left_out)] if text else []
    files = [file for message in theirs for file in files_of(message)]
    return [*items, *missing, *await read_files(services.slack, files)]


def _newest(said: Sequence[str]) -> tuple[str, int]:
    """The end of what was said, redacted, and how many characters before it are left out.

    Whole messages are redacted, so that no secret is cut in two before it is known for one.
    """
    first, chars = len(said), 0
    while first and chars < MAX_THREAD_CHARS:
        first -= 1
        chars += len(said[first]) + 1
    text = redact(clean("\n".join(said[first:])))
    kept = text[-MAX_THREAD_CHARS:]
    return kept, sum(len(words) + 1 for words in said[:first]) + len(text) - len(kept)


def _slack_fault(error: Exception) -> str:
    return str(error.response.get("error")) if isinstance(error, SlackApiError) else type(error).__name__


def _words_of(message: Mapping[str, Any]) -> str:
    return message_text(message, quoted=True)
