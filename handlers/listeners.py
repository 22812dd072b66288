"""Slack's envelopes: stored first, acknowledged then. The table at the end is all that we listen to.

Bolt acknowledges events before their listener runs and never removes repeats, so the inbox is a global middleware: what
it stores is safe, what it has stored before is acknowledged and dropped, and without the database nothing is
acknowledged, so that Slack delivers it again.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import structlog
from slack_bolt.async_app import AsyncApp
from slack_bolt.error import BoltUnhandledRequestError
from slack_bolt.response import BoltResponse
from sqlalchemy.exc import SQLAlchemyError

from handlers import assistant, flow, forms, home, responding, round_trip, routing, shortcuts, threads
from handlers.attachments import files_of
from handlers.blocks import baseline, fixes, grouping, modals, offers
from handlers.blocks import home as home_blocks
from handlers.blocks.actions import (
    APPROVE,
    APPROVE_TWICE,
    DETAILS,
    FEEDBACK,
    FEEDBACK_DOWN,
    FEEDBACK_UP,
    GIVE_BACK,
    MORE,
    REJECT,
    TAKE,
)
from handlers.blocks.commands import COMMAND, RUN
from handlers.clicks import Body, Stored, key_of, read_action, read_submission
from handlers.feedback import thumb_of
from handlers.intents import fix_told
from handlers.mentions import MENTION
from handlers.services import Services
from handlers.sources import slack as slack_source
from handlers.sources.slack_text import message_text
from knowledge.errors import BadInput
from knowledge.model import AlertStatus
from knowledge.store.codec import to_json

log = structlog.get_logger(__name__)

Count = Callable[[str], None]  # told "stored", "repeated", "failed" or "unhandled"

DIRECT = "im"
# Kinds of conversation that not everybody of the workspace reads.
CLOSED = frozenset({"group", "mpim", "im"})
# A direct message is a question as it is, and with a file.
ASKED_AS = frozenset({None, "file_share"})
MAX_QUESTION_CHARS = 60_000
# Of Slack's three seconds: HTTP mode has read the body before, and the person is told after.
PERSON_WAITS_S = 1.6


# --- pure: from an envelope's payload to what is stored ------------------------------------------------------------


def read_event(event: Body, services: Services) -> Stored:
    """An event as the inbox keeps it. Ordinary talk among people is not kept."""
    reader = EVENT_READERS.get(event.get("type", ""))
    return reader(event, services) if reader else None


def _mention(event: Body, _services: Services) -> Stored:
    if event.get("bot_id") or not event.get("user"):
        return None
    return flow.QUESTION, {"question": _question(event)}


def mention_of(message: Body) -> tuple[str, str, Mapping[str, Any]]:
    """(delivery id, event, body) of a message that mentions the bot, however it was found; it names its channel."""
    question = _question(message)
    return question_key(question["channel"], question["ts"]), flow.QUESTION, {"question": question}


def question_key(channel: str, ts: str) -> str:
    """A question is where it was asked: Slack's event and a look into the channel's history find one delivery."""
    return key_of("question", channel, ts)


def _question(event: Body) -> dict[str, Any]:
    return {
        "user": str(event["user"]),
        "channel": str(event["channel"]),
        "ts": str(event["ts"]),
        "thread_ts": str(event.get("thread_ts") or ""),
        "text": (str(event.get("text") or "") or message_text(event, quoted=True))[:MAX_QUESTION_CHARS],
        "outside": event.get("is_ext_shared_channel") is True,
        **({"files": len(files)} if (files := files_of(event)) else {}),
    }


def _message(event: Body, services: Services) -> Stored:
    """A direct question, the post of another app that tells of a failure, or what a thread's readers must look at."""
    return _question_or_alert(event, services) or _fix(event, services) or threads.read_message(event, services)


def _fix(event: Body, services: Services) -> Stored:
    """What a person says in a thread has fixed it, with what the thread's own readers must look at."""
    said = event.get("thread_ts") and not event.get("bot_id") and event.get("subtype") is None
    text = str(event.get("text") or "")
    # With a mention it comes as one, too, and there is one offer for a post.
    if not said or event.get("is_ext_shared_channel") is True or not fix_told(MENTION.sub("", text)):
        return None
    fix = {name: str(event[name]) for name in ("user", "channel", "ts", "thread_ts")} | {"text": MENTION.sub("", text)}
    thread = threads.read_message(event, services)
    return "fix_told", {"fix": fix, **(thread[1] if thread and thread[0] == threads.THREAD else {})}


def _question_or_alert(event: Body, services: Services) -> Stored:
    inner = event.get("message") if event.get("subtype") == "message_changed" else event
    if not isinstance(inner, Mapping) or inner.get("user") == services.bot_user or _says_the_same(event, inner):
        return None
    if event.get("channel_type") == DIRECT and not inner.get("bot_id") and event.get("subtype") in ASKED_AS:
        return flow.QUESTION, {"question": _question(event)}
    return _app_post(event, inner, services) if inner.get("bot_id") else None


def _says_the_same(event: Body, inner: Body) -> bool:
    """Slack tells of a link's preview and of a thread's counter as edits too."""
    before = event.get("previous_message")
    return isinstance(before, Mapping) and all(
        before.get(part) == inner.get(part) for part in ("text", "blocks", "attachments")
    )


def _app_post(event: Body, inner: Body, services: Services) -> Stored:
    try:
        alerts = slack_source.parse(dict(event), {})
    except BadInput:
        return None
    # An app's id is the same in every workspace, its bot's is not: in a channel with other companies theirs posts too.
    ids = (
        [inner.get("bot_id")]
        if event.get("is_ext_shared_channel") is True
        else [inner.get("bot_id"), inner.get("app_id")]
    )
    trusted = routing.trusts_app(services.policy, *ids)
    if not trusted and services.policy.slack.other_apps == "ignore":
        return None
    kept = [
        to_json(
            replace(
                alert,
                trusted=trusted,
                channel=str(event["channel"]),
                message_ts=str(inner.get("ts", "")),
                closed=event.get("channel_type") in CLOSED,
            )
        )
        for alert in alerts
        if alert.actionable or alert.status is AlertStatus.RESOLVED
    ]
    return (flow.ALERTS, {"alerts": kept}) if kept else None


def _reaction(event: Body, services: Services) -> Stored:
    item = event.get("item") or {}
    if (
        item.get("type") != "message"
        or not thumb_of(str(event.get("reaction", "")))
        or event.get("user") == services.bot_user
    ):
        return None
    return "reaction", {
        "reaction": {
            "channel": str(item["channel"]),
            "ts": str(item["ts"]),
            "user": str(event["user"]),
            "reaction": str(event["reaction"]),
            "removed": event["type"] == "reaction_removed",
        }
    }


def _stopped(_event: Body, _services: Services) -> Stored:
    """A person stopped an answer. Its sender is told by Slack's refusal of the next part, so nothing is kept."""
    return None


def _opened(event: Body, _services: Services) -> Stored:
    return assistant.read_opened(event)


EVENT_READERS: Mapping[str, Callable[[Body, Services], Stored]] = {
    "agent_session_stopped": _stopped,
    "app_context_changed": _opened,
    "app_home_opened": _opened,
    "app_mention": _mention,
    "message": _message,
    "reaction_added": _reaction,
    "reaction_removed": _reaction,
    "member_joined_channel": threads.read_channel,
    "channel_left": threads.read_channel,
    "group_left": threads.read_channel,
    "channel_deleted": threads.read_channel,
    "group_deleted": threads.read_channel,
    "app_uninstalled": threads.read_channel,
    "tokens_revoked": threads.read_channel,
}


# --- the inbox --------------------------------------------------------------------------------------------------------


def _delivery(body: Body, services: Services) -> tuple[str, Stored]:
    """(delivery id, what is stored) of any payload."""
    kind = body.get("type")
    if kind == "event_callback":
        # Slack says beside the event whether other companies are in its channel.
        outside = {"is_ext_shared_channel": True} if body.get("is_ext_shared_channel") is True else {}
        stored = read_event({**body["event"], **outside}, services)
        if stored is not None and stored[0] == flow.QUESTION:
            question = stored[1]["question"]
            return question_key(question["channel"], question["ts"]), stored
        return str(body.get("event_id", "")), stored
    if kind == "block_actions":
        return key_of("action", str(body.get("trigger_id", "")), str(body["user"]["id"])), read_action(body)
    if kind == "view_submission":
        return key_of("view", str(body["view"]["id"]), str(body["view"].get("hash", ""))), read_submission(
            body, services.now()
        )
    if kind == "message_action" and body.get("callback_id") == shortcuts.DIAGNOSE:
        message, user = body["message"], str(body["user"]["id"])
        # Of an app's post the text is often the least; what it says is in its attachments and blocks.
        words = message_text(message, quoted=True)
        asked = {**message, "user": user, "channel": body["channel"]["id"], "text": words}
        key = key_of("shortcut", str(body.get("trigger_id", "")))
        return key, (shortcuts.DIAGNOSE, {"question": _question(asked), "key": key})
    return "", None


def inbox(services: Services, count: Count) -> Callable[..., Awaitable[BoltResponse | None]]:
    """The global middleware. `count` is told what became of each envelope."""

    async def keep(body: dict[str, Any], next_: Callable[[], Awaitable[BoltResponse]]) -> BoltResponse | None:
        delivery_id, stored = _delivery(body, services)
        if stored is not None:
            event, content = stored
            # Events are sent again, and a later one is a repeat; a person presses again, or gives up.
            within_s = None if body.get("type") == "event_callback" else PERSON_WAITS_S
            try:
                new = await flow.accept(
                    services, source="slack", delivery_id=delivery_id, event=event, body=content, within_s=within_s
                )
            except (SQLAlchemyError, TimeoutError) as error:
                count("failed")
                log.warning("envelope_not_stored", kind=body.get("type"), error=type(error).__name__)
                await responding.tell_not_stored(services, str(body.get("response_url") or ""))
                raise
            count("stored" if new else "repeated")
            if not new and body.get("type") == "event_callback":
                return BoltResponse(status=200)
        await next_()
        return None

    return keep


# --- listeners: what must happen while the person waits -------------------------------------------------------------


async def _acknowledge(ack: Any) -> None:
    await ack()


def _unhandled(count: Count) -> Callable[..., Awaitable[BoltResponse | None]]:
    """Acknowledge what nobody listens to: unacknowledged, Slack would send it again and count it as a failure."""

    async def answer(error: Exception, body: Body) -> BoltResponse | None:
        if isinstance(error, BoltUnhandledRequestError):
            count("unhandled")
            log.info("envelope_unhandled", kind=body.get("type"), event_type=(body.get("event") or {}).get("type"))
            return BoltResponse(status=200)
        raise error

    return answer


# What an event asks for beside what is kept of it: drawn at once, and asked for again by looking again.
EVENT_LISTENERS: Mapping[str, Callable[[Services, Body], Awaitable[None]]] = {"app_home_opened": home.opened}
EVENTS = EVENT_READERS.keys() | EVENT_LISTENERS
ACTIONS: Mapping[str, Callable[..., Awaitable[None]]] = {
    REJECT: forms.for_members(forms.open_reject),
    DETAILS: forms.for_members(forms.open_details),
    FEEDBACK: forms.give_feedback,
    FEEDBACK_UP: forms.give_feedback,
    FEEDBACK_DOWN: forms.give_feedback,
    APPROVE_TWICE: forms.for_members(forms.open_twice),
    MORE: forms.for_members(forms.open_more),
    round_trip.BUTTON: round_trip.hear,
    home_blocks.DECIDE: forms.for_members(forms.open_decision),
    home_blocks.QUIET: forms.for_members(home.open_quiet_hours),
    **dict.fromkeys(
        (home_blocks.SERVICE, home_blocks.ENVIRONMENT, home_blocks.PERIOD, home_blocks.SENT),
        forms.for_members(home.choose),
    ),
    RUN: responding.run,
}
STORED_ONLY = (APPROVE, TAKE, GIVE_BACK, baseline.OPEN, home_blocks.OPEN_CARD, offers.REMEMBER, offers.DECLINE)
VIEWS = (
    modals.REJECT_REASON, modals.FEEDBACK_COMMENT, modals.CONFIRM_TWICE, modals.APPROVE_LATER, modals.SNOOZE_UNTIL,
)  # fmt: skip
COMMANDS: Mapping[str, Callable[..., Awaitable[None]]] = {COMMAND: responding.command}
SHORTCUTS: Mapping[str, Callable[..., Awaitable[None]]] = {
    shortcuts.DIAGNOSE: shortcuts.diagnose,
    shortcuts.REMEMBER: forms.for_members(shortcuts.open_fix),
}


def listen(app: AsyncApp, services: Services, count: Count) -> None:
    """Register the inbox and every listener; the manifest's test reads the same tables."""
    app.use(_renamed(inbox(services, count)))
    app.error(_unhandled(count))
    for event in EVENTS:
        listener = EVENT_LISTENERS.get(event)
        app.event(event)(_of_event(listener, services) if listener else _nothing)
    for action, open_modal in ACTIONS.items():
        app.action(action)(_bound(open_modal, services))
    for action in STORED_ONLY:
        app.action(action)(_acknowledge)
    for view in VIEWS:
        app.view(view)(_acknowledge)
    app.view(modals.EDIT_PARAMETERS)(_bound(forms.take_edit, services))
    app.view(grouping.REGROUP)(_bound(forms.take_regroup, services))
    app.view(home_blocks.QUIET_HOURS)(_bound(home.take_quiet_hours, services))
    for command, answer in COMMANDS.items():
        app.command(command)(_bound(answer, services))
    app.view(fixes.REMEMBER_FIX)(_bound(shortcuts.take_fix, services))
    for shortcut, use in SHORTCUTS.items():
        app.shortcut(shortcut)(_bound(use, services))


async def _nothing() -> None:
    """The inbox has stored it, and bolt has acknowledged it."""


def _bound(listener: Callable[..., Awaitable[None]], services: Services) -> Callable[..., Awaitable[None]]:
    async def with_services(ack: Any, body: dict[str, Any]) -> None:
        await listener(services, ack, body)

    return with_services


def _of_event(listener: Callable[[Services, Body], Awaitable[None]], services: Services) -> Callable[..., Any]:
    async def with_services(event: dict[str, Any]) -> None:
        await listener(services, event)

    return with_services


def _renamed(keep: Callable[..., Awaitable[BoltResponse | None]]) -> Callable[..., Awaitable[BoltResponse | None]]:
    """Bolt passes arguments by name, and its name for the next step is Python's `next`."""

    async def middleware(body: dict[str, Any], next: Callable[[], Awaitable[BoltResponse]]) -> BoltResponse | None:  # noqa: A002
        return await keep(body, next)

    return middleware
