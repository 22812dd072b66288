"""What of Slack's envelopes is kept: pure readers; and the middleware that stores before it acknowledges."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
import pytest_asyncio
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy.ext.asyncio import create_async_engine

from bot.sandbox.server import Sandbox
from handlers import flow
from handlers.blocks.actions import encode
from handlers.blocks.modals import (
    APPROVE_LATER,
    EDIT_PARAMETERS,
    FEEDBACK_COMMENT,
    REJECT_REASON,
    SNOOZE_UNTIL,
    edit_errors,
    edit_modal,
)
from handlers.clicks import Stored, read_action, read_submission
from handlers.listeners import inbox, listen, read_event
from handlers.services import Services
from knowledge.fingerprint import parse_time
from knowledge.model import Action
from remediation.editing import NOTHING_CHANGED
from remediation.registry import Editable
from tests.handlers.card_states import APPROVAL, INCIDENT, PLAN, TARGET
from tests.handlers.office import BOT, made_services, rows
from tests.rows import opened

Json = dict[str, Any]
DIGEST = "0123456789abcdef"
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def readers() -> Services:
    """For the pure readers: they look at the policy and at who we are, and at nothing else."""
    return made_services(
        create_async_engine("postgresql+psycopg://nobody@127.0.0.1/none"),
        cast(AsyncWebClient, None),
        "postgresql://nobody@127.0.0.1/none",
    )


def message(**changes: Any) -> Json:
    return {"type": "message", "channel": "C1", "user": "U1", "ts": "1700000000.000100", "text": "hello", **changes}


def app_post(**changes: Any) -> Json:
    attachment = {
        "color": "danger",
        "title": "[FIRING:1] KubePodCrashLooping",
        "text": "namespace: shop\ndeployment: checkout\nPod shop/checkout-1 is in CrashLoopBackOff",
    }
    base = {"bot_id": "B0ALERTMGR", "app_id": "A0ALERTMGR", "user": "U0ALERTMGR", "text": ""}
    return message(**base, attachments=[attachment], **changes)


def alerts_of(stored: Stored) -> list[Json]:
    assert stored is not None
    assert stored[0] == flow.ALERTS
    alerts: list[Json] = stored[1]["alerts"]
    return alerts


# --- questions -------------------------------------------------------------------------------------------------------


def test_a_mention_is_a_question_with_its_place(readers: Services) -> None:
    mention = message(type="app_mention", text=f"<@{BOT}> why?", thread_ts="1699.1")
    place = {"user": "U1", "channel": "C1", "ts": mention["ts"], "thread_ts": "1699.1"}
    kept = {**place, "text": f"<@{BOT}> why?", "outside": False}
    assert read_event(mention, readers) == (flow.QUESTION, {"question": kept})
    shared = read_event(mention | {"is_ext_shared_channel": True}, readers)
    assert shared == (flow.QUESTION, {"question": kept | {"outside": True}})


def test_a_mention_in_blocks_alone_is_read_and_a_long_one_is_cut(readers: Services) -> None:
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "why is checkout down?"}}]
    stored = read_event(message(type="app_mention", text="", blocks=blocks), readers)
    assert stored is not None
    assert stored[1]["question"]["text"] == "why is checkout down?"
    stored = read_event(message(type="app_mention", text="x" * 100_000), readers)
    assert stored is not None
    assert len(stored[1]["question"]["text"]) == 60_000


def test_a_direct_message_is_a_question(readers: Services) -> None:
    stored = read_event(message(channel="D1", channel_type="im"), readers)
    assert stored is not None
    assert stored[0] == flow.QUESTION


@pytest.mark.parametrize(
    "event",
    [
        message(),
        message(thread_ts="1699.1"),
        message(subtype="channel_join"),
        message(type="app_mention", bot_id="B1"),
        message(type="app_mention", user=None),
        message(user=BOT, bot_id="B0CODEHEALER", channel_type="im"),
        app_post(channel_type="channel") | {"user": BOT},
        {"type": "message", "subtype": "message_deleted", "channel": "C1", "ts": "1.1", "previous_message": message()},
        {"type": "message", "subtype": "message_changed", "channel": "D1", "channel_type": "im", "message": message()},
        {"type": "message", "subtype": "message_changed", "channel": "C1", "message": "no object"},
        {"type": "message", "subtype": "message_changed", "channel": "C1", "message": app_post() | {"user": BOT}},
        message(bot_id="B0GITHUB", text="main was updated by kim"),
        message(bot_id="B0GITHUB", text=""),
        {"type": "member_joined_channel", "user": "U1", "channel": "C1"},
        {},
    ],
    ids=[
        "talk", "talk in a thread", "somebody joins", "a bot mentions us", "nobody mentions us", "our own DM",
        "our own post", "a deletion", "a person edits a DM", "a malformed edit", "our own edit", "an app's chatter",
        "an empty post", "another event", "nothing",
    ],
)  # fmt: skip
def test_what_is_no_question_and_no_alert_is_not_kept(readers: Services, event: Json) -> None:
    assert read_event(event, readers) is None


# --- apps' posts -----------------------------------------------------------------------------------------------------


def diagnosing_others(readers: Services) -> Services:
    slack = readers.policy.slack.model_copy(update={"other_apps": "diagnose"})
    return replace(readers, policy=readers.policy.model_copy(update={"slack": slack}))


def test_the_post_of_a_listed_app_is_an_alert_and_that_of_another_only_where_the_policy_says_so(
    readers: Services,
) -> None:
    (listed,) = alerts_of(read_event(app_post(), readers))
    assert listed["trusted"] is True
    assert (listed["channel"], listed["message_ts"]) == ("C1", "1700000000.000100")
    assert (listed["namespace"], listed["owner"], listed["status"]) == ("shop", "checkout", "firing")
    other = app_post() | {"bot_id": "B0OTHER", "app_id": "A0OTHER"}
    assert read_event(other, readers) is None
    (stranger,) = alerts_of(read_event(other, diagnosing_others(readers)))
    assert stranger["trusted"] is False


def test_an_app_is_not_trusted_for_what_it_says_of_itself(readers: Services) -> None:
    claims = {"bot_id": "B0OTHER", "app_id": "A0OTHER", "username": "B0ALERTMGR", "bot_profile": {"id": "B0ALERTMGR"}}
    assert read_event(app_post() | claims, readers) is None
    (alert,) = alerts_of(read_event(app_post() | claims, diagnosing_others(readers)))
    assert alert["trusted"] is False


def test_in_a_channel_with_other_companies_an_app_is_known_by_its_bot_alone(readers: Services) -> None:
    """The same app posts for every company that has it."""
    slack = readers.policy.slack.model_copy(update={"alert_apps": ("A0ALERTMGR", "B0OURS")})
    listing = replace(readers, policy=readers.policy.model_copy(update={"slack": slack}))
    shared = {"is_ext_shared_channel": True}
    assert read_event(app_post(), listing) is not None
    assert read_event(app_post() | shared, listing) is None
    assert read_event(app_post() | shared | {"bot_id": "B0OURS"}, listing) is not None


def test_an_edit_that_changes_nothing_of_what_is_said_is_not_kept(readers: Services) -> None:
    """Such as the counter of a thread's replies."""
    now = app_post() | {"reply_count": 2}
    edit = {"type": "message", "subtype": "message_changed", "channel": "C1", "message": now}
    assert read_event(edit | {"previous_message": app_post()}, readers) is None


def test_an_alert_that_its_app_edits_to_resolved_ends_the_very_same_signal(readers: Services) -> None:
    (firing,) = alerts_of(read_event(app_post(), readers))
    over = app_post()
    over["attachments"][0] |= {"color": "good", "title": "[RESOLVED] KubePodCrashLooping"}
    edit = {
        "type": "message", "subtype": "message_changed", "channel": "C1", "ts": "1700000999.000100",
        "message": over | {"edited": {"ts": "1700000999.000100"}}, "previous_message": app_post(),
    }  # fmt: skip
    (resolved,) = alerts_of(read_event(edit, readers))
    assert resolved["status"] == "resolved"
    assert resolved["trusted"] is True
    for same in ("identity", "fingerprint", "source", "message_ts"):
        assert resolved[same] == firing[same]
    assert parse_time(resolved["started_at"]) == parse_time(firing["started_at"])


def test_recorded_posts_of_other_apps_are_alerts(readers: Services) -> None:
    for path in sorted((Path(__file__).parents[1] / "payloads").glob("slack_*.json")):
        post = json.loads(path.read_text())
        event = {"channel": "C1", "type": "message", "bot_id": "B1", **post.get("event", post)}
        assert alerts_of(read_event(event, diagnosing_others(readers))), path.name


# --- reactions -------------------------------------------------------------------------------------------------------


def reaction(name: str = "+1", **changes: Any) -> Json:
    item = {"type": "message", "channel": "C1", "ts": "1.1"}
    return {"type": "reaction_added", "user": "U1", "reaction": name, "item": item, **changes}


@pytest.mark.parametrize("name", ["+1", "thumbsup", "-1", "thumbsdown", "+1::skin-tone-4"])
@pytest.mark.parametrize("removed", [False, True])
def test_a_thumb_is_kept(readers: Services, name: str, removed: bool) -> None:
    event = reaction(name, type="reaction_removed" if removed else "reaction_added")
    assert read_event(event, readers) == (
        "reaction",
        {"reaction": {"channel": "C1", "ts": "1.1", "user": "U1", "reaction": name, "removed": removed}},
    )


@pytest.mark.parametrize(
    "event",
    [
        reaction("eyes"),
        reaction(user=BOT),
        reaction(item={"type": "file", "file": "F1"}),
        reaction(item=None),
        reaction(""),
    ],
    ids=["another emoji", "our own", "on a file", "on nothing", "no name"],
)
def test_other_reactions_are_not(readers: Services, event: Json) -> None:
    assert read_event(event, readers) is None


# --- clicks and submissions ------------------------------------------------------------------------------------------


def click(action_id: str = "approve", value: Any = None, **changes: Any) -> Json:
    value = encode(a=7, d=DIGEST) if value is None else value
    return {
        "type": "block_actions", "user": {"id": "U1"}, "channel": {"id": "C1"}, "trigger_id": "123.456.secret",
        "actions": [{"action_id": action_id, "value": value}], **changes,
    }  # fmt: skip


def test_a_click_on_approve_is_kept_without_its_trigger() -> None:
    stored = read_action(click())
    assert stored is not None
    kept = stored[1]["click"]
    assert (kept["user"], kept["channel"], kept["approval_id"], kept["digest"]) == ("U1", "C1", 7, DIGEST)
    assert "secret" not in json.dumps(stored)
    assert kept["key"] == read_action(click())[1]["click"]["key"]  # type: ignore[index]
    assert kept["key"] != read_action(click(trigger_id="other"))[1]["click"]["key"]  # type: ignore[index]


def test_a_click_where_the_channel_is_only_in_the_container_has_its_place() -> None:
    stored = read_action(click(channel=None, container={"channel_id": "C9"}))
    assert stored is not None
    assert stored[1]["click"]["channel"] == "C9"


@pytest.mark.parametrize(
    "value",
    [
        "", "7", "{}", "[]", "null", "not json", encode(a=7), encode(d=DIGEST), encode(a="7", d=DIGEST),
        encode(a=-1, d=DIGEST), encode(a=0, d=DIGEST), encode(a=2**63, d=DIGEST), encode(a=7, d=DIGEST[:8]),
        encode(a=7, d="Z" * 16), encode(a=7, d="' OR 1=1 --     "), '{"a": true, "d": "' + DIGEST + '"}',
        '{"a": 7.0, "d": "' + DIGEST + '"}', "[" * 2000, "x" * 5000, 7, {"a": 7, "d": DIGEST},
    ],
)  # fmt: skip
@pytest.mark.parametrize("action_id", ["approve", "feedback"])
def test_a_forged_value_is_not_kept(action_id: str, value: Any) -> None:
    assert read_action(click(action_id, value)) is None


@pytest.mark.parametrize("value", [encode(i=7, v=2), encode(i=7, v=0), encode(i=7), encode(v=1), '{"i": 7, "v": true}'])
def test_a_thumb_of_another_size_is_not_kept(value: str) -> None:
    assert read_action(click("feedback", value)) is None


def test_thumbs_are_kept_and_what_only_opens_a_modal_is_not() -> None:
    assert read_action(click("feedback", encode(i=7, v=-1, d=5))) == (
        "feedback", {"feedback": {"incident_id": 7, "user": "U1", "value": -1, "answer_id": 5}},
    )  # fmt: skip
    assert read_action(click("reject")) is None
    assert read_action(click("details", encode(i=7))) is None
    assert read_action(click() | {"actions": []}) is None


def test_taking_over_is_kept_from_the_button_and_from_the_menu_alike() -> None:
    button = read_action(click("take", encode(i=3)))
    chosen = {"action_id": "more", "selected_option": {"value": encode(a=7, d=DIGEST, i=3, x="take")}}
    menu = read_action(click() | {"actions": [chosen]})
    assert button == menu
    assert button is not None
    assert (button[0], button[1]["click"]["incident_id"]) == ("take", 3)
    for entry in ("edit", "later", "snooze", "approve", ""):
        other = {"action_id": "more", "selected_option": {"value": encode(a=7, d=DIGEST, i=3, x=entry)}}
        assert read_action(click() | {"actions": [other]}) is None


def submission(callback: str, metadata: str, **values: Any) -> Json:
    view = {
        "id": "V1", "hash": "h1", "callback_id": callback, "private_metadata": metadata, "state": {"values": values},
    }  # fmt: skip
    return {"type": "view_submission", "user": {"id": "U1"}, "view": view}


def reason(value: Any) -> Json:
    return {"reason": {"type": "radio_buttons", "selected_option": value}}


METADATA = encode(a=7, d=DIGEST, i=3)


def test_a_rejection_is_kept_with_its_reason_and_comment() -> None:
    comment = {"comment": {"type": "plain_text_input", "value": "loses\norders"}}
    body = submission(REJECT_REASON, METADATA, reason=reason({"value": "not_now"}), comment=comment)
    stored = read_submission(body, NOW)
    assert stored is not None
    kept = stored[1]["click"]
    assert stored[0] == "reject"
    assert (kept["approval_id"], kept["digest"], kept["incident_id"]) == (7, DIGEST, 3)
    assert (kept["reason"], kept["comment"]) == ("not_now", "loses\norders")


@pytest.mark.parametrize(
    "body",
    [
        submission(REJECT_REASON, METADATA),
        submission(REJECT_REASON, METADATA, reason=reason(None)),
        submission(REJECT_REASON, METADATA, reason=reason({"value": "because"})),
        submission(REJECT_REASON, METADATA, reason=reason("not_now")),
        submission(REJECT_REASON, METADATA, reason="not_now"),
        submission(REJECT_REASON, "", reason=reason({"value": "not_now"})),
        submission(REJECT_REASON, encode(a=7, d=DIGEST), reason=reason({"value": "not_now"})),
        submission(FEEDBACK_COMMENT, "{}"),
        submission("another", METADATA, reason=reason({"value": "not_now"})),
        {"type": "view_submission", "user": {"id": "U1"}, "view": {"id": "V1"}},
        submission(REJECT_REASON, METADATA) | {"view": {"id": "V1", "callback_id": REJECT_REASON, "state": None}},
    ],
)  # fmt: skip
def test_a_submission_that_lacks_something_is_not_kept(body: Json) -> None:
    assert read_submission(body, NOW) is None


def test_a_comment_is_kept_with_its_thumb_down_and_may_be_empty() -> None:
    for given, kept in (({"comment": {"comment": {"value": "no"}}}, "no"), ({}, "")):
        assert read_submission(submission(FEEDBACK_COMMENT, encode(i=3), **given), NOW) == (
            "feedback",
            {"feedback": {"incident_id": 3, "user": "U1", "value": -1, "answer_id": None, "comment": kept,
                          "reason": ""}},
        )  # fmt: skip


BOUNDS = [["replicas", "Replicas", 4, 8, "max_replicas of checkout is 8"]]


def edited(value: Any, bounds: Any = BOUNDS) -> Json:
    metadata = json.dumps({"a": 7, "d": DIGEST, "i": 3, "b": bounds})
    return submission(EDIT_PARAMETERS, metadata, replicas={"replicas": {"type": "number_input", "value": value}})


def test_a_change_within_its_bounds_is_kept_as_it_was_written() -> None:
    stored = read_submission(edited("6"), NOW)
    assert stored is not None
    assert stored[0] == "edit"
    assert stored[1]["click"]["values"] == {"replicas": "6"}


@pytest.mark.parametrize("value", ["9", "3", "-4", "6.5", "", None, "six", "6" * 40, "٦"])
def test_a_change_beyond_its_bounds_is_answered_under_its_field_and_not_kept(value: Any) -> None:
    body = edited(value)
    assert read_submission(body, NOW) is None
    assert edit_errors(body["view"]) == {
        "replicas": "Replicas must be a whole number from 4 to 8: max_replicas of checkout is 8."
    }


@pytest.mark.parametrize(("proposed", "said"), [(6, {"replicas": NOTHING_CHANGED}), (5, {})])
def test_a_form_that_is_sent_as_it_was_opened_is_answered_in_the_form(proposed: int, said: dict[str, str]) -> None:
    plan = replace(PLAN, action=Action("k8s_scale", TARGET, {"replicas": proposed}))
    opened_as = edit_modal(APPROVAL, INCIDENT, plan, [Editable("replicas", "Replicas", 4, 8, "max_replicas is 8")])
    body = edited("6")
    body["view"]["blocks"] = opened_as["blocks"]
    assert edit_errors(body["view"]) == said
    assert (read_submission(body, NOW) is None) is bool(said)


@pytest.mark.parametrize("bounds", [None, [], [["replicas"]], "x", [["replicas", "R", "a", 8, ""]]])
def test_a_change_whose_form_is_not_ours_is_not_kept(bounds: Any) -> None:
    assert read_submission(edited("6", bounds), NOW) is None


def timed(callback: str, clock: Any, zone: str = "Europe/Paris") -> Json:
    metadata = json.dumps({"a": 7, "d": DIGEST, "i": 3, "z": zone})
    return submission(callback, metadata, time={"time": {"type": "timepicker", "selected_time": clock}})


def test_a_time_is_the_next_such_time_where_the_person_is() -> None:
    stored = read_submission(timed(APPROVE_LATER, "06:00"), NOW)
    assert stored is not None
    assert stored[0] == "approve"
    assert stored[1]["click"]["at"] == "2026-11-24T05:00:00+00:00"
    assert stored[1]["click"]["confirmed"] is True
    snoozed = read_submission(timed(SNOOZE_UNTIL, "18:30", "Asia/Kolkata"), NOW)
    assert snoozed is not None
    assert (snoozed[0], snoozed[1]["click"]["at"]) == ("snooze", "2026-11-23T13:00:00+00:00")
    for clock in (None, "", "24:00", "6:00", "06:60", "now"):
        assert read_submission(timed(APPROVE_LATER, clock), NOW) is None


# --- the middleware --------------------------------------------------------------------------------------------------


def envelope(event_id: str, event: Json) -> Json:
    return {"type": "event_callback", "event_id": event_id, "event": event}


async def through(services: Services, body: Json) -> tuple[bool, bool]:
    """(acknowledged by the middleware itself, handed on) of one frame."""
    on: list[Json] = []

    async def next_() -> Any:
        on.append(body)

    answer = await inbox(services, lambda _result: None)(body, next_)
    return answer is not None and answer.status == 200, bool(on)


async def test_an_event_that_comes_again_is_acknowledged_and_dropped(services: Services) -> None:
    mention = message(type="app_mention", text="why?")
    assert await through(services, envelope("Ev1", mention)) == (False, True)
    assert await through(services, envelope("Ev1", mention)) == (True, False)
    # A question is known by where it stands, however often, and by whichever way, we are told of it.
    assert await through(services, envelope("Ev2", mention)) == (True, False)
    assert await through(services, envelope("Ev3", {**mention, "ts": "1700000000.000200"})) == (False, True)
    assert len(await rows(services.engine, "SELECT 1 FROM deliveries")) == 2


async def test_talk_is_handed_on_and_leaves_no_trace(services: Services) -> None:
    assert await through(services, envelope("Ev1", message(text="lunch?"))) == (False, True)
    assert not await rows(services.engine, "SELECT 1 FROM deliveries")


async def test_a_repeated_click_is_stored_once_and_still_opens_its_modal(services: Services) -> None:
    for _ in range(2):
        assert await through(services, click()) == (False, True)
    assert len(await rows(services.engine, "SELECT 1 FROM deliveries")) == 1


async def test_a_secret_and_a_nul_are_gone_before_anything_is_stored(services: Services) -> None:
    secret = "ghp_" + "a1B2c3D4e5" * 3 + "F6g7H8"
    await through(services, envelope("Ev1", message(type="app_mention", text=f"token {secret} and \x00 here")))
    (row,) = await rows(services.engine, "SELECT body::text AS body FROM deliveries")
    assert secret not in row.body
    assert "here" in row.body


@pytest_asyncio.fixture
async def unreachable(slack: AsyncWebClient, sandbox: Sandbox) -> AsyncIterator[Services]:
    """A bot, connected to Slack, whose database does not answer."""
    nowhere = "postgresql://nobody@127.0.0.1:9/none"
    async with opened(nowhere) as engine:
        services = made_services(engine, slack, nowhere)
        app = AsyncApp(client=slack, raise_error_for_unhandled_request=True)
        listen(app, services, lambda _result: None)
        handler = AsyncSocketModeHandler(app, sandbox.env["SLACK_APP_TOKEN"], ping_interval=5)
        await handler.connect_async()
        async with asyncio.timeout(10):
            while not sandbox.slack.sockets.links:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.01)
        yield services
        await handler.close_async()


async def test_without_the_database_nothing_is_acknowledged_so_that_slack_sends_it_again(
    unreachable: Services, sandbox: Sandbox
) -> None:
    async with aiohttp.ClientSession() as http:
        said = {"user": "U0ONCALL", "channel": "C0DEPLOY", "text": f"<@{BOT}> why?"}
        async with http.post(f"{sandbox.url}sandbox/api/post", json=said) as answer:
            assert answer.status == 200
    counts = sandbox.slack.sockets.counts
    async with asyncio.timeout(20):
        while counts["redelivered"] < 2:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.05)
