"""Backup and restore of a database with PostgreSQL's own pg_dump, pg_restore and psql, which come with CodeHealer.

A backup is one file: a line of JSON (what it is, of which revision, how long, its SHA-256), then pg_dump's archive. It
is taken from one snapshot while the bot runs. A restore is one transaction, so it is there whole or not at all.
"""

import asyncio
import hashlib
import json
import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import psycopg
from psycopg.conninfo import conninfo_to_dict

from bot.leader import LEADER_LOCK
from bot.migrating import ensure_vector, migrate
from bot.postgres.places import packaged_binaries
from bot.revisions import known
from knowledge.errors import BadInput, Conflict, SettingsError
from knowledge.store.database import CONNECT_TIMEOUT_S, libpq_url
from knowledge.store.tables import metadata

FORMAT = "codehealer backup 1"
LONGEST_HEADER = 10_000
CHUNK = 1 << 20
# A database of millions of incidents takes minutes; a connection that hangs must not take for ever.
DEADLINE_S = 6 * 3600.0
_LIBPQ = {
    "host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD",
    "dbname": "PGDATABASE", "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY", "options": "PGOPTIONS", "passfile": "PGPASSFILE", "channel_binding": "PGCHANNELBINDING",
}  # fmt: skip
# Ours and nothing else: others may have tables in the same database, and the vector extension may be another's.
_OURS = (*metadata.tables, "alembic_version")
_DROP_OURS = "\n".join(
    [
        "DROP SCHEMA IF EXISTS procrastinate CASCADE;",
        *(f"DROP TABLE IF EXISTS public.{name} CASCADE;" for name in _OURS),
        *(f"DROP SEQUENCE IF EXISTS public.{name};" for name in metadata._sequences),  # noqa: SLF001  listed nowhere else
    ]
)
_IN_USE = (
    "SELECT count(*) FROM pg_tables WHERE schemaname IN ('public', 'procrastinate') AND tablename <> 'alembic_version'"
)


@dataclass(frozen=True, slots=True)
class Header:
    """What a backup says of itself. `revision` is of its tables, `bytes` and `sha256` are of the archive."""

    format: str
    version: str
    revision: str
    taken_at: str
    bytes: int
    sha256: str


async def backup(url: str, file: Path) -> Header:
    """Write a backup to `file`, which appears only when it is whole.

    Raises:
        BadInput: the file is there already, or its folder cannot be written.
        SettingsError: the database cannot be read, or has no tables of ours.
    """
    beside = await asyncio.to_thread(_folder_of_new, file)
    revision = await _revision(url)
    try:
        with tempfile.TemporaryDirectory(prefix=".codehealer-backup-", dir=beside) as folder:
            archive, whole = Path(folder) / "archive", Path(folder) / "whole"
            with archive.open("wb") as out:
                await _run("pg_dump", "--format=custom", "--no-owner", "--no-privileges", "--exclude-extension=vector",
                           url=url, stdout=out)  # fmt: skip
            header = await asyncio.to_thread(_joined, archive, whole, revision)
            # Not renamed: what has come to be there meanwhile is not overwritten.
            os.link(whole, file)
    except FileExistsError:
        raise BadInput(f"{file} is there already; name another file, or move it away.") from None
    except OSError as error:
        raise BadInput(f"{file} cannot be written: {error.strerror}. Name a file in another folder.") from None
    return header


def _folder_of_new(file: Path) -> Path:
    """Raises BadInput: the file is there."""
    if file.exists():
        raise BadInput(f"{file} is there already; name another file, or move it away.")
    return file.resolve().parent


def _joined(archive: Path, whole: Path, revision: str) -> Header:
    digest, length = hashlib.sha256(), 0
    with archive.open("rb") as data:
        while part := data.read(CHUNK):
            digest.update(part)
            length += len(part)
        header = Header(FORMAT, version("codehealer"), revision, datetime.now(UTC).isoformat(), length,
                        digest.hexdigest())  # fmt: skip
        data.seek(0)
        with os.fdopen(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(json.dumps(asdict(header)).encode() + b"\n")
            while part := data.read(CHUNK):
                out.write(part)
            out.flush()
            os.fsync(out.fileno())
    return header


def read_header(file: BinaryIO, name: Path) -> Header:
    """Raises BadInput: it is no backup of ours, or of a later format."""
    line = file.readline(LONGEST_HEADER)
    try:
        header = Header(**json.loads(line))
    except (ValueError, TypeError):
        raise BadInput(f"{name} is no backup of CodeHealer's; name a file that `codehealer backup` wrote.") from None
    if header.format != FORMAT:
        raise BadInput(f"{name} is of another format ({header.format[:40]}); use the version that made it.")
    return header


def checked(file: Path) -> Header:
    """The header of a whole backup, read to its end. Raises BadInput for any other file."""
    try:
        with file.open("rb") as data:
            header = read_header(data, file)
            digest, length = hashlib.sha256(), 0
            while part := data.read(CHUNK):
                digest.update(part)
                length += len(part)
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}.") from None
    if (length, digest.hexdigest()) != (header.bytes, header.sha256):
        raise BadInput(
            f"{file} is damaged or cut off: its checksum does not fit. Nothing was changed; use another one."
        )
    return header


async def restore(url: str, file: Path, *, replace: bool = False) -> Header:
    """Put a backup into the database, and bring its tables to this version's.

    Raises:
        BadInput: the file is no whole backup, or of a newer version.
        Conflict: the database has tables already and `replace` is not given, or a bot works on it.
        SettingsError: the database cannot be reached, or refuses.
    """
    header = await asyncio.to_thread(checked, file)
    if header.revision not in known():
        raise BadInput(
            f"{file} was made by version {header.version}, whose tables (revision {header.revision}) this one does not "
            "know. Restore it with that version or a newer one."
        )
    connection = await _connected(url)
    async with connection:
        if await _one(connection, _IN_USE) and not replace:
            raise Conflict("The database has tables already. Give --replace to have what they hold replaced.")
        at = await _revision_of(connection)
        if at is not None and at not in known():
            # Tables that only the newer version has would stay, in the way of its next start.
            raise Conflict(
                f"The database's tables are of a newer version (revision {at}). With that version, bring them back by "
                f"`codehealer migrate --down --to {known()[-1]}`, or restore into another database."
            )
    async with without_bot(url):
        await asyncio.to_thread(ensure_vector, url)
        await _restored(url, file)
        await asyncio.to_thread(migrate, url)
    return header


async def incidents(url: str) -> int:
    """How many there are: by it people see whether it is the database that they mean."""
    connection = await _connected(url)
    async with connection:
        return int(str(await _one(connection, "SELECT count(*) FROM public.incidents")))


@asynccontextmanager
async def without_bot(url: str) -> AsyncIterator[None]:
    """No bot leads on the database meanwhile, and none begins to. Raises Conflict: one does."""
    connection = await _connected(url)
    async with connection:
        if not await _one(connection, f"SELECT pg_try_advisory_lock({LEADER_LOCK})"):
            raise Conflict("A bot is working on this database. Stop all its replicas first.")
        yield


async def _restored(url: str, file: Path) -> None:
    """What is ours goes, pg_restore writes the archive as SQL, and psql runs both in one transaction.

    Its COMMIT is written here, and only when pg_restore has ended well: psql takes the end of its input for the end of
    the transaction, and cannot know that half of it is missing.
    """
    reading, writing = os.pipe()
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as before, file.open("rb") as data:
        before.write(f"BEGIN;\n{_DROP_OURS}\n")
        before.flush()
        read_header(data, file)
        # From a pipe, since it would look for the archive's parts from the file's beginning.
        to_sql = await asyncio.create_subprocess_exec(
            packaged_binaries() / "pg_restore", "--file=-", "--no-owner", "--no-privileges",
            stdin=asyncio.subprocess.PIPE, stdout=writing, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

        async def unpacked() -> None:
            try:
                await _fed(to_sql, data)
                await asyncio.to_thread(_commit, writing)
            finally:
                os.close(writing)

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(unpacked())
                group.create_task(
                    _run("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={before.name}",
                         "--file=-", url=url, stdin=reading)
                )  # fmt: skip
        except* SettingsError as group:
            raise group.exceptions[0] from None
        finally:
            os.close(reading)
            if to_sql.returncode is None:
                with suppress(ProcessLookupError):
                    to_sql.kill()
                await to_sql.wait()


def _commit(writing: int) -> None:
    with suppress(BrokenPipeError):  # psql has ended, and says why itself
        os.write(writing, b"\nCOMMIT;\n")


async def _fed(process: asyncio.subprocess.Process, data: BinaryIO) -> None:
    assert process.stdin is not None  # noqa: S101  asked for
    assert process.stderr is not None  # noqa: S101
    with suppress(BrokenPipeError, ConnectionResetError):
        while part := await asyncio.to_thread(data.read, CHUNK):
            process.stdin.write(part)
            await process.stdin.drain()
        process.stdin.close()
    words = (await process.stderr.read()).decode(errors="replace")
    if await process.wait():
        raise SettingsError(f"The backup cannot be unpacked: {_last_line(words)}")


async def _run(program: str, *arguments: str, url: str, **streams: object) -> None:
    """One of PostgreSQL's programs on a database. Its address goes by the environment: arguments are seen by all."""
    process = await asyncio.create_subprocess_exec(
        packaged_binaries() / program, *arguments, env=_environment(url), stderr=asyncio.subprocess.PIPE,
        **({"stdin": asyncio.subprocess.DEVNULL, "stdout": asyncio.subprocess.DEVNULL} | streams),  # type: ignore[arg-type]
    )  # fmt: skip
    try:
        async with asyncio.timeout(DEADLINE_S):
            _, words = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise SettingsError(f"{program} failed: {_last_line(words.decode(errors='replace'))}")


def _environment(url: str) -> Mapping[str, str]:
    given = {name: str(value) for name, value in conninfo_to_dict(libpq_url(url)).items() if value is not None}
    ours = {_LIBPQ[name]: value for name, value in given.items() if name in _LIBPQ}
    return {"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C",
            "PGCONNECT_TIMEOUT": str(CONNECT_TIMEOUT_S), **ours}  # fmt: skip


def _first_line(words: str) -> str:
    """libpq says there which host and port it tried; what it advises comes after."""
    return _said(words)[0].rstrip(".")[:300]


def _last_line(words: str) -> str:
    return _said(words)[-1][:300]


def _said(words: str) -> Sequence[str]:
    return [line for line in words.strip().splitlines() if line.strip()] or ["without a word"]


async def _revision(url: str) -> str:
    connection = await _connected(url)
    async with connection:
        found = await _revision_of(connection)
    if found is None:
        raise SettingsError("The database has no tables of CodeHealer's: there is nothing to back up.")
    return found


async def _revision_of(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> str | None:
    """None where there are no tables of ours."""
    if not await _one(connection, "SELECT count(*) FROM pg_class WHERE oid = to_regclass('public.alembic_version')"):
        return None
    found = await _one(connection, "SELECT version_num FROM public.alembic_version")
    return str(found) if found else None


async def _connected(url: str) -> psycopg.AsyncConnection[tuple[object, ...]]:
    try:
        return await psycopg.AsyncConnection.connect(libpq_url(url), autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)
    except psycopg.OperationalError as error:
        raise SettingsError(f"The database cannot be reached: {_first_line(str(error))}. Check its address.") from None


async def _one(connection: psycopg.AsyncConnection[tuple[object, ...]], query: str) -> object:
    row = await (await connection.execute(query.encode())).fetchone()
    return row[0] if row else None
