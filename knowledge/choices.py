"""Pure: what people decided about an alert's keys goes before the rules of correlation.

Who splits an alert or a workload off says that it is a failure of its own: from then on it is joined by what names it,
never by a common cause. Who merges two incidents says that their failures belong together: from then on both seek and
hold one key more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from knowledge.correlation import MARKS, AlertKeys, kind_of

# Keys that name the alert itself; beside them those of its workload.
_ALERTS_OWN = ("fingerprint", "run", "suite", "pager", "identity")
# The keys that a choice is remembered by.
NAMING = ("identity", "workload")


class Verdict(StrEnum):
    APART = "apart"
    TOGETHER = "together"
    BASELINE = "baseline"  # it failed before we came, and is told of in a summary


@dataclass(frozen=True, slots=True)
class Choice:
    """What is remembered of one key. `value` is what two merged sides share, or the baseline's name."""

    verdict: Verdict
    value: str = ""


def naming(keys: Sequence[str], kinds: Sequence[str] = NAMING) -> list[str]:
    """The keys that a choice is remembered by, of an alert's `seek` or `hold`."""
    return [key for key in keys if kind_of(key) in kinds]


def guided(keys: AlertKeys, choices: Mapping[str, Choice]) -> AlertKeys:
    """The alert's keys after what people decided about them."""
    if not choices:
        return keys
    apart = {kind_of(key) for key, choice in choices.items() if choice.verdict is Verdict.APART}
    if apart:
        kinds = _ALERTS_OWN if "identity" in apart else (*_ALERTS_OWN, "workload")
        seek = tuple(key for key in keys.seek if kind_of(key) in kinds)
        keys = replace(
            keys, seek=seek, hold=tuple(key for key in keys.hold if kind_of(key) in kinds or key.startswith(MARKS))
        )
    shared = sorted({choice.value for choice in choices.values() if choice.verdict is Verdict.TOGETHER})
    together = tuple(f"choice:{value}" for value in shared)
    # The sender's own fingerprint says which open incident it is; a choice comes right after it.
    first = tuple(key for key in keys.seek if kind_of(key) == "fingerprint")
    rest = tuple(key for key in keys.seek if kind_of(key) != "fingerprint")
    return replace(keys, seek=(*first, *together, *rest), hold=(*keys.hold, *together))
