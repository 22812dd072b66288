"""Slack over Socket Mode, kept up: the known defects of the client are worked around here (docs/decisions.md)."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import structlog
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_async_handlers import AsyncConnectionErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient

from bot.settings import Settings
from handlers.listeners import listen
from handlers.services import Services
from knowledge.errors import SettingsError

log = structlog.get_logger(__name__)

PING_INTERVAL_S = 10
STALE_TICKET_S = 3.0
REQUEST_TIMEOUT_S = 10
PREFLIGHT_TIMEOUT_S = 4
SEARCH_TIMEOUT_S = 5
# Without any of these the bot does nothing useful, so it does not start; the manifest asks for more, for each a reason.
NEEDED_SCOPES = frozenset(
    {
        "app_mentions:read",
        "channels:history",
        "chat:write",
        "commands",
        "reactions:read",
        "reactions:write",
        "users:read",
    }
)
BOT_TOKEN_HELP = "It begins with xoxb- and is under OAuth & Permissions of your app."  # noqa: S105  no token, its place
APP_TOKEN_HELP = "It begins with xapp-, has connections:write, and is under Basic Information > App-Level Tokens."  # noqa: S105


def make_client(settings: Settings, session: aiohttp.ClientSession) -> AsyncWebClient:
    return AsyncWebClient(
        token=settings.slack_bot_token.get_secret_value(),
        base_url=settings.slack_base_url,
        session=session,
        timeout=REQUEST_TIMEOUT_S,
        user_agent_prefix="CodeHealer/0.1",
        # A write that failed may have happened, so the outbox decides about repeats; only a refused connection is safe.
        retry_handlers=[AsyncConnectionErrorRetryHandler(max_retry_count=1)],
    )


def make_searcher(settings: Settings, session: aiohttp.ClientSession) -> AsyncWebClient | None:
    """Slack as the user of SLACK_USER_TOKEN, for its search alone; None without one."""
    token = settings.slack_user_token.get_secret_value()
    if not token:
        return None
    return AsyncWebClient(
        token=token, base_url=settings.slack_base_url, session=session, timeout=SEARCH_TIMEOUT_S, retry_handlers=[]
    )


async def preflight(settings: Settings, client: AsyncWebClient) -> dict[str, str]:
    """Who we are in Slack: {"user_id", "team_id", "bot_id", "team"}.

    Raises:
        SettingsError: which token is missing or wrong and where to get it, or which scope is missing; within 5 s.
    """
    for value, name, help_text in (
        (settings.slack_bot_token, "SLACK_BOT_TOKEN", BOT_TOKEN_HELP),
        (settings.slack_app_token, "SLACK_APP_TOKEN", APP_TOKEN_HELP),
    ):
        if not value.get_secret_value():
            raise SettingsError(f"{name} is missing. {help_text}")
    try:
        async with asyncio.timeout(PREFLIGHT_TIMEOUT_S):
            me = await _ask(client.auth_test(), "SLACK_BOT_TOKEN", BOT_TOKEN_HELP)
            app_token = settings.slack_app_token.get_secret_value()
            opened = client.apps_connections_open(app_token=app_token)
            await _ask(opened, "SLACK_APP_TOKEN", APP_TOKEN_HELP)
    except TimeoutError:
        raise SettingsError(
            f"Slack at {settings.slack_base_url} did not answer within {PREFLIGHT_TIMEOUT_S} s."
        ) from None
    except aiohttp.ClientError as error:
        raise SettingsError(f"Slack at {settings.slack_base_url} cannot be reached: {type(error).__name__}.") from None
    scopes = {scope.strip() for scope in str(me.headers.get("x-oauth-scopes", "")).split(",") if scope.strip()}
    if scopes and (missing := sorted(NEEDED_SCOPES - scopes)):
        raise SettingsError(f"SLACK_BOT_TOKEN lacks {', '.join(missing)}. Reinstall the app from app_manifest.yml.")
    return {name: str(me.get(name, "")) for name in ("user_id", "team_id", "bot_id", "team")}


async def _ask(call: Any, name: str, help_text: str) -> Any:
    try:
        return await call
    except SlackApiError as error:
        answer = error.response.data if isinstance(error.response.data, dict) else {}
        code = answer.get("error", "no answer that could be read")
        if code == "missing_scope":
            raise SettingsError(
                f"{name} lacks the scope {answer.get('needed')}. Add it and reinstall the app."
            ) from None
        raise SettingsError(f"{name} was refused by Slack ({code}). {help_text}") from None


class SocketMode:
    """One Socket Mode link and its watchdog. `problem` says what is wrong with it, None when nothing is."""

    def __init__(self, app: AsyncApp, app_token: str) -> None:
        self._app = app
        self._token = app_token
        self._handler: AsyncSocketModeHandler | None = None
        self._last_frame = time.monotonic()
        self._down_since: float | None = time.monotonic()
        self._disabled = False

    def seen(self) -> None:
        self._last_frame = time.monotonic()

    @property
    def problem(self) -> str | None:
        if self._disabled:
            return "Socket Mode is switched off in the app's settings; switch it on and restart"
        return "not connected" if self._down_since is not None else None

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Connect, keep connected, and close on the way out."""
        self._handler = AsyncSocketModeHandler(self._app, self._token, ping_interval=PING_INTERVAL_S)
        self._handler.client.on_message_listeners.append(self._on_frame)
        connecting = asyncio.create_task(_connect(self._handler), name="socket mode")
        watching = asyncio.create_task(self._watch(self._handler), name="socket mode watchdog")
        try:
            yield
        finally:
            watching.cancel()
            connecting.cancel()
            await asyncio.gather(watching, connecting, return_exceptions=True)
            await _close(self._handler)

    async def _on_frame(self, message: aiohttp.WSMessage) -> None:
        self.seen()
        if message.type is not aiohttp.WSMsgType.TEXT or '"disconnect"' not in message.data[:200]:
            return
        if json.loads(message.data).get("reason") == "link_disabled":
            self._disabled = True
            log.error("socket_mode_disabled")

    async def _watch(self, handler: AsyncSocketModeHandler) -> None:
        """The client asks a refused address for ever: after a while make it ask for a fresh one."""
        while True:
            await asyncio.sleep(0.25)
            if await handler.client.is_connected():
                self._down_since = None
                continue
            now = time.monotonic()
            self._down_since = self._down_since if self._down_since is not None else now
            if now - self._down_since > STALE_TICKET_S and handler.client.wss_uri is not None:
                handler.client.wss_uri = None
                self._down_since = now


def make_app(services: Services, settings: Settings) -> tuple[AsyncApp, SocketMode]:
    # Without a name it walks the whole call stack for one.
    app = AsyncApp(name="codehealer", client=services.slack, raise_error_for_unhandled_request=True)
    socket = SocketMode(app, settings.slack_app_token.get_secret_value())
    listen(app, services, socket.seen)
    return app, socket


async def _connect(handler: AsyncSocketModeHandler) -> None:
    await handler.connect_async()  # type: ignore[no-untyped-call]  # bolt's adapter has no types


async def _close(handler: AsyncSocketModeHandler) -> None:
    await handler.close_async()  # type: ignore[no-untyped-call]  # bolt's adapter has no types
