"""What people do about one incident or service by typing: mute, unmute, snooze, feedback, diagnose.

Muting is a recorded decision of a named full member. Whatever names an incident that the person may not be told of
here is answered as one that is not there.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import changing, decisions, feedback, flow, replies, routing, threads, typed
from handlers.blocks import commands as wording
from handlers.blocks import listing, thread
from handlers.blocks import mrkdwn as m
from handlers.blocks.card_view import Card
from handlers.looking import PAGE, meant, muted_for, recalled
from handlers.mentions import Question, alert_of
from handlers.operating import Asked
from handlers.reading import readable
from handlers.services import Services
from knowledge import diagnosis
from knowledge.diagnosis import BuiltinAnswerer
from knowledge.model import ApprovalState, Evidence, EvidenceKind, Incident
from knowledge.redaction import clean, redact
from knowledge.store import approvals, audit, incidents, mutes
from knowledge.store.mutes import INCIDENT, SERVICE
from remediation import modes

AN_HOUR, LONGEST = timedelta(hours=1), timedelta(days=7)
TOO_LONG = "time: at most 7 days, such as `for 2h` or `until monday 8:00`."
MOST_DIAGNOSED = 60_000
UP = frozenset({"up", "+1", "👍", ":+1:", ":thumbsup:", "good", "yes", "helped", "right", "helpful"})
DOWN = frozenset({"down", "-1", "👎", ":-1:", ":thumbsdown:", "bad", "no", "wrong", "unhelpful"})
BACK = frozenset({"none", "back", "undo", "remove", "clear"})


# --- mute ------------------------------------------------------------------------------------------------------------


async def _mute(db: AsyncConnection, services: Services, asked: Asked) -> Card:
    now, query = services.now(), asked.query
    words, until = typed.with_time(query.words, now=now, timezone=query.reader.timezone)
    if words and words[-1].lower() in {"off", "none"}:
        return await _unmute(db, services, replace(asked, query=replace(query, words=words[:-1])))
    if not words and not query.thread[1]:
        return listing.mutes_answer(await muted_for(db, services, query.reader), now, private=query.private)
    refusal = modes.may_narrow(asked.person)
    scope, problem = ("", refusal) if refusal else await _scope(db, services, asked, words)
    until = until or now + AN_HOUR
    if not problem and until - now > LONGEST:
        problem = TOO_LONG
    if problem:
        return wording.said("mute", problem)
    await mutes.put(db, scope, until=until, by=asked.person.id)
    await audit.record(db, "mute.set", actor=asked.person.id, scope=scope, until=until.isoformat())
    return listing.muted_answer(scope, until, now)


async def _unmute(db: AsyncConnection, services: Services, asked: Asked) -> Card:
    query = asked.query
    found = await muted_for(db, services, query.reader)
    if not query.words and not query.thread[1]:
        return listing.mutes_answer(found, services.now(), private=query.private)
    refusal = modes.may_narrow(asked.person)
    scope, problem = ("", refusal) if refusal else await _scope(db, services, asked, query.words)
    if not problem and scope not in {one.scope for one in found}:
        problem = f"{listing.scope_words(scope)} is not muted."
    if problem:
        return wording.said("unmute", problem)
    await mutes.end(db, scope)
    await audit.record(db, "mute.ended", actor=asked.person.id, scope=scope)
    return wording.said(
        "unmute", f"🔔 {listing.scope_words(scope)} is no longer muted; what fires still gets its card."
    )


async def _scope(
    db: AsyncConnection, services: Services, asked: Asked, words: tuple[str, ...]
) -> tuple[str, str]:  # fmt: skip
    """(scope, what is wrong) of what the words name: an incident's service, or a service that is known."""
    query = asked.query
    incident, _ = await meant(db, services, words, query.reader, query.thread)
    if incident is not None:
        return (SERVICE + incident.service if incident.service else f"{INCIDENT}{incident.id}"), ""
    name = " ".join(words).removeprefix("service ")
    if typed.reference(words)[0] is not None or not name:
        return "", f"There is no incident {m.code(name, 60)}." if name else "What? For example `mute checkout`."
    # Alerts may name services that the policy does not, and those get cards too.
    opened = await readable(db, services, await incidents.listed(db, only_open=True, limit=200), query.reader)
    known = {row.name for row in services.policy.services} | {one.service for one in opened if one.service}
    known |= {one.scope.removeprefix(SERVICE) for one in await muted_for(db, services, query.reader)}
    found = next((one for one in sorted(known) if one.lower() == name.lower()), "")
    if found:
        return SERVICE + found, ""
    names = ", ".join(m.inline(row.name, 60) for row in services.policy.services[:20])
    return "", f"service: I know none called {m.code(name, 60)}; the policy has {names or 'none'}."


# --- snooze ----------------------------------------------------------------------------------------------------------


async def _snooze(db: AsyncConnection, services: Services, asked: Asked) -> Card:
    """As the card's menu: who may decide may put it off."""
    now, query = services.now(), asked.query
    words, until = typed.with_time(query.words, now=now, timezone=query.reader.timezone)
    incident, rest = await meant(db, services, words, query.reader, query.thread)
    if incident is None:
        return wording.which_answer("snooze", " ".join(words))
    if rest:
        return wording.said("snooze", f"time: I cannot read {m.code(' '.join(rest), 60)}. {wording.WHEN}")
    until = until or now + AN_HOUR
    if until - now > LONGEST:
        return wording.said("snooze", TOO_LONG)
    latest = await approvals.latest(db, incident.id)
    held, approval = await decisions.locked(db, latest.id) if latest else (None, None)
    if held is None or approval is None or approval.state is not ApprovalState.OPEN:
        return wording.said("snooze", f"Nothing of incident {incident.id} waits for a decision.")
    digest = approval.digest
    refusal = await changing.put_off(db, services, held, approval, asked.person, digest=digest, until=until)
    if refusal:
        await audit.record(
            db, "approval.refused", actor=asked.person.id, incident_id=incident.id, approval=approval.id, why=refusal
        )
        return wording.said("snooze", refusal)
    return wording.said("snooze", f"💤 Incident {incident.id} is put off until {m.date(until, now)}.")


# --- feedback --------------------------------------------------------------------------------------------------------


async def _feedback(db: AsyncConnection, services: Services, asked: Asked) -> Card:
    query = asked.query
    incident, rest = await meant(db, services, query.words, query.reader, query.thread)
    if incident is None:
        return wording.which_answer("feedback", " ".join(query.words[:1]))
    said = rest[0].lower() if rest else ""
    if said in BACK:
        await feedback.take_back(db, services, incident_id=incident.id, user=asked.person.id)
        return wording.said("feedback", f"Your vote on incident {incident.id} is taken back.")
    value = 1 if said in UP else -1 if said in DOWN else 0
    if not value:
        return wording.said("feedback", f"vote: write `up`, `down` or `none`, such as `feedback {incident.id} up`.")
    comment = " ".join(rest[1:])
    await feedback.give(
        db, services, incident_id=incident.id, user=asked.person.id, value=value, comment=comment
    )  # fmt: skip
    return wording.said("feedback", f"{'👍' if value > 0 else '👎'} {replies.FEEDBACK_THANKS}")


ACTS: Mapping[str, Callable[[AsyncConnection, Services, Asked], Awaitable[Card]]] = {
    "mute": _mute,
    "unmute": _unmute,
    "snooze": _snooze,
    "feedback": _feedback,
}


# --- diagnose --------------------------------------------------------------------------------------------------------


async def diagnose(services: Services, asked: Asked, *, key: str) -> Card:
    """Look again at an incident, look at a service, or say privately what a pasted text means.

    `key` names the command: asked twice with it, a service is looked at once.
    """
    async with services.engine.begin() as db:
        card = await look_again(db, services, asked)
    if card is not None:
        return card
    name = asked.words[0].lower() if len(asked.words) == 1 else ""
    service = next((row.name for row in services.policy.services if row.name.lower() == name), "")
    if service:
        return await _look_at(services, asked, service, key=key)
    text = redact(clean(asked.text))[:MOST_DIAGNOSED].strip()
    return await _say(services, asked, text) if text else nothing_to_diagnose()


def nothing_to_diagnose() -> Card:
    return wording.said("diagnose", "What? Paste an error after it, or name an incident: `diagnose 12`.")


async def look_again(db: AsyncConnection, services: Services, asked: Asked) -> Card | None:
    """Look again at the incident that is named, or whose thread it is; None where the words are about something else.

    All of it is in the caller's transaction.
    """
    incident, rest = await meant(db, services, asked.words, asked.query.reader, asked.query.thread)
    if incident is not None and not rest:
        return await _again(db, services, incident, asked)
    if typed.reference(asked.words)[0] is not None and not rest:
        return wording.which_answer("diagnose", " ".join(asked.words))
    return None


async def _again(db: AsyncConnection, services: Services, incident: Incident, asked: Asked) -> Card:
    by = asked.person.id
    held = await incidents.get(db, incident.id, lock=True)
    if held is None or not await flow.look_again(db, services, held, by=by, asked_by=by):
        return wording.said("diagnose", f"Incident {incident.id} is over, or a fix is under way; it is left as it is.")
    return wording.said("diagnose", f"🔍 I look at incident {incident.id} again; its card shows what comes of it.")


async def _look_at(services: Services, asked: Asked, service: str, *, key: str) -> Card:
    """As a mention that names a service: its open incident is looked at again, or a card is opened here."""
    async with services.engine.begin() as db:
        opened = await incidents.listed(db, only_open=True, limit=PAGE, service=service)
        for incident in await readable(db, services, opened, asked.query.reader):
            return await _again(db, services, incident, asked)
    audience = await threads.look_at(services, asked.channel)
    if audience is None:
        return wording.said("diagnose", "I am not in this conversation. Invite me, or ask where I am.")
    if audience == "outside":
        return wording.said("diagnose", replies.OUTSIDE)
    question = Question(asked.person.id, asked.channel, "", "", f"diagnose {service}")
    alert = replace(alert_of(question, service), identity=f"question:{asked.channel}:{key}")
    async with services.engine.begin() as db:
        await incidents.lock_correlation(db)
        await flow.on_alert(db, services, routing.about_service(services.policy, alert, service))
    return wording.said("diagnose", f"🔍 I look at {m.code(service, 80)}; a card in this channel shows it.")


async def _say(services: Services, asked: Asked, text: str) -> Card:
    """What a text means, by the built-in diagnosis and past incidents: for one person's eyes, and kept nowhere."""
    evidence = [Evidence(EvidenceKind.MESSAGE, "command", text)]
    answer = await diagnosis.diagnose("", evidence, answerers=[BuiltinAnswerer(services.embedder)])
    async with services.engine.connect() as db:
        found = await recalled(db, services, asked.query.reader, text)
    return thread.question_answer(answer, evidence, services.now(), precedents=found.precedents[:3])
