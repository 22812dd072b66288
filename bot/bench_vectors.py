"""Vectors of made-up incidents in two kinds: as the built-in embedder sees failures, and without any likeness.

A million texts take the embedder four hours. So it reads some: the program's own labelled texts, with other names and
numbers in them. Each further vector lies between one of these and its nearest neighbours, spread so that made ones lie
as far from each other as embedded ones do, or a little further; `likeness` gives both, and the number of dimensions in
which they are spread, on which the work of an index depends. What is searched for are embedded texts that are not among
those. An item's text and vector belong together: its vector lies by an own text, and its text is that one with other
names.
"""

import functools
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowledge.embedding.minilm import DIMENSION, MiniLM
from knowledge.model import FailureKind
from knowledge.passages import passage
from knowledge.retrieval import searched_for

Vectors = NDArray[np.float32]
SEED, SEARCHES, TIMES_EACH = 7, 200, 2
# Chosen by `likeness`: fewer neighbours give too few dimensions, a smaller spread too many that are all but equal.
NEIGHBOURS, SPREAD = 20, 0.7
# The other kind: points around centres that lie anywhere, in all dimensions alike.
CENTRES, NOISE = 400, 0.06
# What is held twice in memory at a time: a million vectors are 1.5 GB.
CHUNK = 50_000
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]{3,}|\d+")
FIX = "Roll back."


@dataclass(frozen=True, slots=True)
class Made:
    """One kind of vectors: makes those of numbered items, and has some to search with that are none of them.

    `make` takes the items' numbers; an item's own text is the one that its number comes to, counted round and round.

    `asked` are as an incident is searched for after its diagnosis, `by_log` as a log alone is, whose kind nobody knows.
    """

    make: Callable[[NDArray[np.int64], np.random.Generator], Vectors]
    asked: Vectors
    by_log: Vectors | None = None

    def vectors(self, count: int) -> Vectors:
        source = np.random.default_rng(SEED)
        unit = np.empty((count, DIMENSION), np.float32)
        for start in range(0, count, CHUNK):
            some = np.arange(start, min(start + CHUNK, count))
            made = self.make(some, source)
            unit[some] = made / np.linalg.norm(made, axis=1, keepdims=True)
        return unit


@functools.cache
def like_failures() -> tuple[Made, Mapping[str, Any]]:
    """Vectors as of real failures, and how much they are alike. Embeds for about half a minute."""
    embedded, asked, by_log = _embedded()
    near = _order(embedded @ embedded.T)[:, 1 : NEIGHBOURS + 1]

    def make(items: NDArray[np.int64], source: np.random.Generator) -> Vectors:
        of = items % len(embedded)
        shares = source.normal(0, SPREAD / NEIGHBOURS**0.5, (len(items), NEIGHBOURS)).astype(np.float32)
        made: Vectors = embedded[of] * (1 - shares.sum(axis=1, keepdims=True))
        for place in range(NEIGHBOURS):
            made += shares[:, place, None] * embedded[near[of, place]]
        return made

    made = Made(make, asked, by_log)
    return made, likeness(embedded, made.vectors(len(embedded)))


@functools.cache
def without_likeness() -> Made:
    source = np.random.default_rng(SEED)
    centres = source.normal(0, 1, (CENTRES, DIMENSION)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)

    def make(items: NDArray[np.int64], source: np.random.Generator) -> Vectors:
        noise = source.normal(0, NOISE, (len(items), DIMENSION)).astype(np.float32)
        return centres[source.integers(0, CENTRES, len(items))] + noise

    asked = make(np.arange(SEARCHES), source)
    return Made(make, asked / np.linalg.norm(asked, axis=1, keepdims=True))


def likeness(embedded: Vectors, made: Vectors) -> Mapping[str, Any]:
    """Of both: the cosine to the first and to the tenth neighbour (10th, 50th, 90th percentile), and the dimensions."""
    told = {"embedded": embedded, "made": made}
    return {
        **{f"cosine to the first neighbour, {name}": _spread(one, 1) for name, one in told.items()},
        **{f"cosine to the tenth neighbour, {name}": _spread(one, 10) for name, one in told.items()},
        **{f"dimensions, {name}": dimensions(one) for name, one in told.items()},
    }


def _spread(vectors: Vectors, place: int) -> list[float]:
    nearest = -np.sort(-(vectors @ vectors.T), axis=1)[:, place]
    return [round(float(one), 2) for one in np.quantile(nearest, (0.1, 0.5, 0.9))]


def dimensions(vectors: Vectors, neighbours: int = 20) -> float:
    """In how many dimensions the vectors are spread where they lie: the median of Levina's and Bickel's estimate."""
    cosines = -np.sort(-(vectors @ vectors.T), axis=1)[:, 1 : neighbours + 1]
    # Equal texts are no distance apart, of which there is no logarithm; with none but equal neighbours nothing is told.
    away = np.sqrt(np.maximum(2 - 2 * cosines, 1e-6))
    grows = np.log(away[:, -1:] / away[:, :-1]).sum(axis=1)
    grows = grows[grows > 0]
    return round(float(np.median((neighbours - 2) / grows)), 1) if len(grows) else 0.0


def _order(similar: Vectors) -> NDArray[np.int64]:
    return np.argsort(-similar, axis=1, kind="stable")


# --- texts ------------------------------------------------------------------------------------------------------------


def _embedded() -> tuple[Vectors, Vectors, Vectors]:
    """(what is remembered, what is asked, what is asked by a log alone), of unit length."""
    own, model = own_texts(), MiniLM()
    vary = varied(own)
    kept = [
        passage(kind_of(one["kind"]), vary(one["text"], number), FIX, "verified")
        for number, one in enumerate(own * TIMES_EACH)
    ]
    remembered, asked, by_log = (
        np.array([model.embed(one) for one in texts], np.float32)
        for texts in (kept, asked_texts(own), asked_texts(own, known=False))
    )
    return remembered, asked, by_log


def asked_texts(own: list[dict[str, str]], *, known: bool = True) -> list[str]:
    """What is searched for: other texts than any that is remembered; with their kind, as after a diagnosis, or not."""
    vary = varied(own)
    some = random.Random(SEED).sample(own, SEARCHES)  # noqa: S311  made-up logs
    return [
        passage(kind_of(one["kind"]) if known else None, searched_for(vary(one["text"], -number - 1)))
        for number, one in enumerate(some)
    ]


def own_texts() -> list[dict[str, str]]:
    """The texts that were written for the built-in classifier: {"kind", "text"}."""
    lines = files("knowledge.language_models").joinpath("data/own_texts.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def kind_of(name: str) -> FailureKind | None:
    """The kind that an own text is labelled with; None where it shows no failure."""
    return FailureKind(name) if name in set(FailureKind) else None


def varied(texts: list[dict[str, str]]) -> Callable[[str, int], str]:
    """Makes another text of one: words that no other text has become such words of other texts, and digits others."""
    seen = Counter(word for one in texts for word in set(_WORD.findall(one["text"])))
    rare = sorted(word for word, times in seen.items() if times == 1 and not word.isdigit())

    def vary(text: str, number: int) -> str:
        source = random.Random(number)  # noqa: S311  made-up logs

        def other(found: re.Match[str]) -> str:
            word = found.group()
            if word.isdigit():
                return "".join(source.choices("0123456789", k=len(word)))
            return source.choice(rare) if seen[word] == 1 else word

        return _WORD.sub(other, text)

    return vary
