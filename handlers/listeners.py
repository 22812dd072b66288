"""Slack's envelopes: stored first, acknowledged then. The table at the end is all that we listen to.

Bolt acknowledges events before their listener runs and never removes repeats, so the inbox is a global middleware: what
it stores is safe, what it has stored before is acknowledged and dropped, and without the database nothing is
acknowledged, so that Slack delivers it again.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import structlog
from slack_bolt.async_app import AsyncApp
from slack_bolt.error import BoltUnhandledRequestError
from slack_bolt.response import BoltResponse
from sqlalchemy.exc import SQLAlchemyError

from handlers import commands, flow, replies, routing, threads
from handlers.blocks import modals
from handlers.blocks.card import APPROVE, DETAILS, FEEDBACK, REJECT, decode_feedback, decode_incident, decode_value
from handlers.feedback import thumb_of
from handlers.services import Services
from handlers.sources import slack as slack_source
from handlers.sources.slack_text import message_text
from handlers.view import card_view
from knowledge.errors import BadInput
from knowledge.model import AlertStatus
from knowledge.store import approvals, incidents
from knowledge.store.codec import to_json

log = structlog.get_logger(__name__)

Body = Mapping[str, Any]
# What a delivery is for the inbox: its kind and its body; None for what is not ours to keep.
Stored = tuple[str, dict[str, Any]] | None

COMMAND = "/codehealer"
DIAGNOSE_SHORTCUT = "diagnose_message"
DIRECT = "im"
MAX_QUESTION_CHARS = 60_000


# --- pure: from an envelope's payload to what is stored ------------------------------------------------------------


def read_event(event: Body, services: Services) -> Stored:
    """An event as the inbox keeps it. Ordinary talk among people is not kept."""
    reader = EVENT_READERS.get(event.get("type", ""))
    return reader(event, services) if reader else None


def _mention(event: Body, _services: Services) -> Stored:
    if event.get("bot_id") or not event.get("user"):
        return None
    return flow.QUESTION, {"question": _question(event)}


def _question(event: Body) -> dict[str, str]:
    return {
        "user": str(event["user"]),
        "channel": str(event["channel"]),
        "ts": str(event["ts"]),
        "thread_ts": str(event.get("thread_ts") or ""),
        "text": (str(event.get("text") or "") or message_text(event, quoted=True))[:MAX_QUESTION_CHARS],
    }


def _message(event: Body, services: Services) -> Stored:
    """A direct question, the post of another app that tells of a failure, or what a thread's readers must look at."""
    return _question_or_alert(event, services) or threads.read_message(event, services)


def _question_or_alert(event: Body, services: Services) -> Stored:
    inner = event.get("message") if event.get("subtype") == "message_changed" else event
    if not isinstance(inner, Mapping) or inner.get("user") == services.bot_user:
        return None
    if event.get("channel_type") == DIRECT and not inner.get("bot_id") and event.get("subtype") is None:
        return flow.QUESTION, {"question": _question(event)}
    return _app_post(event, inner, services) if inner.get("bot_id") else None


def _app_post(event: Body, inner: Body, services: Services) -> Stored:
    try:
        alerts = slack_source.parse(dict(event), {})
    except BadInput:
        return None
    trusted = routing.trusts_app(services.policy, inner.get("bot_id"), inner.get("app_id"))
    kept = [
        to_json(replace(alert, trusted=trusted, channel=str(event["channel"]), message_ts=str(inner.get("ts", ""))))
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


EVENT_READERS: Mapping[str, Callable[[Body, Services], Stored]] = {
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


def read_action(body: Body) -> Stored:
    """A click as the inbox keeps it; None for those that only open a modal."""
    action = (body.get("actions") or [{}])[0]
    where = body.get("channel") or {}
    user, channel = str(body["user"]["id"]), str(where.get("id") or body.get("container", {}).get("channel_id", ""))
    if action.get("action_id") == APPROVE and (approve := decode_value(action.get("value"))):
        approval_id, digest = approve
        return "approve", {
            "click": {
                "user": user,
                "channel": channel,
                "approval_id": approval_id,
                "digest": digest,
                "key": _digest(str(body.get("trigger_id")), user),
            }
        }
    if action.get("action_id") == FEEDBACK and (thumb := decode_feedback(action.get("value"))):
        incident_id, value = thumb
        return "feedback", {"feedback": {"incident_id": incident_id, "user": user, "value": value}}
    return None


def read_submission(body: Body) -> Stored:
    view, user = body["view"], str(body["user"]["id"])
    if view.get("callback_id") == modals.REJECT_REASON and (rejection := modals.read_rejection(view)):
        return "reject", {
            "click": {
                "user": user,
                "key": _digest(str(view["id"]), user),
                "approval_id": rejection.approval_id,
                "digest": rejection.digest,
                "incident_id": rejection.incident_id,
                "reason": rejection.reason,
                "comment": rejection.comment,
            }
        }
    if view.get("callback_id") == modals.FEEDBACK_COMMENT and (comment := modals.read_feedback_comment(view)):
        incident_id, text = comment
        return "feedback", {"feedback": {"incident_id": incident_id, "user": user, "value": -1, "comment": text}}
    return None


def _digest(*parts: str) -> str:
    """A trigger is a secret for as long as it lives: only its digest is kept."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


# --- the inbox --------------------------------------------------------------------------------------------------------


def _delivery(body: Body, services: Services) -> tuple[str, Stored]:
    """(delivery id, what is stored) of any payload."""
    kind = body.get("type")
    if kind == "event_callback":
        # Slack says beside the event whether other companies are in its channel.
        outside = {"is_ext_shared_channel": True} if body.get("is_ext_shared_channel") is True else {}
        return str(body.get("event_id", "")), read_event({**body["event"], **outside}, services)
    if kind == "block_actions":
        return _digest("action", str(body.get("trigger_id", "")), str(body["user"]["id"])), read_action(body)
    if kind == "view_submission":
        return _digest("view", str(body["view"]["id"]), str(body["view"].get("hash", ""))), read_submission(body)
    if kind == "message_action" and body.get("callback_id") == DIAGNOSE_SHORTCUT:
        message, user = body["message"], str(body["user"]["id"])
        asked = {**message, "user": user, "channel": body["channel"]["id"]}
        return _digest("shortcut", str(body.get("trigger_id", ""))), (flow.QUESTION, {"question": _question(asked)})
    return "", None


def inbox(services: Services, seen: Callable[[], None]) -> Callable[..., Awaitable[BoltResponse | None]]:
    """The global middleware. `seen` is called for every frame, for the watchdog."""

    async def keep(body: dict[str, Any], next_: Callable[[], Awaitable[BoltResponse]]) -> BoltResponse | None:
        seen()
        delivery_id, stored = _delivery(body, services)
        if stored is not None:
            event, content = stored
            try:
                new = await flow.accept(services, source="slack", delivery_id=delivery_id, event=event, body=content)
            except SQLAlchemyError:
                log.exception("envelope_not_stored", kind=body.get("type"))
                raise
            if not new and body.get("type") == "event_callback":
                return BoltResponse(status=200)
        await next_()
        return None

    return keep


# --- listeners: what must happen while the person waits -------------------------------------------------------------


async def _acknowledge(ack: Any) -> None:
    await ack()


async def _open_reject(services: Services, ack: Any, body: Body) -> None:
    await ack()
    decoded = decode_value(body["actions"][0].get("value"))
    async with services.engine.connect() as db:
        approval = await approvals.get(db, decoded[0]) if decoded else None
        incident = await incidents.get(db, approval.incident_id) if approval else None
    view = modals.reject_modal(approval, incident) if approval and incident else modals.notice_modal(replies.CHANGED)
    await services.slack.views_open(trigger_id=body["trigger_id"], view=view)


async def _open_details(services: Services, ack: Any, body: Body) -> None:
    await ack()
    incident_id = decode_incident(body["actions"][0].get("value"))
    async with services.engine.connect() as db:
        incident = await incidents.get(db, incident_id) if incident_id else None
        view = modals.details_modal(await card_view(db, services, incident)) if incident else None
    await services.slack.views_open(trigger_id=body["trigger_id"], view=view or modals.notice_modal(replies.CHANGED))


async def _give_feedback(services: Services, ack: Any, body: Body) -> None:
    """The thumb is stored already; after a thumb down, ask what was wrong."""
    await ack()
    thumb = decode_feedback(body["actions"][0].get("value"))
    if thumb is None or thumb[1] > 0:
        return
    async with services.engine.connect() as db:
        incident = await incidents.get(db, thumb[0])
    if incident:
        await services.slack.views_open(trigger_id=body["trigger_id"], view=modals.feedback_modal(incident))


async def _command(services: Services, ack: Any, body: Body) -> None:
    user, channel = str(body.get("user_id") or ""), str(body.get("channel_id") or "")
    answer = await commands.command(services, str(body.get("text") or ""), user=user, channel=channel)
    await ack(text=answer.text, blocks=answer.blocks, response_type="ephemeral")


async def _unhandled(error: Exception, body: Body) -> BoltResponse | None:
    """Acknowledge what nobody listens to: unacknowledged, Slack would send it again and count it as a failure."""
    if isinstance(error, BoltUnhandledRequestError):
        log.info("envelope_unhandled", kind=body.get("type"), event=(body.get("event") or {}).get("type"))
        return BoltResponse(status=200)
    raise error


EVENTS = tuple(EVENT_READERS)
ACTIONS: Mapping[str, Callable[..., Awaitable[None]]] = {
    REJECT: _open_reject,
    DETAILS: _open_details,
    FEEDBACK: _give_feedback,
}
VIEWS = (modals.REJECT_REASON, modals.FEEDBACK_COMMENT)
COMMANDS: Mapping[str, Callable[..., Awaitable[None]]] = {COMMAND: _command}
SHORTCUTS = (DIAGNOSE_SHORTCUT,)


def listen(app: AsyncApp, services: Services, seen: Callable[[], None]) -> None:
    """Register the inbox and every listener; the manifest's test reads the same tables."""
    app.use(_renamed(inbox(services, seen)))
    app.error(_unhandled)
    for event in EVENTS:
        app.event(event)(_nothing)
    for action, open_modal in ACTIONS.items():
        app.action(action)(_bound(open_modal, services))
    app.action(APPROVE)(_acknowledge)
    for view in VIEWS:
        app.view(view)(_acknowledge)
    for command, answer in COMMANDS.items():
        app.command(command)(_bound(answer, services))
    for shortcut in SHORTCUTS:
        app.shortcut(shortcut)(_acknowledge)


async def _nothing() -> None:
    """The inbox has stored it, and bolt has acknowledged it."""


def _bound(listener: Callable[..., Awaitable[None]], services: Services) -> Callable[..., Awaitable[None]]:
    async def with_services(ack: Any, body: dict[str, Any]) -> None:
        await listener(services, ack, body)

    return with_services


def _renamed(keep: Callable[..., Awaitable[BoltResponse | None]]) -> Callable[..., Awaitable[BoltResponse | None]]:
    """Bolt passes arguments by name, and its name for the next step is Python's `next`."""

    async def middleware(body: dict[str, Any], next: Callable[[], Awaitable[BoltResponse]]) -> BoltResponse | None:  # noqa: A002
        return await keep(body, next)

    return middleware
