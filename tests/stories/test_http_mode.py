"""The same app behind a request URL: alerts, clicks, commands and repeats come by signed HTTP requests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.stories.stage import ALERTS, ONCALL, Stage, text_of
from tests.stories.test_healing import healthy, writes


@pytest_asyncio.fixture
async def stage(database_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    opened = Stage(database_url, tmp_path, sandbox_options=("--http-mode",))
    try:
        await opened.open()
        yield opened
    finally:
        await opened.close()


@pytest.mark.timeout(300)
async def test_without_socket_mode_it_heals_by_approval_and_answers(stage: Stage) -> None:
    await stage.do("faults", slack={"duplicate_events": True})
    asked = await stage.do("post", user=ONCALL, channel=ALERTS, text="<@U0CODEHEALER> help")
    await stage.break_("stuck-pod-payments")
    card = await stage.card("Waiting for approval", about="payments-api")
    assert (await stage.click(card, "approve"))["acknowledged"]
    await stage.card("Healed", about="payments-api")
    assert await healthy(stage, "payments-api")
    assert len(writes(await stage.requests("k8s"))) == 1

    told = await stage.do("command", user=ONCALL, channel=ALERTS, command="/codehealer", text="help")
    assert told["acknowledged"]
    assert "Type after" in text_of(told["response"])
    await stage.thread({"ts": asked["ts"]}, "Type after", channel=ALERTS)
    replies = [one for one in await stage.messages(ALERTS, thread_ts=asked["ts"]) if one["ts"] != asked["ts"]]
    assert len(replies) == 1
