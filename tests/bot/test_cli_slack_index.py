"""index-slack: from when, and what it says when there is nothing to read. The reading is in tests/handlers."""

from datetime import UTC, datetime

import pytest

from bot.cli.slack_index import NOBODY_THERE, OFF, since_when
from knowledge.errors import BadInput
from tests.bot.conftest import Command

NOW = datetime(2026, 11, 28, 12, 30, tzinfo=UTC)


def test_since_is_a_day_or_an_age() -> None:
    assert since_when("2026-05-12", NOW) == datetime(2026, 5, 12, tzinfo=UTC)
    assert since_when("30d", NOW) == datetime(2026, 10, 29, 12, 30, tzinfo=UTC)
    assert since_when("", NOW) is None
    for wrong in ("soon", "30", "-3d", "2026-13-01", "12 May", "2026-05-12T10:00:00+02:00"):
        with pytest.raises(BadInput, match="2026-05-12"):
            since_when(wrong, NOW)


def test_without_slack_or_with_remembering_off_it_says_which_setting(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = command("index-slack", "--json")
    assert (ended.status, ended.out) == (1, "")
    assert NOBODY_THERE in ended.words
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb" + "-of-a-test")
    monkeypatch.setenv("CODEHEALER_THREAD_RETENTION_DAYS", "0")
    assert OFF in command("index-slack").words
