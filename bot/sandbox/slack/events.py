"""Which events an act in the workspace causes, and what they look like on the wire."""

from __future__ import annotations

import time
from typing import Any

from .core import Slack
from .people import user_json
from .state import APP_ID, BOT_USER, TEAM_ID, USERGROUP_ID, Channel, User, author, new_id

Json = dict[str, Any]

_PLURAL = {"channel": "channels", "group": "groups", "im": "im"}
SCOPES = {
    "app_mention": "app_mentions:read",
    "message.channels": "channels:history",
    "message.groups": "groups:history",
    "message.im": "im:history",
    "reaction_added": "reactions:read",
    "reaction_removed": "reactions:read",
    "member_joined_channel": "channels:read",
    "member_left_channel": "channels:read",
    "channel_left": "channels:read",
    "group_left": "groups:read",
    **{f"channel_{what}": "channels:read" for what in ("archive", "unarchive", "deleted", "rename")},
    **{f"group_{what}": "groups:read" for what in ("archive", "unarchive", "deleted", "rename")},
    "user_change": "users:read",
    "subteam_members_changed": "usergroups:read",
    "file_shared": "files:read",
    "agent_session_stopped": "chat:write",
    "app_context_changed": "assistant:write",
}


def emit(slack: Slack, event: Json, subscription: str) -> None:
    """Send an event when the app subscribed to it and holds the scope it needs."""
    channel = slack.workspace.channels.get(str(event.get("channel", "")))
    scope = SCOPES.get(subscription)
    if subscription not in slack.manifest.bot_events or (scope and scope not in slack.scopes):
        return
    slack.sockets.deliver_event(
        {
            "token": "verification-token-of-old",
            "team_id": TEAM_ID,
            "context_team_id": TEAM_ID,
            "context_enterprise_id": None,
            "api_app_id": APP_ID,
            "event": event,
            "type": "event_callback",
            "event_id": new_id("Ev"),
            "event_time": int(time.time()),
            "authorizations": [
                {
                    "enterprise_id": None,
                    "team_id": TEAM_ID,
                    "user_id": BOT_USER,
                    "is_bot": True,
                    "is_enterprise_install": False,
                }
            ],
            "is_ext_shared_channel": channel is not None and slack.workspace.is_shared(channel),
            "event_context": "4-sandbox",
        }
    )


def _message(slack: Slack, channel: Channel, event: Json) -> None:
    if BOT_USER in channel.members:
        emit(slack, event, f"message.{_PLURAL[channel.kind]}")


def _mentions(channel: Channel, message: Json) -> bool:
    """Say whether somebody else mentions our bot where that is an event of its own."""
    told = BOT_USER in channel.members and not channel.is_im
    return told and f"<@{BOT_USER}>" in message["text"] and author(message) != BOT_USER


def posted(slack: Slack, channel: Channel, message: Json) -> None:
    """Tell the app of a new message, and of being mentioned in it (which is a second event, with its own id)."""
    if BOT_USER not in channel.members:
        return
    shown = {key: value for key, value in message.items() if key not in _COUNTERS}
    event = shown | {"channel": channel.id, "event_ts": message["ts"]}
    if _mentions(channel, message):
        emit(slack, event | {"type": "app_mention"}, "app_mention")
    _message(slack, channel, event | {"channel_type": channel.kind})


_COUNTERS = frozenset(
    (
        "reply_count",
        "reply_users",
        "reply_users_count",
        "latest_reply",
        "is_locked",
        "subscribed",
        "reactions",
        "metadata",
    )
)


def changed(slack: Slack, channel: Channel, new: Json, old: Json) -> None:
    """Tell the app that a message was edited."""
    ts = slack.workspace.next_ts()
    event = {
        "type": "message",
        "subtype": "message_changed",
        "hidden": True,
        "channel": channel.id,
        "channel_type": channel.kind,
        "message": dict(new),
        "previous_message": old,
        "ts": ts,
        "event_ts": ts,
    }
    _message(slack, channel, event)
    if _mentions(channel, new) and not _mentions(channel, old):
        emit(slack, {**new, "channel": channel.id, "event_ts": ts, "type": "app_mention"}, "app_mention")


def deleted(slack: Slack, channel: Channel, old: Json) -> None:
    """Tell the app that a message is gone."""
    ts = slack.workspace.next_ts()
    event = {
        "type": "message",
        "subtype": "message_deleted",
        "hidden": True,
        "channel": channel.id,
        "channel_type": channel.kind,
        "deleted_ts": old["ts"],
        "previous_message": old,
        "ts": ts,
        "event_ts": ts,
    }
    _message(slack, channel, event)


def session_stopped(slack: Slack, channel: Channel, user: str, message: Json) -> None:
    """Tell the app that a person has stopped a message that it was streaming."""
    event = {
        "type": "agent_session_stopped",
        "channel": channel.id,
        "user": user,
        "thread_ts": message.get("thread_ts", message["ts"]),
        "streaming_message_ts": [message["ts"]],
        "event_ts": slack.workspace.next_ts(),
    }
    emit(slack, event, "agent_session_stopped")


def reacted(slack: Slack, channel: Channel, message: Json, user: str, name: str, *, added: bool) -> None:
    """Tell the app of a reaction that came or went."""
    if BOT_USER not in channel.members:
        return
    kind = "reaction_added" if added else "reaction_removed"
    event: Json = {
        "type": kind,
        "user": user,
        "reaction": name,
        "item": {"type": "message", "channel": channel.id, "ts": message["ts"]},
        "event_ts": slack.workspace.next_ts(),
    }
    if message.get("user"):
        event["item_user"] = message["user"]
    emit(slack, event, kind)


def joined(slack: Slack, channel: Channel, user: str, inviter: str = "") -> None:
    """Tell the app that somebody, itself included, came into a channel it is in."""
    if BOT_USER not in channel.members:
        return
    event: Json = {
        "type": "member_joined_channel",
        "user": user,
        "channel": channel.id,
        "channel_type": "G" if channel.is_private else "C",
        "team": TEAM_ID,
        "event_ts": slack.workspace.next_ts(),
    }
    emit(slack, event | ({"inviter": inviter} if inviter else {}), "member_joined_channel")


def left(slack: Slack, channel: Channel, user: str) -> None:
    """Tell the app that somebody left; when it was the bot itself, that it is out."""
    ts = slack.workspace.next_ts()
    if user == BOT_USER:
        kind = "group_left" if channel.is_private else "channel_left"
        emit(slack, {"type": kind, "channel": channel.id, "event_ts": ts}, kind)
    elif BOT_USER in channel.members:
        event = {
            "type": "member_left_channel",
            "user": user,
            "channel": channel.id,
            "channel_type": "G" if channel.is_private else "C",
            "team": TEAM_ID,
            "event_ts": ts,
        }
        emit(slack, event, "member_left_channel")


def channel_changed(slack: Slack, channel: Channel, what: str, user: str) -> None:
    """Tell the app what became of a channel: ``archive``, ``unarchive``, ``deleted`` or ``rename``."""
    if BOT_USER not in channel.members:
        return
    kind = f"{'group' if channel.is_private else 'channel'}_{what}"
    about: Json = {"channel": channel.id, "user": user}
    if what == "rename":
        about = {"channel": {"id": channel.id, "name": channel.name, "created": channel.created}}
    emit(slack, {"type": kind, **about, "event_ts": slack.workspace.next_ts()}, kind)


def uninstalled(slack: Slack) -> None:
    """Tell the app that its tokens are void and that it was taken out of the workspace."""
    ts = slack.workspace.next_ts()
    emit(
        slack, {"type": "tokens_revoked", "tokens": {"oauth": [], "bot": [BOT_USER]}, "event_ts": ts}, "tokens_revoked"
    )
    emit(slack, {"type": "app_uninstalled", "event_ts": ts}, "app_uninstalled")


def context_changed(slack: Slack, user: str, channel: str, ts: str) -> None:
    """Tell the app what a person looks at beside their conversation with it: a message of a channel."""
    value = {"message_ts": ts, "channel_id": channel}
    event: Json = {
        "type": "app_context_changed",
        "user": user,
        "channel": slack.workspace.direct_message(user).id,
        "context": {"entities": [{"type": "message_context", "value": value, "team_id": TEAM_ID}]},
        "event_ts": slack.workspace.next_ts(),
    }
    if slack.manifest.agent:
        emit(slack, event, "app_context_changed")


def home_opened(slack: Slack, user: str, tab: str = "home") -> None:
    """Tell the app that a person looks at its home tab, or at their conversation with it (``messages``)."""
    event: Json = {
        "type": "app_home_opened",
        "user": user,
        "channel": slack.workspace.direct_message(user).id,
        "tab": tab,
        "event_ts": slack.workspace.next_ts(),
    }
    view = slack.workspace.homes.get(user) if tab == "home" else None
    emit(slack, event | ({"view": view} if view else {}), "app_home_opened")


def user_changed(slack: Slack, user: User) -> None:
    """Tell the app that a person's account changed."""
    ts = slack.workspace.next_ts()
    event = {"type": "user_change", "user": user_json(user, with_email=False), "cache_ts": int(time.time())}
    emit(slack, event | {"event_ts": ts}, "user_change")


def group_changed(slack: Slack, user: str, added: bool) -> None:
    """Tell the app that the on-call group lost or gained a member."""
    event = {
        "type": "subteam_members_changed",
        "subteam_id": USERGROUP_ID,
        "team_id": TEAM_ID,
        "date_update": int(time.time()),
        "added_users": [user] if added else [],
        "added_users_count": int(added),
        "removed_users": [] if added else [user],
        "removed_users_count": int(not added),
        "event_ts": slack.workspace.next_ts(),
    }
    emit(slack, event, "subteam_members_changed")
