"""What /codehealer answers, to the person alone. Wording only; who asks and what is stored is the handler's."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from handlers.blocks import mrkdwn as m
from handlers.blocks.card import STATE_WORDS, Card, CardView, place, render_card, severity_word, title_words
from handlers.blocks.trust import case_words, shadow_words
from knowledge.model import Alert, Approval, Incident
from knowledge.store.analytics import Figures
from knowledge.store.held import Held
from knowledge.store.trust import Case, Grant, Shadow

COMMAND = "/codehealer"

# Subcommand: how it is typed, what it does. Help, suggestions and the parser read this table.
SUBCOMMANDS: dict[str, tuple[str, str]] = {
    "status": ("status", "open incidents, approvals that wait, mode and connection"),
    "show": ("show 12", "the card of one incident"),
    "stats": ("stats", "how well it went in the last 30 days; `stats 7` for the last 7"),
    "mode": (
        "mode service checkout approve",
        "how far I may go for a service, environment, channel or everything: observe, suggest, approve or automatic",
    ),
    "pause": ("pause", "nothing new is carried out"),
    "resume": ("resume", "ends a pause; `resume 12` lets a fix be tried again on that incident's target"),
    "trust": ("trust", "which fixes may run by themselves; `trust grant 12`, `trust withdraw 12`"),
    "postmortem": ("postmortem 12", "a draft of the postmortem, as a file in the thread of that incident's card"),
    "help": ("help", "this list"),
}

MENTION_HELP = "Mention me with a pasted log, or in a thread, and I say what I think the cause is."
SHORTCUT_HELP = "Or use the message shortcut *Diagnose with CodeHealer*."
NO_INCIDENTS = "No open incidents."
NOTHING_WAITS = "No approval waits."
_MOST_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Command:
    """A parsed command line. `name` is one of `SUBCOMMANDS`, or the unknown word as typed (foreign text)."""

    name: str
    arguments: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        return self.name in SUBCOMMANDS


@dataclass(frozen=True, slots=True)
class StatusView:
    """What `status` shows. `waiting` pairs each open approval with its incident; `connections` are one line each,
    such as "Slack: connected"; `paused_by` is a user id or name, "" when not paused."""

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


def parse_command(text: str) -> Command:
    """Forgiving: case, spaces, a leading slash or dash and a number sign are ignored; nothing typed means help."""
    words = m.clean(text[:2000]).split(" ")
    name = words[0].lower().lstrip("/-") or "help"
    return Command(name, tuple(word.lstrip("#") for word in words[1:] if word))


def status_answer(view: StatusView) -> Card:
    """Open incidents, approvals that wait, mode and connections."""
    open_line = m.counted(len(view.incidents), "open incident") if view.incidents else NO_INCIDENTS.rstrip(".")
    lines = [f"*{open_line}*"]
    lines += [incident_line(incident, view.now) for incident in view.incidents[:_MOST_SHOWN]]
    lines += _more(len(view.incidents))
    lines.append(f"*{m.counted(len(view.waiting), 'approval')} waiting*" if view.waiting else NOTHING_WAITS)
    lines += [_approval_line(*pair, view.now) for pair in view.waiting[:_MOST_SHOWN]]
    lines += _more(len(view.waiting))
    lines += _quiet_lines(view)
    if view.paused_by:
        lines.append(f"⏸️ *Paused* by {m.mention(view.paused_by)}: nothing runs until somebody resumes it.")
    if view.breaker:
        lines.append(f"🛑 *Nothing runs by itself:* {m.inline(view.breaker, 160)}. `{COMMAND} resume` ends that.")
    more = f"; {m.counted(view.modes, 'place')} set apart, see `{COMMAND} mode`" if view.modes else ""
    lines.append(f"*Mode:* {m.inline(view.mode, 60)}{more}")
    lines += [f"• {m.inline(line, 200)}" for line in view.connections[:_MOST_SHOWN]]
    return _answer("status", lines)


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


def help_answer() -> Card:
    """What a person can type."""
    lines = ["*What I can do*", *_usage_lines(), MENTION_HELP, SHORTCUT_HELP]
    return _answer("help", lines)


def _usage_lines() -> list[str]:
    return [f"• `{COMMAND} {usage}`: {does}" for usage, does in SUBCOMMANDS.values()]


def unknown_answer(name: str) -> Card:
    """An unknown subcommand, with the nearest known one."""
    typed = m.clean(name[:200])
    near = difflib.get_close_matches(typed.lower()[:40], SUBCOMMANDS, n=1, cutoff=0.5)
    guess = f" Did you mean `{COMMAND} {SUBCOMMANDS[near[0]][0]}`?" if near else ""
    return _answer("unknown", [f"I do not know {m.code(typed, 60)}.{guess}", *_usage_lines()])


def stats_answer(figures: Figures, days: int) -> Card:
    """How well it went: counts, rates with what they are of, and times; an empty period says so."""
    period = m.counted(days, "day")
    if not figures.incidents:
        return _answer("stats", [f"No incident opened in the last {period}."])
    ended = [
        (figures.agent_fixed, "fixed by itself"),
        (figures.assisted, "fixed after an approval"),
        (figures.human, "ended without a fix of mine"),
        (figures.no_fault, "no fault"),
        (figures.open, "open"),
    ]
    counts = " · ".join(f"{number:,} {what}" for number, what in ended if number)
    lines = [f"*{m.counted(figures.incidents, 'incident')} in the last {period}*", f"• {counts}", _fixes_line(figures)]
    if figures.turned_down:
        lines.append(f"• {m.counted(figures.turned_down, 'proposal')} rejected as wrong")
    times = [
        (figures.detect_p50_s, "from the first signal to the incident"),
        (figures.resolve_p50_s, "from there to its end"),
    ]
    half = " · ".join(f"{m.duration(seconds)} {what}" for seconds, what in times if seconds is not None)
    return _answer("stats", [*lines, f"• Half of them took at most {half}"] if half else lines)


def _fixes_line(figures: Figures) -> str:
    if not figures.fixes:
        return "• No fix was carried out"
    worked = f"• {figures.verified} of {m.counted(figures.fixes, 'fix', 'fixes')} worked ({figures.success_rate:.0%})"
    wrong = f"{figures.wrong_actions} made it worse or were wrong" if figures.wrong_actions else "none made it worse"
    back = f" · {figures.false_resolves} looked fixed and was not" if figures.false_resolves else ""
    return f"{worked} · {wrong}{back}"


def said(name: str, sentence: str) -> Card:
    """One sentence of our own wording."""
    return _answer(name, [sentence])


def modes_answer(by_file: str, found: Mapping[str, tuple[object, str]]) -> Card:
    """Every mode that people set, and what holds elsewhere."""
    lines = [f"*Mode:* {m.inline(by_file, 20)} where the policy file says nothing else"]
    for scope, (mode, by) in found.items():
        lines.append(f"• {_scope(scope)}: *{m.inline(str(mode), 20)}*, set by {m.mention(by)}")
    return _answer("mode", [*lines, f"Change it with `{COMMAND} {SUBCOMMANDS['mode'][0]}`."])


def _scope(scope: str) -> str:
    kind, _, name = scope.partition(":")
    return f"{kind} {m.code(name, 60)}" if name else "everything"


def mode_usage_answer() -> Card:
    lines = [
        f"Write `{COMMAND} mode service NAME MODE`, `mode environment NAME MODE`, `mode channel MODE` (this one) or",
        "`mode everything MODE`; a mode is observe, suggest, approve, automatic, or default to take back what was set.",
    ]
    return _answer("mode", [" ".join(lines)])


def mode_set_answer(scope: str, mode: str, before: str) -> Card:
    now = f"*{mode}*" if mode else "what the policy file says"
    return _answer("mode", [f"Mode of {_scope(scope)}: {now} (was {m.inline(before, 20)}). It holds at once."])


def trust_answer(granted: Sequence[tuple[Case, Grant]], shadow: Shadow) -> Card:
    """What may run by itself, and how what would have run by itself did."""
    told = shadow_words(shadow)
    if not granted:
        return _answer("trust", ["No fix has been granted trust yet.", *([told] if told else [])])
    lines = [
        f"• {case_words(case)}: {m.inline(grant.evidence, 160)}, granted by {m.mention(grant.set_by)}"
        for case, grant in granted[:20]
    ]
    return _answer("trust", ["*Run by themselves where the mode is approve*", *lines, *([told] if told else [])])


def trust_set_answer(case: Case, state: str, words: str) -> Card:
    then = "runs by itself from now on" if state == "granted" else "is asked for again"
    return _answer("trust", [f"{case_words(case)} {then}. {m.inline(words.capitalize(), 200)}."])


def show_answer(view: CardView) -> Card:
    """One incident's card for one person, without the buttons that decide: decisions belong where all can see them."""
    card = render_card(view)
    blocks = [block for block in card.blocks if block["type"] not in {"actions", "context_actions"}]
    if view.channel_link:
        return Card(card.text, blocks)
    where = f"Incident {view.incident.id}; decide on its card in the channel."
    return Card(card.text, [*blocks, m.context(f"show-{view.incident.id}", where)])


def show_unknown_answer(arguments: Sequence[str]) -> Card:
    """`show` without a number, or with one that no incident has."""
    asked = " ".join(arguments)[:100]
    if not asked.strip():
        return _answer("show", [f"Which one? For example `{COMMAND} show 12`; `{COMMAND} status` lists the numbers."])
    return _answer("show", [f"There is no incident {m.code(asked, 60)}; `{COMMAND} status` lists the open ones."])


def _answer(name: str, lines: Sequence[str]) -> Card:
    text = "\n".join(m.without_markup(line) for line in lines)
    return Card(text, m.sections(f"command-{name}", lines))
