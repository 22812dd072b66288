"""The embedded PostgreSQL, on servers of the tests' own: they are killed."""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from bot import postgres
from bot.postgres import EmbeddedPostgres, default_data_dir, hold_bot_lock, libpq_conninfo, places
from bot.postgres.server import is_postgres, living_postmaster
from knowledge.errors import SettingsError
from tests.waiting import until

ROOT = Path(postgres.__file__).parent.parent.parent
DEADLINE_S = 60.0
AS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not AS_ROOT, reason="only root has a system user run PostgreSQL")


async def ask(server: EmbeddedPostgres, query: str) -> list[tuple[Any, ...]]:
    async with await psycopg.AsyncConnection.connect(
        server.conninfo, autocommit=True, connect_timeout=10
    ) as connection:
        cursor = await connection.execute(query.encode())
        return await cursor.fetchall() if cursor.description else []


async def answers(server: EmbeddedPostgres) -> bool:
    try:
        return await ask(server, "SELECT 1") == [(1,)]
    except psycopg.OperationalError:
        return False


def processes_in(folder: Path) -> list[int]:
    """Living processes that work in this folder."""
    numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [number for number in numbers if is_postgres(number, folder)]


def socket_folder(server: EmbeddedPostgres) -> Path:
    return Path(str(psycopg.conninfo.conninfo_to_dict(server.conninfo)["host"]))


def owner_of(path: Path | str) -> int:
    return os.stat(path).st_uid  # noqa: PTH116  (of a process, too)


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def closed_folder(parent: Path) -> Path:
    """A folder of root's that nobody else may enter, inside one that everybody may."""
    folder = parent / "closed"
    folder.mkdir(mode=0o700)
    return folder


async def test_a_first_start_makes_a_database_that_sqlalchemy_reaches(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir / "new") as server:
        assert server.role == "supervises"
        engine = create_async_engine(server.url)
        async with engine.connect() as connection:
            row = (await connection.execute(text("SELECT current_user, current_database(), inet_server_addr()"))).one()
            await connection.execute(text("CREATE EXTENSION vector"))
            settings = {
                name: await connection.scalar(text(f"SHOW {name}"))
                for name in ("fsync", "shared_buffers", "max_connections", "listen_addresses", "server_encoding")
            }
        await engine.dispose()
    assert tuple(row) == ("codehealer", "codehealer", None)
    assert settings == {
        "fsync": "on",
        "shared_buffers": "64MB",
        "max_connections": "60",
        "listen_addresses": "",
        "server_encoding": "UTF8",
    }


async def test_a_restart_finds_the_data_and_a_stop_leaves_no_process(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir) as server:
        await ask(server, "CREATE TABLE kept AS SELECT 7 AS n")
        folder = (data_dir / "postgres").resolve()
        assert processes_in(folder)
        first_url = server.url
    assert processes_in(folder) == []
    async with EmbeddedPostgres(data_dir) as server:
        assert await ask(server, "SELECT n FROM kept") == [(7,)]
        assert server.url == first_url


async def test_a_killed_server_comes_back_with_what_was_committed(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir) as server:
        await ask(server, "CREATE TABLE kept AS SELECT generate_series(1, 20000) AS n")
        for _ in range(2):
            before = server.pid
            assert before is not None
            os.kill(before, signal.SIGKILL)
            await until(lambda before=before: server.pid not in {None, before})
            await until(lambda: answers(server))
        assert await ask(server, "SELECT count(*) FROM kept") == [(20000,)]


SUPERVISOR = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from bot.postgres import EmbeddedPostgres

    async def main():
        async with EmbeddedPostgres(Path(sys.argv[1])) as server:
            print(server.role, server.pid, flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

    asyncio.run(main())
    """
)


@contextlib.asynccontextmanager
async def another_program(data_dir: Path) -> AsyncIterator[tuple[Any, str, int]]:
    """A second process on the data directory: (process, its role, the server's pid); ends when its input closes."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SUPERVISOR, str(data_dir), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), DEADLINE_S)).decode().split()
        yield process, line[0], int(line[1])
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), DEADLINE_S)


async def test_after_a_killed_supervisor_a_new_start_works(data_dir: Path) -> None:
    async with another_program(data_dir) as (process, role, server_pid):
        assert role == "supervises"
        process.kill()
        await process.wait()
    async with EmbeddedPostgres(data_dir) as server:
        assert server.role == "supervises"
        assert await answers(server)
        assert server.pid != server_pid or sys.platform != "linux"


@pytest.mark.skipif(sys.platform != "linux", reason="needs the parent-death signal")
async def test_a_killed_supervisor_takes_its_server_along(data_dir: Path) -> None:
    async with another_program(data_dir) as (process, _, _):
        folder = (data_dir / "postgres").resolve()
        process.kill()
        await process.wait()
        await until(lambda: not processes_in(folder))


async def test_a_second_program_connects_and_takes_over_when_the_first_ends(data_dir: Path) -> None:
    async with another_program(data_dir) as (process, first_role, first_pid):
        assert first_role == "supervises"
        async with EmbeddedPostgres(data_dir) as server:
            assert (server.role, server.pid) == ("connects", first_pid)
            await ask(server, "CREATE TABLE kept AS SELECT 1 AS n")
            url = server.url
            process.stdin.close()
            await process.wait()
            await until(lambda: server.role == "supervises" and server.pid is not None)
            await until(lambda: answers(server))
            assert await ask(server, "SELECT n FROM kept") == [(1,)]
            assert server.url == url


async def test_a_server_that_outlived_its_supervisor_is_adopted_and_stopped(data_dir: Path) -> None:
    """As on systems without a parent-death signal: the server lives, and nobody holds the supervisor's lock."""
    first = EmbeddedPostgres(data_dir)
    await first.start()
    assert first._watcher is not None
    assert first._lock is not None
    first._watcher.cancel()
    first._lock.release()
    first._lock = None
    async with EmbeddedPostgres(data_dir) as second:
        assert (second.role, second.pid) == ("supervises", first.pid)
        assert await answers(second)
    assert processes_in((data_dir / "postgres").resolve()) == []
    await first.stop()


async def test_a_second_program_leaves_the_server_running(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir) as first:
        async with EmbeddedPostgres(data_dir) as second:
            assert (first.role, second.role) == ("supervises", "connects")
        assert await answers(first)


async def test_programs_that_start_together_agree_on_one_supervisor(data_dir: Path) -> None:
    servers = [EmbeddedPostgres(data_dir) for _ in range(3)]
    await asyncio.gather(*(server.start() for server in servers))
    try:
        assert sorted(server.role for server in servers) == ["connects", "connects", "supervises"]
        assert len({server.pid for server in servers}) == 1
    finally:
        for server in servers:
            await server.stop()


async def test_a_stale_lock_file_with_a_reused_process_id_does_not_keep_it_down(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir) as server:
        await ask(server, "SELECT 1")
        pid_file = (data_dir / "postgres" / "postmaster.pid").resolve()
        written = pid_file.read_text()
        owner = pid_file.stat()
    # As after a power cut: the file is there, and its number is somebody else's, here our own.
    pid_file.write_text(written.replace(written.splitlines()[0], str(os.getpid()), 1))
    os.chown(pid_file, owner.st_uid, owner.st_gid)
    assert living_postmaster(pid_file.parent) is None
    async with EmbeddedPostgres(data_dir) as server:
        assert await answers(server)


async def test_a_crash_during_the_first_start_leaves_nothing_half_made(data_dir: Path) -> None:
    half = data_dir / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    async with EmbeddedPostgres(data_dir) as server:
        assert await answers(server)
    assert not half.exists()


async def test_a_long_data_directory_still_gets_a_socket(data_dir: Path) -> None:
    deep = data_dir / ("d" * 60) / ("e" * 60)
    for folder in (data_dir, deep.parent, deep):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o711)
    async with EmbeddedPostgres(deep) as server:
        assert await answers(server)
        socket = socket_folder(server)
    assert not socket.is_relative_to(deep)
    assert mode_of(socket) == 0o700
    shutil.rmtree(socket)


async def test_another_versions_data_directory_is_named(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir):
        pass
    (data_dir / "postgres" / "PG_VERSION").write_text("17\n")
    with pytest.raises(SettingsError, match=r"was made by PostgreSQL 17 and this CodeHealer brings 18"):
        await EmbeddedPostgres(data_dir).start()


async def test_a_file_in_place_of_the_data_directory_is_one_clear_sentence(data_dir: Path) -> None:
    file = data_dir / "file"
    file.write_text("")
    with pytest.raises(SettingsError, match=r"cannot write its data directory .* CODEHEALER_DATA_DIR"):
        await EmbeddedPostgres(file / "below").start()


async def test_a_folder_that_is_not_a_database_is_left_alone(data_dir: Path) -> None:
    mine = data_dir / "postgres"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    with pytest.raises(SettingsError, match="in the way"):
        await EmbeddedPostgres(data_dir).start()
    assert (mine / "letter.txt").read_text() == "dear"
    assert not (data_dir / "postgres.new").exists()


@pytest.fixture
def small_disk(data_dir: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    small = data_dir / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=711", "none", small], check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    yield small
    subprocess.run(["umount", "-l", small], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a small file system")
@needs_root
async def test_a_full_disk_is_one_clear_sentence(small_disk: Path) -> None:
    with pytest.raises(SettingsError, match="No space is left"):
        await EmbeddedPostgres(small_disk).start()


async def test_the_socket_is_private(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir) as server:
        folder = socket_folder(server)
        assert mode_of(folder) == 0o700
        assert mode_of(folder / ".s.PGSQL.5432") == 0o700


# As root


@needs_root
async def test_as_root_a_system_user_runs_it_and_parents_keep_their_modes(data_dir: Path) -> None:
    parent_mode = mode_of(data_dir.parent)
    async with EmbeddedPostgres(data_dir / "here") as server:
        assert server.pid is not None
        assert owner_of(f"/proc/{server.pid}") == owner_of(data_dir / "here" / "postgres") != 0
    assert mode_of(data_dir.parent) == parent_mode


@needs_root
async def test_as_root_a_closed_parent_stays_closed_and_the_database_goes_elsewhere(data_dir: Path) -> None:
    closed = closed_folder(data_dir)
    home = data_dir / "home"
    for _ in range(2):  # the second start finds it again
        async with EmbeddedPostgres(closed / "data", system_home=home) as server:
            await ask(server, "CREATE TABLE IF NOT EXISTS kept (n int)")
            await ask(server, "INSERT INTO kept VALUES (1)")
            rows = await ask(server, "SELECT count(*) FROM kept")
    assert rows == [(2,)]
    assert mode_of(closed) == 0o700
    assert (closed / "data" / "postgres").resolve().is_relative_to(home)


@needs_root
async def test_as_root_a_lost_database_elsewhere_is_said_and_not_made_anew(data_dir: Path) -> None:
    closed = closed_folder(data_dir)
    async with EmbeddedPostgres(closed / "data", system_home=data_dir / "home"):
        pass
    shutil.rmtree(data_dir / "home")
    with pytest.raises(SettingsError, match="which is gone"):
        await EmbeddedPostgres(closed / "data", system_home=data_dir / "home").start()


@needs_root
async def test_as_root_binaries_in_a_closed_folder_are_copied(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = places.packaged_binaries().parent.parent
    closed = closed_folder(data_dir)
    shutil.copytree(package / "pginstall", closed / package.name / "pginstall", symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, closed / libraries.name)
    monkeypatch.setattr(places, "packaged_binaries", lambda: closed / package.name / "pginstall" / "bin")
    async with EmbeddedPostgres(data_dir / "data", system_home=data_dir / "home") as server:
        assert await answers(server)
        assert server.binaries.is_relative_to(data_dir / "home")
    assert mode_of(closed) == 0o700


# The interpreter itself may lie under /root, so it is root's until everything is imported.
AS_NOBODY = textwrap.dedent(
    """
    import asyncio, os, sys
    from pathlib import Path
    import concurrent.futures.thread, psycopg, encodings.idna
    from bot import postgres
    from bot.postgres import EmbeddedPostgres, default_data_dir, server as server_module
    from knowledge.errors import SettingsError

    # The launcher's interpreter has to be one that this user may run.
    sys.executable = sys.argv[2]
    os.setgroups([]); os.setgid(int(sys.argv[4])); os.setuid(int(sys.argv[3]))

    async def main():
        folder = Path(sys.argv[1])
        async with EmbeddedPostgres(folder / "mine") as server:
            async with await psycopg.AsyncConnection.connect(server.conninfo) as connection:
                row = await (await connection.execute("SELECT 40 + 2")).fetchone()
            print(row[0], server.role, os.stat(f"/proc/{server.pid}").st_uid)
        try:
            async with EmbeddedPostgres(folder / "closed"):
                pass
        except SettingsError as error:
            print(error)

    asyncio.run(main())
    """
)


@needs_root
async def test_a_normal_user_runs_it_as_itself_and_is_told_what_it_may_not_write(data_dir: Path) -> None:
    interpreter = shutil.which("python3", path="/usr/bin:/bin")
    if interpreter is None:
        pytest.skip("no interpreter outside root's folders")
    nobody = pwd.getpwnam("nobody")
    os.chown(data_dir, nobody.pw_uid, nobody.pw_gid)
    (data_dir / "closed").mkdir(mode=0o755)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        AS_NOBODY,
        str(data_dir),
        interpreter,
        str(nobody.pw_uid),
        str(nobody.pw_gid),
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    lines = output.decode().splitlines()
    assert process.returncode == 0
    assert lines[0] == f"42 supervises {nobody.pw_uid}"
    assert lines[1].startswith("CodeHealer cannot write its data directory")
    assert "set CODEHEALER_DATA_DIR" in lines[1]


# Locks and names


def test_a_second_bot_on_one_data_directory_is_told_who_has_it(data_dir: Path) -> None:
    with (
        hold_bot_lock(data_dir),
        pytest.raises(SettingsError, match=rf"Another CodeHealer \(pid {os.getpid()}\) runs on this data directory"),
        hold_bot_lock(data_dir),
    ):
        pass
    with hold_bot_lock(data_dir):
        pass


def test_a_killed_bots_lock_is_free(data_dir: Path) -> None:
    script = "import os, sys; from pathlib import Path; from bot.postgres import hold_bot_lock\n"
    script += "with hold_bot_lock(Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", script, data_dir], check=False, cwd=ROOT, timeout=DEADLINE_S)
    assert (data_dir / "bot.lock").exists()
    with hold_bot_lock(data_dir):
        pass


def test_the_default_data_directory_follows_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere/state")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_data_dir() == Path("/somewhere/state/codehealer")
    monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")
    assert default_data_dir() == Path.home() / ".local" / "state" / "codehealer"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_data_dir() == Path("/var/lib/codehealer")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgresql+psycopg://u:p%40ss@db.example:6543/name",
            "user=u password=p@ss dbname=name host=db.example port=6543",
        ),
        (
            "postgresql+psycopg://u@/name?host=/run/some%20where&port=5432",
            r"user=u dbname=name host='/run/some where' port=5432",
        ),
        ("postgresql://u@h/name?sslmode=require", "user=u dbname=name host=h sslmode=require"),
    ],
)
def test_a_sqlalchemy_url_becomes_libpq_key_words(url: str, expected: str) -> None:
    parse = psycopg.conninfo.conninfo_to_dict
    assert parse(libpq_conninfo(url)) == parse(expected)
