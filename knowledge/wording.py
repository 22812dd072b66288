"""Which words of a query to look for, and what each is worth: BM25's arithmetic. Pure; the SQL is in store/legs.py."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile

# BM25 as Robertson and Zaragoza give it; other values were tried (docs/retrieval.md) and are no better.
SATURATION, BY_LENGTH = 1.5, 0.75
# A pasted log has hundreds of words; past these the commonest add nothing but time.
MOST_WORDS = 120
MOST_SOUGHT = 60


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the query as the index has it; `items` is in how many it stands, as far as is known."""

    lexeme: str
    items: float
    stop: bool = False


def weights(words: Sequence[Word], total: int) -> dict[str, float]:
    """Each word's weight (inverse document frequency, above 0), the rarest first."""
    rarest = sorted(words, key=lambda word: (word.items, word.lexeme))[:MOST_WORDS]
    return {word.lexeme: _weight(word.items, max(total, word.items)) for word in rarest}


def _weight(items: float, total: float) -> float:
    return math.log(1 + (total - items + 0.5) / (items + 0.5))


def sought(words: Sequence[Word], most_items: float) -> list[str]:
    """The rarest words, while together they stand in at most `most_items`.

    Stop words never are among them: they would fetch everything.
    """
    rarest = sorted((word for word in words if not word.stop), key=lambda word: (word.items, word.lexeme))
    fetched = accumulate(word.items for word in rarest)
    few = takewhile(lambda one: one[1] <= most_items, zip(rarest, fetched, strict=True))
    return [word.lexeme for word, _ in few][:MOST_SOUGHT]
