"""HTTP mode: Slack's events, clicks and commands at /slack/events, into the same app as over Socket Mode."""

import asyncio
import time
from collections.abc import Callable, Sequence
from urllib.parse import parse_qs

import structlog
from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response
from slack_bolt.async_app import AsyncApp, AsyncBoltRequest
from sqlalchemy.exc import SQLAlchemyError

from handlers.intake import parse_object
from handlers.sources import verify
from knowledge.errors import BadInput

log = structlog.get_logger(__name__)

PATH = "/slack/events"
FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 100
READ_DEADLINE_S = 1.0  # Slack waits three for all of it, and what it says is to be stored yet


def add_slack_events(web_app: web.Application, app: AsyncApp, secrets: Callable[[], Sequence[str]]) -> None:
    """Serve `PATH`. `secrets` gives the signing secrets that are valid now; without any, nothing is served there."""

    async def events(request: web.Request) -> web.Response:
        valid = secrets()
        if not valid:
            raise web.HTTPNotFound
        return await _answer(app, valid, request)

    web_app.router.add_post(PATH, events)


async def _answer(app: AsyncApp, secrets: Sequence[str], request: web.Request) -> web.Response:
    """Signature over the raw bytes first; then as over Socket Mode: stored, acknowledged, in that order.

    A repeat (X-Slack-Retry-Num) has the event id of the first and is acknowledged again. Whatever is not acknowledged
    gets 401, 408 or 503, and Slack sends events again.
    """
    try:
        async with asyncio.timeout(READ_DEADLINE_S):
            raw = await request.read()
        verify.slack(raw, request.headers, secrets, time.time())
        body = _checked(raw, request.content_type)
    except TimeoutError:
        return web.Response(status=408, headers={"Connection": "close"})
    except verify.BadSignature as error:
        log.warning("slack_request_refused", why=str(error))
        return web.Response(status=401, text=str(error))
    except (web.RequestPayloadError, web.HTTPRequestEntityTooLarge, ConnectionError) as error:
        return web.Response(status=400, text=f"The body cannot be read ({type(error).__name__}).")
    except BadInput as error:
        return web.Response(status=400, text=str(error))
    headers: dict[str, str | Sequence[str]] = {
        name: value for name, value in request.headers.items() if not name.lower().startswith("x-slack-bolt-")
    }
    try:
        answer = await app.async_dispatch(AsyncBoltRequest(body=body, headers={**headers}))
    except (SQLAlchemyError, TimeoutError):
        return web.Response(status=503, text="The database does not answer; please send it again.")
    return await to_aiohttp_response(answer)


def _checked(raw: bytes, content_type: str) -> str:
    """The body for bolt, which trusts in its shape. Raises BadInput where it has not the shape of Slack's."""
    try:
        text = raw.decode()
        form = parse_qs(text, keep_blank_values=True, max_num_fields=MAX_FIELDS) if content_type == FORM else {}
    except ValueError as error:
        raise BadInput(f"The body cannot be read ({type(error).__name__}).") from None
    if content_type == FORM and "payload" not in form:
        return text
    said = parse_object(form["payload"][0].encode() if form else raw)
    if not isinstance(said.get("type"), str) or (said["type"] == "event_callback" and not _is_event(said.get("event"))):
        raise BadInput("The body is none of Slack's: its type or its event is missing.")
    return text


def _is_event(event: object) -> bool:
    return isinstance(event, dict) and isinstance(event.get("type"), str)
