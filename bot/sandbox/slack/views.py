"""Modals and App Home: how a view is stored, stacked and replaced."""

from __future__ import annotations

import secrets
import time
from typing import Any

from .blocks import HOME, MODAL, check_view
from .core import Slack
from .errors import SlackError, invalid_arguments
from .posting import with_block_ids
from .state import APP_ID, BOT_ID, TEAM_ID, new_id

Json = dict[str, Any]

MAX_STACK = 3


def new_hash() -> str:
    """Make the hash that changes with each version of a view."""
    return f"{int(time.time())}.{secrets.token_urlsafe(6)}"


def checked(view: Any, surface: str) -> Json:
    """Return a view that Slack would take on ``surface``."""
    if not isinstance(view, dict):
        raise invalid_arguments("missing required field: view")
    if view.get("type") not in (MODAL, HOME):
        raise invalid_arguments("must be one of: modal, home", "/view/type")
    if view["type"] != surface:
        raise invalid_arguments(f"view must be of type {surface}", "/view/type")
    check_view(view, surface)
    return view


def stored(view: Json, owner: str, **more: Any) -> Json:
    """Complete a view the way Slack answers with it. ``owner`` stays with us."""
    identifier = more.get("id") or new_id("V")
    full: Json = {
        "id": identifier,
        "team_id": TEAM_ID,
        "type": view["type"],
        "blocks": with_block_ids(view["blocks"]),
        "private_metadata": view.get("private_metadata") or "",
        "callback_id": view.get("callback_id") or "",
        "external_id": view.get("external_id") or "",
        "state": {"values": {}},
        "hash": new_hash(),
        "title": view.get("title") or {"type": "plain_text", "text": "View Title", "emoji": True},
        "submit": view.get("submit"),
        "close": view.get("close"),
        "clear_on_close": bool(view.get("clear_on_close")),
        "notify_on_close": bool(view.get("notify_on_close")),
        "root_view_id": identifier,
        "previous_view_id": None,
        "app_id": APP_ID,
        "app_installed_team_id": TEAM_ID,
        "bot_id": BOT_ID,
        "_owner": owner,
    }
    return full | more


def public(view: Json) -> Json:
    """Return a view without what only we know."""
    return {name: value for name, value in view.items() if name != "_owner"}


def current(slack: Slack, user: str) -> Json | None:
    """Return the modal that a person looks at, None when there is none."""
    stack = slack.workspace.modals.get(user)
    return slack.workspace.views[stack[-1]] if stack else None


def show(slack: Slack, user: str) -> None:
    """Tell a person's pages what modal is on top now."""
    view = current(slack, user)
    slack.pages.view(user, public(view) if view else None)


def _external_id_is_free(slack: Slack, view: Json, except_id: str = "") -> None:
    external = view.get("external_id")
    views = slack.workspace.views.values()
    if external and any(v["external_id"] == external and v["id"] != except_id for v in views):
        raise SlackError("duplicate_external_id")


def open_modal(slack: Slack, user: str, view: Json) -> Json:
    """Open a modal for a person, in place of what they had open."""
    close_all(slack, user)
    return push(slack, user, view)


def push(slack: Slack, user: str, view: Json) -> Json:
    """Put a modal on top of a person's stack."""
    stack = slack.workspace.modals.setdefault(user, [])
    if len(stack) >= MAX_STACK:
        raise SlackError("push_limit_reached")
    _external_id_is_free(slack, view)
    full = stored(view, user)
    if stack:
        full |= {"root_view_id": stack[0], "previous_view_id": stack[-1]}
    slack.workspace.views[full["id"]] = full
    stack.append(full["id"])
    show(slack, user)
    return full


def replace(slack: Slack, old: Json, view: Json) -> Json:
    """Change an open modal; it keeps its id and gets a new hash."""
    _external_id_is_free(slack, view, old["id"])
    kept = {name: old[name] for name in ("id", "root_view_id", "previous_view_id")}
    full = stored(view, old["_owner"], **kept)
    slack.workspace.views[full["id"]] = full
    show(slack, old["_owner"])
    return full


def pop(slack: Slack, user: str) -> None:
    """Close the modal on top."""
    stack = slack.workspace.modals.get(user, [])
    if stack:
        slack.workspace.views.pop(stack.pop(), None)
    show(slack, user)


def close_all(slack: Slack, user: str) -> None:
    """Close a person's whole stack."""
    for identifier in slack.workspace.modals.pop(user, []):
        slack.workspace.views.pop(identifier, None)
    show(slack, user)


def publish(slack: Slack, user: str, view: Json) -> Json:
    """Set a person's App Home."""
    old = slack.workspace.homes.get(user)
    full = stored(view, user, **({"id": old["id"], "root_view_id": old["id"]} if old else {}))
    slack.workspace.homes[user] = full
    slack.pages.home(user, public(full))
    return full
