"""Commands run in the test's own process: the very same main(), a second and a half cheaper."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from bot.__main__ import main
from tests.aws import moto_server
from tests.bot.edge import Ended
from tests.bot.web_server import sandbox_env, server

__all__ = ["command", "sandbox_env", "server"]


@pytest.fixture(scope="session")
def aws() -> Iterator[dict[str, str]]:
    """The AWS_* that lead to a server of this worker's own."""
    with moto_server() as env:
        yield env


Command = Callable[..., Ended]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run `codehealer ARGUMENTS`."""

    def run(*arguments: str | Path) -> Ended:
        monkeypatch.setattr("sys.argv", ["codehealer", *map(str, arguments)])
        capfd.readouterr()
        status: object = 0
        root = logging.getLogger()
        handlers, level = root.handlers, root.level
        logs = structlog.get_config()
        try:
            main()
        except SystemExit as ended:
            status = ended.code
        finally:
            root.handlers = handlers
            root.setLevel(level)
            # What other tests read of the log is as they set it up.
            structlog.configure(**logs)
        out, words = capfd.readouterr()
        assert isinstance(status, int)
        return Ended(status, out, words)

    return run
