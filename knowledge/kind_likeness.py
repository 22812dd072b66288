# ruff: noqa: E501  a sentence stays on one line
"""Each kind in a person's words, and which kinds a question sounds like: the third leg of a search for a question.

The sentences' vectors of the built-in model are shipped as data (`python -m knowledge.kind_likeness` makes them anew), so
a search embeds nothing but its question. For another model's vectors there is no answer, and the neighbours tell.
"""

import io
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from knowledge.model import FailureKind
from knowledge.ports import Vector

K = FailureKind
SENTENCES: dict[FailureKind, str] = {
    K.IMAGEPULLBACKOFF: "The image cannot be pulled from the registry: no such tag or platform, login refused, or download limit reached.",
    K.OOMKILLED: "Out of memory: the container used more memory than its limit and was killed, or its heap is full.",
    K.CRASHLOOP: "The container starts, crashes and restarts again and again: an error at startup, a missing setting, or something it needs is not there.",
    K.PROBE_FAILURE: "A health check fails: the readiness, liveness or startup probe gets no good answer, so the pod is not ready or is restarted.",
    K.SCHEDULING: "The pod stays pending: no node has room, the right labels, a free port or the volume's zone.",
    K.CONFIG_ERROR: "Wrong or missing configuration: a secret, config map or key does not exist, or the container may not start with these settings.",
    K.CREDENTIALS: "Credentials refused: the login, token or key is wrong or has expired.",
    K.RBAC_DENIED: "Permission denied: the account, role or token is not allowed to do this.",
    K.QUOTA_EXCEEDED: "Quota exceeded: the namespace or account has used up what it may use, or must state its requests and limits.",
    K.DISK_PRESSURE: "The disk is full: no space left on the node or build machine.",
    K.STORAGE_VOLUME: "The volume cannot be attached, mounted, bound or written.",
    K.NETWORK: "Network: names cannot be resolved, the TLS certificate is not trusted or out of date, or connections do not get through.",
    K.UPSTREAM_UNAVAILABLE: "A service, database or queue that it depends on is down or does not answer.",
    K.PERFORMANCE: "Too slow or overloaded: requests take long, the CPU is throttled, a pool is used up.",
    K.ARGOCD_SYNC: "Argo CD cannot sync the application: the manifests are refused or cannot be rendered.",
    K.ARGOCD_DEGRADED: "Argo CD or Helm waits in vain: the application stays degraded, a hook job fails or hangs, or the rollout does not finish.",
    K.DB_MIGRATION: "The database migration failed: schema changes conflict, are half done or do not match what was applied.",
    K.BUILDFAILURE: "The image build failed: a step of the Dockerfile does not work or a file is not there.",
    K.BUILDCACHEERROR: "The build cache is broken: a layer or blob cannot be found, read or written.",
    K.TEST_FAILURE: "Tests failed: an assertion is wrong, a test is flaky or takes too long.",
    K.DEPENDENCY_RESOLUTION: "Dependencies cannot be resolved: package versions conflict, a lock file or checksum does not match, or an artifact is missing.",
    K.COMPILE_LINT: "The code does not compile, or the linter or type checker complains.",
    K.GITHUBACTION_TRANSIENT: "A passing fault of the build system: the runner was lost, the network or the API limit failed; a rerun may help.",
    K.HEALTHY: "Nothing is wrong: it has recovered, or it was a false alarm.",
}  # fmt: skip
# The built-in embedder's name, written out: importing it would load its runtime into the bot's process.
MODEL = "minilm-l6-int8"
_FILE = "data/kind_sentences.npz"


@cache
def _shipped() -> NDArray[np.float32]:
    raw = files("knowledge").joinpath(_FILE).read_bytes()
    with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
        return np.asarray(stored["vectors"], dtype=np.float32)


def kinds_like(vector: Vector, model: str) -> dict[FailureKind, float]:
    """How well each kind's sentence fits, from 0 (the worst of them) to 1 (the best); empty for another model."""
    if model != MODEL:
        return {}
    fits = _shipped() @ vector
    low, high = float(fits.min()), float(fits.max())
    return {kind: (float(fit) - low) / ((high - low) or 1.0) for kind, fit in zip(SENTENCES, fits, strict=True)}


def main() -> None:
    from knowledge.embedding.minilm import LocalEmbedder  # noqa: PLC0415  only here is the model itself wanted

    embedder = LocalEmbedder()
    vectors = np.array([embedder.embed(sentence) for sentence in SENTENCES.values()], dtype=np.float16)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, vectors=vectors)
    Path(__file__).with_name("data").joinpath("kind_sentences.npz").write_bytes(buffer.getvalue())


if __name__ == "__main__":
    main()
