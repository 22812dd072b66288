"""An answer to a person that grows while it is read: the same message as a post, in parts.

Where Slack refuses to begin, the answer is posted whole. What breaks off later is completed by the sender's next try
(outbox.py), which finds the message by its stored ts, by its key, or by its being unfinished: one answer, never two.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from handlers.blocks.mrkdwn import without_markup
from knowledge.errors import Unavailable

log = structlog.get_logger(__name__)

Json = dict[str, Any]

LINES_A_PART, MOST_PARTS = 3, 6
STOPPED = "stopped_by_user"
ENDED = frozenset({STOPPED, "message_not_in_streaming_state"})
IN_PROGRESS = "in_progress"
_MARKDOWN = re.compile(r"([\\`*_\[\]~|#])")


class NotBegun(Exception):
    """Slack does not stream here; the answer goes out as an ordinary message."""


@dataclass(frozen=True, slots=True)
class Parts:
    """`lead` is the first sentence as Markdown, `middle` the parts after it, `end` what stands below all of them."""

    lead: str
    middle: tuple[tuple[Json, ...], ...]
    end: tuple[Json, ...]


def parts_of(text: str, blocks: Sequence[Json]) -> Parts:
    """Cut a message into what is said one after the other: its sections by lines, what follows them at once. Pure."""
    lead = text.partition("\n")[0]
    sections = [block for block in blocks if block["type"] == "section" and set(block) <= {"type", "block_id", "text"}]
    whole = len(sections)
    if blocks[:whole] != sections:  # something stands between them: as it is, in one part
        return Parts(_MARKDOWN.sub(r"\\\1", lead), (tuple(blocks),), ())
    lines = [(block, line) for block in sections for line in block["text"]["text"].split("\n")]
    if lines and without_markup(lines[0][1]) == lead:
        lines = lines[1:]
    size = max(LINES_A_PART, -(-len(lines) // MOST_PARTS))
    middle = [_part(lines[start : start + size], start) for start in range(0, len(lines), size)]
    return Parts(_MARKDOWN.sub(r"\\\1", lead), tuple(middle), tuple(blocks[whole:]))


def _part(lines: Sequence[tuple[Json, str]], number: int) -> tuple[Json, ...]:
    first, words = lines[0][0], "\n".join(line for _, line in lines)
    return (
        {**first, "block_id": f"{first.get('block_id', 'part')}-{number}", "text": {**first["text"], "text": words}},
    )


async def say(
    slack: AsyncWebClient,
    body: Mapping[str, Any],
    *,
    channel: str,
    reader: Mapping[str, str],
    metadata: Json,
    begun: Callable[[str], Awaitable[None]],
) -> str:
    """Stream one message; its ts. `reader` has the user and team it is for; `begun` notes the ts before anything else.

    Raises:
        NotBegun: Slack refuses to begin; nothing was said.
        Unavailable: it broke off after it had begun.
    """
    parts = parts_of(body["text"], body["blocks"])
    try:
        answer = await slack.chat_startStream(
            channel=channel,
            thread_ts=body["thread_ts"],
            markdown_text=parts.lead,
            recipient_user_id=reader["user"],
            recipient_team_id=reader["team"],
        )
    except SlackApiError as error:
        if _code(error):
            raise NotBegun(_code(error)) from None
        raise
    ts = str(answer["ts"])
    await begun(ts)
    try:
        for part in parts.middle:
            await slack.chat_appendStream(channel=channel, ts=ts, chunks=[{"type": "blocks", "blocks": list(part)}])
        await slack.chat_stopStream(channel=channel, ts=ts, blocks=list(parts.end) or None, metadata=metadata)
    except SlackApiError as error:
        if _code(error) == STOPPED:
            log.info("answer_stopped_by_its_reader", channel=channel)
            return ts
        raise Unavailable(f"the streamed answer broke off ({_code(error) or 'no answer'})", maybe_done=True) from None
    return ts


async def complete(slack: AsyncWebClient, ts: str, body: Mapping[str, Any], *, channel: str, metadata: Json) -> bool:
    """Make what an earlier try began the whole answer. Doing so again changes nothing.

    False: it is another app's, or gone; one that cannot be edited is taken away.
    """
    try:
        await slack.chat_stopStream(channel=channel, ts=ts)
    except SlackApiError as error:
        if not _code(error):
            raise
        if _code(error) == "message_not_owned_by_app":
            return False
        log.info("stream_had_ended", error=_code(error))
    content = {name: body[name] for name in ("text", "blocks") if body.get(name)}
    try:
        await slack.chat_update(channel=channel, ts=ts, metadata=metadata, **content)
    except SlackApiError as error:
        if not _code(error) or _code(error) == "ratelimited":
            raise
        if _code(error) != "message_not_found":
            await slack.chat_delete(channel=channel, ts=ts)
        return False
    return True


def unfinished(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """The ts of messages that are still being streamed: pure. One is ours at most: a channel's go one by one."""
    return [str(one["ts"]) for one in messages if one.get("streaming_state") == IN_PROGRESS]


def _code(error: SlackApiError) -> str:
    """Slack's own word for its refusal; "" where it gave none, as after a fault of its own."""
    data = getattr(error.response, "data", None)
    status = int(getattr(error.response, "status_code", 0) or 0)
    return str(data.get("error", "")) if isinstance(data, dict) and status < 500 else ""
