"""conversations.* and users.conversations."""

from __future__ import annotations

import re
from typing import Any

from . import events
from .arguments import comma_separated, flag, integer, needed, text
from .call import TIER_2, TIER_3, TIER_4, Call, Method, family_scope, find_channel, joined_channel, page_of
from .errors import SlackError
from .state import BOT_USER, TEAM_ID, Channel, Workspace, decode_cursor, encode_cursor

Json = dict[str, Any]

MAX_PAGE = 999
_TS = re.compile(r"\d+(\.\d+)?")
TYPES = {"public_channel": "channel", "private_channel": "group", "im": "im", "mpim": "mpim"}


def _bound(call: Call, name: str) -> str:
    """Return oldest or latest as a comparable ts; "" when it is open."""
    value = text(call.args, name)
    if value in ("", "0", "now"):
        return ""
    if not _TS.fullmatch(value):
        raise SlackError(f"invalid_ts_{name}")
    seconds, _, fraction = value.partition(".")
    return f"{int(seconds):010d}.{fraction:0<6}"


def shown(call: Call, message: Json) -> Json:
    """Return a message as history shows it: metadata only on demand."""
    if "metadata" not in message or flag(call.args, "include_all_metadata"):
        return message
    return {name: value for name, value in message.items() if name != "metadata"}


def _limit(call: Call, default: int) -> int:
    return integer(call.args, "limit", default, 1, MAX_PAGE)


def _messages_limit(call: Call, default: int) -> int:
    """Like ``_limit``; pages may also be shorter than what was asked for, as they are for some apps."""
    limit = _limit(call, default)
    return min(limit, call.slack.faults.short_pages or limit)


async def history(call: Call) -> Json:
    """conversations.history: newest first; the cursor is the oldest ts already given."""
    channel = joined_channel(call)
    call.need(family_scope(channel, "history"))
    latest, inclusive = _bound(call, "latest"), flag(call.args, "inclusive")
    if text(call.args, "cursor"):
        try:
            latest, inclusive = decode_cursor(text(call.args, "cursor")), False
        except ValueError as error:
            raise SlackError("invalid_cursor") from error
    found = channel.between(channel.top, _bound(call, "oldest"), latest, inclusive)
    page = found[-_messages_limit(call, 100) :]
    more = len(found) > len(page)
    answer: Json = {
        "messages": [shown(call, channel.messages[ts]) for ts in reversed(page)],
        "has_more": more,
        "pin_count": 0,
        "channel_actions_ts": None,
        "channel_actions_count": 0,
    }
    return answer | ({"response_metadata": {"next_cursor": encode_cursor(page[0])}} if more else {})


async def replies(call: Call) -> Json:
    """conversations.replies: the parent, then replies from the oldest; each page begins with the parent."""
    channel = joined_channel(call)
    call.need(family_scope(channel, "history"))
    message = channel.messages.get(needed(call.args, "ts"))
    if message is None:
        raise SlackError("thread_not_found")
    parent_ts = str(message.get("thread_ts") or message["ts"])
    thread = channel.threads.get(parent_ts, [])
    inclusive = flag(call.args, "inclusive")
    found = channel.between(thread, _bound(call, "oldest"), _bound(call, "latest"), inclusive)
    page, cursor = page_of(found, text(call.args, "cursor"), _messages_limit(call, 1000))
    parent = [channel.messages[parent_ts]] if parent_ts in channel.messages else []
    messages = [shown(call, entry) for entry in (*parent, *(channel.messages[ts] for ts in page))]
    answer: Json = {"messages": messages, "has_more": bool(cursor)}
    return answer | ({"response_metadata": {"next_cursor": cursor}} if cursor else {})


def channel_json(workspace: Workspace, channel: Channel) -> Json:
    """Describe a channel as conversations.info does."""
    about: Json = {
        "id": channel.id,
        "created": channel.created,
        "is_archived": channel.is_archived,
        "is_im": channel.is_im,
        "is_org_shared": False,
        "context_team_id": TEAM_ID,
        "updated": channel.created * 1000,
    }
    if channel.is_im:
        return about | {"user": channel.person, "is_user_deleted": False, "priority": 0, "is_open": True}
    empty = {"value": "", "creator": "", "last_set": 0}
    return about | {
        "name": channel.name,
        "name_normalized": channel.name,
        "previous_names": [],
        "is_channel": not channel.is_private,
        "is_group": channel.is_private,
        "is_mpim": False,
        "is_private": channel.is_private,
        "is_general": channel.is_general,
        "is_member": BOT_USER in channel.members,
        "is_shared": workspace.is_shared(channel),
        "is_ext_shared": workspace.is_shared(channel),
        "is_pending_ext_shared": False,
        "pending_shared": [],
        "shared_team_ids": [TEAM_ID],
        "creator": "U0LEAD",
        "unlinked": 0,
        "topic": empty,
        "purpose": empty,
        "num_members": len(channel.members),
    }


async def info(call: Call) -> Json:
    """conversations.info."""
    channel = find_channel(call)
    call.need(family_scope(channel, "read"))
    return {"channel": channel_json(call.slack.workspace, channel)}


async def members(call: Call) -> Json:
    """conversations.members."""
    channel = find_channel(call)
    call.need(family_scope(channel, "read"))
    page, cursor = page_of(sorted(channel.members), text(call.args, "cursor"), _limit(call, 100))
    return {"members": page, "response_metadata": {"next_cursor": cursor}}


def _listed(call: Call, only_member: bool) -> Json:
    wanted = comma_separated(call.args, "types") or ["public_channel"]
    unknown = [name for name in wanted if name not in TYPES]
    if unknown:
        raise SlackError("invalid_types")
    kinds = {TYPES[name] for name in wanted}
    user = text(call.args, "user") or BOT_USER
    found = []
    for channel in call.slack.workspace.channels.values():
        hidden = channel.is_private and BOT_USER not in channel.members
        if hidden or channel.kind not in kinds or (only_member and user not in channel.members):
            continue
        if channel.is_archived and flag(call.args, "exclude_archived"):
            continue
        found.append(channel)
    for kind in {channel.kind: channel for channel in found}.values():
        call.need(family_scope(kind, "read"))
    page, cursor = page_of(found, text(call.args, "cursor"), _limit(call, 100))
    return {
        "channels": [channel_json(call.slack.workspace, c) for c in page],
        "response_metadata": {"next_cursor": cursor},
    }


async def list_channels(call: Call) -> Json:
    """conversations.list."""
    return _listed(call, only_member=False)


async def list_joined(call: Call) -> Json:
    """users.conversations."""
    return _listed(call, only_member=True)


async def open_channel(call: Call) -> Json:
    """conversations.open, for one person."""
    workspace = call.slack.workspace
    people = comma_separated(call.args, "users")
    if not people and text(call.args, "channel"):
        return {"channel": {"id": find_channel(call).id}, "no_op": True, "already_open": True}
    if len(people) != 1:
        raise SlackError("too_many_users" if people else "users_list_not_supplied")
    person = workspace.users.get(people[0])
    if person is None:
        raise SlackError("user_not_found")
    if person.deleted:
        raise SlackError("user_disabled")
    if person.is_bot:
        raise SlackError("cannot_dm_bot")
    before = len(workspace.channels)
    channel = workspace.direct_message(person.id)
    already = {"no_op": True, "already_open": True} if len(workspace.channels) == before else {}
    return {
        "channel": channel_json(call.slack.workspace, channel) if flag(call.args, "return_im") else {"id": channel.id},
        **already,
    }


async def join(call: Call) -> Json:
    """conversations.join."""
    channel = find_channel(call)
    if channel.is_private:
        raise SlackError("method_not_supported_for_channel_type")
    if channel.is_archived:
        raise SlackError("is_archived")
    if BOT_USER in channel.members:
        warning = "already_in_channel"
        return {
            "channel": channel_json(call.slack.workspace, channel),
            "warning": warning,
            "response_metadata": {"warnings": [warning]},
        }
    channel.members.add(BOT_USER)
    events.joined(call.slack, channel, BOT_USER)
    call.slack.workspace.on_change(channel, None)
    return {"channel": channel_json(call.slack.workspace, channel)}


METHODS: dict[str, Method] = {
    "conversations.history": Method(history, "", TIER_3),
    "conversations.replies": Method(replies, "", TIER_3),
    "conversations.info": Method(info, "", TIER_3),
    "conversations.members": Method(members, "", TIER_4),
    "conversations.list": Method(list_channels, "", TIER_2),
    "conversations.open": Method(open_channel, "im:write", TIER_3, writes=True),
    "conversations.join": Method(join, "channels:join", TIER_3, writes=True),
    "users.conversations": Method(list_joined, "", TIER_3),
}
