"""HTTP mode: Slack's events, clicks and commands at /slack/events, into the same app as over Socket Mode."""

import asyncio
import time
from collections.abc import Sequence

import structlog
from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response
from slack_bolt.async_app import AsyncApp, AsyncBoltRequest
from sqlalchemy.exc import SQLAlchemyError

from handlers.sources import verify

log = structlog.get_logger(__name__)

PATH = "/slack/events"
READ_DEADLINE_S = 3.0  # Slack waits no longer for the whole of it


def add_slack_events(web_app: web.Application, app: AsyncApp, secrets: Sequence[str]) -> None:
    """Serve `PATH`. `secrets` are the signing secrets that are valid now; without any, nothing is served there."""

    async def events(request: web.Request) -> web.Response:
        return await _answer(app, secrets, request)

    if secrets:
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
        body = raw.decode()
    except TimeoutError:
        return web.Response(status=408, headers={"Connection": "close"})
    except verify.BadSignature as error:
        log.warning("slack_request_refused", why=str(error))
        return web.Response(status=401, text=str(error))
    except (web.RequestPayloadError, web.HTTPRequestEntityTooLarge, ConnectionError, UnicodeDecodeError) as error:
        return web.Response(status=400, text=f"The body cannot be read ({type(error).__name__}).")
    headers = {name: value for name, value in request.headers.items() if not name.lower().startswith("x-slack-bolt-")}
    try:
        answer = await app.async_dispatch(AsyncBoltRequest(body=body, headers=headers))
    except (SQLAlchemyError, TimeoutError):
        return web.Response(status=503, text="The database does not answer; please send it again.")
    return await to_aiohttp_response(answer)
