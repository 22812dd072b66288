"""What is kept of a past incident, as a text to be found by. Pure."""

from knowledge.model import KIND_NAMES, FailureKind, KnowledgeItem


def remembered_text(kind: FailureKind | None, excerpt: str, fix: str = "") -> str:
    """The text that is embedded: a sentence that names the kind, the excerpt, the resolution."""
    named = f"{KIND_NAMES[kind]} ({kind})." if kind else ""
    return "\n".join(part for part in (named, excerpt, f"Resolved by: {fix}" if fix else "") if part)


def text_of(item: KnowledgeItem) -> str:
    """The same of a whole item: a fix is a resolution only where it helped."""
    return remembered_text(item.kind, item.excerpt, item.fix if item.outcome in {"verified", "resolved"} else "")
