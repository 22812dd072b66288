"""The program as its users start it, and the sandbox beside it."""

import asyncio
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.forked import Forked

ROOT = Path(__file__).parents[2]
COMMAND_S = 60


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    status: int
    out: str
    words: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON value: anything beside it is an error."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


def codehealer(*arguments: str | Path, given: bytes = b"", env: Mapping[str, str] | None = None) -> Ended:
    """Run one command to its end; a traceback is never an answer."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        out, words, source = folder / "out", folder / "words", folder / "given"
        source.write_bytes(given)
        settings = {**os.environ, "CODEHEALER_HTTP_PORT": "0", **(env or {})}
        process = Forked(*map(str, arguments), env=settings, folder=ROOT, out=out, words=words, given=source)
        try:
            status = process.join(COMMAND_S)
        finally:
            process.kill()
        assert status is not None, f"codehealer {arguments} did not end: {words.read_text()}"
        ended = Ended(status, out.read_bytes().decode(), words.read_bytes().decode())
    assert "Traceback" not in ended.words, ended.words
    return ended


@contextmanager
def sandbox_process() -> Iterator[dict[str, Any]]:
    """A sandbox of its own; what it prints first."""
    with tempfile.TemporaryDirectory() as folder:
        process, greeting = Forked.sandbox(log=Path(folder) / "sandbox.log")
        try:
            yield greeting
        finally:
            process.terminate()
            process.join(COMMAND_S)


async def count(conninfo: str, table: str) -> int:
    """Rows of a table."""
    import psycopg  # noqa: PLC0415  only some of the tests have a database

    async with await psycopg.AsyncConnection.connect(conninfo) as connection:
        row = await (await connection.execute(f"SELECT count(*) FROM {table}")).fetchone()  # noqa: S608  our own names
        assert row is not None
        return int(row[0])


async def raw_request(port: int, data: bytes, *, more: bytes = b"", deadline_s: float = 30) -> bytes:
    """Send bytes as they are, and read all of the answer's head; the connection may be closed at any time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data + more)
        await writer.drain()
        async with asyncio.timeout(deadline_s):
            return await reader.read(65_536)
    finally:
        writer.close()
