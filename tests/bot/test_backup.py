"""Backup, wipe, restore: the answers are the same. What is damaged, foreign or in the way changes nothing."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from sqlalchemy import make_url

from bot.backup import LEADER_LOCK, checked, restore
from bot.postgres import libpq_conninfo
from bot.postgres.places import packaged_binaries
from knowledge.errors import SettingsError
from knowledge.store import audit, memory
from tests.bot.conftest import Command
from tests.rows import an_execution, an_incident, item, opened

QUESTIONS = (
    ("search", "panic nil pointer dereference", "--json"),
    ("incidents", "list", "--json"),
    ("incidents", "show", "1", "--json"),
    ("audit", "verify", "--json"),
    ("stats", "--json"),
)


@pytest.fixture
def filled(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The configured database, with something in it."""

    async def fill() -> None:
        async with opened(database_url) as engine, engine.begin() as db:
            incident = await an_incident(db)
            await an_execution(db, incident)
            vector = np.full(384, 384**-0.5, dtype=np.float32)
            await memory.remember(db, item(), vector=vector, vector_model="minilm-l6-int8")
            for number in range(5):
                await audit.record(db, "vote", actor="U1", incident_id=incident.id, number=number)
            await audit.seal(db)

    asyncio.run(fill())
    monkeypatch.setenv("DATABASE_URL", database_url)
    return database_url


def answers(command: Command) -> list[Any]:
    found = []
    for question in QUESTIONS:
        ended = command(*question)
        assert ended.status == 0, ended.words
        found.append([{k: v for k, v in line.items() if k not in {"until", "since"}} if isinstance(line, dict) else line
                      for line in ended.lines])  # fmt: skip
    return found


def _rows(db: psycopg.Connection, table: str) -> int:
    row = db.execute(
        psycopg.sql.SQL("SELECT count(*) FROM {}").format(psycopg.sql.Identifier(*table.split(".")))
    ).fetchone()
    assert row is not None
    return int(row[0])


def counts(url: str) -> dict[str, int]:
    """Rows by table, of all schemas of ours."""
    with psycopg.connect(libpq_conninfo(url), autocommit=True) as db:
        names = db.execute(
            "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('public', 'procrastinate')"
        ).fetchall()
        return {name: _rows(db, name) for (name,) in names}


def test_after_backup_wipe_and_restore_every_answer_is_the_same(command: Command, filled: str, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    before, rows = answers(command), counts(filled)
    made = command("backup", file, "--json")
    assert made.status == 0, made.words
    name = make_url(filled).database
    assert (made.json["incidents"], f"the database {name} on " in made.json["database"]) == (1, True)
    assert made.json["bytes"] + len(file.read_bytes().splitlines()[0]) + 1 == file.stat().st_size
    assert file.stat().st_mode & 0o077 == 0
    assert [one.name for one in tmp_path.iterdir()] == ["backup"]

    assert command("migrate", "--down", "--to", "base").status == 0
    assert sum(counts(filled).values()) == 0
    restored = command("restore", file, "--json")
    assert restored.status == 0, restored.words
    assert (restored.json["incidents"], restored.json["database"]) == (1, made.json["database"])
    assert (answers(command), counts(filled)) == (before, rows)

    again = command("backup", file)
    assert (again.status, "is there already" in again.words) == (2, True)
    in_the_way = command("restore", file)
    assert (in_the_way.status, "--replace" in in_the_way.words) == (1, True)
    with psycopg.connect(libpq_conninfo(filled), autocommit=True) as db:
        db.execute("DELETE FROM incidents")
        db.execute("CREATE TABLE of_another_program (id int)")
    assert command("restore", file, "--replace").status == 0
    assert counts(filled) == {**rows, "public.of_another_program": 0}


def rewritten(file: Path, header: dict[str, Any], archive: bytes) -> None:
    whole = {**header, "bytes": len(archive), "sha256": hashlib.sha256(archive).hexdigest()} | {
        name: value for name, value in header.items() if name not in {"bytes", "sha256"}
    }
    file.write_bytes(json.dumps(whole).encode() + b"\n" + archive)


def test_what_cannot_be_restored_changes_nothing(command: Command, filled: str, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    assert command("backup", file).status == 0
    whole, header, rows = file.read_bytes(), checked(file), counts(filled)
    first, _, archive = whole.partition(b"\n")
    said = json.loads(first)

    def refused(status: int, words: str) -> None:
        ended = command("restore", file, "--replace")
        assert (ended.status, words in ended.words) == (status, True), ended.words
        assert counts(filled) == rows

    file.write_bytes(whole[:-100])
    refused(2, "damaged or cut off")
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused(2, "damaged or cut off")
    file.write_bytes(b"PGDMP" + archive)
    refused(2, "no backup of CodeHealer's")
    rewritten(file, {**said, "revision": "9999_later"}, archive)
    refused(2, "9999_later")
    rewritten(file, {**said, "format": "codehealer backup 9"}, archive)
    refused(2, "another format")
    rewritten(file, said, archive[: len(archive) // 2])  # whole by its checksum, and no archive: rolled back
    refused(1, "")
    file.write_bytes(whole)
    with psycopg.connect(libpq_conninfo(filled), autocommit=True) as leader:
        leader.execute(f"SELECT pg_advisory_lock({LEADER_LOCK})")
        refused(1, "Stop all its replicas")
    with psycopg.connect(libpq_conninfo(filled), autocommit=True) as newer:
        newer.execute("UPDATE alembic_version SET version_num = '9999_later'")
        refused(1, "of a newer version (revision 9999_later)")
    assert header.bytes == len(archive)


def test_half_of_an_archive_is_never_committed(
    command: Command, filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, rows = tmp_path / "backup", counts(filled)
    assert command("backup", file).status == 0
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "psql").symlink_to(packaged_binaries() / "psql")
    # It is killed, as where memory is short: psql sees the end of its input some time before that is known.
    (programs / "pg_restore").write_text(
        "#!/bin/sh\necho 'CREATE TABLE half (id int);'\nexec 1>&-\nsleep 1\nkill -9 $$\n"
    )
    (programs / "pg_restore").chmod(0o700)
    monkeypatch.setattr("bot.backup.packaged_binaries", lambda: programs)
    with pytest.raises(SettingsError, match="cannot be unpacked"):
        asyncio.run(restore(filled, file, replace=True))
    assert counts(filled) == rows


def test_a_database_is_moved_by_one_command(command: Command, filled: str, empty_database_url: str) -> None:
    same = command("move", "--to", filled)
    assert (same.status, "already" in same.words) == (2, True)
    wrong = command("move", "--to", "foo")
    assert (wrong.status, "--to: no PostgreSQL URL" in wrong.words) == (2, True)
    to = make_url(empty_database_url).set(drivername="postgresql").render_as_string(False)
    with psycopg.connect(libpq_conninfo(filled), autocommit=True) as leader:
        leader.execute(f"SELECT pg_advisory_lock({LEADER_LOCK})")
        left = command("move", "--to", to)
        assert (left.status, "Stop all its replicas" in left.words) == (1, True)
    moved = command("move", "--to", to)
    assert moved.status == 0, moved.words
    assert counts(empty_database_url) == counts(filled)
