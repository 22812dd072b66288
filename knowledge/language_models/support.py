"""Whether a readable reply may be believed at all: pure. What it quotes must stand in the evidence."""

from knowledge.case import Case
from knowledge.language_models.reply import Reply, quoted_lines
from knowledge.model import FailureKind

# Ways in which models say that they prefer nothing.
_NO_ACTION = frozenset({"", "none", "null", "n/a", "noop", "escalate"})
_MOST_QUOTES = 6


def objection(reply: Reply, case: Case) -> str:
    """What is wrong with the reply, in words that a model can act on; "" where nothing is. Reads all evidence.

    One real quote is enough: the invented ones beside it are dropped later.
    """
    wanted = reply.preferred_action.strip().lower()
    if case.permitted_actions and wanted not in {*_NO_ACTION, *case.permitted_actions}:
        return "preferred_action is none of the permitted actions"
    if reply.kind is FailureKind.UNKNOWN or not any(text.strip() for text in case.texts):
        return ""
    if any(case.find(text, evidence) for evidence, text in quoted_lines(reply)[:_MOST_QUOTES]):
        return ""
    return "none of its quotes stands in the evidence: copy single lines character by character"
