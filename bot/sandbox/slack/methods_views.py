"""views.*: modals and App Home."""

from __future__ import annotations

from typing import Any

from . import views
from .arguments import needed, text
from .blocks import HOME, MODAL
from .call import TIER_4, Call, Method
from .errors import SlackError, invalid_arguments

Json = dict[str, Any]


def _answer(view: Json) -> Json:
    return {"view": views.public(view)}


def _hash_matches(call: Call, view: Json | None) -> None:
    given = text(call.args, "hash")
    if given and view is not None and given != view["hash"]:
        raise SlackError("hash_conflict")


async def open_view(call: Call) -> Json:
    """views.open."""
    view = views.checked(call.args.get("view"), MODAL)
    user = call.slack.take_trigger(needed(call.args, "trigger_id"))
    return _answer(views.open_modal(call.slack, user, view))


async def push_view(call: Call) -> Json:
    """views.push."""
    view = views.checked(call.args.get("view"), MODAL)
    user = call.slack.take_trigger(needed(call.args, "trigger_id"))
    return _answer(views.push(call.slack, user, view))


async def update_view(call: Call) -> Json:
    """views.update."""
    identifier, external = text(call.args, "view_id"), text(call.args, "external_id")
    if not identifier and not external:
        raise invalid_arguments("missing required field: view_id or external_id")
    known = call.slack.workspace.views
    old = (
        known.get(identifier) if identifier else next((v for v in known.values() if v["external_id"] == external), None)
    )
    if old is None:
        raise SlackError("not_found")
    _hash_matches(call, old)
    return _answer(views.replace(call.slack, old, views.checked(call.args.get("view"), MODAL)))


async def publish_view(call: Call) -> Json:
    """views.publish."""
    user = needed(call.args, "user_id")
    if not call.slack.manifest.home_enabled:
        raise SlackError("not_enabled")
    if user not in call.slack.workspace.users:
        raise invalid_arguments("user_id is invalid")
    _hash_matches(call, call.slack.workspace.homes.get(user))
    given = views.checked(call.args.get("view"), HOME)
    charts = any(block["type"] == "data_visualization" for block in given["blocks"])
    if charts and call.slack.faults.home_charts_refused:
        raise invalid_arguments("unsupported type: data_visualization", "/view/blocks")
    view = views.publish(call.slack, user, given)
    async with call.slack.publications:
        call.slack.publications.notify_all()
    return _answer(view)


METHODS: dict[str, Method] = {
    "views.open": Method(open_view, "", TIER_4, writes=True),
    "views.push": Method(push_view, "", TIER_4, writes=True),
    "views.update": Method(update_view, "", TIER_4, writes=True),
    "views.publish": Method(publish_view, "", TIER_4, writes=True),
}
