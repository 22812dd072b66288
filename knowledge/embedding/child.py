"""The built-in embedder in a process of its own, so that the bot stays small while nothing is to embed."""

import asyncio
import os
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from knowledge.embedding.child_main import LARGEST_TEXT
from knowledge.errors import SettingsError, Unavailable
from knowledge.ports import Vector

NAME = "minilm-l6-int8"
DIMENSION = 384
# The model cuts at 256 tokens; more characters than this only cost the way through the pipe.
_LONGEST_TEXT = 16_384


class ChildEmbedder:
    """An Embedder whose model lives in a child: started at first use, ended after `idle_s` without any.

    A child that died is started again once per request; a second death is Unavailable. Use as `async with`, or call
    `close()`.
    """

    name = NAME
    dimension = DIMENSION

    def __init__(self, *, idle_s: float = 300.0, start_s: float = 30.0, text_s: float = 10.0, threads: int = 1) -> None:
        self._idle_s = idle_s
        self._start_s = start_s
        self._text_s = text_s
        self._threads = threads
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def pid(self) -> int | None:
        """The child's process id while one is running."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def __aenter__(self) -> "ChildEmbedder":
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def embed_query(self, text: str) -> Vector:
        return (await self.embed_passages([text]))[0]

    async def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        """One vector a text. Raises SettingsError without weights, Unavailable when the child does not answer."""
        return [await self._embed(text) for text in texts]

    async def close(self) -> None:
        async with self._lock:
            if self._idle:
                self._idle.cancel()
                self._idle = None
            await self._stop()
        if self._ending:
            await asyncio.gather(*self._ending)

    async def _embed(self, text: str) -> Vector:
        payload = text[:_LONGEST_TEXT].encode("utf-8", "replace")[:LARGEST_TEXT]
        async with self._lock:
            try:
                return await self._ask(payload)
            except (OSError, EOFError):
                await self._stop()
            try:
                return await self._ask(payload)
            except (OSError, EOFError) as error:
                await self._stop()
                raise Unavailable("The built-in embedder's process ended twice while reading a text.") from error

    async def _ask(self, payload: bytes) -> Vector:
        process = await self._started()
        if process.stdin is None or process.stdout is None:
            raise OSError("no pipe")
        try:
            async with asyncio.timeout(self._text_s):
                process.stdin.write(struct.pack(">I", len(payload)) + payload)
                await process.stdin.drain()
                raw = await _answer(process.stdout)
        except TimeoutError:
            # A late answer would be taken for the next text's: this child is of no more use.
            await self._stop()
            raise Unavailable(f"The built-in embedder did not answer in {self._text_s:g} s.") from None
        except asyncio.CancelledError:
            self._kill()
            raise
        self._rest()
        return np.frombuffer(raw, dtype="<f4").astype(np.float32)

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "knowledge.embedding.child_main",
            str(os.getpid()),
            str(self._threads),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"},
        )
        if process.stdout is None:
            raise OSError("no pipe")
        try:
            async with asyncio.timeout(self._start_s):
                await _answer(process.stdout)
        except TimeoutError:
            await self._stop()
            raise Unavailable(f"The built-in embedder did not start in {self._start_s:g} s.") from None
        except asyncio.CancelledError:
            self._kill()
            raise
        except SettingsError:
            await self._stop()
            raise
        return process

    def _rest(self) -> None:
        if self._idle:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(self._idle_s, self._end_idle)

    def _end_idle(self) -> None:
        task = asyncio.get_running_loop().create_task(self._stop_when_free())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _stop_when_free(self) -> None:
        async with self._lock:
            await self._stop()

    def _kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            self._process = None

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(2):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _answer(stream: asyncio.StreamReader) -> bytes:
    head = await stream.readexactly(5)
    body = await stream.readexactly(struct.unpack(">I", head[1:])[0])
    if head[0]:
        raise SettingsError(body.decode("utf-8", "replace"))
    return body
