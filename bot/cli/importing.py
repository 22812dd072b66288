"""import: past incidents from a file, a line each."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.cli.opening import short_engine, who, with_url
from bot.cli.printing import JsonOption, Verbs, plain, put, words
from bot.cli.texts import json_lines
from knowledge.embedding.minilm import LocalEmbedder
from knowledge.errors import BadInput
from knowledge.importing import SOURCE, PastIncident, read_past_incident
from knowledge.passages import passage_of
from knowledge.store import audit, importing
from knowledge.store.importing import Known

# Lines a transaction: an interrupted import loses at most the work on these.
BATCH = 100
COUNTS = ("imported", "unchanged", "updated", "rejected")


def import_incidents(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Past incidents, a JSON object a line.")],
    as_json: JsonOption = False,
) -> None:
    """Remember past incidents of elsewhere: a line each with id, text and what is known of it."""
    counts = asyncio.run(with_url(lambda url: _import(url, file), first=True))
    if as_json:
        put({name: counts[name] for name in COUNTS})
    else:
        plain.print(", ".join(f"{counts[name]} {name}" for name in COUNTS))
    raise typer.Exit(2 if counts["rejected"] else 0)


@dataclass
class _Reading:
    """What one run has to remember of the lines before."""

    file: str
    bar: Progress
    counts: Counter[str] = field(default_factory=Counter)
    seen: dict[str, int] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)


def _bar() -> Progress:
    """For people only: words on standard error stay clean where nobody watches."""
    columns = (TextColumn("Importing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=words, transient=True, disable=not words.is_terminal)


async def _import(url: str, file: str) -> Counter[str]:
    embedder = LocalEmbedder()
    async with short_engine(url) as engine:
        with _bar() as bar:
            task = bar.add_task(
                "lines", total=await asyncio.to_thread(_count_lines, file) if words.is_terminal else None
            )
            reading = _Reading(file, bar)
            lines = json_lines(file)
            while batch := list(itertools.islice(lines, BATCH)):
                await _store(engine, embedder, reading, list(_read(reading, batch)))
                bar.update(task, completed=batch[-1][0])
    return reading.counts


def _count_lines(file: str) -> int | None:
    """None for what can be read only once."""
    if not Path(file).is_file():
        return None
    with Path(file).open("rb") as stream:
        return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))


def _reject(reading: _Reading, number: int, problem: str) -> None:
    reading.counts["rejected"] += 1
    reading.bar.console.print(f"{reading.file}: line {number}: {problem}", markup=False)


def _read(reading: _Reading, batch: list[tuple[int, dict[str, Any] | None, str]]) -> Iterator[tuple[int, PastIncident]]:
    for number, line, unread in batch:
        if line is None:
            _reject(reading, number, unread)
            continue
        try:
            past = read_past_incident(line, now=datetime.now(UTC))
        except BadInput as error:
            _reject(reading, number, str(error))
            continue
        first = reading.seen.setdefault(past.item.id, number)
        if first != number:
            _reject(reading, number, f"the id {past.item.id} stands in line {first} too; give each incident its own")
            continue
        for name in sorted({*past.unknown} - reading.unknown):
            reading.unknown.add(name)
            reading.bar.console.print(
                f"{reading.file}: line {number}: the field {name[:60]!r} is not known and left out", markup=False
            )
        yield number, past


async def _store(
    engine: AsyncEngine, embedder: LocalEmbedder, reading: _Reading, read: list[tuple[int, PastIncident]]
) -> None:
    """Embed outside of the transaction what is new or has changed, then store it in one."""
    async with engine.connect() as db:
        known = await importing.known(db, [past.item.id for _, past in read])
    due = [past for number, past in read if _is_due(reading, number, past, known.get(past.item.id))]
    vectors = await asyncio.to_thread(lambda: [embedder.embed(passage_of(past.item)) for past in due])
    if not due:
        return
    async with engine.begin() as db:
        for past, vector in zip(due, vectors, strict=True):
            before = known.get(past.item.id)
            await importing.put(db, past, before, vector=vector, vector_model=embedder.name)
        updated = sum(past.item.id in known for past in due)
        counts = {"imported": len(due) - updated, "updated": updated}
        await audit.record(db, "knowledge.imported", actor=who(), **counts)
    reading.counts.update(counts)


def _is_due(reading: _Reading, number: int, past: PastIncident, before: Known | None) -> bool:
    if before is None:
        return True
    if before.source != SOURCE:
        what = f"the id {past.item.id} belongs to what was learnt from {before.source}; give another id"
        _reject(reading, number, what)
        return False
    if before.digest == past.digest:
        reading.counts["unchanged"] += 1
        return False
    return True


COMMANDS: Verbs = {"import": import_incidents}
