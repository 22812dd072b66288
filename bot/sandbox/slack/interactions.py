"""What people do: click, submit, close, run commands and shortcuts. The bot hears of it over Socket Mode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import views
from .blocks import MODAL
from .core import ResponseUrl, Slack
from .errors import Refused, SlackError
from .state import APP_ID, TEAM_DOMAIN, TEAM_ID, Channel, User
from .text import command_text
from .web_api import needed_content, respond_to

Json = dict[str, Any]

GONE = "that button is no longer there"
# The part of an action that a person sets, by the kind of element.
CHOSEN = (
    "value",
    "selected_option",
    "selected_options",
    "selected_user",
    "selected_users",
    "selected_channel",
    "selected_channels",
    "selected_conversation",
    "selected_conversations",
    "selected_date",
    "selected_time",
    "selected_date_time",
    "rich_text_value",
    "files",
)
_SINGLE = {
    "static_select": ("selected_option", "initial_option"),
    "external_select": ("selected_option", "initial_option"),
    "radio_buttons": ("selected_option", "initial_option"),
    "checkboxes": ("selected_options", "initial_options"),
    "multi_static_select": ("selected_options", "initial_options"),
    "multi_external_select": ("selected_options", "initial_options"),
    "users_select": ("selected_user", "initial_user"),
    "multi_users_select": ("selected_users", "initial_users"),
    "channels_select": ("selected_channel", "initial_channel"),
    "multi_channels_select": ("selected_channels", "initial_channels"),
    "conversations_select": ("selected_conversation", "initial_conversation"),
    "multi_conversations_select": ("selected_conversations", "initial_conversations"),
    "datepicker": ("selected_date", "initial_date"),
    "timepicker": ("selected_time", "initial_time"),
    "datetimepicker": ("selected_date_time", "initial_date_time"),
    "plain_text_input": ("value", "initial_value"),
    "email_text_input": ("value", "initial_value"),
    "url_text_input": ("value", "initial_value"),
    "number_input": ("value", "initial_value"),
    "rich_text_input": ("rich_text_value", "initial_value"),
    "file_input": ("files", ""),
}


def person(slack: Slack, identifier: str) -> User:
    """Return somebody who can act; Refused for the unknown, the deleted and bots."""
    user = slack.workspace.users.get(identifier)
    if user is None or user.is_bot or user.deleted:
        raise Refused(f"{identifier} cannot act in this workspace", 404)
    return user


def place(slack: Slack, identifier: str, user: User) -> Channel:
    """Return a channel by id or name that a person can see."""
    channel = slack.workspace.find_channel(identifier)
    if channel is None and identifier == "D":
        channel = slack.workspace.direct_message(user.id)
    closed = channel is not None and (channel.is_private or user.restricted or user.team_id != TEAM_ID)
    if channel is None or (closed and user.id not in channel.members):
        raise Refused(f"{user.name} sees no channel {identifier}", 404)
    return channel


def _about(slack: Slack, user: User) -> Json:
    return {
        "user": {"id": user.id, "username": user.name, "name": user.name, "team_id": user.team_id},
        "api_app_id": APP_ID,
        "token": "verification-token-of-old",
        "trigger_id": slack.new_trigger(user.id),
        "team": {"id": TEAM_ID, "domain": TEAM_DOMAIN},
        "enterprise": None,
        "is_enterprise_install": False,
    }


def elements_of(blocks: list[Json]) -> Iterator[tuple[str, Json]]:
    """Yield each interactive element with the id of its block."""
    for block in blocks:
        inside = block.get("elements") if block["type"] != "rich_text" else None
        for element in (*(inside or ()), block.get("accessory"), block.get("element"), *(block.get("actions") or ())):
            if isinstance(element, dict) and "action_id" in element:
                yield block["block_id"], element
        if block.get("child_blocks"):
            yield from elements_of([child for child in block["child_blocks"] if child.get("block_id")])


def state_of(blocks: list[Json], values: Json | None = None) -> Json:
    """Return ``state.values``: what each input holds, ``values`` over what the blocks begin with."""
    state: Json = {}
    for block_id, element in elements_of(blocks):
        if element["type"] not in _SINGLE:
            continue
        name, initial = _SINGLE[element["type"]]
        given = ((values or {}).get(block_id) or {}).get(element["action_id"])
        empty: list[Json] | None = [] if name.endswith("s") else None
        held = {"type": element["type"], name: element.get(initial, empty)}
        state.setdefault(block_id, {})[element["action_id"]] = held | given if isinstance(given, dict) else held
    return {"values": state}


def _action(block_id: str, element: Json, chosen: Json, ts: str) -> Json:
    """Build one entry of ``actions`` from the element and what the person chose."""
    kept = ("type", "action_id", "style", "confirm", "placeholder")
    action: Json = {name: element[name] for name in kept if name in element}
    action |= {"block_id": block_id, "action_ts": ts}
    if element["type"] == "feedback_buttons":
        sides = [element["positive_button"], element["negative_button"]]
        side = next((s for s in sides if s.get("value") == chosen.get("value")), None)
        if side is None:
            raise Refused(GONE, 409)
        return action | {"text": side["text"], "value": side.get("value", "")}
    if element["type"] in ("button", "icon_button"):
        if "value" in chosen and chosen["value"] != element.get("value"):
            raise Refused(GONE, 409)
        action |= {name: element[name] for name in ("text", "value", "url") if name in element}
        return action
    return action | chosen


def _find(blocks: list[Json], block_id: str, action_id: str) -> Json | None:
    for found_id, element in elements_of(blocks):
        if found_id == block_id and element["action_id"] == action_id:
            return element
    return None


def _pressed(blocks: list[Json], request: Json, user: User, ts: str) -> Json:
    """Return the action of a click; Refused when that element is not there, unless the click is forced."""
    block_id, action_id = str(request.get("block_id", "")), str(request.get("action_id", ""))
    chosen = {name: request[name] for name in CHOSEN if request.get(name) is not None}
    element = _find(blocks, block_id, action_id)
    if request.get("force") is True:
        # A client that was not told of the edit yet: it sends what its old copy of the message held.
        shape = element or {"type": "button", "text": {"type": "plain_text", "text": "…", "emoji": True}}
        known = {name: shape[name] for name in ("text", "style", "value") if name in shape}
        about = {"type": shape["type"], "action_id": action_id, "block_id": block_id, "action_ts": ts}
        return about | known | chosen
    if element is None:
        raise Refused(GONE, 409)
    if user.id not in element.get("visible_to_user_ids", [user.id]):
        raise Refused(GONE, 409)
    return _action(block_id, element, chosen, ts)


def _blocks_of(message: Json) -> list[Json]:
    nested = [block for attachment in message.get("attachments", ()) for block in attachment.get("blocks", ())]
    return [*message.get("blocks", ()), *nested]


async def click(slack: Slack, request: Json) -> Json:
    """Press a button or choose in a message, a modal or App Home; waits for the bot's ack.

    ``request``: user, channel and ts, or view_id; block_id, action_id; value or selected_option; values; force.
    """
    user = person(slack, str(request.get("user", "")))
    build = _view_click if request.get("view_id") else _message_click
    payload = build(slack, user, request)
    acknowledged = await slack.sockets.interact("interactive", payload, accepts_response=False)
    return {"acknowledged": acknowledged is not None}


def _message_click(slack: Slack, user: User, request: Json) -> Json:
    channel = place(slack, str(request.get("channel", "")), user)
    ts = str(request.get("ts", ""))
    mine = [m for m in channel.ephemerals if m["ts"] == ts and m["for_user"] == user.id]
    message = channel.messages.get(ts) or (mine[0] if mine else None)
    if message is None:
        raise Refused("that message is no longer there", 409)
    blocks = _blocks_of(message)
    action = _pressed(blocks, request, user, slack.workspace.next_ts())
    state = state_of(blocks, {action["block_id"]: {action["action_id"]: _held(action)}})
    container: Json = {"type": "message", "message_ts": ts, "channel_id": channel.id, "is_ephemeral": bool(mine)}
    thread_ts = message.get("thread_ts", "")
    if thread_ts:
        container["thread_ts"] = thread_ts
    url = slack.new_response_url(
        channel.id, user.id, message_ts=ts, is_ephemeral=bool(mine), thread_ts="" if thread_ts == ts else thread_ts
    )
    return {
        "type": "block_actions",
        **_about(slack, user),
        "container": container,
        "channel": {"id": channel.id, "name": _channel_name(channel)},
        **({} if mine else {"message": dict(message)}),
        "state": state,
        "response_url": url,
        "actions": [action],
    }


def _held(action: Json) -> Json:
    return {name: action[name] for name in CHOSEN if name in action}


def _view_click(slack: Slack, user: User, request: Json) -> Json:
    home = slack.workspace.homes.get(user.id)
    wanted = str(request["view_id"])
    view = home if home and home["id"] == wanted else slack.workspace.views.get(wanted)
    if view is None or view["_owner"] != user.id:
        raise Refused("that view is no longer open", 409)
    action = _pressed(view["blocks"], request, user, slack.workspace.next_ts())
    values = dict(request.get("values") or {})
    values[action["block_id"]] = {action["action_id"]: _held(action), **(values.get(action["block_id"]) or {})}
    shown = views.public(view) | {"state": state_of(view["blocks"], values)}
    return {
        "type": "block_actions",
        **_about(slack, user),
        "container": {"type": "view", "view_id": view["id"]},
        "view": shown,
        "actions": [action],
    }


def _channel_name(channel: Channel) -> str:
    return "directmessage" if channel.is_im else "privategroup" if channel.is_private else channel.name


async def submit(slack: Slack, request: Json) -> Json:
    """Submit the modal on top; carries out the bot's ``response_action``."""
    user = person(slack, str(request.get("user", "")))
    view = _open_view(slack, user, request)
    values = request.get("values") or {}
    if not isinstance(values, dict):
        raise Refused("values must be an object")
    state = state_of(view["blocks"], values)
    missing = _unfilled(view, state)
    if missing:
        return {"acknowledged": False, "response_action": "errors", "errors": missing}
    payload = {
        "type": "view_submission",
        **_about(slack, user),
        "view": views.public(view) | {"state": state},
        "response_urls": [],
    }
    answer = await slack.sockets.interact("interactive", payload, accepts_response=True)
    if answer is None:
        slack.pages.toast(user.id, "We had some trouble connecting. Try again?")
        return {"acknowledged": False, "response_action": None, "errors": {}}
    try:
        return {"acknowledged": True, **_after_submission(slack, user, view, answer)}
    except SlackError as error:
        slack.pages.toast(user.id, f"We had some trouble connecting ({error.code}). Try again?")
        return {"acknowledged": True, "response_action": "invalid", "errors": {}, "error": error.code}


def _open_view(slack: Slack, user: User, request: Json) -> Json:
    view = views.current(slack, user.id)
    if view is None or view["id"] != request.get("view_id"):
        raise Refused("that view is no longer open", 409)
    return view


def _unfilled(view: Json, state: Json) -> dict[str, str]:
    """Return a complaint for each input that Slack's client would not let a person leave empty."""
    missing: dict[str, str] = {}
    for block in view["blocks"]:
        if block["type"] != "input" or block.get("optional") or "action_id" not in block["element"]:
            continue
        held = state["values"].get(block["block_id"], {}).get(block["element"]["action_id"], {})
        if not any(value for name, value in held.items() if name != "type"):
            missing[block["block_id"]] = "Please complete this required field."
    return missing


def _after_submission(slack: Slack, user: User, view: Json, answer: Json) -> Json:
    action = answer.get("response_action")
    errors: Json = {}
    if action == "errors":
        errors = answer.get("errors") or {}
        known = {block["block_id"] for block in view["blocks"] if block["type"] == "input"}
        if not errors or set(errors) - known:
            raise SlackError("invalid_response_action")
    elif action == "update":
        views.replace(slack, view, views.checked(answer.get("view"), MODAL))
    elif action == "push":
        views.push(slack, user.id, views.checked(answer.get("view"), MODAL))
    elif action == "clear":
        views.close_all(slack, user.id)
    elif action is None:
        # The bot may have replaced the view by views.update meanwhile; what is on top closes all the same.
        views.pop(slack, user.id)
    else:
        raise SlackError("invalid_response_action")
    return {"response_action": action, "errors": errors}


async def close(slack: Slack, request: Json) -> Json:
    """Close the modal on top; tells the bot when the view asked for it."""
    user = person(slack, str(request.get("user", "")))
    view = _open_view(slack, user, request)
    if view["clear_on_close"]:
        views.close_all(slack, user.id)
    else:
        views.pop(slack, user.id)
    if not view["notify_on_close"]:
        return {"acknowledged": True}
    about = _about(slack, user)
    del about["trigger_id"]
    payload = {"type": "view_closed", **about, "view": views.public(view), "is_cleared": view["clear_on_close"]}
    answer = await slack.sockets.interact("interactive", payload, accepts_response=False)
    return {"acknowledged": answer is not None}


async def command(slack: Slack, request: Json) -> Json:
    """Run a slash command; shows the bot's answer, or why there is none."""
    user = person(slack, str(request.get("user", "")))
    channel = place(slack, str(request.get("channel", "")), user)
    name = str(request.get("command", ""))
    known = next((entry for entry in slack.manifest.commands if entry["command"] == name), None)
    if known is None:
        slack.pages.toast(user.id, f"{name} is not a valid command.")
        raise Refused(f"{name} is not a valid command.", 404)
    text = str(request.get("text", "")).strip()
    payload = {
        "token": "verification-token-of-old",
        "team_id": TEAM_ID,
        "team_domain": TEAM_DOMAIN,
        "channel_id": channel.id,
        "channel_name": _channel_name(channel),
        "user_id": user.id,
        "user_name": user.name,
        "command": name,
        "text": command_text(text, *slack.workspace.names()) if known.get("should_escape") else text,
        "api_app_id": APP_ID,
        "is_enterprise_install": "false",
        "response_url": slack.new_response_url(channel.id, user.id),
        "trigger_id": slack.new_trigger(user.id),
    }
    connected = bool(slack.sockets.links)
    answer = await slack.sockets.interact("slash_commands", payload, accepts_response=True)
    if answer is None:
        error = "operation_timeout" if connected else "dispatch_failed"
        slack.pages.toast(user.id, f'{name} failed with the error "{error}"')
        return {"acknowledged": False, "response": None, "error": error}
    if answer.get("text") or answer.get("blocks") or answer.get("attachments"):
        try:
            needed_content(answer)
        except SlackError as error:
            slack.pages.toast(user.id, f'{name} failed with the error "{error.code}"')
            return {"acknowledged": True, "response": answer, "error": error.code}
        ts = respond_to(slack, channel, answer, ResponseUrl(channel.id, user.id, 0.0))
        return {"acknowledged": True, "response": answer | {"ts": ts}}
    return {"acknowledged": True, "response": None}


async def shortcut(slack: Slack, request: Json) -> Json:
    """Run a shortcut of the manifest: a global one, or one on a message (channel and ts)."""
    user = person(slack, str(request.get("user", "")))
    callback = str(request.get("callback_id", ""))
    known = next((s for s in slack.manifest.shortcuts if s["callback_id"] == callback), None)
    if known is None:
        raise Refused(f"there is no shortcut {callback}", 404)
    payload: Json = {
        "type": "shortcut",
        **_about(slack, user),
        "callback_id": callback,
        "action_ts": slack.workspace.next_ts(),
    }
    if known["type"] == "message":
        channel = place(slack, str(request.get("channel", "")), user)
        message = channel.messages.get(str(request.get("ts", "")))
        if message is None:
            raise Refused("that message is no longer there", 409)
        payload |= {
            "type": "message_action",
            "message_ts": message["ts"],
            "message": dict(message),
            "channel": {"id": channel.id, "name": _channel_name(channel)},
            "response_url": slack.new_response_url(channel.id, user.id, message_ts=message["ts"]),
        }
    answer = await slack.sockets.interact("interactive", payload, accepts_response=False)
    return {"acknowledged": answer is not None}
