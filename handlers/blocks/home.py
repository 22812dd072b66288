"""Pure: a person's App Home. What waits for them, what is open, how the team's week went, what they are sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from handlers.blocks import mrkdwn as m
from handlers.blocks.actions import DETAILS, REJECT, approval_value, encode
from handlers.blocks.card_view import CardView
from handlers.blocks.commands import incident_line, older_are_deleted
from handlers.blocks.incident_words import lead
from knowledge.model import KIND_NAMES, FailureKind, Incident
from knowledge.store.analytics import Figures
from knowledge.store.personal import PERIODS_DAYS, Personal

DECIDE = "home_decide"
SERVICE, ENVIRONMENT, PERIOD = "home_service", "home_environment", "home_period"
SENT, QUIET, OPEN_CARD = "home_sent", "home_quiet", "home_open_card"
QUIET_HOURS = "home_quiet_hours"
REMINDERS, DIGEST = "reminders", "digest"
ALL = "all"

MOST_WAITING, MOST_INCIDENTS, MOST_OPTIONS, MOST_KINDS = 5, 10, 100, 5
NOTHING_WAITS = "Nothing waits for you."
NOTHING_OPEN = "No open incident that you may read."
ELSEWHERE = "🔒 A fix waits for your decision; its card is in a channel that you are not in."
NO_FIGURES = "No incident opened in this period."
NO_FIGURES_KEPT = "No incident that is kept opened in this period."
# Slack takes at most twenty points, and a label of twenty characters.
MOST_DAYS, MOST_LABEL = 14, 20
_BAR = 20


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that this person may decide. `view` is None where its card is in a channel that they cannot read."""

    view: CardView | None
    link: str = ""


@dataclass(frozen=True, slots=True)
class Open:
    incident: Incident
    link: str = ""


@dataclass(frozen=True, slots=True)
class Week:
    """The figures of the chosen period: of all, by day (YYYY-MM-DD) and by kind.

    `kept_days` is how long incidents are kept after their end, 0 for ever.
    """

    since: datetime
    total: Figures
    by_day: Sequence[Figures] = ()
    by_kind: Sequence[Figures] = ()
    kept_days: int = 0


@dataclass(frozen=True, slots=True)
class HomeView:
    """All that one person's Home shows at `now`.

    `incidents` are the newest of `open_count`; `week` is None for guests; `services` and `environments` are the names
    to choose from.
    """

    now: datetime
    personal: Personal
    waiting: Sequence[Waiting] = ()
    incidents: Sequence[Open] = ()
    open_count: int = 0
    week: Week | None = None
    services: Sequence[str] = ()
    environments: Sequence[str] = ()
    stopped: str = ""  # why nothing runs just now


def render_home(view: HomeView, *, charts: bool = True) -> dict[str, Any]:
    """The view for views.publish; without `charts` their figures are bars of text, for where Slack refuses charts."""
    blocks = [*_waiting(view), *_open(view)]
    if view.week is not None:
        blocks += _week(view.week, view.personal.days, charts=charts)
    return {"type": "home", "blocks": [*blocks, *_sent(view.personal)]}


def _header(name: str, words: str) -> dict[str, Any]:
    return {"type": "header", "block_id": f"home-{name}", "text": m.plain_text(words)}


def _waiting(view: HomeView) -> list[dict[str, Any]]:
    blocks = [_header("waiting", "Waiting for you")]
    if view.stopped:
        blocks.append(m.section("home-stopped", [f"⏸️ *Nothing runs:* {m.inline(view.stopped, 200)}"]))
    if not view.waiting:
        return [*blocks, m.section("home-nothing", [NOTHING_WAITS])]
    for number, one in enumerate(view.waiting[:MOST_WAITING]):
        blocks += _request(one, number, view.now)
    if len(view.waiting) > MOST_WAITING:
        blocks.append(m.context("home-more-waiting", f"{len(view.waiting) - MOST_WAITING:,} more wait for you."))
    return blocks


def _request(one: Waiting, number: int, now: datetime) -> list[dict[str, Any]]:
    if one.view is None or one.view.approval is None:
        line = f"{ELSEWHERE} {m.link(one.link, 'Open the card')}" if one.link else ELSEWHERE
        return [m.section(f"home-elsewhere-{number}", [line])]
    view, approval = one.view, one.view.approval
    fix = m.inline(m.plain_sentences(view.plan.preview, 200), 300) if view.plan and view.plan.preview else ""
    have = f"{len(approval.approved_by)} of {m.counted(approval.needed, 'approval')}"
    lines = [f"*{lead(view).replace('*', '∗')}*", fix, f"{have} · until {m.date(approval.until, now)}"]
    value = approval_value(approval)
    incident = f"incident {view.incident.id}"
    buttons = [
        _button(DECIDE, "Approve…", value, f"Read and approve the fix of {incident}", style="primary"),
        _button(REJECT, "Reject…", value, f"Reject the fix of {incident} and say why"),
        _button(DETAILS, "Details", encode(i=view.incident.id), f"Details of {incident}"),
    ]
    if m.safe_url(one.link):
        buttons.append(_button(OPEN_CARD, "Open the card", "", f"Open the card of {incident}", url=one.link))
    # The block's id changes with the request, so that no client keeps the look of an old set of buttons.
    name = f"home-request-{approval.id}"
    return [
        m.section(name, [line for line in lines if line]),
        {"type": "actions", "block_id": f"{name}-{len(approval.approved_by)}", "elements": buttons},
    ]


def _button(action_id: str, label: str, value: str, spoken: str, **more: str) -> dict[str, Any]:
    about = {"value": value} if value else {}
    return {
        "type": "button", "action_id": action_id, "text": m.plain_text(label),
        "accessibility_label": m.plain(spoken, 75), **about, **more,
    }  # fmt: skip


def _open(view: HomeView) -> list[dict[str, Any]]:
    title = m.counted(view.open_count, "open incident") if view.open_count else "Open incidents"
    lines = [_incident_line(one, view.now) for one in view.incidents[:MOST_INCIDENTS]]
    if view.open_count > len(lines):
        lines.append(f"({view.open_count - len(lines):,} more)")
    return [_header("open", title), *_filters(view), *m.sections("home-incidents", lines or [NOTHING_OPEN])]


def _incident_line(one: Open, now: datetime) -> str:
    line = incident_line(one.incident, now)
    return f"{line} · {m.link(one.link, 'card')}" if one.link else line


# --- the filters --------------------------------------------------------------------------------------------------


def _filters(view: HomeView) -> list[dict[str, Any]]:
    personal = view.personal
    elements = [
        _names(SERVICE, "All services", view.services, personal.service),
        _names(ENVIRONMENT, "All environments", view.environments, personal.environment),
    ]
    if view.week is not None:
        periods = [_option(f"Last {days} days", str(days)) for days in PERIODS_DAYS]
        chosen = next((one for one in periods if one["value"] == str(personal.days)), periods[0])
        elements.append({"type": "static_select", "action_id": PERIOD, "options": periods, "initial_option": chosen})
    return [{"type": "actions", "block_id": "home-filters", "elements": elements}]


def _names(action_id: str, everything: str, names: Sequence[str], chosen: str) -> dict[str, Any]:
    # A name is the sender's; one that no option can hold is left out.
    known = [name for name in dict.fromkeys([*([chosen] if chosen else []), *names]) if name and len(name) < 140]
    options = [_option(everything, ALL), *(_option(m.plain(name, 75), f"={name}") for name in known)][:MOST_OPTIONS]
    initial = next((one for one in options if chosen and one["value"] == f"={chosen}"), options[0])
    return {"type": "static_select", "action_id": action_id, "options": options, "initial_option": initial}


def _option(label: str, value: str) -> dict[str, Any]:
    return {"text": m.plain_text(label), "value": value}


def chosen_name(value: object) -> str:
    """The service or environment of an option's value, "" for all."""
    return value[1:] if isinstance(value, str) and value.startswith("=") else ""


# --- the figures --------------------------------------------------------------------------------------------------


def _week(week: Week, days: int, *, charts: bool) -> list[dict[str, Any]]:
    blocks = [_header("week", f"How it went, last {days} days")]
    missing = [older_are_deleted(week.kept_days)] if 0 < week.kept_days < days else []
    if not week.total.incidents:
        return [*blocks, m.section("home-figures", [NO_FIGURES_KEPT, *missing] if missing else [NO_FIGURES])]
    fields = [m.mrkdwn(f"*{name}*\n{words}") for name, words in figure_words(week.total)]
    blocks.append({"type": "section", "block_id": "home-figures", "fields": fields})
    blocks += [m.section("home-kept", missing)] if missing else []
    if charts:
        return [*blocks, *(chart for chart in (endings_chart(week, days), _kinds_chart(week)) if chart)]
    return [*blocks, *m.sections("home-bars", [*_ending_bars(week, days), *_kind_bars(week)])]


def figure_words(total: Figures) -> list[tuple[str, str]]:
    """(what, how much) of a period's figures, each rate with what it is of."""
    ended = f"{total.agent_fixed:,} by itself · {total.assisted:,} approved · {total.human:,} by people"
    heal = f"half within {m.duration(total.heal_p50_s)}" if total.heal_p50_s is not None else "no fix has healed one"
    fixes = f"{total.verified:,} of {m.counted(total.fixes, 'fix', 'fixes')}"
    return [
        ("Success rate", f"{_percent(total.success_rate)} ({fixes})"),
        ("Time to heal", heal),
        (f"{m.counted(total.incidents, 'incident')}, {total.open:,} open", ended),
        ("Wrong actions", f"{_percent(total.wrong_action_rate)} ({total.wrong_actions:,})"),
        ("Unsafe approvals", f"{_percent(total.unsafe_approval_rate)} ({total.unsafe_approvals:,})"),
        ("Looked fixed and was not", f"{_percent(total.false_resolve_rate)} ({total.false_resolves:,})"),
        ("Models", f"${total.usd:,.2f}"),
    ]


def _percent(rate: float | None) -> str:
    return "no fix yet" if rate is None else f"{rate:.0%}"


ENDINGS: Mapping[str, str] = {"agent_fixed": "By itself", "assisted": "Approved", "human": "By people", "open": "Open"}


def spans(since: datetime, days: int, by_day: Sequence[Figures]) -> list[tuple[str, dict[str, int]]]:
    """(label, incidents by how they ended) of each day of the period, of each week where it is long."""
    step = 1 if days <= MOST_DAYS else 7
    first = since.date()
    counts = {one.name: one for one in by_day}
    found = []
    for start in range(0, days, step):
        of = [counts.get((first + timedelta(days=day)).isoformat()) for day in range(start, min(start + step, days))]
        sums = {name: sum(getattr(one, name) for one in of if one) for name in ENDINGS}
        found.append((_label(first + timedelta(days=start), step), sums))
    return found


def _label(day: date, step: int) -> str:
    return f"{day:%a %d}" if step == 1 else f"from {day:%b %d}"


def endings_chart(week: Week, days: int) -> dict[str, Any]:
    """Slack's chart of the incidents of each day or week by how they ended."""
    points = spans(week.since, days, week.by_day)
    series = [
        {"name": name, "data": [{"label": label, "value": sums[key]} for label, sums in points]}
        for key, name in ENDINGS.items()
        if any(sums[key] for _, sums in points)
    ]
    if not series:
        return {}
    axis = {"categories": [label for label, _ in points], "y_label": "Incidents"}
    chart = {"type": "bar", "series": series, "axis_config": axis}
    return {"type": "data_visualization", "block_id": "home-endings", "title": "How incidents ended", "chart": chart}


def _kinds(week: Week) -> list[tuple[str, int]]:
    """(label, incidents) of the kinds seen most, the rest in one."""
    ranked = sorted(week.by_kind, key=lambda one: (-one.incidents, one.name))
    counted = [(_kind_label(one.name), one.incidents) for one in ranked if one.incidents]
    rest = sum(number for _, number in counted[MOST_KINDS:])
    shown = dict(counted[:MOST_KINDS])
    return [*shown.items(), *([("All others", rest)] if rest else [])]


def _kind_label(name: str) -> str:
    known = KIND_NAMES[FailureKind(name)] if name in set(FailureKind) else name
    return m.plain(known, MOST_LABEL)


def _kinds_chart(week: Week) -> dict[str, Any]:
    segments = [{"label": label, "value": number} for label, number in _kinds(week)]
    chart = {"type": "pie", "segments": segments}
    title = "What failed most"
    return {"type": "data_visualization", "block_id": "home-kinds", "title": title, "chart": chart} if segments else {}


def _ending_bars(week: Week, days: int) -> list[str]:
    points = spans(week.since, days, week.by_day)
    most = max(sum(sums.values()) for _, sums in points) or 1
    lines = ["*How incidents ended*"]
    for label, sums in points:
        parts = ", ".join(f"{number} {ENDINGS[key].lower()}" for key, number in sums.items() if number)
        lines.append(f"`{label}` {_bar(sum(sums.values()), most)} {parts or 'none'}")
    return lines


def _kind_bars(week: Week) -> list[str]:
    kinds = _kinds(week)
    most = max((number for _, number in kinds), default=1)
    return ["*What failed most*", *(f"{_bar(number, most)} {number:,} {m.escape(label)}" for label, number in kinds)]


def _bar(number: int, most: int) -> str:
    return "▇" * round(number / most * _BAR) or "▏"


# --- what is sent -------------------------------------------------------------------------------------------------


def _sent(personal: Personal) -> list[dict[str, Any]]:
    options = {
        REMINDERS: _option("Remind me directly when an approval waits for me", REMINDERS),
        DIGEST: _option("Send me the digest of the incidents that I may read", DIGEST),
    }
    chosen = [options[name] for name, on in ((REMINDERS, personal.reminders), (DIGEST, personal.digest)) if on]
    boxes: dict[str, Any] = {"type": "checkboxes", "action_id": SENT, "options": list(options.values())}
    if chosen:
        boxes["initial_options"] = chosen
    quiet = "no quiet hours"
    if personal.quiet_from:
        quiet = f"quiet from {personal.quiet_from} to {personal.quiet_until} ({m.inline(personal.timezone, 60)})"
    words = f"You have {quiet}. In quiet hours only critical requests reach you directly; channels and pager go on."
    change = _button(QUIET, "Quiet hours…", "", "Change your quiet hours")
    return [
        _header("sent", "What I send you"),
        {"type": "actions", "block_id": "home-sent-choices", "elements": [boxes, change]},
        m.context("home-quiet-words", words),
    ]


def read_sent(selected: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """What the boxes say now."""
    values = {str(one.get("value")) for one in selected}
    return {REMINDERS: REMINDERS in values, DIGEST: DIGEST in values}


def quiet_modal(personal: Personal, timezone: str) -> dict[str, Any]:
    """Asks for the quiet hours; both left empty ends them. The hours are of the time zone in Slack's profile."""
    hours = ((QUIET_BEGIN, "From", personal.quiet_from), (QUIET_END, "Until", personal.quiet_until))
    inputs = [
        {
            "type": "input",
            "block_id": name,
            "optional": True,
            "label": m.plain_text(label),
            "element": {"type": "timepicker", "action_id": name, **({"initial_time": value} if value else {})},
        }
        for name, label, value in hours
    ]
    words = f"Your own hours, in {m.inline(timezone, 60)}. Leave both empty for none."
    return {
        "type": "modal",
        "callback_id": QUIET_HOURS,
        "title": m.plain_text("Quiet hours"),
        "submit": m.plain_text("Save"),
        "close": m.plain_text("Cancel"),
        "private_metadata": encode(z=timezone[:64]),
        "blocks": [m.section("words", [words]), *inputs],
    }


QUIET_BEGIN, QUIET_END = "quiet_from", "quiet_until"
ONE_IS_MISSING = "Give both hours, or neither for no quiet hours."
THE_SAME = "The hours are the same; choose another end."


def quiet_errors(begin: str, end: str) -> dict[str, str]:
    """What is wrong with submitted hours, by the field."""
    if bool(begin) != bool(end):
        return {QUIET_END if begin else QUIET_BEGIN: ONE_IS_MISSING}
    return {QUIET_END: THE_SAME} if begin and begin == end else {}
