import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from knowledge.embedding.child import ChildEmbedder
from knowledge.embedding.minilm import LocalEmbedder, model_file
from knowledge.embedding.wordpiece import token_ids, vocabulary
from knowledge.errors import SettingsError, Unavailable
from tests.waiting import until


def test_tokens_are_the_reference_vocabulary_s() -> None:
    assert len(vocabulary()) == 30522
    assert token_ids("Hello, World!") == [101, 7592, 1010, 2088, 999, 102]
    assert token_ids("Unaffable CAFÉ") == token_ids("unaffable cafe")
    assert token_ids("") == [101, 102]
    assert token_ids("x" * 300) == [101, 100, 102]
    assert len(token_ids("word " * 1000)) == 256


def test_close_texts_are_close_and_vectors_have_unit_length() -> None:
    embedder = LocalEmbedder(threads=1)
    image, pull, tests = (
        embedder.embed(text)
        for text in ("the image cannot be pulled", "Failed to pull image from the registry", "a unit test failed")
    )
    assert image.shape == (384,)
    assert image.dtype == np.float32
    assert abs(float(np.linalg.norm(image)) - 1) < 1e-5
    assert image @ pull > image @ tests


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "model.onnx"
    other.write_bytes(b"not the model")
    monkeypatch.setenv("CODEHEALER_EMBED_MODEL_PATH", str(other))
    with pytest.raises(SettingsError, match="not the pinned embedding model"):
        model_file()
    monkeypatch.setenv("CODEHEALER_EMBED_MODEL_PATH", str(tmp_path / "absent"))
    with pytest.raises(SettingsError, match="No embedding model"):
        model_file()


async def test_child_answers_like_the_model_here_and_stays_small() -> None:
    async with ChildEmbedder() as embedder:
        assert embedder.pid is None
        vectors = await embedder.embed_passages(["disk full", "", "x error " * 2000])
        assert np.allclose(vectors[0], LocalEmbedder(threads=1).embed("disk full"), atol=1e-4)
        pid = embedder.pid
        assert pid is not None
        assert psutil.Process(pid).memory_full_info().pss < 300_000_000
    assert not psutil.pid_exists(pid)


async def test_killed_child_is_started_again_and_concurrent_texts_stay_apart() -> None:
    async with ChildEmbedder() as embedder:
        before = await embedder.embed_query("first")
        pid = embedder.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        again, other = await asyncio.gather(embedder.embed_query("first"), embedder.embed_query("something else"))
        assert np.allclose(before, again, atol=1e-5)
        assert not np.allclose(before, other, atol=1e-2)
        assert embedder.pid not in {None, pid}


async def test_idle_child_ends_and_comes_back() -> None:
    async with ChildEmbedder(idle_s=0.1) as embedder:
        await embedder.embed_query("one")
        await until(lambda: embedder.pid is None)
        assert (await embedder.embed_query("two")).shape == (384,)


async def test_child_without_weights_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEHEALER_EMBED_MODEL_PATH", str(tmp_path / "absent"))
    async with ChildEmbedder() as embedder:
        with pytest.raises(SettingsError, match="No embedding model"):
            await embedder.embed_query("x")


async def test_stopped_child_is_given_up_at_the_deadline() -> None:
    async with ChildEmbedder(text_s=0.3) as embedder:
        embedder._text_s = 20.0
        await embedder.embed_query("warm")
        embedder._text_s = 0.3
        assert embedder.pid is not None
        os.kill(embedder.pid, signal.SIGSTOP)
        with pytest.raises(Unavailable, match="did not answer"):
            await embedder.embed_query("x")
        embedder._text_s = 20.0
        assert (await embedder.embed_query("x")).shape == (384,)


_PARENT = """
import asyncio, sys
from knowledge.embedding.child import ChildEmbedder
async def main():
    embedder = ChildEmbedder()
    await embedder.embed_query("x")
    print(embedder.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")
async def test_child_dies_with_its_parent() -> None:
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", _PARENT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    await until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)
