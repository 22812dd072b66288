"""A new value of a secret: read from where the policy says, bounded, and seen by nobody."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from knowledge.errors import Refused, Unavailable
from remediation.secret_sources import MAX_VALUE_BYTES, SecretSource, new_value

VALUE = "correct horse battery"


def program(code: str, **more: object) -> SecretSource:
    return SecretSource(command=(sys.executable, "-S", "-c", code), **more)  # type: ignore[arg-type]


async def test_a_file_and_a_command_give_their_value_and_nothing_shows_it(tmp_path: Path) -> None:
    path = tmp_path / "value"
    path.write_text(VALUE + "\n")
    for source in (SecretSource(file=path), program(f"print({VALUE!r})")):
        found = await new_value(source)
        assert found.get_secret_value() == VALUE
        assert VALUE not in f"{found!r} {found} {source.words}"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (f"import sys; print({VALUE!r}); print({VALUE!r}, file=sys.stderr); sys.exit(3)", "ended with 3"),
        ("print()", "gave no value"),
        (f"print('x' * {2 * MAX_VALUE_BYTES})", "more than 64 KiB"),
        (r"import sys; sys.stdout.buffer.write(b'\xff\xfe')", "not UTF-8"),
    ],
)
async def test_a_command_that_gives_no_value_is_refused_without_quoting_it(code: str, why: str) -> None:
    with pytest.raises(Refused, match=why) as caught:
        await new_value(program(code))
    assert VALUE not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_command_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(note)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(60)"
    )
    with pytest.raises(Unavailable, match="did not end within 1 s"):
        await new_value(program(code, seconds=1))
    child = int(note.read_text())
    for _ in range(200):
        if gone(child):
            return
        await asyncio.sleep(0.02)
    pytest.fail("the command's own child still runs")


def gone(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().split()[2] == "Z"


async def test_a_command_sees_none_of_the_bots_tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "ours")
    monkeypatch.setenv("VAULT_ADDR", "https://vault.example")
    code = "import os; print(os.environ.get('SLACK_BOT_TOKEN'), os.environ.get('VAULT_ADDR'))"
    assert (await new_value(program(code, env=("VAULT_ADDR",)))).get_secret_value() == "None https://vault.example"
    monkeypatch.delenv("VAULT_ADDR")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("VAULT_ADDR=https://from-the-file.example\nSLACK_BOT_TOKEN=ours\n")
    monkeypatch.delenv("SLACK_BOT_TOKEN")
    seen = await new_value(program(code, env=("VAULT_ADDR",)))
    assert seen.get_secret_value() == "None https://from-the-file.example"


async def test_what_is_no_plain_readable_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, why in (
        (pipe, "no plain file"),
        (tmp_path, "no plain file"),
        (tmp_path / "never-was", "cannot be opened"),
    ):
        with pytest.raises(Refused, match=why):
            await new_value(SecretSource(file=path))
    with pytest.raises(Refused, match="could not be started"):
        await new_value(SecretSource(command=("/never/was",)))


@pytest.mark.parametrize("wrong", [{}, {"file": "relative"}, {"file": "/a", "command": ["b"]}, {"command": "sh -c x"}])
def test_a_source_is_exactly_one_place(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SecretSource.model_validate(wrong)
