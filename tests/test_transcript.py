"""The check at the end of a run sees what it is there for."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.transcript import faults

GOOD = {"type": "section", "text": {"type": "mrkdwn", "text": "x"}}


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ({"blocks": [{"type": "section"}]}, "needs text or fields"),
        ({"blocks": [GOOD], "error": "invalid_blocks"}, "Slack answers invalid_blocks"),
        ({"text": ""}, "must not be empty"),
        ({"method": "views.open", "view": {"type": "modal", "blocks": [GOOD]}}, "title"),
        ({"blocks": [GOOD], "error": "ratelimited"}, ""),
        ({"blocks": [{"type": "section"}], "agent": "another client"}, ""),
    ],
)
def test_what_slack_would_not_take_of_the_bot_is_told(tmp_path: Path, call: dict[str, Any], says: str) -> None:
    path = tmp_path / "transcript.jsonl"
    usual = {"method": "chat.postMessage", "agent": "CodeHealer/0.1 x", "error": "", "text": "x"}
    path.write_text(json.dumps({**usual, **call}) + "\n")
    found = faults(path)
    assert bool(found) is bool(says)
    assert says in " ".join(found)
