"""Questions from people, alerts of unknown apps, and a model that answers: what may lead to an action and what not."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
import yaml

from tests.knowledge.model_server import Asked, Says, nvidia_settings, serving
from tests.stories.stage import ALERTS, BOT, DEPLOYMENTS, ONCALL, Stage, text_of

LOG = """npm error code ERESOLVE
npm error ERESOLVE unable to resolve dependency tree
npm error Could not resolve dependency: peer react@"^17.0.0" from react-tree@2.3.1
Error: Process completed with exit code 1."""


async def test_a_mention_in_a_thread_reads_the_thread_and_the_files_in_it(stage: Stage) -> None:
    log = {"name": "build.log", "content": LOG}
    parent = await stage.do("post", user=ONCALL, channel=ALERTS, text="the build is red", file=log)
    await stage.do("post", user=ONCALL, channel=ALERTS, text=f"<@{BOT}> any idea?", thread_ts=parent["ts"])
    answer = await stage.thread(parent, "Dependencies cannot be resolved", channel=ALERTS)
    assert "ERESOLVE" in text_of(answer)
    assert '"approve"' not in text_of(answer)


async def test_a_question_that_names_a_service_looks_at_that_service(stage: Stage) -> None:
    asked = await stage.do("post", user=ONCALL, channel=ALERTS, text=f"<@{BOT}> is catalog alright?")
    answer = await stage.thread({"ts": asked["ts"]}, "catalog", channel=ALERTS)
    await stage.until(lambda: _resolved(stage, asked["ts"]), "the answer says that nothing is wrong")
    assert '"approve"' not in text_of(answer)


async def _resolved(stage: Stage, ts: str) -> bool:
    replies = await stage.messages(ALERTS, thread_ts=ts)
    return any("Nothing is wrong" in text_of(reply) for reply in replies if reply["ts"] != ts)


async def test_a_question_is_answered_by_a_stream_in_its_thread_and_the_conversation_has_prompts(stage: Stage) -> None:
    asked = await stage.do("post", user=ONCALL, channel=ALERTS, text=f"<@{BOT}> what can you do?")
    answer = await stage.thread({"ts": asked["ts"]}, "incidents open", channel=ALERTS)

    async def ended() -> bool:
        replies = await stage.messages(ALERTS, thread_ts=asked["ts"])
        return any(one["ts"] == answer["ts"] and one.get("streaming_state") == "completed" for one in replies)

    await stage.until(ended, "the streamed answer is whole")
    assert len(await stage.messages(ALERTS, thread_ts=asked["ts"])) == 2
    await stage.do("opened", user=ONCALL)

    async def prompted() -> bool:
        shown = await stage.get("messages", user=ONCALL, channel="D0ONCALL")
        return "Is anything broken?" in str(shown.get("prompts"))

    await stage.until(prompted, "prompts in the direct message")


async def test_the_alert_of_an_app_that_is_not_listed_is_none(stage: Stage) -> None:
    labels = {"title": "[FIRING:1] KubePodCrashLooping", "color": "danger", "fallback": "firing"}
    text = "Pod shop/checkout-66b7c9d5f4-m4znd is in CrashLoopBackOff\nnamespace: shop\ndeployment: checkout"
    await stage.do("alertpost", app="Stranger", channel=DEPLOYMENTS, text="", attachments=[{**labels, "text": text}])
    # What a listed app posts after it has its card, and is the only one.
    other = {**labels, "title": "[FIRING:1] KubeQuotaExceeded"}
    text = "Quota of namespace data is used up\nnamespace: data"
    await stage.do("alertpost", channel=DEPLOYMENTS, text="", attachments=[{**other, "text": text}])
    card = await stage.card("", about="KubeQuotaExceeded")
    assert [one["ts"] for one in await stage.cards()] == [card["ts"]]


# --- modes --------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def observing(database_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """A stage whose policy only observes, as every new installation does."""
    shipped = yaml.safe_load((Path(__file__).parents[2] / "bot/sandbox/policy.yaml").read_text())
    shipped["mode"] = "observe"
    for environment in shipped["environments"].values():
        environment.pop("mode")
    path = tmp_path / "observing.yaml"
    path.write_text(yaml.safe_dump(shipped))
    opened = Stage(database_url, tmp_path, settings={"CODEHEALER_POLICY": str(path)})
    try:
        await opened.open()
        yield opened
    finally:
        await opened.close()


async def test_observe_mode_shows_cards_without_buttons_and_mentions(observing: Stage) -> None:
    await observing.break_("release-crash-checkout")
    card = await observing.card("Roll", about="checkout")
    assert '"actions"' not in json.dumps(card["blocks"])
    assert "<@" not in text_of(card)


# --- a model ------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def model(database_url: str, tmp_path: Path) -> AsyncIterator[tuple[Stage, list[Asked]]]:
    """A stage with a model that claims a cause, a quote and an action."""
    said = {
        "kind": "crashloop",
        "confidence": 0.99,
        "cause": "The new release panics while it starts.",
        "summary": "The previous release ran well.",
        "fixability": "auto",
        "quotes": [{"evidence": 0, "text": "a line that nobody ever logged"}],
        "action": "delete_namespace",
        "ruled_out": [],
    }
    async with serving(lambda _asked: Says(json.dumps(said))) as server:
        opened = Stage(database_url, tmp_path, settings=nvidia_settings(server))
        try:
            await opened.open()
            yield opened, server.asked
        finally:
            await opened.close()


async def test_a_models_invented_quote_is_dropped_and_its_action_is_not_taken(
    model: tuple[Stage, list[Asked]],
) -> None:
    stage, asked = model
    await stage.break_("release-crash-orders")
    card = await stage.card("Waiting for approval", about="orders")
    assert asked, "the model was asked"
    assert "nobody ever logged" not in text_of(await stage.thread(card, "Answered by"))
    assert "delete_namespace" not in text_of(card)
    assert "Roll" in text_of(card), "the plan comes from the table and the live system"


async def test_odd_mentions_are_answered_and_nothing_breaks(stage: Stage) -> None:
    for text in ("", "   ", "\x00\x07", "x" * 10_000):
        asked = await stage.do("post", user=ONCALL, channel=ALERTS, text=f"<@{BOT}> {text}")

        async def answered(thread_ts: str = asked["ts"]) -> bool:
            return len(await stage.messages(ALERTS, thread_ts=thread_ts)) > 1

        await stage.until(answered, f"some answer to {text[:10]!r}")
    assert (await stage.get("state", user=ONCALL))["bot_connected"]
