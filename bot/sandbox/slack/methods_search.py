"""assistant.search.context: messages of public channels by their words."""

from __future__ import annotations

import re
from typing import Any

from .arguments import comma_separated, integer, text
from .call import SEARCHER, Call, Method
from .errors import SlackError
from .methods_chat import permalink
from .state import Channel, author

Json = dict[str, Any]

MAX_RESULTS, MAX_QUERY = 20, 1000
PER_MINUTE = 10
KINDS = {"public_channel", "private_channel", "mpim", "im"}
SCOPES = {"public_channel": "search:read.public", "private_channel": "search:read.private"}
_WORD = re.compile(r"\w{3,}")


async def context(call: Call) -> Json:
    """assistant.search.context: any of the query's words, the most hits first."""
    query = text(call.args, "query")
    if not query.strip():
        raise SlackError("missing_query")
    if len(query) > MAX_QUERY:
        raise SlackError("query_too_long")
    kinds = comma_separated(call.args, "channel_types") or ["public_channel"]
    if set(kinds) - KINDS:
        raise SlackError("invalid_arguments")
    for kind in kinds:
        call.need(SCOPES.get(kind, f"search:read.{kind}"))
    words = set(_WORD.findall(query.lower()))
    hits = []
    for channel in call.slack.workspace.channels.values():
        if channel.is_im or channel.is_private:
            continue
        for message in channel.messages.values():
            found = words & set(_WORD.findall(str(message.get("text", "")).lower()))
            if found and message.get("subtype") != "tombstone":
                hits.append((len(found), str(message["ts"]), channel, message))
    best = sorted(hits, key=lambda hit: hit[:2], reverse=True)[: integer(call.args, "limit", 20, 1, MAX_RESULTS)]
    found_messages = [_result(call, channel, message) for _, _, channel, message in best]
    return {"results": {"messages": found_messages}, "response_metadata": {"next_cursor": ""}}


def _result(call: Call, channel: Channel, message: Json) -> Json:
    user = call.slack.workspace.users.get(author(message))
    thread = {"thread_ts": message["thread_ts"]} if message.get("thread_ts") else {}
    return {
        "author_name": user.real_name if user else "",
        "author_user_id": author(message),
        "team_id": message.get("team", ""),
        "channel_id": channel.id,
        "channel_name": channel.name,
        "message_ts": message["ts"],
        **thread,
        "content": message.get("text", ""),
        "is_author_bot": bool(message.get("bot_id")),
        "permalink": permalink(channel, message),
    }


METHODS: dict[str, Method] = {
    "assistant.search.context": Method(context, "", PER_MINUTE, kind=SEARCHER),
}
