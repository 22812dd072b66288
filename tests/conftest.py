"""What every test stands on: a real PostgreSQL, no network, and none of the caller's settings."""

import asyncio
import contextlib
import ipaddress
import os
import re
import shutil
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog
from hypothesis import settings
from sqlalchemy import make_url

from bot.postgres import EmbeddedPostgres, libpq_conninfo
from tests.database import run_migrations
from tests.programs import MISSING
from tests.transcript import faults

STORIES = Path(__file__).parent / "stories"
TEMPLATE = "codehealer_template"
# Slower than the slowest machine that has to pass.
SERVER_DEADLINE_S = 60
# A database a test is four hundred files made and removed. On ext4 each new file looks at those removed just before,
# which takes ten times what memory does, so the servers keep their files there where it is large enough for a few.
MEMORY, MEMORY_NEEDED = Path("/dev/shm"), 4 << 30

# The caller's settings

_SETTINGS = re.compile(
    r"(SLACK|CODEHEALER|NVIDIA|OPENAI|ANTHROPIC|GITHUB|ARGOCD|PAGERDUTY|AWS|SQS|PROMETHEUS|ALERTMANAGER|OTEL)_\w+"
    r"|DATABASE_URL|REDIS_URL|KUBECONFIG|PG[A-Z]+|\w+_proxy",
    re.IGNORECASE,
)
REQUIRE_TOOLS = os.environ.get("CODEHEALER_REQUIRE_TOOLS") == "1"
for _name in [name for name in os.environ if _SETTINGS.fullmatch(name) and name != "CODEHEALER_REQUIRE_TOOLS"]:
    del os.environ[_name]

# A change alone decides whether its tests pass: properties are tried with the same examples each time. New ones are
# looked for with `pytest --hypothesis-profile=default`.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")

# Logs: plain lines. Unconfigured, an exception is drawn with all its local variables, which takes longer than a test.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(default=str),
    ]
)

# The network


class OutsideConnection(RuntimeError):
    """A test reached for a machine that is not this one."""


def _is_here(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    if not isinstance(host, str) or host in {"", "localhost", "localhost.localdomain"} or host.endswith(".localhost"):
        return True  # no name (wildcard), or one that resolves here without asking anybody
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    """Loopback and Unix sockets only; names are not looked up outside either."""
    if event in {"socket.connect", "socket.sendto"}:
        address = arguments[1]
        if isinstance(address, tuple) and not _is_here(address[0]):
            raise OutsideConnection(f"a test tried to reach {address[0]}:{address[1]}")
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"} and not _is_here(arguments[0]):
        raise OutsideConnection(f"a test tried to look up {arguments[0]!r}")


# Under any library's patching, and for every way to connect: the interpreter itself asks.
sys.addaudithook(_guard)

# Missing programs

_missing: set[str] = set()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Any:
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and REQUIRE_TOOLS:
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason.startswith(MISSING):
            report.outcome = "failed"
            report.longrepr = f"{reason} (run `make tools`)"
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # Here rather than above: with several workers only reports come back to the process that prints.
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr or "")
    if MISSING in text:
        _missing.add(text.partition(MISSING)[2].split()[0])


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    if _missing and not hasattr(config, "workerinput"):
        names = ", ".join(sorted(_missing))
        sys.stdout.write(f"Missing programs, for which tests did not run: {names} (make tools)\n")


# What the bot says


@pytest.fixture(scope="session", autouse=True)
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every message and view that the bot sends to a sandbox keeps Slack's rules, whatever the test looks at."""
    path = tmp_path_factory.mktemp("said") / "transcript.jsonl"
    os.environ["SANDBOX_TRANSCRIPT"] = str(path)
    yield
    del os.environ["SANDBOX_TRANSCRIPT"]
    assert faults(path) == []


# The order


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first: begun last, they would keep one worker busy alone."""
    items.sort(key=lambda item: not (item.path.is_relative_to(STORIES) or item.get_closest_marker("timeout")))


# PostgreSQL


class _ServerThread:
    """An embedded server for the whole session on a loop of its own: tests come with a loop each."""

    def __init__(self, data_dir: Path) -> None:
        self._loop = asyncio.new_event_loop()
        # PostgreSQL is told to stop when the thread that started it ends, so this one lives as long as the session.
        self._thread = threading.Thread(target=self._loop.run_forever, name="test postgres", daemon=True)
        self._thread.start()
        self.server = EmbeddedPostgres(data_dir)
        asyncio.run_coroutine_threadsafe(self.server.start(), self._loop).result(SERVER_DEADLINE_S)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.server.stop(), self._loop).result(SERVER_DEADLINE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SERVER_DEADLINE_S)
        self._loop.close()


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """An empty data directory that a system user can get into: pytest's own folders are closed to it."""
    folder = Path(tempfile.mkdtemp(prefix="codehealer-test-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """One server a worker process. What a crash does to it is tested on servers of their own."""
    in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_NEEDED
    folder = Path(tempfile.mkdtemp(prefix="codehealer-test-", dir=MEMORY if in_memory else None))
    thread = _ServerThread(folder)
    try:
        with psycopg.connect(thread.server.conninfo, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield thread.server
    finally:
        thread.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def template_database(postgres_server: EmbeddedPostgres) -> str:
    """A migrated database that nobody is connected to; its name."""
    with psycopg.connect(postgres_server.conninfo, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}")
    run_migrations(_other_database(postgres_server, TEMPLATE))
    return TEMPLATE


@pytest.fixture
def database_url(postgres_server: EmbeddedPostgres, template_database: str) -> Iterator[str]:
    """The SQLAlchemy URL of a migrated database of the test's own."""
    with _new_database(postgres_server, template_database) as url:
        yield url


@pytest.fixture
def empty_database_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The same before any migration."""
    with _new_database(postgres_server, "template1") as url:
        yield url


@pytest.fixture
def conninfo(database_url: str) -> str:
    """The test's database for libpq."""
    return libpq_conninfo(database_url)


@contextlib.contextmanager
def _new_database(server: EmbeddedPostgres, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        # Copying files is four times as fast as logging every page of a template of 9 MB.
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        try:
            yield _other_database(server, name)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _other_database(server: EmbeddedPostgres, name: str) -> str:
    return make_url(server.url).set(database=name).render_as_string(hide_password=False)
