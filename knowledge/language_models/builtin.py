"""The built-in classifier: one logistic regression over hashed words, characters and the embedding of a reduced text.

Its weights are made by `python -m knowledge.language_models.train`; at run time numpy is enough.
"""

import io
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from knowledge.language_models.features import CHAR_BUCKETS, WORD_BUCKETS, Features, Sparse, features, weighted
from knowledge.model import FailureKind
from knowledge.ports import Vector


@dataclass(frozen=True, slots=True)
class Weights:
    """`words` and `characters` (buckets, kinds), `vector` (384, kinds), `bias` (kinds,), IDF by bucket."""

    kinds: tuple[FailureKind, ...]
    words: NDArray[np.float32]
    characters: NDArray[np.float32]
    vector: NDArray[np.float32]
    bias: NDArray[np.float32]
    word_idf: NDArray[np.float32]
    character_idf: NDArray[np.float32]
    temperature: float = 1.0


@cache
def shipped_weights() -> Weights:
    raw = files("knowledge.language_models").joinpath("data/builtin.npz").read_bytes()
    return unpack(raw)


def unpack(raw: bytes) -> Weights:
    with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
        return Weights(
            kinds=tuple(FailureKind(str(kind)) for kind in stored["kinds"]),
            words=_dense(stored, "words", WORD_BUCKETS),
            characters=_dense(stored, "characters", CHAR_BUCKETS),
            vector=stored["vector"].astype(np.float32),
            bias=stored["bias"].astype(np.float32),
            word_idf=stored["word_idf"].astype(np.float32),
            character_idf=stored["character_idf"].astype(np.float32),
            temperature=float(stored["temperature"]),
        )


def pack(weights: Weights) -> bytes:
    """Int8 with one scale a kind for the buckets that are used at all; about a megabyte."""
    stored: dict[str, NDArray[np.generic]] = {
        "kinds": np.array([kind.value for kind in weights.kinds]),
        "vector": weights.vector.astype(np.float16),
        "bias": weights.bias.astype(np.float32),
        "word_idf": weights.word_idf.astype(np.float16),
        "character_idf": weights.character_idf.astype(np.float16),
        "temperature": np.array(weights.temperature),
    }
    for name, matrix in (("words", weights.words), ("characters", weights.characters)):
        rows = np.flatnonzero(np.abs(matrix).max(axis=1) > 0)
        scale = np.maximum(np.abs(matrix).max(axis=0), 1e-9) / 127
        stored[f"{name}_rows"] = rows.astype(np.uint16)
        stored[f"{name}_scale"] = scale.astype(np.float32)
        stored[f"{name}_values"] = np.round(matrix[rows] / scale).astype(np.int8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **stored)
    return buffer.getvalue()


def _dense(stored: "np.lib.npyio.NpzFile", name: str, buckets: int) -> NDArray[np.float32]:
    values = stored[f"{name}_values"].astype(np.float32) * stored[f"{name}_scale"]
    matrix = np.zeros((buckets, values.shape[1]), dtype=np.float32)
    matrix[stored[f"{name}_rows"].astype(np.int64)] = values
    return matrix


def probabilities(seen: Features, weights: Weights) -> NDArray[np.float32]:
    """Probability of each of `weights.kinds`, summing to 1."""
    logits = weights.bias + seen.vector @ weights.vector
    logits = logits + _product(weighted(seen.words, weights.word_idf), weights.words)
    logits = logits + _product(weighted(seen.characters, weights.character_idf), weights.characters)
    scaled = logits / weights.temperature
    exponent = np.exp(scaled - scaled.max())
    return np.asarray(exponent / exponent.sum(), dtype=np.float32)


def _product(sparse: Sparse, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(sparse.count @ matrix[sparse.index], dtype=np.float32)


def classify(text: str, vector: Vector | None, weights: Weights | None = None) -> dict[FailureKind, float]:
    """Probability of every kind for a reduced text and its embedding (None where there is no embedder)."""
    used = weights or shipped_weights()
    result = probabilities(features(text, vector), used)
    return {kind: float(value) for kind, value in zip(used.kinds, result, strict=True)}
