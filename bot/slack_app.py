"""Slack: the client, what is tried before the start, and bolt's app with all that it listens to."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import structlog
from slack_bolt.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_async_handlers import AsyncConnectionErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient

from bot.settings import Settings
from handlers.listeners import listen
from handlers.services import Services
from knowledge.errors import SettingsError
from knowledge.network import certificates, proxy_for

log = structlog.get_logger(__name__)

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
BUSY = frozenset({"ratelimited", "internal_error", "service_unavailable", "fatal_error", "request_timeout"})
NOBODY = {"team_id": "", "bot_id": ""}
BOT_TOKEN_HELP = "It begins with xoxb- and is under OAuth & Permissions of your app."  # noqa: S105  no token, its place
APP_TOKEN_HELP = "It begins with xapp-, has connections:write, and is under Basic Information > App-Level Tokens."  # noqa: S105


@dataclass(frozen=True, slots=True)
class SlackClients:
    """Slack as the bot, and as the user who searches where there is one; `me` is what `preflight` found."""

    client: AsyncWebClient
    searcher: AsyncWebClient | None
    me: Mapping[str, str]


@asynccontextmanager
async def open_slack(settings: Settings) -> AsyncIterator[SlackClients]:
    """The clients, once Slack has taken our tokens. Raises SettingsError as `preflight`."""
    async with aiohttp.ClientSession() as session:
        client = make_client(settings, session)
        yield SlackClients(client, make_searcher(settings, session), await preflight(settings, client))


def make_client(settings: Settings, session: aiohttp.ClientSession) -> AsyncWebClient:
    client = AsyncWebClient(
        token=settings.slack_bot_token.get_secret_value(),
        base_url=settings.slack_base_url,
        session=session,
        timeout=REQUEST_TIMEOUT_S,
        user_agent_prefix="CodeHealer/0.1",
        # A write that failed may have happened, so the outbox decides about repeats; only a refused connection is safe.
        retry_handlers=[AsyncConnectionErrorRetryHandler(max_retry_count=1)],
    )
    return _connected(client)


def make_searcher(settings: Settings, session: aiohttp.ClientSession) -> AsyncWebClient | None:
    """Slack as the user of SLACK_USER_TOKEN, for its search alone; None without one."""
    token = settings.slack_user_token.get_secret_value()
    if not token:
        return None
    return _connected(
        AsyncWebClient(
            token=token, base_url=settings.slack_base_url, session=session, timeout=SEARCH_TIMEOUT_S, retry_handlers=[]
        )
    )


def _connected(client: AsyncWebClient) -> AsyncWebClient:
    """The library takes HTTPS_PROXY for every address, whatever NO_PROXY says, and knows no SSL_CERT_FILE."""
    client.proxy = proxy_for(client.base_url)
    if trusted := certificates():
        client.ssl = ssl.create_default_context(cafile=trusted)
    return client


async def preflight(settings: Settings, client: AsyncWebClient) -> dict[str, str]:
    """Who we are in Slack: {"user_id", "team_id", "bot_id", "team", "link"}; "link" is an address for the first link.

    That Slack has too much to do for a link is no reason not to start: alerts come by webhooks meanwhile.

    Raises:
        SettingsError: which token is missing or wrong and where to get it, or which scope is missing; within 5 s.
    """
    app_token = settings.slack_app_token.get_secret_value()
    if not settings.slack_bot_token.get_secret_value():
        raise SettingsError(f"SLACK_BOT_TOKEN is missing. {BOT_TOKEN_HELP}")
    if not app_token and not settings.slack_signing_secret.get_secret_value():
        raise SettingsError(f"SLACK_APP_TOKEN is missing. {APP_TOKEN_HELP}")
    try:
        async with asyncio.timeout(PREFLIGHT_TIMEOUT_S):
            me = await _ask(client.auth_test(), "SLACK_BOT_TOKEN", BOT_TOKEN_HELP)
            link = ""
            if app_token:
                opened = client.apps_connections_open(app_token=app_token)
                link = await _link_for(_ask(opened, "SLACK_APP_TOKEN", APP_TOKEN_HELP))
    except TimeoutError:
        raise SettingsError(
            f"Slack at {settings.slack_base_url} did not answer within {PREFLIGHT_TIMEOUT_S} s."
        ) from None
    except aiohttp.ClientError as error:
        raise SettingsError(f"Slack at {settings.slack_base_url} cannot be reached: {type(error).__name__}.") from None
    scopes = {scope.strip() for scope in str(me.headers.get("x-oauth-scopes", "")).split(",") if scope.strip()}
    if scopes and (missing := sorted(NEEDED_SCOPES - scopes)):
        raise SettingsError(f"SLACK_BOT_TOKEN lacks {', '.join(missing)}. Reinstall the app from app_manifest.yml.")
    return {name: str(me.get(name, "")) for name in ("user_id", "team_id", "bot_id", "team")} | {"link": link}


class _Busy(SettingsError):
    """Slack has too much to do just now."""


async def _link_for(asked: Awaitable[Any]) -> str:
    """The address of a link, "" where Slack is too busy to give one."""
    try:
        return str((await asked)["url"])
    except _Busy as error:
        log.warning("socket_mode_not_tried", reason=str(error))
        return ""


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
        kind = _Busy if code in BUSY or error.response.status_code >= 500 else SettingsError
        raise kind(f"{name} was refused by Slack ({code}). {help_text}") from None


def _telling(record: logging.LogRecord) -> bool:
    """False for bolt's warning that the environment's token is not used: `authorize` gives the same one."""
    return "`authorize` has been used" not in record.getMessage()


def make_app(services: Services, count: Callable[[str], None], me: Mapping[str, str] = NOBODY) -> AsyncApp:
    """`count` is told what became of each envelope; `me` is what `preflight` found.

    Bolt would ask Slack who we are at the first envelope, and store nothing while Slack does not answer. Signatures are
    checked before bolt (bot/slack_events.py).
    """
    known = AuthorizeResult(
        enterprise_id=None,
        team_id=me["team_id"],
        bot_user_id=services.bot_user,
        bot_id=me["bot_id"],
        bot_token=services.slack.token,
    )

    async def authorize() -> AuthorizeResult:
        return known

    # A filter, as bolt gives its loggers the root's level anew.
    logging.getLogger("slack_bolt.AsyncApp").addFilter(_telling)
    # Without a name it walks the whole call stack for one.
    app = AsyncApp(
        name="codehealer",
        client=services.slack,
        raise_error_for_unhandled_request=True,
        request_verification_enabled=False,
        authorize=authorize,
    )
    listen(app, services, count)
    return app
