"""Opening a modal: checked before, and where it cannot be opened any more the person is told so."""

from collections.abc import Mapping
from typing import Any

import structlog
from slack_sdk.errors import SlackApiError

from handlers import cards, replies
from handlers.blocks import modals
from handlers.blocks.limits import validate_view
from handlers.clicks import key_of
from handlers.services import Services

log = structlog.get_logger(__name__)

# The three seconds of a trigger are over, or it was used: what the person does next needs a new one.
TOO_LATE = frozenset({"expired_trigger_id", "exchanged_trigger_id", "invalid_trigger_id", "trigger_expired"})


async def open_view(services: Services, body: Mapping[str, Any], view: dict[str, Any]) -> None:
    """Show a modal to whoever clicked. What Slack would refuse is not sent: a sentence is, and the fault is counted."""
    faults = validate_view(view)
    if faults:
        log.error("view_refused_before_sending", callback=view.get("callback_id"), faults=faults[:5])
        services.count_refused("view")
        view = modals.notice_modal(replies.UNEXPECTED)
    trigger, user = str(body["trigger_id"]), str(body["user"]["id"])
    try:
        await services.slack.views_open(trigger_id=trigger, view=view)
    except SlackApiError as error:
        if error.response.get("error") not in TOO_LATE:
            raise
        channel = str((body.get("channel") or {}).get("id") or "")
        async with services.engine.begin() as db:
            await cards.tell(db, key=key_of("late", trigger), channel=channel, user=user, text=replies.TOO_LATE)
