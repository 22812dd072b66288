"""A supervisor for the embedded PostgreSQL.

The first program on a data directory supervises: PostgreSQL is its child and is restarted when it dies.
Others connect to the same server, and the quickest of them takes over when the first one goes away.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote

import psycopg
import structlog
from psycopg import sql
from sqlalchemy import make_url

from bot.postgres import launch
from bot.postgres.locks import HeldLock, try_lock
from bot.postgres.places import SYSTEM_HOME, Places, give_folder, prepare
from knowledge.errors import SettingsError

log = structlog.get_logger(__name__)

USER = DATABASE = "codehealer"
PORT = 5432  # only a part of the socket's name: nothing listens on the network

START_S = 60.0
STOP_S = 20.0
POLL_S = 0.25
LONGEST_BACK_OFF_S = 10.0
LARGEST_LOG_BYTES = 8_000_000

# Given on the command line, so that a new version's tuning reaches old data directories.
TUNING = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "effective_cache_size": "512MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "512MB",
    "checkpoint_timeout": "15min",
    "wal_compression": "pglz",
    # One writer on one machine: no replication, and no worker processes for reading what is mostly in memory.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "io_method": "sync",
    "autovacuum_max_workers": "2",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Statements and key values can hold what people pasted; neither may reach a log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length_on_error": "0",
    "log_min_messages": "warning",
}

Role = Literal["supervises", "connects"]


@dataclass(frozen=True)
class Postmaster:
    """What postmaster.pid says of a server whose process is alive."""

    pid: int
    socket: Path


class EmbeddedPostgres:
    """`async with EmbeddedPostgres(data_dir) as server: server.url`.

    `url` and `conninfo` stay the same through restarts and change of supervisor.

    Raises (from `start`):
        SettingsError: the data directory cannot be written, is full, or is of another PostgreSQL version.
    """

    def __init__(self, data_dir: Path, *, system_home: Path = SYSTEM_HOME) -> None:
        self._data_dir = data_dir
        self._system_home = system_home
        self._places: Places | None = None
        self._lock: HeldLock | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._log_from = 0  # bytes: where the log of our present child begins
        self._server: Postmaster | None = None
        self._socket: Path | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def role(self) -> Role:
        return "supervises" if self._lock else "connects"

    @property
    def url(self) -> str:
        """A SQLAlchemy URL over the Unix socket."""
        return self._url(DATABASE)

    @property
    def conninfo(self) -> str:
        """The same for libpq: psycopg, pg_dump."""
        return libpq_conninfo(self._url(DATABASE))

    @property
    def binaries(self) -> Path:
        """The folder of psql, pg_dump and the rest, runnable by the server's user."""
        return self._need_places().binaries

    @property
    def pid(self) -> int | None:
        """The postmaster's process id; None while it is down."""
        return self._server.pid if self._server else None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Return when queries are answered; then keep it so until `stop`.

        Call it in a thread that lives as long as the server should: its end counts as the parent's death.
        """
        # Making the system user or copying the binaries may take a second the first time.
        self._places = await asyncio.to_thread(prepare, self._data_dir, self._system_home)
        try:
            await self._bring_up()
        except BaseException:
            await self._take_down()
            raise
        self._watcher = asyncio.create_task(self._watch(), name="embedded postgres")

    async def stop(self) -> None:
        """Stop the server if we supervise it; leave it alone if we only connected."""
        if self._watcher:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None
        await self._take_down()

    # Starting

    async def _bring_up(self) -> None:
        """Adopt, start or connect, whichever the locks and processes on this directory call for."""
        places = self._need_places()
        deadline = time.monotonic() + START_S
        pause_s = 0.02
        while time.monotonic() < deadline:
            if self._lock is None:
                self._lock = self._try_lock(places)
            self._server = living_postmaster(places.database)
            if self._lock and self._server is None:
                await self._launch(places)
            if self._server:
                self._socket = self._server.socket
                if await self._answers():
                    return
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.5)
        raise SettingsError(
            f"The embedded PostgreSQL in {places.database} did not answer within {START_S:.0f} s; "
            f"see {places.log_file}."
        )

    def _try_lock(self, places: Places) -> HeldLock | None:
        try:
            return try_lock(places.lock_file)
        except OSError as error:
            raise SettingsError(
                f"CodeHealer cannot write {places.lock_file} ({error.strerror}); "
                "set CODEHEALER_DATA_DIR to a folder that it may write and that has free space."
            ) from error

    async def _launch(self, places: Places) -> None:
        """Start a server as our child unless one is on its way; look why when it ended early."""
        if self._child and self._child.returncode is None:
            return
        if self._child:
            _explain_early_end(places, self._log_from)
            self._child = None
            await asyncio.sleep(0.2)  # a killed server's last processes leave its shared memory within moments
        if not (places.database / "PG_VERSION").exists():
            await _initialise(places)
        await _check_version(places)
        # After taking over, where it was before: our `url` is already in other hands.
        socket = give_folder(self._socket or places.socket, places.run_as)
        environment = _environment()
        stale = _pid_in_file(places.database)
        if stale:
            # PostgreSQL takes a lock file with its grandparent's id for stale, so a reused id cannot keep it down.
            environment["PG_GRANDPARENT_PID"] = str(stale)
        options = [word for name, value in TUNING.items() for word in ("-c", f"{name}={value}")]
        command = _as_user(places, "postgres", "-D", str(places.database), "-k", str(socket), *options)
        with _open_log(places.log_file) as log_file:
            self._log_from = os.fstat(log_file).st_size
            self._child = await asyncio.create_subprocess_exec(
                *command,
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                # Its own session: Ctrl-C is for us, and PostgreSQL has to outlast our own orderly end.
                start_new_session=True,
            )

    async def _answers(self) -> bool:
        """Whether queries are answered; makes our database when it is not there yet."""
        try:
            async with await psycopg.AsyncConnection.connect(
                libpq_conninfo(self._url("postgres")), autocommit=True, connect_timeout=5
            ) as connection:
                found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
                if await found.fetchone() is None:
                    with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                        await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        except psycopg.errors.DiskFull as error:
            raise SettingsError(f"No space is left for the database in {self._need_places().database}.") from error
        except psycopg.OperationalError:
            return False
        return True

    # Watching

    async def _watch(self) -> None:
        """Bring the server back whenever it is gone, later and later when it keeps dying."""
        back_off_s = 0.1
        while True:
            began = time.monotonic()
            await self._until_gone()
            self._server = self._child = None
            if time.monotonic() - began > 60:
                back_off_s = 0.1
            log.warning("postgres_gone", role=self.role, back_off_s=back_off_s)
            await asyncio.sleep(back_off_s)
            back_off_s = min(back_off_s * 2, LONGEST_BACK_OFF_S)
            try:
                await self._bring_up()
            except (SettingsError, OSError) as error:
                log.error("postgres_not_back", reason=str(error))  # noqa: TRY400  (a full disk needs no traceback)
            else:
                log.info("postgres_back", role=self.role)

    async def _until_gone(self) -> None:
        """Wait for our child's end; poll a server that is somebody else's child."""
        places = self._need_places()
        while True:
            if self._child:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._child.wait(), timeout=60)
                    return
                await asyncio.to_thread(_bound_log, places.log_file)
            else:
                await asyncio.sleep(POLL_S)
                if self._server is None or not is_postgres(self._server.pid, places.database):
                    return

    # Stopping

    async def _take_down(self) -> None:
        try:
            if self._lock and self._places:
                await self._stop_server(self._places)
        finally:
            if self._lock:
                self._lock.release()
            self._lock = None
            self._child = None

    async def _stop_server(self, places: Places) -> None:
        found = living_postmaster(places.database)
        pid = self._child.pid if self._child and self._child.returncode is None else found.pid if found else None
        if pid is None:
            return
        # Fast shutdown; then without a checkpoint; then by force: each next one only when the one before did not do.
        for number, patience_s in ((signal.SIGINT, STOP_S), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            if await self._ended(pid, places, patience_s):
                return
        log.error("postgres_would_not_stop", pid=pid)

    async def _ended(self, pid: int, places: Places, patience_s: float) -> bool:
        deadline = time.monotonic() + patience_s
        if self._child and self._child.pid == pid:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._child.wait(), timeout=patience_s)
                return True
            return False
        while time.monotonic() < deadline:
            if not is_postgres(pid, places.database):
                return True
            await asyncio.sleep(0.02)
        return False

    def _url(self, database: str) -> str:
        if self._socket is None:
            raise RuntimeError("the embedded PostgreSQL is not started")
        return f"postgresql+psycopg://{USER}@/{database}?host={quote(str(self._socket), safe='/')}&port={PORT}"

    def _need_places(self) -> Places:
        if self._places is None:
            raise RuntimeError("the embedded PostgreSQL is not started")
        return self._places


def libpq_conninfo(url: str) -> str:
    """A SQLAlchemy URL as libpq's key words, for psycopg without SQLAlchemy and for pg_dump."""
    parts = make_url(url)
    options = {"host": parts.host, "port": parts.port, "user": parts.username, "password": parts.password}
    given = {name: value for name, value in options.items() if value is not None}
    query = {name: value if isinstance(value, str) else ",".join(value) for name, value in parts.query.items()}
    return psycopg.conninfo.make_conninfo("", dbname=parts.database, **given, **query)


def living_postmaster(database: Path) -> Postmaster | None:
    """The server that postmaster.pid names, if its process lives and is PostgreSQL on this very directory."""
    try:
        lines = (database / "postmaster.pid").read_text().splitlines()
        found = Postmaster(pid=int(lines[0]), socket=Path(lines[4]))
    except (FileNotFoundError, NotADirectoryError, ValueError, IndexError):
        return None  # absent, or still being written
    if not found.socket.is_absolute():
        return None
    return found if is_postgres(found.pid, database) else None


def is_postgres(pid: int, database: Path) -> bool:
    """Whether this process is a PostgreSQL server, not a zombie, working in this folder."""
    proc = Path("/proc") / str(pid)
    if not Path("/proc/self/stat").exists():
        return _is_postgres_by_ps(pid)
    try:
        # "pid (name) state …"; the name may hold anything, so look behind its last bracket.
        name, _, rest = (proc / "stat").read_text().partition("(")[2].rpartition(")")
        if name != "postgres" or rest.split()[0] in {"Z", "X"}:
            return False
        return (proc / "cwd").samefile(database)
    except PermissionError:
        # Of another user, or a hardened /proc: then it is ours if the folder's owner runs it.
        return _owner(proc) is not None and _owner(proc) == _owner(database)
    except OSError:
        return False


def _owner(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None


def _is_postgres_by_ps(pid: int) -> bool:
    """The same where there is no /proc (macOS)."""
    shown = subprocess.run(
        ["ps", "-o", "stat=,comm=", "-p", str(pid)], check=False, capture_output=True, text=True, timeout=10
    ).stdout.split(None, 1)
    return len(shown) == 2 and not shown[0].startswith("Z") and Path(shown[1].strip()).name.startswith("postgres")


def _pid_in_file(database: Path) -> int | None:
    try:
        return int((database / "postmaster.pid").read_text().split(None, 1)[0])
    except (OSError, ValueError, IndexError):
        return None


def _environment() -> dict[str, str]:
    """Nothing of ours: no tokens in the environment of another program, no PG* variables."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C", "TZ": "UTC"}


def _as_user(places: Places, program: str, *arguments: str) -> list[str]:
    run_as = places.run_as
    uid, gid = (run_as.uid, run_as.gid) if run_as.switch else (-1, -1)
    launcher = [sys.executable, "-I", "-S", launch.__file__, str(uid), str(gid), str(os.getpid())]
    return [*launcher, str(places.binaries / program), *arguments]


async def _run(places: Places, program: str, *arguments: str, timeout_s: float) -> str:
    """Run one of PostgreSQL's programs to its end and return what it said.

    Raises:
        SettingsError: it failed; its last line says why.
    """
    process = await asyncio.create_subprocess_exec(
        *_as_user(places, program, *arguments),
        env=_environment(),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), timeout=timeout_s)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise SettingsError(f"{program} for {places.database} did not end within {timeout_s:.0f} s.") from None
    text = output.decode(errors="replace")
    if process.returncode != 0:
        if "No space left" in text:
            raise SettingsError(f"No space is left for the database in {places.data_dir}; free some, or move it.")
        said = [line for line in text.strip().splitlines() if "error" in line.lower()] or text.strip().splitlines()
        raise SettingsError(f"{program} failed in {places.data_dir}: {said[0] if said else process.returncode}")
    return text


async def _initialise(places: Places) -> None:
    """Make the database beside its place and move it there, so that a crash in between leaves nothing half-made."""
    fresh = places.database.with_name("postgres.new")
    if fresh.exists():
        shutil.rmtree(fresh)
    give_folder(fresh, places.run_as)
    try:
        await _run(
            places,
            "initdb",
            "--pgdata",
            str(fresh),
            "--username",
            USER,
            # Whoever can open the socket is let in: its folder is private to the server's user.
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            timeout_s=60,
        )
        if places.database.exists():
            places.database.rmdir()  # an empty folder kept the place; a full one is not ours to remove
        fresh.rename(places.database)
    except OSError as error:
        raise SettingsError(
            f"{places.database} is in the way of a new database ({error.strerror}); move it away."
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


async def _check_version(places: Places) -> None:
    have = (places.database / "PG_VERSION").read_text().strip()
    # "postgres (PostgreSQL) 18.6"
    said = await _run(places, "postgres", "--version", timeout_s=20)
    need = said.split()[2].split(".")[0]
    if have != need:
        raise SettingsError(
            f"The database in {places.database} was made by PostgreSQL {have} and this CodeHealer brings {need}; "
            f"restore a backup into another CODEHEALER_DATA_DIR, or set DATABASE_URL to a PostgreSQL {have}."
        )


def _explain_early_end(places: Places, log_from: int) -> None:
    """Raise what no retry can mend; what may pass (shared memory of a killed server) is left to the next try."""
    with places.log_file.open("rb") as log_file:
        log_file.seek(log_from)
        tail = log_file.read(64_000).decode(errors="replace")
    last = next((line for line in reversed(tail.splitlines()) if "FATAL:" in line or "PANIC:" in line), "")
    log.warning("postgres_ended_early", reason=last.strip())
    if "No space left" in last:
        raise SettingsError(f"No space is left for the database in {places.database}; free some, or move it.")
    if "Permission denied" in last or "has wrong ownership" in last or "invalid permissions" in last:
        raise SettingsError(f"PostgreSQL cannot use {places.database}: {last.partition('FATAL:')[2].strip()}")


@contextlib.contextmanager
def _open_log(path: Path) -> Iterator[int]:
    """Opened by us and inherited by the server, so that the log is ours whoever the server runs as."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _bound_log(path: Path) -> None:
    """Empty a log that has grown too long: the server appends, so it goes on from the start."""
    with contextlib.suppress(OSError):
        if path.stat().st_size > LARGEST_LOG_BYTES:
            os.truncate(path, 0)
