"""What /codehealer answers, to the person alone. Wording only; who asks and what is stored is the handler's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from handlers.blocks import mrkdwn as m
from handlers.blocks.actions import decode_fields, encode
from handlers.blocks.card import render_card
from handlers.blocks.card_view import MOST_TEXT, Card, CardView
from handlers.blocks.incident_words import STATE_WORDS, place, severity_word, title_words
from handlers.blocks.trust import case_words, shadow_words
from knowledge.model import Alert, Approval, Incident
from knowledge.store.analytics import Figures
from knowledge.store.held import Held
from knowledge.store.trust import Case, Grant, Shadow

COMMAND = "/codehealer"
RUN = "run_command"
_MOST_VALUE = 2000  # of a button


@dataclass(frozen=True, slots=True)
class Usage:
    """One subcommand: how it is typed, what it does, and what `help` says of it alone, a line each.

    `changes`: it switches or sets something, so it is never run by a click on a suggestion.
    """

    typed: str
    does: str
    more: tuple[str, ...] = ()
    changes: bool = False


WHICH = "An incident is a number (`12`, `#12`), a link to its card, or `last`."
WHEN = "A time is `2h`, `30 min`, `until 9am`, `until tomorrow` or `until monday 8:00`, by your own clock."

# Help, suggestions and the parser read this table.
SUBCOMMANDS: dict[str, Usage] = {
    "status": Usage("status", "open incidents, approvals that wait, what is muted, mode and connection"),
    "incidents": Usage(
        "incidents open",
        "a list, newest first",
        (
            "Filters: `open`, `closed`, a state such as `healed`, `service checkout`, `environment prod`, `since 2d`,",
            "`page 2`. They go together: `incidents open service checkout since 2d`.",
        ),
    ),
    "show": Usage("show 12", "the card of one incident", (WHICH,)),
    "search": Usage("search TEXT", "past incidents that resemble a text or an error line"),
    "diagnose": Usage(
        "diagnose TEXT",
        "says what a pasted error means; `diagnose 12` has one looked at again",
        ("`diagnose checkout`, with a service of the policy, looks at it and opens a card here.", WHICH),
        changes=True,
    ),
    "approve-queue": Usage(
        "approve-queue",
        "what waits for a decision, and whose",
        ("Decisions are clicks on the card, where everybody sees them; nothing is approved by typing.",),
    ),
    "history": Usage(
        "history checkout", "a service's incidents; `history 12` what happened in one, in order", (WHICH,)
    ),
    "similar": Usage("similar 12", "past incidents like one, and how their fixes did; a text is taken too", (WHICH,)),
    "policy": Usage("policy why 12", "every rule about a fix, with its limit and the actual value", (WHICH,)),
    "mode": Usage(
        "mode service checkout approve",
        "how far I may go for a service, environment, channel or everything: observe, suggest, approve or automatic",
        changes=True,
    ),
    "mute": Usage(
        "mute checkout for 2h",
        "no new cards and no calls about a service for a while; cards that are there go on being edited",
        (
            "`mute 12` mutes that incident's service. Without a time it is an hour, and at most 7 days.",
            "What is critical is never muted, and what a fix of mine leaves to people is said all the same.",
            WHEN,
        ),
        changes=True,
    ),
    "unmute": Usage("unmute checkout", "ends that; what fires still gets its card", changes=True),
    "snooze": Usage(
        "snooze 12 until 9am",
        "puts a question off, as the card's menu does",
        ("Those who may decide may put it off. Without a time it is an hour, and at most 7 days.", WHICH, WHEN),
        changes=True,
    ),
    "pause": Usage("pause", "nothing new is carried out", changes=True),
    "resume": Usage(
        "resume",
        "ends a pause (in an incident's thread `resume all`); `resume 12` lets a fix be tried again on its target",
        changes=True,
    ),
    "trust": Usage("trust", "which fixes may run by themselves; `trust grant 12`, `trust withdraw 12`", changes=True),
    "stats": Usage("stats", "how well it went in the last 30 days; `stats 7` for the last 7"),
    "feedback": Usage(
        "feedback 12 up",
        "whether an answer helped: `up`, `down` with a comment, or `none` to take it back",
        ("The last word counts, and nobody is shown who said what.", WHICH),
        changes=True,
    ),
    "evidence": Usage(
        "evidence 12", "all that was collected, as a file in the thread of its card", (WHICH,), changes=True
    ),
    "postmortem": Usage(
        "postmortem 12", "a draft of the postmortem, as a file in the thread of its card", (WHICH,), changes=True
    ),
    "help": Usage("help", "this list; `help mute` for one of them"),
}

MENTION_HELP = "Mention me with a pasted log, or in a thread, and I say what I think the cause is."
SHORTCUT_HELP = "On a message, ⋮ has *Diagnose this* and *Remember this fix*."
NO_INCIDENTS = "No open incidents."
NOTHING_WAITS = "No approval waits."
_MOST_SHOWN = 10


@dataclass(frozen=True, slots=True)
class StatusView:
    """What `status` shows. `waiting` pairs each open approval with its incident; `connections` are one line each,
    such as "Slack: connected"; `paused_by` is a user id or name, "" when not paused; `muted` are safe lines."""

    now: datetime
    incidents: tuple[Incident, ...] = ()
    waiting: tuple[tuple[Approval, Incident], ...] = ()
    mode: str = ""
    paused_by: str = ""
    connections: tuple[str, ...] = ()
    breaker: str = ""
    modes: int = 0
    held: tuple[Held, ...] = ()
    informational: tuple[Alert, ...] = ()
    muted: tuple[str, ...] = ()


def status_answer(view: StatusView) -> Card:
    """Open incidents, approvals that wait, mode and connections."""
    open_line = m.counted(len(view.incidents), "open incident") if view.incidents else NO_INCIDENTS.rstrip(".")
    lines = [f"*{open_line}*"]
    lines += [incident_line(incident, view.now) for incident in view.incidents[:_MOST_SHOWN]]
    lines += _more(len(view.incidents))
    lines.append(f"*{m.counted(len(view.waiting), 'approval')} waiting*" if view.waiting else NOTHING_WAITS)
    lines += [_approval_line(*pair, view.now) for pair in view.waiting[:_MOST_SHOWN]]
    lines += _more(len(view.waiting))
    lines += [f"🔕 *{m.counted(len(view.muted), 'place')} muted*", *view.muted[:_MOST_SHOWN]] if view.muted else []
    lines += _quiet_lines(view)
    if view.paused_by:
        lines.append(f"⏸️ *Paused* by {m.mention(view.paused_by)}: nothing runs until somebody resumes it.")
    if view.breaker:
        lines.append(f"🛑 *Nothing runs by itself:* {m.inline(view.breaker, 160)}. `{COMMAND} resume` ends that.")
    more = f"; {m.counted(view.modes, 'place')} set apart, see `{COMMAND} mode`" if view.modes else ""
    lines.append(f"*Mode:* {m.inline(view.mode, 60)}{more}")
    lines += [f"• {m.inline(line, 200)}" for line in view.connections[:_MOST_SHOWN]]
    return answer_of("status", lines)


def incident_line(incident: Incident, now: datetime) -> str:
    sign, words = STATE_WORDS[incident.state]
    title = m.inline(title_words(incident.title), 80)
    since = f"since {m.date(incident.opened_at, now)}"
    parts = [f"{sign} {words}", severity_word(incident), place(incident, 40), title, since]
    return f"• {incident.id}: {' · '.join(part for part in parts if part)}"


def _approval_line(approval: Approval, incident: Incident, now: datetime) -> str:
    have = f"{len(approval.approved_by)} of {m.counted(approval.needed, 'approval')}"
    return f"• {incident.id}: {place(incident, 40)} · {have} · until {m.date(approval.until, now)}"


def _quiet_lines(view: StatusView) -> list[str]:
    """What fires and has no card, a line for each; nothing where there is no such alert."""
    lines = []
    if view.held:
        lines.append(f"🔕 *{m.counted(len(view.held), 'alert')} kept quiet*")
        lines += [f"• {_alert_words(one.alert)} · {m.inline(one.why, 160)}" for one in view.held[:_MOST_SHOWN]]
        lines += _more(len(view.held))
    if view.informational:
        lines.append(f"*{m.counted(len(view.informational), 'informational alert')} in the last day*")
        lines += [f"• {_alert_words(one)}" for one in view.informational[:_MOST_SHOWN]]
        lines += _more(len(view.informational))
    return lines


def _alert_words(alert: Alert) -> str:
    parts = [alert.namespace, alert.owner or alert.workload, title_words(alert.title), alert.source]
    return " · ".join(m.inline(part, 80) for part in parts if part)


def _more(have: int) -> list[str]:
    return [f"({have - _MOST_SHOWN:,} more)"] if have > _MOST_SHOWN else []


def help_answer(topic: str = "") -> Card:
    """What a person can type; of a known `topic` all about it."""
    usage = SUBCOMMANDS.get(topic)
    if usage:
        return answer_of("help", [_usage_line(usage), *usage.more])
    looks = _typed([usage for usage in SUBCOMMANDS.values() if not usage.changes])
    acts = _typed([usage for usage in SUBCOMMANDS.values() if usage.changes])
    lines = [
        f"*Type after `{COMMAND}`, or in a mention:*",
        f"*To look:* {looks}",
        f"*To do something:* {acts}",
        f"`{COMMAND} help mute` tells all about one of them.",
        MENTION_HELP,
        SHORTCUT_HELP,
    ]
    return answer_of("help", lines)


def _typed(usages: Sequence[Usage]) -> str:
    return " · ".join(f"`{usage.typed}`" for usage in usages)


def _usage_line(usage: Usage) -> str:
    return f"• `{COMMAND} {usage.typed}`: {usage.does}"


_ALL = f"`{COMMAND} help` lists all that I know."


def resume_which_answer(incident_id: int) -> Card:
    """In an incident's thread: nothing was resumed, and what can be."""
    lines = [
        "Which? Nothing was resumed yet.",
        f"• `resume {incident_id}` lets a fix be tried again on what this incident is about.",
        "• `resume all` ends the pause of everything, and what stops fixes from running by themselves.",
    ]
    return said("resume", "\n".join(lines))


def unknown_answer(name: str, meant: str = "", *, offered: bool = False) -> Card:
    """An unknown subcommand; with `meant`, what could be typed instead, which a button runs where it is `offered`."""
    if not meant:
        return answer_of("unknown", [f"I do not know {m.code(name[:200], 60)}.", _ALL])
    line = f"I do not know {m.code(name[:200], 60)}. Did you mean {m.code(f'{COMMAND} {meant}', 200)}?"
    card = answer_of("unknown", [line, _ALL])
    return with_button(card, "Yes, run it", meant) if offered else card


def with_button(card: Card, label: str, line: str) -> Card:
    """The card with a button that runs a command line, for whoever clicks and for their eyes alone."""
    value = encode(c=line)
    if len(value) > _MOST_VALUE:
        return card
    button = {"type": "button", "action_id": RUN, "text": m.plain_text(label), "value": value}
    return Card(card.text, [*card.blocks, {"type": "actions", "block_id": "command-run", "elements": [button]}])


def decode_line(value: object) -> str:
    """The command line of such a button; "" when it is none of ours."""
    line = decode_fields(value).get("c")
    return line if isinstance(line, str) else ""


def older_are_deleted(kept_days: int) -> str:
    """Beside figures of a period that reaches further back than incidents are kept."""
    return f"Not counted: incidents that ended more than {m.counted(kept_days, 'day')} ago are deleted, as is set."


def stats_answer(figures: Figures, days: int, kept_days: int = 0) -> Card:
    """How well it went: counts, rates with what they are of, and times; an empty period says so.

    `kept_days` is how long incidents are kept after their end, 0 for ever.
    """
    period = "today (UTC)" if days == 1 else f"in the last {days} days"
    missing = [older_are_deleted(kept_days)] if 0 < kept_days < days else []
    if not figures.incidents:
        return answer_of("stats", [f"No incident {'that is kept ' if missing else ''}opened {period}.", *missing])
    ended = [
        (figures.agent_fixed, "fixed by itself"),
        (figures.assisted, "fixed after an approval"),
        (figures.human, "ended without a fix of mine"),
        (figures.no_fault, "no fault"),
        (figures.open, "open"),
    ]
    counts = " · ".join(f"{number:,} {what}" for number, what in ended if number)
    lines = [f"*{m.counted(figures.incidents, 'incident')} {period}*", f"• {counts}", _fixes_line(figures)]
    if figures.unsafe_approvals:
        approved = m.counted(figures.approved_fixes, "approved fix", "approved fixes")
        lines.append(f"• {figures.unsafe_approvals} of {approved} should not have been approved")
    if figures.turned_down:
        lines.append(f"• {m.counted(figures.turned_down, 'proposal')} rejected as wrong")
    times = [
        (figures.detect_p50_s, "from the first signal to the incident"),
        (figures.resolve_p50_s, "from there to its end"),
    ]
    half = " · ".join(f"{m.duration(seconds)} {what}" for seconds, what in times if seconds is not None)
    lines += [f"• Half of them took at most {half}"] if half else []
    lines += [f"• Hosted models cost ${figures.usd:,.2f}"] if figures.usd else []
    return answer_of("stats", [*lines, *missing])


def _fixes_line(figures: Figures) -> str:
    if not figures.fixes:
        return "• No fix was carried out"
    worked = f"• {figures.verified} of {m.counted(figures.fixes, 'fix', 'fixes')} worked ({figures.success_rate:.0%})"
    wrong = f"{figures.wrong_actions} made it worse or were wrong" if figures.wrong_actions else "none made it worse"
    back = f" · {figures.false_resolves} looked fixed and was not" if figures.false_resolves else ""
    return f"{worked} · {wrong}{back}"


def said(name: str, sentence: str) -> Card:
    """One sentence of our own wording."""
    return answer_of(name, [sentence])


def modes_answer(by_file: str, found: Mapping[str, tuple[object, str]]) -> Card:
    """Every mode that people set, and what holds elsewhere."""
    lines = [f"*Mode:* {m.inline(by_file, 20)} where the policy file says nothing else"]
    for scope, (mode, by) in found.items():
        lines.append(f"• {_scope(scope)}: *{m.inline(str(mode), 20)}*, set by {m.mention(by)}")
    return answer_of("mode", [*lines, f"Change it with `{COMMAND} {SUBCOMMANDS['mode'].typed}`."])


def _scope(scope: str) -> str:
    kind, _, name = scope.partition(":")
    return f"{kind} {m.code(name, 60)}" if name else "everything"


def mode_usage_answer() -> Card:
    lines = [
        f"Write `{COMMAND} mode service NAME MODE`, `mode environment NAME MODE`, `mode channel MODE` (this one) or",
        "`mode everything MODE`; a mode is observe, suggest, approve, automatic, or default to take back what was set.",
    ]
    return answer_of("mode", [" ".join(lines)])


def mode_set_answer(scope: str, mode: str, before: str) -> Card:
    now = f"*{mode}*" if mode else "what the policy file says"
    return answer_of("mode", [f"Mode of {_scope(scope)}: {now} (was {m.inline(before, 20)}). It holds at once."])


def trust_answer(granted: Sequence[tuple[Case, Grant]], shadow: Shadow) -> Card:
    """What may run by itself, and how what would have run by itself did."""
    told = shadow_words(shadow)
    if not granted:
        return answer_of("trust", ["No fix has been granted trust yet.", *([told] if told else [])])
    lines = [
        f"• {case_words(case)}: {m.inline(grant.evidence, 160)}, granted by {m.mention(grant.set_by)}"
        for case, grant in granted[:20]
    ]
    return answer_of("trust", ["*Run by themselves where the mode is approve*", *lines, *([told] if told else [])])


def trust_set_answer(case: Case, state: str, words: str) -> Card:
    then = "runs by itself from now on" if state == "granted" else "is asked for again"
    return answer_of("trust", [f"{case_words(case)} {then}. {m.inline(words.capitalize(), 200)}."])


def show_answer(view: CardView, *, link: str = "") -> Card:
    """One incident's card for one person, without the buttons that decide: decisions belong where all can see them."""
    card = render_card(view)
    blocks = [block for block in card.blocks if block["type"] not in {"actions", "context_actions"}]
    if view.channel_link:
        return Card(card.text, blocks)
    where = f"Incident {view.incident.id}; decide on {m.link(link, 'its card')} in the channel."
    return Card(card.text, [*blocks, m.context(f"show-{view.incident.id}", where)])


def which_answer(name: str, asked: str) -> Card:
    """No incident was named, or one that is not there (or may not be told of here)."""
    usage = SUBCOMMANDS[name].typed
    if not asked.strip():
        example = usage if "12" in usage else f"{name} 12"
        return said(name, f"Which one? For example `{COMMAND} {example}`; `{COMMAND} incidents` lists the numbers.")
    return said(
        name, f"There is no incident {m.code(asked[:100], 60)}; `{COMMAND} incidents open` lists the open ones."
    )


def answer_of(name: str, lines: Sequence[str]) -> Card:
    """An answer of safe lines; its plain text ends after a whole line, within what Slack takes."""
    words: list[str] = []
    room = MOST_TEXT
    for line in map(m.without_markup, lines):
        room -= len(line) + 1
        if room < 0:
            words.append("[shortened]")
            break
        words.append(line)
    return Card("\n".join(words), m.sections(f"command-{name}", lines))
