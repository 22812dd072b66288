"""The text of a remembered incident that is embedded and compared, and whose texts may go to an outside model."""

from dataclasses import dataclass

from knowledge.model import KIND_NAMES, FailureKind


@dataclass(frozen=True, slots=True)
class Sendable:
    """The services of which something may go to an outside model: all but the named ones, or only those."""

    services: tuple[str, ...] = ()
    all_but: bool = True

    def includes(self, service: str) -> bool:
        return (service in self.services) is not self.all_but


EVERYTHING = Sendable()


def passage(kind: FailureKind | None, excerpt: str, fix: str = "", outcome: str = "") -> str:
    """A sentence that names the kind, the excerpt, and the fix where it was verified."""
    named = f"{KIND_NAMES[kind]} ({kind})." if kind else ""
    helped = f"Resolved by: {fix}" if fix and outcome == "verified" else ""
    return "\n".join(part for part in (named, excerpt, helped) if part)
