"""Wording of earned trust, and of what would have run by itself."""

from handlers.blocks import mrkdwn as m
from handlers.blocks.card_view import Card
from knowledge.model import KIND_NAMES, Plan
from knowledge.store.trust import Case, Grant, Shadow


def case_words(case: Case) -> str:
    """What trust is earned for; escaped."""
    where = f"{m.inline(case.service, 60)} in {m.inline(case.environment, 20)}"
    return f"{m.code(case.action, 60)} for “{KIND_NAMES[case.kind]}” of {where}"


def proposed(case: Case, evidence: str, shadow: Shadow, incident_id: int) -> Card:
    """The proposal with its evidence; a person decides."""
    lines = [f"🎓 *Earned trust:* {case_words(case)} {m.inline(evidence, 200)}."]
    if told := shadow_words(shadow):
        lines.append(told)
    lines.append(f"An operator may let it run by itself: `/codehealer trust grant {incident_id}`.")
    return _card("trust-proposed", lines)


def demoted(case: Case, before: Grant) -> Card:
    by = m.mention(before.set_by)
    return _card(
        "trust-demoted", [f"🎓 *Trust is taken back:* {case_words(case)} is asked for again (granted by {by})."]
    )


def shadow_words(shadow: Shadow) -> str:
    """What would have run by itself, against what people did; "" where nobody decided yet."""
    tried, shown = shadow.worked + shadow.failed + shadow.rejected, shadow.liked + shadow.disliked
    said = []
    if tried:
        said.append(
            f"Of {m.counted(tried, 'time')} that a fix would have run by itself in automatic mode, people approved it"
            f" and it worked {shadow.worked}, it failed {shadow.failed}, and people rejected it {shadow.rejected}."
        )
    if shown:
        said.append(f"Where it was only suggested, people gave it 👍 {shadow.liked} and 👎 {shadow.disliked} times.")
    return " ".join(said)


def would_have(plan: Plan) -> str:
    """The line of shadow mode."""
    name = plan.action.name if plan.action else ""
    return f"_In automatic mode I would have done this by myself: {m.inline(plan.preview or name, 240)}_"


def _card(name: str, lines: list[str]) -> Card:
    return Card("\n".join(m.without_markup(line) for line in lines), m.sections(name, lines))
