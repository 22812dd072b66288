"""Log lines: no secret leaves in them, in whatever a line carries it."""

import json
import logging

import pytest
import structlog
from sqlalchemy import text

from bot.logs import set_up_logs
from knowledge.errors import Refused, Unavailable
from knowledge.store.database import open_engine

SECRET = "Zq7" + "vT2kP9xLw4"
DIALLED = f"dial amqp://svc:{SECRET}@mq"


@pytest.fixture(autouse=True)
def _logs_as_before() -> object:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, _ = handlers, root.setLevel(level)
    structlog.reset_defaults()


def test_no_secret_leaves_in_words_values_or_errors(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs("INFO", "json")
    log = structlog.get_logger("some")
    log.info(DIALLED, password=SECRET, headers={"Authorization": f"Bearer {SECRET}"})
    log.warning("no_answer", error=ValueError(f"token={SECRET}"), tried=[f"https://u:{SECRET}@h"], count=3, at=None)
    try:
        int(f"postgresql://app:{SECRET}@db")
    except ValueError:
        logging.getLogger("library").exception("failed with %s", f"api_key={SECRET}")
    written = capsys.readouterr().err
    assert SECRET not in written
    lines = [json.loads(line) for line in written.splitlines()]
    assert len(lines) == 3
    assert lines[1]["count"] == 3


async def test_a_stop_says_nothing_of_the_pool_of_connections(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logs("INFO", "json")
    engine = open_engine(database_url)
    async with engine.connect() as db:
        await db.execute(text("SELECT 1"))
    await engine.dispose()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "error", [Refused(f"403: password={SECRET}"), Unavailable(f"no answer of http://a:{SECRET}@h")]
)
def test_what_the_other_side_said_is_quoted_without_secrets(error: Exception) -> None:
    assert SECRET not in str(error)
    assert "[redacted:" in str(error)
