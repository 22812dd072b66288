"""Whether a channel can be written to."""

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient


async def reachable(slack: AsyncWebClient, channel: str) -> str:
    """Why the bot cannot write to a channel, "" when it can. A fault that passes is a reason too."""
    try:
        found = (await slack.conversations_info(channel=channel))["channel"]
    except SlackApiError as error:
        return f"Slack says {error.response.get('error')}"
    except (aiohttp.ClientError, TimeoutError) as error:
        return f"Slack did not answer ({type(error).__name__})"
    if found.get("is_archived"):
        return "it is archived"
    return "" if found.get("is_member") else "the bot is not a member"
