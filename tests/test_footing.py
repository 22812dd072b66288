"""What the other tests stand on does what it says."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

ROOT = Path(__file__).parent.parent
OUTSIDE = "192.0.2.1"  # reserved for documentation: nobody answers there


def test_a_connection_to_another_machine_is_refused() -> None:
    with socket.socket() as outside, pytest.raises(RuntimeError, match=OUTSIDE):
        outside.connect((OUTSIDE, 443))
    with socket.socket(type=socket.SOCK_DGRAM) as outside, pytest.raises(RuntimeError, match=OUTSIDE):
        outside.sendto(b"", (OUTSIDE, 53))
    with pytest.raises(RuntimeError, match="look up"):
        socket.getaddrinfo("example.com", 443)


def test_a_connection_to_this_machine_is_allowed() -> None:
    with socket.create_server(("localhost", 0)) as here, socket.create_connection(here.getsockname()):
        pass


def test_no_setting_of_the_caller_reaches_a_test() -> None:
    names = [name for name in os.environ if name.startswith(("SLACK_", "DATABASE_URL", "GITHUB_")) or "proxy" in name]
    assert names == []


def test_each_test_has_a_migrated_database_of_its_own(database_url: str, conninfo: str) -> None:
    with psycopg.connect(conninfo) as connection:
        assert connection.execute("SELECT count(*) FROM procrastinate.procrastinate_jobs").fetchone() == (0,)
        name = connection.execute("SELECT current_database()").fetchone()
    assert name is not None
    assert name[0] in database_url


@pytest.mark.parametrize(("required", "outcome", "status"), [("0", "1 skipped", 0), ("1", "1 failed", 1)])
def test_a_missing_program_skips_or_fails_and_is_named_last(
    tmp_path: Path, required: str, outcome: str, status: int
) -> None:
    (tmp_path / "test_it.py").write_text(
        "from tests.programs import need_program\ndef test_it():\n    need_program('no-such-program')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", ROOT / "pyproject.toml", "-p", "tests.conftest", tmp_path],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "CODEHEALER_REQUIRE_TOOLS": required},
        timeout=60,
    )
    assert outcome in ended.stdout
    assert "no-such-program" in ended.stdout.splitlines()[-1]
    assert ended.returncode == status
