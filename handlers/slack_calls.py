"""Reading from Slack for what nobody waits for: named errors, and Slack's own word on when to ask again."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import structlog
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from knowledge.errors import Refused, Unavailable
from knowledge.network import proxy_for

log = structlog.get_logger(__name__)

PASSING = frozenset({"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable",
                     "request_timeout"})  # fmt: skip
DEFAULT_WAIT_S, LONGEST_WAIT_S = 5.0, 300.0


class Refusal(Refused):
    """Slack refuses a call; `code` is its own word for why."""

    def __init__(self, code: str, needed: str = "") -> None:
        wants = f" (it needs {needed}; reinstall the app from app_manifest.yml)" if needed else ""
        super().__init__(f"Slack refuses this: {code or 'no reason given'}{wants}.")
        self.code = code


async def read(method: Callable[..., Awaitable[Any]], **arguments: Any) -> Any:
    """One call that only reads.

    Raises:
        Unavailable: no answer within the client's deadline, or a passing fault; with Slack's wait where it names one.
        Refusal: Slack says no.
    """
    try:
        return await method(**arguments)
    except SlackApiError as error:
        raise _named(error) from None
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unavailable(f"Slack did not answer ({type(error).__name__}).") from error


def _named(error: SlackApiError) -> Unavailable | Refusal:
    # An answer that is no JSON comes as aiohttp's response, without data.
    data = getattr(error.response, "data", None)
    answer = data if isinstance(data, Mapping) else {}
    code, status = str(answer.get("error", "")), int(getattr(error.response, "status_code", 0) or 0)
    if status == 429 or status >= 500 or code in PASSING:
        return Unavailable(f"Slack is busy ({code or status}).", retry_after_s=_wait_s(error))
    return Refusal(code, str(answer.get("needed", "")))


def _wait_s(error: SlackApiError) -> float:
    asked = str((getattr(error.response, "headers", None) or {}).get("Retry-After", ""))
    return min(float(asked), LONGEST_WAIT_S) if asked.isdecimal() else DEFAULT_WAIT_S


def way_to(slack: AsyncWebClient, url: str) -> dict[str, Any]:
    """For a request to an address that Slack gave, past the client's methods: the proxy and the certificates."""
    return {"proxy": proxy_for(url), "ssl": True if slack.ssl is None else slack.ssl}


def next_cursor(page: Any) -> str:
    return str((page.get("response_metadata") or {}).get("next_cursor") or "")


async def permalink(slack: AsyncWebClient, channel: str, ts: str) -> str:
    """Slack's link to a message, or "" when it can't be had: what is known without a link is still known."""
    try:
        answer = await read(slack.chat_getPermalink, channel=channel, message_ts=ts)
    except (Unavailable, Refusal) as error:
        log.warning("no_permalink", channel=channel, error=str(error))
        return ""
    return str(answer["permalink"])
