"""A model's summary for a postmortem: whether one may be asked, what it is shown, and how its text is marked.

The draft stays as it is. The text comes after it, as a machine's and as nobody's word for anything.
"""

import asyncio
import re
import secrets
from collections.abc import Iterator, Sequence
from datetime import datetime

from handlers import markdown as md
from handlers.postmortem import NEXT, SIMILAR, TIMELINE, sections
from knowledge.injection import injection_suspected
from knowledge.language_models.free_text import TEXT_CHARS, FreeText, Writer, first_text
from knowledge.model import Unsure
from knowledge.prompts import postmortem_prompt
from knowledge.store.history import History
from remediation.policy import Policy, outside_forbidden

NOT_PEOPLE = frozenset({"", "codehealer", "policy"})
_USER_ID = re.compile(r"\b[UW](?=[A-Z0-9]*\d)[A-Z0-9]{7,30}\b")
_CHECKED_BY_NOBODY = "A machine wrote this and nobody has checked it; what stands above it was looked up by code."


async def summarise(
    history: History, *, writers: Sequence[Writer], policy: Policy, now: datetime
) -> tuple[FreeText | None, str]:
    """What a model writes of the incident, or None; and why there is none or others gave none, in words.

    Nobody is asked where the policy forbids it, or where anything that was said about the incident addresses the bot.
    """
    if why := outside_forbidden(policy, history.incident):
        return None, f"no outside model was asked: {why}"
    if await asyncio.to_thread(_addresses_the_bot, history):
        return None, "no outside model was asked: the evidence addresses the bot"
    return await first_text(writers, postmortem_prompt(facts(history, now=now), nonce=secrets.token_hex(8)))


def facts(history: History, *, now: datetime) -> str:
    """What a model is shown: the draft without people's ids, and without other incidents, which may be private."""
    shown = [part for part in sections(history, now=now) if part[0] not in {NEXT, SIMILAR}]
    # The longest part comes last, since a prompt is cut at its end.
    shown.sort(key=lambda part: part[0] == TIMELINE)
    text = "\n\n".join([md.inline(history.incident.title, 200), *(f"{title}:\n{body}" for title, body in shown)])
    for person in _people(history):
        text = text.replace(md.code(person, 60), "a person")
    return _USER_ID.sub("a person", text)


def marked(text: FreeText) -> str:
    """The section that is added to a draft."""
    cost = f", about ${text.usd:.4f}" if text.usd else ""
    title = f"## Summary (written by {md.inline(text.name, 120)}, machine made)"
    return f"\n{title}\n\n{md.quoted(text.text, TEXT_CHARS)}\n\n{_CHECKED_BY_NOBODY} ({text.prompt_version}{cost})\n"


def _people(history: History) -> set[str]:
    found = {history.incident.asked_by, *(one.user for one in history.feedback)}
    found |= {one.value.actor for one in history.audit}
    for asked in history.approvals:
        approval = asked.value.approval
        found |= {*approval.who, *approval.approved_by, approval.decided_by}
    for planned in history.plans:
        found |= set(getattr(planned.value.decision.verdict, "who", ()))
    return found - NOT_PEOPLE


def _addresses_the_bot(history: History) -> bool:
    said = any(one.value.injection_suspected for one in history.answers)
    return history.incident.flagged or said or any(map(injection_suspected, _foreign(history)))


def _foreign(history: History) -> Iterator[str]:
    """Everything in a draft that others wrote."""
    yield history.incident.title
    for alert in history.alerts:
        yield from (alert.value.title, alert.value.summary, alert.value.log)
    yield from (item.text for item in history.evidence)
    for one in history.answers:
        answer = one.value
        if isinstance(answer, Unsure):
            yield answer.reason
        else:
            yield from (answer.cause, answer.summary, *answer.ruled_out)
    yield from (asked.value.approval.reason for asked in history.approvals)
    yield from (run.outcome.detail for run in history.executions if run.outcome)
    if history.remembered:
        yield from (history.remembered.item.cause, history.remembered.item.fix)
