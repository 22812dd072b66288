"""Text to the classifier's input: hashed TF-IDF of words and characters beside the embedding; no vocabulary is kept."""

import re
import zlib
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from knowledge.ports import Vector

WORD_BUCKETS = 1 << 14
CHAR_BUCKETS = 1 << 15
_WORD = re.compile(r"[a-z][a-z0-9_]*|[0-9]{3}\b")
_LETTERS = re.compile(r"(?<=[a-z])(?=[A-Z])")
_VARIABLE = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-f]{8,}(?:-[0-9a-f]{4,})*\b|\d{4,}")
_LONGEST = 6000


@dataclass(frozen=True, slots=True)
class Sparse:
    """Bucket numbers (ascending) and their counts."""

    index: NDArray[np.int64]
    count: NDArray[np.float32]


def words(text: str) -> Sparse:
    """Words and pairs of neighbours, camelCase split, hashed into WORD_BUCKETS."""
    tokens = _WORD.findall(_LETTERS.sub(" ", text[:_LONGEST]).lower())
    pairs = [f"{first} {second}" for first, second in pairwise(tokens)]
    hashes = np.array([zlib.crc32(token.encode()) for token in [*tokens, *pairs]], dtype=np.int64)
    return _counted(hashes % WORD_BUCKETS)


def characters(text: str) -> Sparse:
    """Runs of 3, 4 and 5 bytes, variable parts masked, hashed into CHAR_BUCKETS."""
    masked = _VARIABLE.sub("#", text[:_LONGEST].lower())
    codes = np.frombuffer(f" {' '.join(masked.split())} ".encode(), dtype=np.uint8).astype(np.uint64)
    found = []
    for length in (3, 4, 5):
        if len(codes) < length:
            continue
        value = np.full(len(codes) - length + 1, length * 0x9E3779B1, dtype=np.uint64)
        for offset in range(length):
            value = (value ^ codes[offset : len(codes) - length + 1 + offset]) * np.uint64(0x100000001B3)
        # The product alone leaves the last bytes in the low bits: without this mixing they would not count.
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found.append(((value >> np.uint64(40)) % np.uint64(CHAR_BUCKETS)).astype(np.int64))
    return _counted(np.concatenate(found) if found else np.zeros(0, dtype=np.int64))


def _counted(buckets: NDArray[np.int64]) -> Sparse:
    index, count = np.unique(buckets, return_counts=True)
    return Sparse(index, count.astype(np.float32))


def weighted(sparse: Sparse, idf: NDArray[np.float32]) -> Sparse:
    """Sublinear TF times IDF, unit length."""
    value = (1.0 + np.log(np.maximum(sparse.count, 1.0))) * idf[sparse.index]
    norm = float(np.linalg.norm(value))
    return Sparse(sparse.index, (value / norm if norm else value).astype(np.float32))


@dataclass(frozen=True, slots=True)
class Features:
    """What a text looks like to the classifier, before IDF; `vector` has unit length, or is zeros without embedder."""

    words: Sparse
    characters: Sparse
    vector: Vector


def features(text: str, vector: Vector | None) -> Features:
    return Features(words(text), characters(text), np.zeros(384, dtype=np.float32) if vector is None else vector)
