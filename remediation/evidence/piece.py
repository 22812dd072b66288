"""What a collector hands back, still raw."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Piece:
    """One text, or why it could not be had. `kind` is an EvidenceKind; `left_out` counts characters already dropped."""

    kind: str
    source: str
    text: str = ""
    could_not: str = ""
    left_out: int = 0
    link: str = ""


Pieces = Sequence[Piece]
