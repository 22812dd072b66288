"""knowledge export and import: what is remembered as Markdown files that people correct."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.cli.opening import short_engine, who, with_url
from bot.cli.printing import JsonOption, Verbs, plain, put, words
from knowledge import casebook as files
from knowledge.casebook import CaseFile, Unreadable
from knowledge.embedding.minilm import LocalEmbedder
from knowledge.errors import BadInput, Conflict
from knowledge.model import FailureKind, KnowledgeItem
from knowledge.passages import passage_of
from knowledge.store import audit, casebook
from knowledge.store.casebook import Remembered

Folder = Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="A folder, as of a Git repository.")]
EXPORTED = ("written", "unchanged", "removed", "kept")
IMPORTED = ("added", "corrected", "unchanged", "removed", "rejected")


def export_cases(folder: Folder, as_json: JsonOption = False) -> None:
    """Write what is remembered as Markdown, a file a case; what has not changed is not touched."""
    folder.mkdir(parents=True, exist_ok=True)
    _end(asyncio.run(with_url(lambda url: _export(url, folder))), EXPORTED, as_json, bad="kept")


def import_cases(
    folder: Folder,
    prune: Annotated[bool, typer.Option("--prune", help="Forget the cases whose files were deleted.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Take over what people have corrected in the files of an export, and cases that they have written."""
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder: give the one that `codehealer knowledge export` wrote.")
    if prune and not (folder / files.INDEX).is_file():
        raise BadInput(f"{folder} has no {files.INDEX}, which says what was exported: without it nothing is pruned.")
    _end(asyncio.run(with_url(lambda url: _import(url, folder, prune), first=True)), IMPORTED, as_json, bad="rejected")


def _end(counts: Mapping[str, int], names: tuple[str, ...], as_json: bool, *, bad: str) -> None:
    if as_json:
        put({name: counts[name] for name in names})
    else:
        plain.print(", ".join(f"{counts[name]} {name}" for name in names))
    raise typer.Exit(2 if counts[bad] else 0)


def _complain(path: Path, line: int, problem: str) -> None:
    words.print(f"{path}{f':{line}' if line else ''}: {problem}", markup=False)


# --- export -------------------------------------------------------------------------------------------------------


async def _export(url: str, folder: Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    names: dict[str, str] = {}
    async with short_engine(url) as engine, engine.connect() as db:
        async for one in casebook.reviewed(db):
            name = files.file_name(one.item.id)
            names[name] = files.title(one.item)
            counts[_write_case(folder / name, one)] += 1
    index = folder / files.INDEX
    before = files.indexed(index.read_text("utf-8")) if index.is_file() else frozenset[str]()
    if before and not names:
        raise Conflict(
            f"Nothing is remembered in this database, and {folder} lists {len(before)} cases, which would be removed. "
            "Run this where the bot is started, or export into an empty folder."
        )
    for name in sorted(before - set(names)):
        # Ours, of something that is not remembered any more.
        if (folder / name).is_file() and not _edited(folder / name):
            (folder / name).unlink()
            counts["removed"] += 1
    index.write_text(files.render_index(names), "utf-8")
    return counts


def _write_case(path: Path, one: Remembered) -> str:
    text = files.render(one.item, one.record)
    if path.is_file():
        if path.read_bytes() == text.encode():
            return "unchanged"
        if _edited(path, apart_from=files.fields_of(one.item)):
            _complain(path, 0, "holds changes that were not imported; import them first. It is left as it is")
            return "kept"
    path.write_text(text, "utf-8")
    return "written"


def _edited(path: Path, *, apart_from: Mapping[str, str] | None = None) -> bool:
    """Whether a person's work would be lost: changed since its export and not what is remembered by now."""
    try:
        case = files.read_case_file(path.read_bytes())
    except Unreadable:
        return True
    return case.edited and case.fields != apart_from


# --- import -------------------------------------------------------------------------------------------------------


async def _import(url: str, folder: Path, prune: bool) -> Counter[str]:
    counts: Counter[str] = Counter()
    embedder = LocalEmbedder()
    async with short_engine(url) as engine:
        taken: dict[str, str] = {}
        for path in await asyncio.to_thread(_case_files, folder):
            try:
                counts[await _take(engine, embedder, _read(path, taken))] += 1
            except Unreadable as error:
                counts["rejected"] += 1
                _complain(path, error.line, str(error))
        if prune:
            counts["removed"] = await _prune(engine, folder)
    return counts


def _case_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.md") if path.stem.lower() not in {"index", "readme"})


def _read(path: Path, taken: dict[str, str]) -> CaseFile:
    case = files.read_case_file(path.read_bytes())
    if taken.setdefault(case.id, path.name) != path.name:
        raise Unreadable(0, f"the id {case.id} is in {taken[case.id]} too; keep one of them")
    return case


async def _take(engine: AsyncEngine, embedder: LocalEmbedder, case: CaseFile) -> str:
    """Bring one file's corrections in; what was done to it, in a word."""
    async with engine.begin() as db:
        stored = await casebook.get(db, case.id, lock=True)
        if stored is None:
            if not files.may_be_new(case.id):
                raise Unreadable(0, f"{case.id} is not remembered any more; delete the file, or give it another id")
            before = Remembered(_new_item(case), ())
            changed = sorted(case.fields)
        elif stored.item.source not in casebook.REVIEWED_SOURCES:
            raise Unreadable(0, f"{case.id} is a Slack thread: it is corrected by what is said in Slack")
        else:
            before = stored
            now = files.fields_of(before.item)
            changed = [name for name, value in case.fields.items() if now[name] != value]
            if not changed or not case.edited:
                return "unchanged"
            if case.version and case.version != files.digest(now):
                raise Unreadable(0, "it was changed here and in the database since its export; export again and merge")
        await _store(db, embedder, before, case, changed)
    return "corrected" if stored else "added"


def _new_item(case: CaseFile) -> KnowledgeItem:
    """A case that a person wrote. Without an action, so it moves no track record."""
    blank: dict[str, Any] = dict.fromkeys(("service", "environment", "cause", "fix", "outcome", "excerpt", "link"), "")
    when = case.occurred_at or datetime.now(UTC)
    return KnowledgeItem(id=case.id, source=casebook.WRITTEN, kind=None, occurred_at=when, **blank)


async def _store(
    db: AsyncConnection, embedder: LocalEmbedder, before: Remembered, case: CaseFile, changed: list[str]
) -> None:
    values: dict[str, Any] = {name: case.fields[name] for name in changed}
    if "kind" in values:
        values["kind"] = FailureKind(values["kind"]) if values["kind"] else None
    item = replace(before.item, **values)
    vector = embedder.embed(passage_of(item))
    await casebook.correct(db, before, item, changed, vector=vector, vector_model=embedder.name)
    # What the log may keep for ever is short; the signs' old and new text are in the files' history.
    changes = {name: [getattr(before.item, name), values[name]] for name in changed if name != "excerpt"}
    await audit.record(
        db, "knowledge.corrected", actor=who(), incident_id=item.incident_id, item=item.id, changes=changes
    )


async def _prune(engine: AsyncEngine, folder: Path) -> int:
    """Forget what an export has listed and whose file is gone; what was learnt since is not in the list."""
    listed = files.indexed((folder / files.INDEX).read_text("utf-8"))
    gone = {name for name in listed if not (folder / name).exists()}
    async with engine.begin() as db:
        ids = [one for one in await casebook.reviewed_ids(db) if files.file_name(one) in gone]
        if ids:
            await audit.record(db, "knowledge.forgotten", actor=who(), items=sorted(ids))
        return await casebook.forget(db, ids)


COMMANDS: Verbs = {"export": export_cases, "import": import_cases}
