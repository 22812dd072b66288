"""What /codehealer answers about several incidents, and of one besides its card: lists, precedents, rules, steps."""

import re
from collections.abc import Collection, Sequence
from datetime import datetime

from handlers.blocks import mrkdwn as m
from handlers.blocks.card_view import Card
from handlers.blocks.commands import COMMAND, answer_of, incident_line, said, with_button
from handlers.blocks.evidence import precedent_line
from handlers.blocks.incident_words import place, title_words
from handlers.blocks.modals import rule_line
from knowledge.model import KIND_NAMES, Approval, Ask, Auto, Blocked, Decision, Incident, Plan, Precedent
from knowledge.store.mutes import INCIDENT, SERVICE, Mute

NO_TYPING = "Nothing is approved or rejected by typing: decide on the card, where everybody sees it."
MOST_STEPS = 40
_BACKSLASH = re.compile(r"\\(.)")
_PERSON = re.compile(r"\b[UW][A-Z0-9]{5,30}\b")


def incidents_answer(
    found: Sequence[Incident], now: datetime, *, title: str, page: int = 1, more: str = "", empty: str
) -> Card:  # fmt: skip
    """A page of a list, newest first. `more` is the command line of the next page; "" at the end."""
    if not found:
        words = f"Page {page} is past the end of the list." if page > 1 else empty
        return answer_of("incidents", [words])
    lines = [f"*{title}*{f' · page {page}' if page > 1 else ''}", *(_line(incident, now) for incident in found)]
    card = answer_of("incidents", lines)
    return with_button(card, "More", more) if more else card


def _line(incident: Incident, now: datetime) -> str:
    kind = KIND_NAMES[incident.kind] if incident.kind else ""
    line = incident_line(incident, now)
    return f"{line} · {kind}" if kind and kind not in line else line


def queue_answer(
    waiting: Sequence[tuple[Approval, Incident, str]], now: datetime, *, left_out: int, note: str, private: bool
) -> Card:  # fmt: skip
    """What waits for a decision, each with a link to its card. Only a `private` answer names people: others would ping.

    `note` is said first.
    """
    lines = [note] if note else []
    if not waiting:
        return answer_of("queue", [*lines, "No approval waits."])
    lines.append(f"*{m.counted(len(waiting) + left_out, 'approval')} waiting*")
    for approval, incident, link in waiting:
        title = f"{incident.id}: {title_words(incident.title)}"
        who = [one for one in approval.who if one not in approval.approved_by]
        asked = f"for {m.people(who)}" if who and private else f"for {m.counted(len(who), 'person', 'people')}"
        put_off = approval.snoozed_until and approval.snoozed_until > now
        parts = [
            m.link(link, title, 120),
            place(incident, 40),
            f"{len(approval.approved_by)} of {m.counted(approval.needed, 'approval')}",
            asked if who else "",
            f"put off until {m.date(approval.snoozed_until, now)}" if put_off and approval.snoozed_until else "",
            f"until {m.date(approval.until, now)}",
        ]
        lines.append(f"• {' · '.join(part for part in parts if part)}")
    if left_out:
        lines.append(f"({left_out:,} more)")
    return answer_of("queue", lines)


def precedents_answer(
    name: str, title: str, found: Sequence[Precedent], now: datetime, *, note: str = "", empty: bool = False
) -> Card:  # fmt: skip
    """Past incidents that resemble something, best first, each with why it is there and why it is ranked lower."""
    if empty:
        return answer_of(name, ["Nothing is remembered yet: lessons come with the first incidents that end."])
    lines = [f"*{title}*", *(precedent_line(one, now) for one in found)] if found else [f"{title}: none known."]
    if note:
        lines.append(m.inline(note, 300))
    return answer_of(name, lines)


def policy_answer(incident: Incident, plan: Plan, decision: Decision, now: datetime) -> Card:
    """Every rule about an incident's newest plan, those that were not passed first."""
    verdict = decision.verdict
    if plan.action is None:
        return said("policy", f"No fix is proposed for incident {incident.id}, so no rule was asked: "
                    f"{m.inline(plan.no_action_because, 300, 'none is known')}")  # fmt: skip
    words = "may run by itself" if isinstance(verdict, Auto) else "not decided"
    if isinstance(verdict, Ask):
        words = f"needs {m.counted(verdict.how_many, 'approval')}, until {m.date(verdict.until, now)}"
    elif isinstance(verdict, Blocked):
        words = f"blocked, {m.inline(verdict.why, 240)}"
    head = f"*Incident {incident.id}, {m.code(plan.action.name, 60)}:* {words} · mode {m.inline(decision.mode, 30)}"
    rules = sorted(decision.rules, key=lambda rule: rule.passed)
    return answer_of("policy", [head, *(rule_line(rule) for rule in rules[:60])])


def steps_answer(incident: Incident, steps: Sequence[str], people: Collection[str] = ()) -> Card:
    """What happened in an incident, oldest first; `steps` are lines of Markdown with UTC times.

    `people` are the ids of those who did something in it: they are shown by their names.
    """
    lines = _with_one_date_a_day([_BACKSLASH.sub(r"\1", step.removeprefix("- ")) for step in steps])
    left_out = len(lines) - MOST_STEPS
    # Of a long story the end tells more than the middle.
    shown = [*lines[:10], f"({left_out} steps left out)", *lines[-(MOST_STEPS - 10) :]] if left_out > 0 else lines
    title = m.inline(title_words(incident.title), 120)
    named = [_named(f"• {m.inline(one, 200)}", people) for one in shown]
    return answer_of("history", [f"*Incident {incident.id}:* {title} (UTC)", *named])


def _named(line: str, people: Collection[str]) -> str:
    return _PERSON.sub(lambda word: m.mention(word[0]) if word[0] in people else word[0], line)


def _with_one_date_a_day(lines: Sequence[str]) -> list[str]:
    """A line begins with its date and time; on a phone the same date again is only in the way."""
    before, shown = "", []
    for line in lines:
        date, _, rest = line.partition(" ")
        shown.append(rest if date == before else line)
        before = date
    return shown


# --- muting and putting off -----------------------------------------------------------------------------------------


def mute_lines(found: Sequence[Mute], now: datetime, *, private: bool) -> list[str]:
    """A line for each thing that is muted. Only a `private` answer says by whom: others would ping."""
    return [
        f"• {scope_words(one.scope)} until {m.date(one.until, now)}{f', by {m.mention(one.by)}' if private else ''}"
        for one in found
    ]


def scope_words(scope: str) -> str:
    if scope.startswith(SERVICE):
        return m.code(scope.removeprefix(SERVICE), 80)
    return f"incident {m.inline(scope.removeprefix(INCIDENT), 20)}"


def mutes_answer(found: Sequence[Mute], now: datetime, *, private: bool) -> Card:
    """All that is muted."""
    if not found:
        return said("mute", f"Nothing is muted. `{COMMAND} mute checkout for 2h` mutes a service.")
    return answer_of(
        "mute", ["*Muted*", *mute_lines(found, now, private=private), f"`{COMMAND} unmute NAME` ends one."]
    )


def muted_answer(scope: str, until: datetime, now: datetime) -> Card:
    what = scope_words(scope)
    does = "no new cards and no calls" if scope.startswith(SERVICE) else "no calls"
    lines = [
        f"🔕 {what} is muted until {m.date(until, now)}: {does}.",
        "What a fix of mine leaves to people is said all the same.",
        f"`{COMMAND} unmute {scope.partition(':')[2][:80]}` ends that; `{COMMAND} status` shows it.",
    ]
    return answer_of("mute", lines)
