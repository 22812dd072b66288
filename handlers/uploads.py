"""Files in Slack: uploaded into a thread, and found there again.

Slack takes a file in three steps and shows it at the last one. Whether that one happened before a crash or a lost
answer is told by looking: a file's name is chosen so that it stands once in its thread.
"""

import asyncio

import aiohttp

from handlers import slack_calls
from handlers.services import Services
from handlers.slack_calls import next_cursor
from knowledge.errors import Unavailable

UPLOAD_S = 20.0
# Slack's limits: of a snippet, and of a description for those who do not see it.
MOST_SNIPPET_BYTES, MOST_ALT = 1_000_000, 1_000
PAGE = 200


async def share(
    services: Services, *, channel: str, thread_ts: str, name: str, title: str, text: str, comment: str, alt: str = ""
) -> None:
    """Put a text file into a thread, unless one of that name stands there. `text` is redacted by the caller.

    `alt` describes the file to whoever does not see it.

    Raises:
        Unavailable: it may be there; asking again looks first.
        Refusal: Slack does not take it, such as without the scope files:write.
    """
    if await is_there(services, channel=channel, thread_ts=thread_ts, name=name):
        return
    body = text.encode()[:MOST_SNIPPET_BYTES]
    described = {"alt_txt": alt[:MOST_ALT]} if alt else {}
    place = await slack_calls.read(
        services.slack.files_getUploadURLExternal, filename=name, length=len(body), **described
    )
    await _send(services, str(place["upload_url"]), body)
    await slack_calls.read(
        services.slack.files_completeUploadExternal,
        files=[{"id": str(place["file_id"]), "title": title}],
        channel_id=channel,
        thread_ts=thread_ts,
        initial_comment=comment,
    )


async def is_there(services: Services, *, channel: str, thread_ts: str, name: str) -> bool:
    """Whether a file of ours with this name stands in the thread."""
    cursor = ""
    while True:
        page = await slack_calls.read(
            services.slack.conversations_replies, channel=channel, ts=thread_ts, limit=PAGE, cursor=cursor or None
        )
        for message in page["messages"]:
            ours = message.get("user") == services.bot_user
            if ours and any(one.get("name") == name for one in message.get("files") or ()):
                return True
        cursor = next_cursor(page)
        if not cursor:
            return False


async def _send(services: Services, url: str, body: bytes) -> None:
    """The bytes to the address that Slack chose; the address is a secret while it lives, so no error names it."""
    session, way = services.slack.session, slack_calls.way_to(services.slack, url)
    if session is None:
        raise Unavailable("The client of Slack is closed.")
    try:
        async with asyncio.timeout(UPLOAD_S), session.post(url, data=body, **way) as answer:
            if answer.status >= 400:
                raise Unavailable(f"Slack did not take the file (HTTP {answer.status}).")
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unavailable(f"Slack did not take the file ({type(error).__name__}).") from None
