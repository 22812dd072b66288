"""The text of a remembered incident that is embedded and compared, and whose texts may go to an outside model."""

from dataclasses import dataclass

from knowledge.model import KIND_NAMES, FailureKind, KnowledgeItem


@dataclass(frozen=True, slots=True)
class Sendable:
    """The services of which something may go to an outside model: all but the named ones, or only those."""

    services: tuple[str, ...] = ()
    all_but: bool = True

    def includes(self, service: str) -> bool:
        return (service in self.services) is not self.all_but

    def __str__(self) -> str:
        return f"{'all but' if self.all_but else 'only'} {', '.join(self.services) or 'none'}"


EVERYTHING = Sendable()
# How a fix ended that belongs into the text: verified by us, or said to have resolved it by whoever wrote it down.
HELPED = frozenset({"verified", "resolved"})


def passage(kind: FailureKind | None, excerpt: str, fix: str = "", outcome: str = "") -> str:
    """A sentence that names the kind, the excerpt, and the fix where it helped."""
    named = f"{KIND_NAMES[kind]} ({kind})." if kind else ""
    helped = f"Resolved by: {fix}" if fix and outcome in HELPED else ""
    return "\n".join(part for part in (named, excerpt, helped) if part)


def passage_of(item: KnowledgeItem) -> str:
    """The same of a whole item."""
    return passage(item.kind, item.excerpt, item.fix, item.outcome)
